"""Recipes for CamVid, SegNet's eleven classes of pixels (367 / 101 / 233 pictures).

These are first settings: none has been trained to its end, and the test set was not read; benchmarks/test_evaluations.csv will have every
reading of it. All three stand on a pretrained MobileNet v2, so that their decoders are compared.
"""

from __future__ import annotations

from lamina.data.preprocess import Preprocess
from lamina.optimizers import AdamW
from lamina.optimizers.schedules import OneCycle
from lamina.recipes.annotated import AnnotatedRecipe
from lamina.tasks import Segmenter

_WHOLE = Preprocess(size=(240, 320), resize="pad", mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


def camvid_unet() -> AnnotatedRecipe[Segmenter]:
    """U-Net on MobileNet v2.

    python benchmarks/camvid.py unet --seed 0
    """
    return _on_mobilenet("camvid_unet", "unet")


def camvid_segnet() -> AnnotatedRecipe[Segmenter]:
    """SegNet's decoder on MobileNet v2, its pixel loss balanced by median frequency as in the paper.

    python benchmarks/camvid.py segnet --seed 0
    """
    return _on_mobilenet("camvid_segnet", "segnet", balance="median_frequency", loss="pixel_crossentropy")


def camvid_fcn8s() -> AnnotatedRecipe[Segmenter]:
    """FCN-8s on MobileNet v2.

    python benchmarks/camvid.py fcn8s --seed 0
    """
    return _on_mobilenet("camvid_fcn8s", "fcn8s")


def _on_mobilenet(
    name: str, network: str, *, balance: str | None = None, loss: str = "pixel_crossentropy+dice"
) -> AnnotatedRecipe[Segmenter]:
    return AnnotatedRecipe(
        name=name,
        model=Segmenter,
        data="camvid",
        network=network,
        backbone="mobilenet_v2",
        preprocess=_WHOLE,
        epochs=50,
        batch_size=8,
        optimizer=AdamW(learning_rate=2e-3, weight_decay=0.01),
        schedule=OneCycle(warmup=0.2),
        loss=loss,
        augment="usual",
        balance=balance,
        trunk_rate=0.3,
    )
