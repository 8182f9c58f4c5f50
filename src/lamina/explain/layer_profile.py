"""How long each layer of a network takes, forward and backward, on the device at hand, beside what the device can do."""

from __future__ import annotations

import copy
import functools
import platform
import statistics
import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from lamina import networks
from lamina.core import random
from lamina.core.errors import LaminaError, ShapeError
from lamina.explain.ledger import ENGINE, Ledger
from lamina.explain.profile_table import LayerTime, Profile, kind_of
from lamina.layers import probe
from lamina.models import sizes
from lamina.models.measure import Measure, training_bytes
from lamina.training.runtime import Runtime, evaluating

_WARM_UPS = 2
_SHORTEST_S = 0.02  # of a matrix product whose rate is believed
_LARGEST = 8192  # rows of the product


def profile(
    model: Any,
    *,
    batch_size: int = 32,
    size: int | None = None,
    train: bool = False,
    device: str = "auto",
    repeats: int = 5,
) -> Profile:
    """Time, work and memory of each layer for a batch of pictures of `size` px (None: the model's own), in float32.

    `model` is a name of `networks.names()`, a Model, Classifier ..., or a torch module. With `train` the network is in training mode,
    and the backward pass is measured too. Each pass is run `repeats` times; times are medians, in seconds. To time a layer, the device is
    waited for before and after it: how much the whole takes longer by that is the profile's `overhead`. A copy is measured: the model
    and torch's generators stay as they are. Raises UnknownNameError, ShapeError for a size that the network cannot take, and
    LaminaError for numbers that are none.
    """
    for name, number in (("batch_size", batch_size), ("repeats", repeats), ("size", 1 if size is None else size)):
        if isinstance(number, bool) or not isinstance(number, int) or number < 1:
            raise LaminaError(f"{name} is {number!r}.", "A whole number of at least 1 was expected.", f"Pass {name}=8.")
    kept = random.state()
    try:
        title, net, shape = _network(model, size)
        runtime = Runtime(device, precision="float32")
        measured = runtime.place(copy.deepcopy(net)).train(train)
        images = runtime.put(torch.randn(batch_size, *shape, generator=torch.Generator().manual_seed(0)))
        run = _Run(measured, images, runtime, train=train)
        with evaluating():  # products in true float32
            peak = peak_rate(runtime)
            run.repeat(repeats)
            peak = max(peak, peak_rate(runtime))  # other processes come and go
        work, space, whole = _counted(net, (batch_size, *shape))
    except (RuntimeError, IndexError) as error:
        if isinstance(error, LaminaError):
            raise
        raise ShapeError(
            f"{title} was given pictures of {' x '.join(map(str, shape))} (channels, height, width).",
            f"torch says: {(str(error).splitlines() or [''])[0].rstrip('.')}.",
            "Pass another size.",
        ) from error
    finally:
        random.restore(kept)
    modules = dict(net.named_modules())
    rows = tuple(
        LayerTime(
            name,
            kind_of(module),
            run.calls[name],
            statistics.median(run.forward[name]),
            statistics.median(run.backward[name]) if train and name in run.backward else (0.0 if train else None),
            int(work.get(name, 0)),
            int(space.get(name, 0)),
            sum(value.numel() for value in module.parameters(recurse=False)),
        )
        for name, module in modules.items()
        if name in run.calls
    )
    return Profile(
        title,
        (batch_size, *shape),
        _device_name(runtime),
        rows,
        forward_s=statistics.median(run.plain_forward),
        backward_s=statistics.median(run.plain_backward) if train else None,
        autograd_s=statistics.median(run.backward.get(ENGINE, [0.0])) if train else None,
        peak_rate=peak,
        parameter_bytes=sum(value.numel() * value.element_size() for value in net.parameters()),
        activation_bytes=whole,
        held_bytes=_held(net, (batch_size, *shape)) if train else None,
        memory_bytes=runtime.memory(),
    )


class _Run:
    """Passes of a network, plain ones and booked ones in turn, so that both see the same machine."""

    def __init__(self, net: nn.Module, images: Tensor, runtime: Runtime, *, train: bool) -> None:
        self._net, self._images, self._runtime, self._train = net, images, runtime, train
        self.plain_forward: list[float] = []
        self.plain_backward: list[float] = []
        self.forward: dict[str, list[float]] = {}
        self.backward: dict[str, list[float]] = {}
        self.calls: dict[str, int] = {}

    def clock(self) -> float:
        """Seconds, once the device has done what it was given."""
        if self._runtime.device.type != "cpu":
            torch.accelerator.synchronize(self._runtime.device)
        return time.perf_counter()

    def repeat(self, repeats: int) -> None:
        """Warms up, then measures."""
        for _ in range(_WARM_UPS):
            self._plain()
        self.plain_forward.clear()
        self.plain_backward.clear()
        for _ in range(repeats):
            self._plain()
            self._booked()

    def _forward(self) -> Tensor | None:
        """A pass; in training what a loss would be."""
        if not self._train:
            with torch.inference_mode():
                self._net(self._images)
            return None
        self._net.zero_grad(set_to_none=True)
        with torch.enable_grad():
            answers = tree_leaves(self._net(self._images))  # a detector's lie within one another
            return torch.stack([value.float().mean() for value in answers if isinstance(value, Tensor)]).sum()

    def _plain(self) -> None:
        start = self.clock()
        loss = self._forward()
        middle = self.clock()
        self.plain_forward.append(middle - start)
        if loss is not None:
            loss.backward()  # type: ignore[no-untyped-call]
            self.plain_backward.append(self.clock() - middle)

    def _booked(self) -> None:
        ledger = Ledger(self._net, self.clock)
        with ledger.open(backward=self._train):
            loss = self._forward()
            if loss is not None:
                with ledger.backward_pass():
                    loss.backward()  # type: ignore[no-untyped-call]
        self.calls = ledger.calls
        for side, booked in ((self.forward, ledger.forward), (self.backward, ledger.backward)):
            for name, spent in booked.items():
                side.setdefault(name, []).append(spent)


def peak_rate(runtime: Runtime) -> float:
    """Operations a second (a multiply-add is two) of a large float32 matrix product on the device: the best of several."""
    rows, best = 512, 0.0
    while True:
        left = torch.ones(rows, rows, device=runtime.device)
        waits = runtime.device.type != "cpu"
        for _ in range(4):
            start = time.perf_counter()
            left @ left
            if waits:
                torch.accelerator.synchronize(runtime.device)
            took = time.perf_counter() - start
            best = max(best, 2 * rows**3 / took)
        if took >= _SHORTEST_S or rows >= _LARGEST:
            return best
        rows *= 2


def _counted(net: nn.Module, shape: Sequence[int]) -> tuple[dict[str, float], dict[str, float], int | None]:
    """Multiply-adds and bytes of activations of each layer, and the latter in all; nothing where a module needs numbers to run."""
    found: list[dict[str, float]] = []
    for what in ("multiply_adds", "activation_bytes"):
        measure, blank = Measure(), probe.meta_copy(net).eval()
        ledger = Ledger(blank, functools.partial(getattr, measure, what))
        try:
            images = torch.empty(tuple(shape), device="meta")  # which is no activation
            with torch.no_grad(), ledger.open(), measure:
                blank(images)
        except RuntimeError:
            return {}, {}, None
        found.append(ledger.forward)
    return found[0], found[1], measure.activation_bytes


def _held(net: nn.Module, shape: Sequence[int]) -> int | None:
    """Bytes that training holds of the activations until the backward pass."""
    try:
        blank = torch.empty((2, *shape[1:]), device="meta")
        return training_bytes(probe.meta_copy(net).train(), [blank]) * shape[0]
    except (RuntimeError, ValueError, TypeError):
        return None


def _net_of(model: Any) -> nn.Module | None:
    return model if isinstance(model, nn.Module) else getattr(model, "net", None)


def _network(model: Any, size: int | None) -> tuple[str, nn.Module, tuple[int, ...]]:
    """What it is called, its network, and the shape of one picture."""
    if isinstance(model, str):
        if not networks.stands(model):
            networks.check_name(model)
        channels, height, width = sizes.usual_shape(model)
        shape = (channels, size or height, size or width)
        return model, sizes.created(model, shape), shape
    net = _net_of(model)
    if net is None:
        raise LaminaError(
            f"A {type(model).__name__} came as model.",
            "The name of a network, a Model, Classifier ... or a torch module was expected.",
            "Take one of its members: model.members[0]." if hasattr(model, "members") else "Pass model.net.",
        )
    title = str(getattr(model, "name", "") or type(net).__name__)
    return title, net, _shape(model, net, size)


def _shape(model: Any, net: nn.Module, size: int | None) -> tuple[int, ...]:
    known: tuple[int | None, ...] = ()
    if getattr(model, "preprocess", None) is not None:
        known = (model.preprocess.channels, *model.preprocess.size)
    elif getattr(model, "graph", None) is not None:
        known = tuple(model.graph.input_shapes[0])
    else:
        first = next((module for module in net.modules() if isinstance(module, nn.Conv2d)), None)
        known = () if first is None else (first.in_channels, None, None)
    if len(known) == 3 and size is not None:
        known = (known[0], size, size)
    if not known or any(length is None for length in known):
        raise LaminaError(
            "How large the network's pictures are is not known.",
            "A torch module does not tell it.",
            "Pass size=224." if known else "Wrap it as a Model made of layers, or a Classifier, which know it.",
        )
    return tuple(int(length) for length in known if length is not None)


def _device_name(runtime: Runtime) -> str:
    if runtime.device.type == "cpu":
        cores = torch.get_num_threads()
        return f"cpu ({platform.machine()}, {cores} thread{'s' if cores != 1 else ''})"
    return str(runtime.device)
