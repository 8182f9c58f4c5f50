"""A recipe for BCCD, the red and white blood cells and platelets of 364 pictures (205 / 87 / 72).

These are first settings and not yet good: after one training (seed 0) AP50 on the validation pictures is 0.57, with 0.84 for red cells,
0.83 for platelets and 0.04 for white cells. The test set was not read; benchmarks/test_evaluations.csv will have every reading of it.
"""

from __future__ import annotations

from lamina.data.preprocess import Preprocess
from lamina.optimizers import AdamW
from lamina.optimizers.schedules import OneCycle
from lamina.recipes.annotated import AnnotatedRecipe
from lamina.tasks import Detector


def bccd_retinanet() -> AnnotatedRecipe[Detector]:
    """A narrow RetinaNet on MobileNet v2, with anchors of half the usual size: platelets are 20 px here.

    python benchmarks/bccd.py --seed 0
    """
    return AnnotatedRecipe(
        name="bccd_retinanet",
        model=Detector,
        data="bccd",
        network="retinanet",
        backbone="mobilenet_v2",
        preprocess=Preprocess(size=(240, 320), resize="pad", mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
        epochs=40,
        batch_size=8,
        optimizer=AdamW(learning_rate=1e-3, weight_decay=0.01),
        schedule=OneCycle(warmup=0.2),
        augment="usual",
        trunk_rate=0.3,
        arguments={"channels": 96, "convs": 2, "levels": 4, "anchor": 2.0},
    )
