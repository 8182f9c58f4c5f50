"""Detection beside torchvision's own detectors with the same weights: what is found, inference and a training step, in turn, medians.

    python benchmarks/detection.py                                          prints a table for RESULTS.md
    python benchmarks/detection.py --pairs ssdlite --rounds 9 --batches 1
    python benchmarks/detection.py --cpu                                    CPU seconds, for a machine that does other work meanwhile

Peers: torchvision's Faster R-CNN, RetinaNet and FCOS on its ResNet-18 with a feature pyramid, and its SSDlite on its MobileNet v2, with our
anchors, thresholds and counts of regions; their weights are copied into ours. What they find must be what ours find: the last column says
how many boxes they share, and how far apart these lie. "theirs" gives ours what the peers are given: contiguous memory, AdamW that is not
fused. "ours" is what Detector does: in training its step, in inference `predict`, from arrays to Detections, with the engine that is
fastest here, as it chooses for many pictures; `--engine torch` is what it does for a few.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from run import hardware
from torch import Tensor, nn
from torchvision.models import detection, mobilenet_v2, resnet18
from torchvision.models.detection.anchor_utils import AnchorGenerator, DefaultBoxGenerator
from torchvision.models.detection.backbone_utils import _resnet_fpn_extractor
from torchvision.models.detection.ssd import SSD
from torchvision.models.detection.ssdlite import SSDLiteHead, _extra_block
from torchvision.ops.feature_pyramid_network import LastLevelP6P7
from turns import HEADINGS, in_turn, row

from lamina import Detector, Preprocess, networks, optimizers
from lamina.export import fastest
from lamina.export.boxes_apart import apart
from lamina.export.made_engines import Maker
from lamina.export.samples import Samples
from lamina.structures.batch import Batch
from lamina.tasks.detection import regions
from lamina.tasks.detection.decode import DECODERS, Suppression, entry
from lamina.tasks.detection.targets import LOSSES

PX, CLASSES, OBJECTS = 320, 20, 8  # px a side; classes; objects in a picture
RULE, EVERYTHING = Suppression(), Suppression(candidates=10**6)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SEEN = {"image_mean": list(MEAN), "image_std": list(STD)}
SIZED = {"min_size": PX, "max_size": PX, **SEEN}
KEPT = {"score_thresh": RULE.least_score, "nms_thresh": RULE.overlap, "detections_per_img": 3 * RULE.most}
_LOUD = 2.0  # of the class layers' answers, the standard deviation
_CERTAIN = 300  # boxes of a picture with a score above the least, about as many as a trained detector has


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", nargs="+", choices=PAIRS, default=list(PAIRS))
    parser.add_argument("--kinds", nargs="+", choices=("train", "predict"), default=["predict", "train"])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 8])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--engine", default="auto", help="for inference: auto, torch, onnxruntime or openvino")
    parser.add_argument("--cpu", action="store_true", help="measure the process's CPU seconds in place of the clock")
    asked = parser.parse_args()
    clock = cpu_s if asked.cpu else time.perf_counter
    unit = "ms of CPU" if asked.cpu else "ms"
    print(
        f"{hardware()[0]}, {torch.get_num_threads()} threads, torch {torch.__version__}; {PX} x {PX} px, {CLASSES} classes, {unit}"
    )
    print(f"{'':<24}{HEADINGS}  found by both")
    for name in asked.pairs:
        for kind in asked.kinds:
            for batch in asked.batches:
                race = predictions if kind == "predict" else partial(trainings, name)
                if kind == "train" and name == "ssdlite":
                    batch = max(batch, 2)  # its coarsest map has one cell, and BatchNorm wants two values
                runs, told = race(*built(name), batch, asked.engine)
                print(f"{f'{name}, {kind} {batch}':<24}{row(in_turn(runs, asked.rounds, clock))}  {told}", flush=True)


def cpu_s() -> float:
    """CPU seconds of this process so far."""
    spent = resource.getrusage(resource.RUSAGE_SELF)
    return spent.ru_utime + spent.ru_stime


# The detectors --------------------------------------------------------------------------------------------------------


def built(name: str) -> tuple[nn.Module, nn.Module]:
    """torchvision's detector and ours with its weights."""
    torch.manual_seed(0)
    peer, own = PAIRS[name]()
    settle(peer, own)
    return peer, own


def faster_rcnn() -> tuple[nn.Module, nn.Module]:
    own: Any = networks.create("faster_rcnn", num_classes=CLASSES, arguments={"backbone": "resnet18"})
    proposer = own.proposer
    sides = tuple(proposer.anchors_px.values())
    peer = detection.FasterRCNN(
        _resnet_fpn_extractor(resnet18(weights=None), 5),
        CLASSES + 1,
        **SIZED,
        rpn_anchor_generator=AnchorGenerator(sides, ((0.5, 1.0, 2.0),) * len(sides)),
        rpn_pre_nms_top_n_train=proposer.tried,
        rpn_pre_nms_top_n_test=proposer.tried,
        rpn_post_nms_top_n_train=proposer.regions,
        rpn_post_nms_top_n_test=proposer.regions,
        rpn_batch_size_per_image=regions.ANCHORS,
        box_batch_size_per_image=regions.REGIONS,
        **{f"box_{key}": value for key, value in KEPT.items()},
    )
    return peer, own


def pyramid() -> nn.Module:
    return _resnet_fpn_extractor(
        resnet18(weights=None), 5, returned_layers=[2, 3, 4], extra_blocks=LastLevelP6P7(256, 256)
    )


def retinanet() -> tuple[nn.Module, nn.Module]:
    own = networks.create("retinanet", num_classes=CLASSES, arguments={"backbone": "resnet18"})
    sides = tuple(tuple(int(4 * stride * 2 ** (part / 3)) for part in range(3)) for stride in (8, 16, 32, 64, 128))
    anchors = AnchorGenerator(sides, ((0.5, 1.0, 2.0),) * 5)
    return detection.RetinaNet(pyramid(), CLASSES, **SIZED, **KEPT, anchor_generator=anchors), own


def fcos() -> tuple[nn.Module, nn.Module]:
    own = networks.create("fcos", num_classes=CLASSES, arguments={"backbone": "resnet18"})
    return detection.FCOS(pyramid(), CLASSES, **SIZED, **KEPT), own


def ssdlite() -> tuple[nn.Module, nn.Module]:
    own: Any = networks.create("ssdlite", num_classes=CLASSES, arguments={"backbone": "mobilenet_v2"})
    boxes = DefaultBoxGenerator([[2, 3]] * 6, min_ratio=0.2, max_ratio=0.95)
    norm = partial(nn.BatchNorm2d, eps=0.001, momentum=0.03)
    head = SSDLiteHead([96, 1280, 512, 256, 256, 128], boxes.num_anchors_per_location(), CLASSES + 1, norm)
    return SSD(Maps(norm), boxes, (PX, PX), CLASSES + 1, head=head, **SEEN, **KEPT), own


class Maps(nn.Module):
    """torchvision's MobileNet v2 and the blocks that its SSDlite puts behind one."""

    def __init__(self, norm: Callable[..., nn.Module]) -> None:
        super().__init__()
        layers = list(mobilenet_v2(weights=None).features)
        self.features = nn.ModuleList([nn.Sequential(*layers[:14]), nn.Sequential(*layers[14:])])
        dims = [1280, 512, 256, 256, 128]
        self.extra = nn.ModuleList([_extra_block(a, b, norm) for a, b in pairwise(dims)])

    def forward(self, images: Tensor) -> OrderedDict[str, Tensor]:
        maps = []
        for part in (*self.features, *self.extra):
            images = part(images)
            maps.append(images)
        return OrderedDict((str(number), value) for number, value in enumerate(maps))


PAIRS: dict[str, Callable[[], tuple[nn.Module, nn.Module]]] = {
    "faster_rcnn": faster_rcnn,
    "ssdlite": ssdlite,
    "retinanet": retinanet,
    "fcos": fcos,
}


def settle(peer: nn.Module, own: nn.Module) -> None:
    """Ours as they would be after training, as far as time goes: statistics of a batch, a few hundred boxes that are likely; then the
    peer's weights are ours. Of random weights nothing would be found, or everything."""
    images = prepared(pictures(2))
    for module in own.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
    with torch.no_grad():
        own.train()(images)
        said = own.eval()(images)
        layers = [own.judger.classes] if hasattr(own, "judger") else class_layers(own)
        for layer in layers:
            layer.weight.mul_(_LOUD / said.logits.std())
            layer.bias.zero_()
        shift(own, layers, images)
    for module in own.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.1
    copied(peer, own)


def class_layers(own: Any) -> list[Any]:
    """The last layers of the heads that tell classes."""
    return [head[1] for head in own.classes] if isinstance(own.classes, nn.ModuleList) else [own.classes[-1]]


def shift(own: Any, layers: list[Any], images: Tensor) -> None:
    """Sets the biases by which so many boxes of a picture have a score above the least."""
    said = own(images)
    some = torch.arange(said.logits.shape[2]) < CLASSES  # the classes beside nothing
    low, high = -30.0, 30.0
    for _ in range(20):
        middle = (low + high) / 2
        scores = entry(own, DECODERS)(said._replace(logits=said.logits + middle * some), EVERYTHING).scores
        above = int((scores > RULE.least_score).sum()) / len(images)
        low, high = (low, middle) if above > _CERTAIN else (middle, high)
    for layer in layers:
        layer.bias.copy_((low * some).repeat(len(layer.bias) // len(some)))


def softmax(own: nn.Module) -> bool:
    """Whether nothing is one of its classes, the last one."""
    return type(own).__name__ in ("FasterRCNN", "SSDLite")


def copied(peer: nn.Module, own: Any) -> None:
    """Gives the peer our weights, part by part in the order in which both have them; its first class is nothing where ours is the last."""
    theirs: Any = peer
    parts: list[tuple[Any, Any]]
    if isinstance(theirs, detection.FasterRCNN):
        head, predictor = theirs.rpn.head, theirs.roi_heads.box_predictor
        parts = [(theirs.backbone.body, own.trunk), (theirs.backbone.fpn, own.pyramid)]
        parts += [(head.conv, own.proposer.conv), (head.cls_logits, own.proposer.objectness)]
        parts += [(head.bbox_pred, own.proposer.boxes), (theirs.roi_heads.box_head.fc6, own.judger.fc6)]
        parts += [(theirs.roi_heads.box_head.fc7, own.judger.fc7)]
        with torch.no_grad():
            for value, mine in (
                (predictor.cls_score.weight, own.judger.classes.weight),
                (predictor.cls_score.bias, own.judger.classes.bias),
            ):
                value.copy_(mine.roll(1, dims=0))
            for value, mine in (
                (predictor.bbox_pred.weight, own.judger.boxes.weight),
                (predictor.bbox_pred.bias, own.judger.boxes.bias),
            ):
                value[4:] = mine
    elif isinstance(theirs, SSD):
        parts = [(theirs.backbone.features, own.trunk), (theirs.backbone.extra, own.extras)]
        parts += [(theirs.head.classification_head, own.classes), (theirs.head.regression_head, own.boxes)]
    else:
        body, head = theirs.backbone, theirs.head
        parts = [(body.body, own.trunk), (body.fpn, own.pyramid)]
        parts += [(nn.ModuleList([head.classification_head.conv, head.classification_head.cls_logits]), own.classes)]
        boxes = head.regression_head
        if isinstance(theirs, detection.FCOS):
            parts += [(boxes.conv, own.around), (boxes.bbox_reg, own.sides), (boxes.bbox_ctrness, own.centredness)]
        else:
            parts += [(nn.ModuleList([boxes.conv, boxes.bbox_reg]), own.boxes)]
    for part, mine in parts:
        in_order(part, mine)
    if isinstance(theirs, SSD):
        with torch.no_grad():
            for module in theirs.head.classification_head.module_list:
                for value in (module[1].weight, module[1].bias):
                    value.copy_(value.view(6, CLASSES + 1, -1).roll(1, dims=1).reshape(value.shape))


def in_order(part: nn.Module, mine: nn.Module) -> None:
    """The values of one module for another, which has them in the same order under other names."""
    names, values = list(part.state_dict()), list(mine.state_dict().values())
    part.load_state_dict(dict(zip(names, values, strict=True)))


# Pictures -------------------------------------------------------------------------------------------------------------


def pictures(count: int) -> Tensor:
    """Pictures (uint8 N 3 H W) of coloured patches, which are no noise: what lies near is alike."""
    draw = torch.Generator().manual_seed(1)
    rough = torch.rand(count, 3, PX // 16, PX // 16, generator=draw)
    return nn.functional.interpolate(rough, size=(PX, PX), mode="bilinear").mul(255).byte()


def prepared(images: Tensor) -> Tensor:
    """As the network takes them."""
    mean, std = (torch.tensor(each)[:, None, None] for each in (MEAN, STD))
    return (images.float() / 255 - mean) / std


def objects(count: int) -> Tensor:
    """Targets (N 1+M 6) with boxes of 20 to 200 px."""
    draw = torch.Generator().manual_seed(2)
    sides = 20 + 180 * torch.rand(count, OBJECTS, 2, generator=draw)
    corners = torch.rand(count, OBJECTS, 2, generator=draw) * (PX - sides)
    labels = torch.randint(0, CLASSES, (count, OBJECTS, 1), generator=draw).float()
    rows = torch.cat([corners, corners + sides, labels, torch.zeros_like(labels)], dim=2)
    first = torch.tensor([0.0, 0.0, PX, PX, -1.0, 0.0]).expand(count, 1, 6)
    return torch.cat([first, rows], dim=1)


# The runs -------------------------------------------------------------------------------------------------------------


def detector_of(own: nn.Module) -> Detector:
    names = [str(number) for number in range(CLASSES)]
    made = Detector(own, classes=names, preprocess=Preprocess(size=PX, resize="pad", mean=MEAN, std=STD))
    made.compile(optimizers.AdamW(1e-6))  # small steps, lest the networks drift apart
    return made


def predictions(peer: nn.Module, own: nn.Module, batch: int, engine: str) -> tuple[list[Callable[[], Any]], str]:
    """Answers to a batch, and what was found by both."""
    images = pictures(batch)
    taken, arrays = list(images.float() / 255), images.numpy()
    detector = detector_of(own.eval())
    deployable, plain = detector.deployable(), detector.deployable().module().eval()
    samples = Samples((arrays,), "made pictures")
    if engine == "auto":
        fast = fastest.fastest(deployable, batch, samples=samples, told=lambda text: None)
    else:
        fast = Maker(deployable, samples, batches=(batch,)).make(engine)
    peer.eval()

    def theirs() -> Tensor:
        with torch.inference_mode():
            return plain(images)

    def given() -> Any:
        with torch.inference_mode():
            return peer(taken)

    wanted = np.stack([rows_of(told, shift=int(softmax(own))) for told in given()])
    told = [apart(wanted, each) for each in (theirs().numpy(), fast(arrays)[0])]
    same = ", ".join(f"{100 * both:.1f} % ({difference:.0e})" for difference, both in told)
    boxes = int((wanted[..., 5] >= 0).sum()) / batch
    return [
        given,
        theirs,
        partial(detector.predict, images, batch, engine=fast.name),
    ], f"{same} of {boxes:.0f} a picture; {fast.name}"


def rows_of(told: Mapping[str, Tensor], *, shift: int) -> np.ndarray[Any, Any]:
    """torchvision's answer to a picture as ours are."""
    rows = np.tile(np.float32([0, 0, 0, 0, 0, -1]), (RULE.most, 1))
    found = torch.cat([told["boxes"], told["scores"][:, None], told["labels"][:, None] - shift], dim=1)
    covers = (found[:, 2:4] > found[:, :2]).all(1)
    found = found[covers][: RULE.most]  # FCOS's may cover nothing, which is why more are asked for than compared
    rows[: len(found)] = found.numpy()
    return rows


def trainings(
    name: str, peer: nn.Module, own: nn.Module, batch: int, engine: str
) -> tuple[list[Callable[[], Any]], str]:
    """Training steps on one batch."""
    del engine
    images, targets = pictures(batch), objects(batch)
    taken = list(images.float() / 255)
    shift = int(softmax(own))
    wanted = [{"boxes": rows[1:, :4], "labels": rows[1:, 4].long() + shift} for rows in targets]
    mine: Any = built(name)[1]
    measure = {**LOSSES, **regions.LOSSES}[type(mine).__name__]
    detector = detector_of(own.train())
    step, runtime = detector._make_step(), detector.runtime
    batches = Batch(runtime.put(images), targets)
    optimizer, other = (torch.optim.AdamW(each.train().parameters(), lr=1e-6) for each in (peer, mine))

    def given() -> None:
        optimizer.zero_grad()
        torch.stack(list(peer(taken, wanted).values())).sum().backward()
        optimizer.step()

    def theirs() -> None:
        other.zero_grad()
        measured = measure(mine, prepared(images), targets)
        torch.stack(list(measured.losses.values())).sum().backward()
        other.step()

    return [given, theirs, lambda: step.train(batches)], runtime.precision


if __name__ == "__main__":
    main()
