"""Segmentation beside its peers: a training step and inference, in turn, medians; and the memory of a picture larger than most.

    pip install --target FOLDER --no-deps segmentation-models-pytorch
    PYTHONPATH=FOLDER python benchmarks/segmentation.py                     prints a table for RESULTS.md
    PYTHONPATH=FOLDER python benchmarks/segmentation.py --pairs unet --rounds 3
    python benchmarks/segmentation.py --tiled                               10,000 x 10,000 px in tiles, and the most memory it took

Peers: segmentation-models-pytorch's U-Net with the same encoder, torchvision's FCN and DeepLabV3 with the same backbone. "theirs" gives
ours what they are usually given: contiguous memory, AdamW that is not fused. "ours" is what Runtime does by itself.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from run import hardware
from torch import Tensor, nn
from torchvision.models import resnet50
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.models.segmentation import FCN, deeplabv3_resnet50
from torchvision.models.segmentation.fcn import FCNHead

from lamina import Preprocess, Segmenter, networks

CLASSES, BATCH, SIZE = 11, 8, (256, 320)  # px: multiples of 32, which segmentation-models-pytorch asks for


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", nargs="+", choices=PAIRS, default=list(PAIRS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=BATCH)
    parser.add_argument("--tiled", action="store_true")
    parser.add_argument("--side", type=int, default=10_000, help="px of the picture for --tiled")
    asked = parser.parse_args()
    if asked.tiled:
        tiled(asked.side)
        return
    print(f"{hardware()[0]}, {torch.get_num_threads()} threads, torch {torch.__version__}; {SIZE[0]} x {SIZE[1]} px")
    print(f"{'':<22}{'ms peer':>10}{'ms theirs':>11}{'ms ours':>9}{'x theirs':>10}{'x ours':>8}")
    for name in asked.pairs:
        for kind, batch in (("train", asked.batch), ("predict", asked.batch), ("predict", 1)):
            peer, theirs, ours = race(*PAIRS[name], kind=kind, batch=batch, rounds=asked.rounds)
            told = (
                f"{1e3 * peer:>10.0f}{1e3 * theirs:>11.0f}{1e3 * ours:>9.0f}{peer / theirs:>10.2f}{peer / ours:>8.2f}"
            )
            print(f"{f'{name}, {kind} {batch}':<22}{told}", flush=True)


def unet_of_smp() -> nn.Module:
    import segmentation_models_pytorch as smp

    made: nn.Module = smp.Unet("mobilenet_v2", encoder_weights=None, classes=CLASSES)
    return made


def fcn_of_torchvision() -> nn.Module:
    under = IntermediateLayerGetter(resnet50(weights=None), {"layer4": "out"})
    return Logits(FCN(under, FCNHead(2048, CLASSES)))


def deeplab_of_torchvision() -> nn.Module:
    return Logits(deeplabv3_resnet50(weights=None, weights_backbone=None, num_classes=CLASSES, aux_loss=False))


class Logits(nn.Module):
    """The answer alone of a network that gives a dict."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> Tensor:
        answer: Tensor = self.net(images)["out"]
        return answer


def ours(name: str, **arguments: object) -> nn.Module:
    return networks.create(name, num_classes=CLASSES, arguments=arguments)


PAIRS: dict[str, tuple[Callable[[], nn.Module], Callable[[], nn.Module]]] = {
    "unet": (unet_of_smp, lambda: ours("unet")),
    "fcn": (fcn_of_torchvision, lambda: ours("fcn32s", backbone="resnet50")),
    "deeplabv3": (deeplab_of_torchvision, lambda: ours("deeplabv3", output_stride=8)),
}


def race(
    peer: Callable[[], nn.Module], own: Callable[[], nn.Module], *, kind: str, batch: int, rounds: int
) -> tuple[float, float, float]:
    """Median seconds of the peer, of ours as the peer is run, and of ours as Runtime runs it, taking turns."""
    runs = [
        run(peer(), kind, batch, fast=False),
        run(own(), kind, batch, fast=False),
        run(own(), kind, batch, fast=True),
    ]
    times: list[list[float]] = [[], [], []]
    for each in runs:
        each()
    for number in range(rounds):
        order = range(3) if number % 2 else range(2, -1, -1)
        for index in order:
            begun = time.perf_counter()
            runs[index]()
            times[index].append(time.perf_counter() - begun)
    peer_s, theirs_s, ours_s = (statistics.median(each) for each in times)
    return peer_s, theirs_s, ours_s


def run(net: nn.Module, kind: str, batch: int, *, fast: bool) -> Callable[[], None]:
    """One training step, or one answer, of a network."""
    images = torch.randn(batch, 3, *SIZE)
    labels = torch.randint(0, CLASSES, (batch, *SIZE))
    if fast:
        net, images = net.to(memory_format=torch.channels_last), images.to(memory_format=torch.channels_last)
    if kind == "predict":
        net.eval()

        def predict() -> None:
            with torch.inference_mode():
                net(images).softmax(1).max(1)

        return predict
    optimizer = torch.optim.AdamW(net.train().parameters(), lr=1e-4, fused=fast)
    loss = nn.CrossEntropyLoss(ignore_index=255)

    def train() -> None:
        optimizer.zero_grad()
        loss(net(images), labels).backward()
        optimizer.step()

    return train


def tiled(side: int) -> None:
    """Prints the most memory that this process took for a picture of so many pixels a side, and the time."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "large.jpg"
        row = (np.arange(side) % 256).astype(np.uint8)
        Image.fromarray(np.broadcast_to(row[None, :, None], (side, side, 3)).copy()).save(path, quality=50)
        Image.MAX_IMAGE_PIXELS = (
            Image.MAX_IMAGE_PIXELS
        )  # as Pillow has it: predict says for itself that it wants all of it
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        net = nn.Conv2d(3, CLASSES, 3, padding=1)  # a network adds what its tiles take, whatever the picture's size
        names = [str(number) for number in range(CLASSES)]
        segmenter = Segmenter(net, classes=names, preprocess=Preprocess(size=(512, 512), resize="pad"))
        begun = time.perf_counter()
        found = segmenter.predict(path, tile=512, overlap=128)
        seconds = time.perf_counter() - begun
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        f"{found.size[0]:,} x {found.size[1]:,} px: {seconds:.0f} s, at most {most / 1e6:.2f} GB (before {before / 1e6:.2f})"
    )


if __name__ == "__main__":
    main()
