"""The loop of every PyTorch tutorial: DataLoader over a float32 TensorDataset, Adam as it comes."""

from __future__ import annotations

from protocol import BATCH_SIZE, LEARNING_RATE, OPTIONS, THREADS, run  # isort: skip  (limits the threads)

import torch
from deepconvnet import answers, deepconvnet
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset


def train(images, labels, epochs, ended):
    torch.set_num_threads(THREADS)
    torch.manual_seed(OPTIONS.seed)
    data = TensorDataset(torch.from_numpy(images)[:, None], torch.from_numpy(labels))
    loader = DataLoader(data, batch_size=BATCH_SIZE, shuffle=True)
    net = deepconvnet()
    optimizer = torch.optim.Adam(net.parameters(), lr=LEARNING_RATE)
    for _ in range(epochs):
        net.train()
        for x, y in loader:
            optimizer.zero_grad()
            loss = F.cross_entropy(net(x), y)
            loss.backward()
            optimizer.step()
        ended()

    return answers(net)


run(train, "torch")
