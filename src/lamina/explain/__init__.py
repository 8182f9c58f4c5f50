"""Seeing what a model has learnt: what it gets wrong, what it looks at, how training went, how long it takes; wrong labels.

| to see | files, what is computed first |
| --- | --- |
| what it answered, beside the truth | answers (checked probabilities and labels; all below begin there) |
| mistakes, confusion, scores | mistakes, confusion, scores |
| whether it is as often right as it says | calibrated (errors, temperature), reliability (figures) |
| ROC and precision-recall | ranking, ranking_figures |
| how training went | curves (one run), overlay (several), gradients (norms by depth) |
| inside, for one picture | saliency (Grad-CAM, occlusion), heat (what they give, drawn), maps (feature maps) |
| inside, for a box or some pixels | located (Grad-CAM where a detector or segmenter stands on maps) |
| inside, for many pictures | excitement (what excites a channel), embedding (points), tsne |
| inside, the weights | first_layer (filters before and after) |
| what these look through | lens (a model as they need it), watching (hooks on a twin of its network), seen (pictures of a data set) |
| time and memory of layers | layer_profile (measured), ledger (who spent it), profile_table (table and chart) |
| wrong labels | label_errors, confident (the mathematics), out_of_sample (answers of folds), suspects (gallery) |
| boxes and maps, beside the truth | beside (counted), found_sections (of a detector), mapped_sections (of a segmenter) |
| numbers, beside the true ones | numbers_sections (of a regressor) |
| the report | page (the list of sections), subject (what it is about), sections, labellings (several labels), cells |
| the report, inside the network | inside, deeper, scenes_inside (of detectors and segmenters) |
| how all that looks | drawn (figures), html (pieces of a page), report.css |
"""

from lamina.explain import label_errors
from lamina.explain.answers import Labelled, class_probs
from lamina.explain.beside import FoundBeside, MappedBeside, beside_truth
from lamina.explain.calibrated import Calibration, Temperature, calibration, fit_temperature
from lamina.explain.confusion import Confusion, confusion_figure, confusion_matrix, most_confused
from lamina.explain.curves import Curve, curves_figure, learning_curves
from lamina.explain.embedding import Embedding, embeddings
from lamina.explain.excitement import Excited, Exciting, exciting
from lamina.explain.first_layer import Filters, filters
from lamina.explain.gradients import GradientRecord, gradient_norms, gradient_norms_figure
from lamina.explain.heat import Heat
from lamina.explain.label_errors import LabelErrors, Suspect
from lamina.explain.layer_profile import profile
from lamina.explain.maps import FeatureMaps, LayerMaps, feature_maps
from lamina.explain.mistakes import Mistake, find_mistakes, mistakes_figure
from lamina.explain.overlay import overlaid_figure
from lamina.explain.page import report
from lamina.explain.profile_table import LayerTime, Profile
from lamina.explain.ranking import Points, Ranking, precision_recall, rankings, roc
from lamina.explain.ranking_figures import precision_recall_figure, roc_figure
from lamina.explain.reliability import reliability_figure, sureness_figure
from lamina.explain.saliency import grad_cam, occlusion
from lamina.explain.scores import ClassScore, Scores, class_scores, top_accuracy

__all__ = [
    "Calibration",
    "ClassScore",
    "Confusion",
    "Curve",
    "Embedding",
    "Excited",
    "Exciting",
    "FeatureMaps",
    "Filters",
    "FoundBeside",
    "GradientRecord",
    "Heat",
    "LabelErrors",
    "Labelled",
    "LayerMaps",
    "LayerTime",
    "MappedBeside",
    "Mistake",
    "Points",
    "Profile",
    "Ranking",
    "Scores",
    "Suspect",
    "Temperature",
    "beside_truth",
    "calibration",
    "class_probs",
    "class_scores",
    "confusion_figure",
    "confusion_matrix",
    "curves_figure",
    "embeddings",
    "exciting",
    "feature_maps",
    "filters",
    "find_mistakes",
    "fit_temperature",
    "grad_cam",
    "gradient_norms",
    "gradient_norms_figure",
    "label_errors",
    "learning_curves",
    "mistakes_figure",
    "most_confused",
    "occlusion",
    "overlaid_figure",
    "precision_recall",
    "precision_recall_figure",
    "profile",
    "rankings",
    "reliability_figure",
    "report",
    "roc",
    "roc_figure",
    "sureness_figure",
    "top_accuracy",
]
