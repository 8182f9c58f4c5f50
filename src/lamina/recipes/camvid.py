"""Recipes for CamVid, SegNet's eleven classes of pixels (367 / 101 / 233 pictures).

Settings were chosen on the validation pictures, with U-Net. 24 epochs take 20 to 25 minutes of one core of an AMD EPYC with bfloat16,
beside other work. All three stand on a pretrained MobileNet v2, so that their decoders are compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lamina.data.preprocess import Preprocess
from lamina.optimizers import AdamW
from lamina.optimizers.schedules import OneCycle
from lamina.recipes.annotated import AnnotatedRecipe
from lamina.tasks import Segmenter

_WHOLE = Preprocess(size=(240, 320), resize="pad", mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


def camvid_unet() -> AnnotatedRecipe[Segmenter]:
    """U-Net on MobileNet v2, whose decoder ends at stride 2: the widest maps take most of the time and teach little here.

    Mean IoU of the test pictures 0.602 +- 0.008 (0.604, 0.608, 0.593; seeds 0 to 2).

    python benchmarks/camvid.py unet --seed 0
    """
    widths = [96, 64, 48, 32]
    return _on_mobilenet("camvid_unet", "unet", arguments={"width": widths})


def camvid_segnet() -> AnnotatedRecipe[Segmenter]:
    """SegNet's decoder on MobileNet v2, its pixel loss balanced by median frequency as in the paper.

    Mean IoU of the test pictures 0.464 (seed 0).

    python benchmarks/camvid.py segnet --seed 0
    """
    return _on_mobilenet("camvid_segnet", "segnet", balance="median_frequency", loss="pixel_crossentropy")


def camvid_fcn8s() -> AnnotatedRecipe[Segmenter]:
    """FCN-8s on MobileNet v2.

    Mean IoU of the test pictures 0.582 (seed 0).

    python benchmarks/camvid.py fcn8s --seed 0
    """
    return _on_mobilenet("camvid_fcn8s", "fcn8s")


def _on_mobilenet(
    name: str,
    network: str,
    *,
    balance: str = "sqrt_median_frequency",
    loss: str = "pixel_crossentropy+dice",
    arguments: Mapping[str, Any] | None = None,
) -> AnnotatedRecipe[Segmenter]:
    from torchvision.transforms import v2  # which takes seconds to import

    from lamina.data.augment import sample

    size = _WHOLE.size
    moved = [sample.RandomScaledCrop(size, scale=(0.75, 1.75)), sample.RandomFlip(), v2.ColorJitter(0.3, 0.3, 0.3)]
    return AnnotatedRecipe(
        name=name,
        model=Segmenter,
        data="camvid",
        network=network,
        backbone="mobilenet_v2",
        preprocess=_WHOLE,
        epochs=24,
        batch_size=8,
        optimizer=AdamW(learning_rate=2e-3, weight_decay=0.01),
        schedule=OneCycle(warmup=0.1),
        loss=loss,
        augment=sample.SampleTransforms([v2.RGB(), *moved]),
        balance=balance,
        trunk_rate=0.3,
        clip_norm=1.0,
        arguments=arguments or {},
    )
