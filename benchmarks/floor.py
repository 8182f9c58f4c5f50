"""How near a training step comes to the floor of its network: the time of the step over that of its convolutions alone.

    python benchmarks/floor.py                                    DeepConvNet on MNIST, batch 128; airbench on 32 px, batch 500
    python benchmarks/floor.py --networks deepconvnet --rounds 9

The convolutions' forward and backward run by torch's own kernels on inputs of the same shapes, type and layout as in the step, one
by one; steps of `fit` and rounds of convolutions take turns in one process on two cores. The figure is the median of the rounds'
ratios. Where a 3x3 kernel pads by 2, which torch is slow at, its inputs are padded by 1 before the clock runs, and by 1 by it. The
last two columns have the network's own layers run the convolutions alone, which may have faster kernels than torch's.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lamina import models, networks, optimizers
from lamina.training import Callback

THREADS = 2
SETTINGS = {  # channels, side in px, batch
    "deepconvnet": (1, 28, 128),
    "airbench": (3, 32, 500),
    "cifar_resnet20": (3, 32, 128),
}


@dataclass
class Convolution:
    """One convolution as the step ran it."""

    module: nn.Conv2d
    inputs: Tensor
    weight: Tensor
    mask: list[bool]  # which gradients the step wanted: of the input, the weight, the bias

    def __post_init__(self) -> None:
        self.padding = tuple(self.module.padding)
        self.given = self.inputs.detach().requires_grad_(self.mask[0])
        if self.padding == (2, 2) and self.module.kernel_size == (3, 3):
            self.padding, self.inputs = (1, 1), torch.nn.functional.pad(self.inputs, (1, 1, 1, 1))

    def forward(self) -> Tensor:
        bias = None if self.module.bias is None else self.module.bias.to(self.weight.dtype)
        return torch.nn.functional.conv2d(
            self.inputs, self.weight, bias, self.module.stride, self.padding, self.module.dilation
        )

    def backward(self, grad: Tensor) -> None:
        m = self.module
        sizes = None if m.bias is None else [m.out_channels]
        torch.ops.aten.convolution_backward(
            grad,
            self.inputs,
            self.weight,
            sizes,
            m.stride,
            self.padding,
            m.dilation,
            False,
            [0, 0],
            m.groups,
            self.mask,
        )

    def by_layer(self, grad: Tensor) -> None:
        """Forward and backward of the layer itself."""
        parameters = [self.module.weight] if self.module.bias is None else [self.module.weight, self.module.bias]
        wanted = zip([self.given, *parameters], self.mask, strict=False)
        torch.autograd.grad(self.module(self.given), [tensor for tensor, is_wanted in wanted if is_wanted], grad)


def convolutions(net: nn.Module, run: Callable[[], object]) -> list[Convolution]:
    """The convolutions that `run` passes, with inputs like those that came."""
    seen: list[Convolution] = []

    def note(module: nn.Conv2d, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        like = torch.randn_like(inputs[0], dtype=output.dtype)
        weight = module.weight.detach().to(output.dtype)
        wanted = module.weight.requires_grad
        bias = module.bias is not None and module.bias.requires_grad
        seen.append(Convolution(module, like, weight, [inputs[0].requires_grad, wanted, bias]))

    hooks = [m.register_forward_hook(note) for m in net.modules() if isinstance(m, nn.Conv2d)]
    run()
    for hook in hooks:
        hook.remove()
    return seen


class Turns(Callback):
    """Times `steps` steps of `fit` an epoch, and then as many rounds of the convolutions alone."""

    def __init__(self, net: nn.Module, x: Tensor) -> None:
        self.net, self.x = net, x
        self.found: list[Convolution] = []
        self.step_seconds: list[float] = []
        self.floor_seconds: list[float] = []
        self.layer_seconds: list[float] = []
        self.mark = 0.0

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, float]) -> None:
        if not self.found:
            step = self.loop.step

            def run() -> None:
                with torch.enable_grad(), step.runtime.autocast():
                    step.view(step.prepare(step.runtime.put(self.x)))

            self.found = convolutions(self.net, run)
            self.grads = [torch.randn_like(one.forward()) for one in self.found]
        self.mark = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float]) -> None:
        steps = self.loop.steps_per_epoch
        self.step_seconds.append((time.perf_counter() - self.mark) / steps)
        start = time.perf_counter()
        with torch.no_grad():
            for _ in range(steps):
                for one, grad in zip(self.found, self.grads, strict=True):
                    one.forward()
                    one.backward(grad)
        self.floor_seconds.append((time.perf_counter() - start) / steps)
        start = time.perf_counter()
        with torch.enable_grad(), self.loop.step.runtime.autocast():
            for _ in range(steps):
                for one, grad in zip(self.found, self.grads, strict=True):
                    one.by_layer(grad)
        self.layer_seconds.append((time.perf_counter() - start) / steps)


def measure(name: str, rounds: int, steps: int, precision: str) -> tuple[str, Turns]:
    channels, side, batch = SETTINGS[name]
    torch.manual_seed(0)
    net = networks.create(name, num_classes=10, in_channels=channels)
    x, y = torch.rand(steps * batch, channels, side, side), torch.randint(0, 10, (steps * batch,))
    if name == "airbench":
        net.whiten(x[:500])
    model = models.Model(net)
    model.compile(
        optimizer=optimizers.SGD(learning_rate=0.01, momentum=0.9),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
        precision=precision,
    )
    turns = Turns(net, x[:batch])
    model.fit(x, y, batch_size=batch, epochs=rounds + 1, verbose=0, callbacks=[turns])
    return model.runtime.precision, turns


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", choices=list(SETTINGS), default=["deepconvnet", "airbench"])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--precision", default="auto")
    asked = parser.parse_args()
    torch.set_num_threads(THREADS)
    print(
        "| network | precision | step, ms | convolutions alone, ms | ratio | least | greatest | by its own layers, ms | ratio |"
    )
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for name in asked.networks:
        precision, turns = measure(name, asked.rounds, asked.steps, asked.precision)
        steps, floors, layers = (
            seconds[1:] for seconds in (turns.step_seconds, turns.floor_seconds, turns.layer_seconds)
        )
        ratios = [step / floor for step, floor in zip(steps, floors, strict=True)]
        own = [step / layer for step, layer in zip(steps, layers, strict=True)]
        print(
            f"| {name} | {precision} | {1e3 * statistics.median(steps):.1f} | {1e3 * statistics.median(floors):.1f} "
            f"| {statistics.median(ratios):.2f} | {min(ratios):.2f} | {max(ratios):.2f} "
            f"| {1e3 * statistics.median(layers):.1f} | {statistics.median(own):.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
