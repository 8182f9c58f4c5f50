"""Segmentation beside its peers: a training step and inference, in turn, medians; and the memory of a picture larger than most.

    pip install --target FOLDER --no-deps segmentation-models-pytorch
    PYTHONPATH=FOLDER python benchmarks/segmentation.py                     prints a table for RESULTS.md
    PYTHONPATH=FOLDER python benchmarks/segmentation.py --pairs unet --rounds 3
    python benchmarks/segmentation.py --tiled                               10,000 x 10,000 px in tiles, and the most memory it took

Peers: segmentation-models-pytorch's U-Net with the same encoder, torchvision's FCN and DeepLabV3 with the same backbone. "theirs" gives
ours what the peers are given: float32, contiguous memory, AdamW that is not fused. "ours" is what Segmenter does: in training its step, in
inference `predict`, from arrays to maps of classes, with the engine that is fastest here, as it chooses for many pictures;
`--engine torch` is what it does for a few.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from run import hardware
from torch import Tensor, nn
from torchvision.models import resnet50
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.models.segmentation import FCN, deeplabv3_resnet50
from torchvision.models.segmentation.fcn import FCNHead
from turns import HEADINGS, in_turn, row

from lamina import Preprocess, Segmenter, networks, optimizers
from lamina.export import fastest
from lamina.export.made_engines import Maker
from lamina.export.samples import Samples
from lamina.structures.batch import Batch

CLASSES, BATCH, SIZE = 11, 8, (256, 320)  # px: multiples of 32, which segmentation-models-pytorch asks for
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
RATE = 1e-4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", nargs="+", choices=PAIRS, default=list(PAIRS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=BATCH)
    parser.add_argument("--engine", default="auto", help="for inference: auto, torch, onnxruntime or openvino")
    parser.add_argument(
        "--precision", default="float32", help="what may be chosen from for inference: float32, bfloat16 or int8"
    )
    parser.add_argument("--kinds", nargs="+", choices=("train", "predict"), default=["train", "predict"])
    parser.add_argument("--tiled", action="store_true")
    parser.add_argument("--side", type=int, default=10_000, help="px of the picture for --tiled")
    asked = parser.parse_args()
    if asked.tiled:
        tiled(asked.side)
        return
    print(f"{hardware()[0]}, {torch.get_num_threads()} threads, torch {torch.__version__}; {SIZE[0]} x {SIZE[1]} px")
    print(f"{'':<22}{HEADINGS}")
    for name in asked.pairs:
        for kind, batch in (("train", asked.batch), ("predict", asked.batch), ("predict", 1)):
            if kind not in asked.kinds:
                continue
            peer, own = PAIRS[name]
            runs, told = race(peer(), own(), own(), kind, batch, asked.engine, asked.precision)
            seconds = in_turn(runs, asked.rounds, warm=kind == "predict")
            print(f"{f'{name}, {kind} {batch}':<22}{row(seconds)}  {told}", flush=True)


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
    peer: nn.Module, twin: nn.Module, third: nn.Module, kind: str, batch: int, engine: str, precision: str
) -> tuple[list[Callable[[], Any]], str]:
    """Training steps on one batch, or answers to it: of the peer, of ours as the peer is run, and of a Segmenter; and how that ran."""
    draw = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (batch, 3, *SIZE), dtype=torch.uint8, generator=draw)
    labels = torch.randint(0, CLASSES, (batch, *SIZE), generator=draw)
    names = [str(number) for number in range(CLASSES)]
    segmenter = Segmenter(third, classes=names, preprocess=Preprocess(size=SIZE, resize="pad", mean=MEAN, std=STD))
    segmenter.compile(optimizers.AdamW(RATE), metrics=[])
    taken = segmenter._prepare()(images).contiguous()
    if kind == "predict":
        deployable, samples = segmenter.deployable(), Samples((images.numpy(),), "made pictures")
        if engine == "auto":
            fast = fastest.fastest(deployable, batch, precision=precision, samples=samples, told=lambda text: None)
        else:
            fast = Maker(deployable, samples, batches=(batch,)).make(engine, precision)

        own = partial(segmenter.predict, images, batch, engine=fast.name, precision=fast.precision)
        return [plain_answer(peer, taken), plain_answer(twin, taken), own], f"{fast.name}, {fast.precision}"
    step, runtime = segmenter._make_step(), segmenter.runtime
    segmenter.net.train()
    given = Batch(runtime.put(images), labels)
    return [plain_step(peer, taken, labels), plain_step(twin, taken, labels), lambda: step.train(given)], repr(runtime)


def plain_answer(net: nn.Module, images: Tensor) -> Callable[[], Tensor]:
    """The class of each pixel."""
    net.eval()

    def run() -> Tensor:
        with torch.inference_mode():
            answer: Tensor = net(images)
            return answer.max(1).indices  # faster than argmax

    return run


def plain_step(net: nn.Module, images: Tensor, labels: Tensor) -> Callable[[], None]:
    """One training step as a plain loop has it."""
    optimizer = torch.optim.AdamW(net.train().parameters(), lr=RATE)
    loss = nn.CrossEntropyLoss(ignore_index=255)

    def run() -> None:
        optimizer.zero_grad()
        loss(net(images), labels).backward()
        optimizer.step()

    return run


def tiled(side: int) -> None:
    """Prints the most memory that this process took for a picture of so many pixels a side, and the time."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "large.jpg"
        maker = multiprocessing.get_context("spawn").Process(target=make, args=(path, side))
        maker.start()  # whose memory is not counted
        maker.join()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        names = [str(number) for number in range(CLASSES)]
        segmenter = Segmenter(ours("unet"), classes=names, preprocess=Preprocess(size=(512, 512), resize="pad"))
        begun = time.perf_counter()
        found = segmenter.predict(path, tile=512, overlap=128)
        seconds = time.perf_counter() - begun
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        f"{found.size[0]:,} x {found.size[1]:,} px: {seconds:.0f} s, at most {most / 1e6:.2f} GB (before {before / 1e6:.2f})"
    )


def make(path: Path, side: int) -> None:
    """Writes a picture of so many pixels a side."""
    shades = (np.arange(side) % 256).astype(np.uint8)
    Image.fromarray(np.broadcast_to(shades[None, :, None], (side, side, 3)).copy()).save(path, quality=50)


if __name__ == "__main__":
    main()
