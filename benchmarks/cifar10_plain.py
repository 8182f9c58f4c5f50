"""The plain recipe that `cifar10_fast` is measured against, as a person writes it: DataLoader, float32, SGD, two steps of the rate.

    LAMINA_DATA=... python benchmarks/cifar10_plain.py --seed 0 --state /tmp/plain0.pt

CIFAR ResNet-20, 30 epochs, momentum 0.9, rate 0.1, a tenth at epochs 15 and 25, weight decay 1e-4, crop and flip, batch 128
(He et al. 2016, section 4.2, shortened). Stops at --minutes and goes on from --state. One JSON line at the end.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from lamina.networks.cifar_resnet import CifarResNet

MEAN, STD = (0.4913, 0.4821, 0.4465), (0.2452, 0.2428, 0.2606)


def decoded(part: str) -> tuple[np.ndarray, np.ndarray]:
    """Pictures (N 32 32 3, uint8) and labels of one part of the JPEG copy of CIFAR-10."""
    file = np.load(Path(os.environ["LAMINA_DATA"]) / "cifar10" / f"cifar10_{part}.npz")
    data, offsets = file["data"], file["offsets"]
    pairs = pairwise(offsets)
    images = np.stack([np.asarray(Image.open(io.BytesIO(data[start:end].tobytes()))) for start, end in pairs])
    return images, file["labels"].astype(np.int64)


class Pictures(Dataset):
    def __init__(self, part: str, transform: v2.Transform) -> None:
        self.images, self.labels = decoded(part)
        self.transform = transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.transform(Image.fromarray(self.images[index])), int(self.labels[index])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=1e9)
    parser.add_argument("--workers", type=int, default=0)
    asked = parser.parse_args()
    torch.manual_seed(asked.seed)
    tensor = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]
    train = Pictures("train", v2.Compose([v2.RandomCrop(32, padding=4), v2.RandomHorizontalFlip(), *tensor]))
    loader = DataLoader(train, batch_size=128, shuffle=True, num_workers=asked.workers)
    net = CifarResNet(20)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [15, 25])
    seconds: list[float] = []
    of_cpu: list[float] = []  # of all threads: the figure that other work on the machine hardly touches
    first, end = 0, time.monotonic() + 60 * asked.minutes
    if asked.state.exists():
        saved = torch.load(asked.state)
        net.load_state_dict(saved["net"])
        optimizer.load_state_dict(saved["optimizer"])
        schedule.load_state_dict(saved["schedule"])
        first, seconds, of_cpu = saved["epoch"], saved["seconds"], saved.get("of_cpu", [])
        torch.manual_seed(asked.seed * 1000 + first)
    for epoch in range(first, asked.epochs):
        start, start_cpu = time.perf_counter(), time.process_time()
        net.train()
        total = 0.0
        for x, y in loader:
            optimizer.zero_grad()
            loss = F.cross_entropy(net(x), y)
            loss.backward()
            optimizer.step()
            total += loss.item()
        schedule.step()
        seconds.append(time.perf_counter() - start)
        of_cpu.append(time.process_time() - start_cpu)
        print(
            f"epoch {epoch + 1}: {seconds[-1]:.1f} s ({of_cpu[-1]:.1f} of CPU), loss {total / len(loader):.4f}",
            flush=True,
        )
        state = {"net": net.state_dict(), "optimizer": optimizer.state_dict(), "schedule": schedule.state_dict()}
        torch.save({**state, "epoch": epoch + 1, "seconds": seconds, "of_cpu": of_cpu}, asked.state.with_suffix(".new"))
        asked.state.with_suffix(".new").replace(asked.state)
        if time.monotonic() > end:
            return
    net.eval()
    test = Pictures("test", v2.Compose(tensor))
    with torch.inference_mode():
        right = sum(int((net(x).argmax(1) == y).sum()) for x, y in DataLoader(test, batch_size=500))
    per_epoch, cpu_per_epoch = float(np.median(seconds)), float(np.median(of_cpu))
    print(json.dumps({"accuracy": right / len(test), "seconds_per_epoch": per_epoch, "cpu_per_epoch": cpu_per_epoch}))


if __name__ == "__main__":
    main()
