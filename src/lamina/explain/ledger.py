"""Who spends what in a network: time, or anything else that grows, booked on the layer that is at work.

A layer inside another is booked for itself; what remains with the outer one are operations between its layers (a sum, a
concatenation, a function call).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

ENGINE = "(autograd)"  # between the operations of a backward pass


class Ledger:
    """`read` gives a number that only grows. `forward` and `backward` say how much of it each layer spent, `calls` how often it worked.

    What the ledger does itself is booked on nobody.
    """

    def __init__(self, net: nn.Module, read: Callable[[], float]) -> None:
        self._net, self._read = net, read
        self.forward: dict[str, float] = {}
        self.backward: dict[str, float] = {}
        self.calls: dict[str, int] = {}
        self._at_work: list[str] = []
        self._last = 0.0
        self._owned: dict[int, Any] = {}  # operations of the backward pass, which live as long as they are here

    @contextmanager
    def open(self, *, backward: bool = False) -> Iterator[None]:
        """While it lasts, passes of the network are booked; with `backward` a backward pass behind them too."""
        handles = []
        for name, module in self._net.named_modules():
            handles.append(module.register_forward_pre_hook(self._enter(name, backward)))
            handles.append(module.register_forward_hook(self._leave(name, backward)))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
            self._owned.clear()

    @contextmanager
    def backward_pass(self) -> Iterator[None]:
        """Around the backward pass: what is between operations is the engine's."""
        self._last = self._read()
        yield
        self._book(self.backward, ENGINE)

    def _book(self, side: dict[str, float], name: str) -> None:
        now = self._read()
        side[name] = side.get(name, 0.0) + now - self._last
        self._last = now

    def _enter(self, name: str, backward: bool) -> Callable[..., None]:
        def hook(_: nn.Module, inputs: Any) -> None:
            if self._at_work:
                self._book(self.forward, self._at_work[-1])
                if backward:
                    self._own(inputs, self._at_work[-1])
            self._at_work.append(name)
            self.calls[name] = self.calls.get(name, 0) + 1
            self._last = self._read()

        return hook

    def _leave(self, name: str, backward: bool) -> Callable[..., None]:
        def hook(_: nn.Module, __: Any, result: Any) -> None:
            self._book(self.forward, name)
            self._at_work.pop()
            if backward:
                self._own(result, name)
            self._last = self._read()

        return hook

    def _own(self, values: Any, name: str) -> None:
        """Every operation that led to the values, and that nobody owns yet, is this layer's."""
        ahead = [tensor.grad_fn for tensor in _tensors(values) if tensor.grad_fn is not None]
        while ahead:
            node = ahead.pop()
            if id(node) in self._owned:
                continue
            self._owned[id(node)] = node
            node.register_prehook(lambda _: self._book(self.backward, ENGINE))
            node.register_hook(lambda *_: self._book(self.backward, name))
            ahead += [following for following, _ in node.next_functions if following is not None]


def _tensors(values: Any) -> Iterator[Tensor]:
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, dict):
        yield from _tensors(tuple(values.values()))
    elif isinstance(values, list | tuple):
        for value in values:
            yield from _tensors(value)
