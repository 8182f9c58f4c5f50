"""What a trained model gets wrong: mistakes, confusion, scores, learning curves, and one HTML page of them all; wrong labels."""

from lamina.explain import label_errors
from lamina.explain.answers import Labelled, class_probs
from lamina.explain.confusion import Confusion, confusion_figure, confusion_matrix, most_confused
from lamina.explain.curves import Curve, curves_figure, learning_curves
from lamina.explain.label_errors import LabelErrors, Suspect
from lamina.explain.mistakes import Mistake, find_mistakes, mistakes_figure
from lamina.explain.page import report
from lamina.explain.scores import ClassScore, Scores, class_scores, top_accuracy

__all__ = [
    "ClassScore",
    "Confusion",
    "Curve",
    "LabelErrors",
    "Labelled",
    "Mistake",
    "Scores",
    "Suspect",
    "class_probs",
    "class_scores",
    "confusion_figure",
    "confusion_matrix",
    "curves_figure",
    "find_mistakes",
    "label_errors",
    "learning_curves",
    "mistakes_figure",
    "most_confused",
    "report",
    "top_accuracy",
]
