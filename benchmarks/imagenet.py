"""Networks with real ImageNet weights, and 200 of its pictures, from LAMINA_DATA."""

from __future__ import annotations

import csv
import os
import zipfile
from pathlib import Path

import torch

import lamina
from lamina import networks
from lamina.data.dataset import FolderDataset
from lamina.networks import load

IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
TENSORFLOW = {"mean": (128 / 255,), "std": (128 / 255,)}
WEIGHTS = {
    "squeezenet1_1": ("squeezenet1_1_imagenet.npz", IMAGENET, {}),
    "mobilenet_v2": ("mobilenet_v2_1.0_224_imagenet.npz", TENSORFLOW, {"padding": "same"}),
    "mobilenet_v1": ("mobilenet_v1_1.0_224_imagenet.npz", TENSORFLOW, {"padding": "same"}),
}


def staged(folder: Path) -> FolderDataset:
    """The 200 pictures, one of every fifth class of ImageNet."""
    with zipfile.ZipFile(Path(os.environ["LAMINA_DATA"]) / "imagenet-samples" / "imagenet_samples_200.zip") as archive:
        archive.extractall(folder)
    with next(folder.rglob("index.csv")).open(encoding="utf-8") as stream:
        labels = {row["ImageId"]: int(row["ClassIndex"]) for row in csv.DictReader(stream)}
    paths = sorted(folder.rglob("*.JPEG"))
    numbers = [labels.get(path.stem, labels.get(path.name, -1)) for path in paths]
    return FolderDataset(paths, torch.tensor(numbers), [str(index) for index in range(1000)], root=folder)


def known(name: str) -> lamina.Classifier:
    """A classifier of ImageNet's 1,000 classes with weights of LAMINA_DATA."""
    file, scale, arguments = WEIGHTS[name]
    net = networks.create(name, num_classes=1000, arguments=arguments)
    found = load.pretrained(name, Path(os.environ["LAMINA_DATA"]) / "weights" / file)
    assert found is not None
    found.fill(net)
    preprocess = lamina.Preprocess(size=(224, 224), crop=0.875, **scale)
    made = lamina.Classifier(net, classes=[str(index) for index in range(1000)], preprocess=preprocess)
    made.compile(metrics=["accuracy", "top5"])
    made.name = name
    return made
