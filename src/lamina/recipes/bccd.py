"""A recipe for BCCD, the red and white blood cells and platelets of 364 pictures (205 / 87 / 72).

On the 72 test pictures AP50 is 0.899 +- 0.008 and AP 0.554 +- 0.005 (mean and standard deviation of the seeds 0, 1 and 2).
Settings were chosen by the validation pictures (trainings of 10 epochs, one seed each): AP and AP50 were 0.500 and 0.877 with these, 0.484
and 0.877 at half the learning rate; with the statistics of the backbone's BatchNorms kept, 0.426 and 0.846 at a quarter of it, 0.300 and
0.577 at half, where the coarse maps die and with them the white cells. Each reading of the test pictures stands in
benchmarks/test_evaluations.csv.
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
        epochs=24,
        batch_size=8,
        optimizer=AdamW(learning_rate=2e-3, weight_decay=0.01),
        schedule=OneCycle(warmup=0.2),
        augment="usual",
        trunk_rate=0.3,
        clip_norm=1.0,
        arguments={"channels": 96, "convs": 2, "levels": 4, "anchor": 2.0},
    )
