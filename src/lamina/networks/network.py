"""What the networks here have in common: maps by their stride, a class layer that can be exchanged, errors that say what fits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lamina.core.errors import LaminaError, ShapeError
from lamina.nn import in_eval_mode

_LARGEST_PX = 1024  # no network of these papers needs more pixels a side


class Network(nn.Module):
    """A torch module for pictures (B C H W) that ends in logits (B K).

    `features(images)` gives the last map of each resolution, {stride: map}, and `feature_dims` how many channels each has,
    known without running anything. It is a method, or a `nn.Stages` where published weights call a part of the network so.
    `class_layers` names the layers that give the classes; auxiliary ones too. `final_relu` names the ReLU behind them, where
    the paper has one.
    """

    class_layers: tuple[str, ...] = ("fc",)
    final_relu: str = ""
    feature_dims: Mapping[int, int]

    def __call__(self, *given: Any, **others: Any) -> Any:
        """As every torch module; where torch fails on the shape of the pictures, the error says which it takes."""
        images = given[0] if given else others.get("images")
        if isinstance(images, Tensor) and images.dim() != 4:  # some layers would take it for a picture without a batch
            raise self._no_pictures(images)
        try:
            return super().__call__(*given, **others)
        except RuntimeError as error:
            try:
                told = self._misfit(images) if isinstance(images, Tensor) else None
            except ShapeError:  # no size is taken: torch's own words say more
                told = None
            if told is None:
                raise
            raise told from error

    @property
    def in_channels(self) -> int:
        """Channels of the pictures."""
        return next(module.in_channels for module in self.modules() if isinstance(module, nn.Conv2d))

    def replace_head(self, num_classes: int) -> None:
        """Puts new class layers, for so many classes and with fresh values, in the place of the old ones.

        Values are normal with a standard deviation of 0.01, biases 0; device and type are the old ones'.
        """
        replace_layers(self, self.class_layers, num_classes)
        self._note(num_classes=num_classes)

    def drop_final_relu(self) -> None:
        """Puts nothing in the place of the ReLU behind the class layer, where the paper has one: outputs may be negative then."""
        if self.final_relu and not isinstance(self.get_submodule(self.final_relu), nn.Identity):
            self.set_submodule(self.final_relu, nn.Identity())
            self._note(final_relu=False)

    def _note(self, **arguments: Any) -> None:
        """Has a model file tell these arguments of the network."""
        described: dict[str, Any] | None = self.__dict__.get("architecture")
        if described is not None:
            self.architecture = {**described, "arguments": {**described["arguments"], **arguments}}

    def smallest_px(self) -> int:
        """The least side of square pictures that the network can take, found by trying on the meta device."""
        low, high = 0, 1  # low fails, high is tried
        while not self._takes((high, high)):
            low, high = high, 2 * high
            if high > _LARGEST_PX:
                raise ShapeError(
                    f"{type(self).__name__} takes no square pictures of up to {_LARGEST_PX} px.",
                    "Something else than the size is wrong.",
                    "Call net(images) on the CPU, and see what torch says.",
                )
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self._takes((middle, middle)) else (middle, high)
        return high

    def check_size(self, size: Sequence[int]) -> None:
        """Raises ShapeError for pictures (height, width in pixels) that the network cannot take, and says the smallest."""
        told = self._misfit(torch.empty((1, self.in_channels, *size), device="meta"))
        if told is not None:
            raise told

    def _misfit(self, images: Tensor) -> ShapeError | None:
        """What is wrong with the shape of such pictures (B C H W); None where it is not the shape."""
        kind, shape = type(self).__name__, tuple(images.shape)
        if shape[1] != self.in_channels:
            return ShapeError(
                f"{kind} was given pictures with {shape[1]} channels.",
                f"It was built for {self.in_channels}.",
                f"Build it with in_channels={shape[1]}, or convert the pictures.",
            )
        if self._takes(shape[2:]):
            return None
        smallest = self.smallest_px()
        expected = f"The smallest that it takes are of {smallest} x {smallest} px."
        if min(shape[2:]) >= smallest:
            expected = "It takes pictures of one size only, that which it was built for."
        return ShapeError(
            f"{kind} was given pictures of {shape[2]} x {shape[3]} px.",
            expected,
            "Enlarge them, or take another network.",
        )

    def _no_pictures(self, images: Tensor) -> ShapeError:
        return ShapeError(
            f"{type(self).__name__} was given a tensor of the shape {tuple(images.shape)}.",
            "A batch of pictures (B C H W) was expected.",
            "Give one picture as images[None].",
        )

    def _takes(self, size: Sequence[int]) -> bool:
        weights = {
            name: torch.empty_like(value, device="meta")
            for name, value in [*self.named_parameters(), *self.named_buffers()]
        }
        images = torch.empty((1, self.in_channels, *size), device="meta")
        try:
            with torch.no_grad(), in_eval_mode(self):
                # The class's own call, not this one, which would explain its own question.
                torch.func.functional_call(_Bare(self), {f"net.{name}": v for name, v in weights.items()}, (images,))
        except (RuntimeError, LaminaError):
            return False
        return True


class _Bare(nn.Module):
    """Calls a network's forward without the explanation of errors around it."""

    def __init__(self, net: Network) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> Any:
        return self.net.forward(images)


def replace_layers(net: nn.Module, paths: Iterable[str], num_classes: int) -> None:
    """Puts new linear layers or convolutions, for so many classes and with fresh values, in the place of the named ones."""
    if num_classes < 1:
        raise LaminaError(f"num_classes is {num_classes}.", "A network has at least one class.", "Pass 1 or more.")
    for path in paths:
        parent, _, name = path.rpartition(".")
        old = net.get_submodule(path)
        made: nn.Module
        if isinstance(old, nn.Linear):
            made = nn.Linear(old.in_features, num_classes, bias=old.bias is not None)
        elif isinstance(old, nn.Conv2d):
            window: dict[str, Any] = {"kernel_size": old.kernel_size, "stride": old.stride, "padding": old.padding}
            made = nn.Conv2d(old.in_channels, num_classes, bias=old.bias is not None, **window)
        else:
            raise LaminaError(
                f"The class layer {path} of {type(net).__name__} is a {type(old).__name__}.",
                "Linear layers and convolutions can be replaced.",
                "Build the network with num_classes.",
            )
        nn.init.normal_(made.weight, std=0.01)
        if made.bias is not None:
            nn.init.zeros_(made.bias)
        net.get_submodule(parent).register_module(name, made.to(old.weight))
