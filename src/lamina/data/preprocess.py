"""The one preprocessing: pictures to uint8 B C H W on the host, and from there to normalised floats on the device.

Training, prediction, the command line and the exported file all use it, so they give the same answer.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from numbers import Integral, Real
from typing import Any, TypeGuard

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor, nn

from lamina.core import export_texts, onnx_texts
from lamina.core.errors import DataError
from lamina.data import jpeg
from lamina.data.pictures import Picture, read, read_bytes
from lamina.data.resize import INTERPOLATION, resized

RESIZE = ("stretch", "crop", "pad")


@dataclass(frozen=True)
class Preprocess:
    """How a picture of any kind and size becomes the input of a network.

    `size` is (H, W) in pixels, or the side of a square. `resize`: "crop" keeps the shape of things and cuts the centre, after
    scaling the picture so that `size` is the fraction `crop` of it (224 pixels and 0.875 mean a short side of 256); "pad"
    keeps all and adds black; "stretch" distorts. `mean` and `std` are of values in 0..1, one for all channels or one for each.
    """

    channels: int = 3
    size: tuple[int, int] = (224, 224)
    resize: str = "crop"
    crop: float = 1.0
    interpolation: str = "bilinear"
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        for name in ("size", "mean", "std"):
            object.__setattr__(self, name, self._several(name))
        self._require("channels", self.channels in (1, 3), "1 (grey) or 3 (RGB)")
        self._require("size", len(self.size) == 2 and min(self.size) >= 1, "(height, width) in pixels, both at least 1")
        self._require("resize", self.resize in RESIZE, f"one of {', '.join(RESIZE)}")
        self._require("crop", 0.0 < self.crop <= 1.0, "a fraction above 0 and at most 1")
        self._require("interpolation", self.interpolation in INTERPOLATION, f"one of {', '.join(INTERPOLATION)}")
        self._require("mean", len(self.mean) in (1, self.channels), "one number, or one for each channel")
        self._require(
            "std", len(self.std) in (1, self.channels) and min(self.std) > 0, "positive, one or one for each channel"
        )

    def _several(self, name: str) -> tuple[Any, ...]:
        """A number alone is the side of a square, or one for all channels; JSON has lists."""
        value = getattr(self, name)
        told = (value,) * (2 if name == "size" else 1) if isinstance(value, int | float) else value
        kind: type | tuple[type, ...] = Integral if name == "size" else Real
        listed = tuple(told) if isinstance(told, Iterable) and not isinstance(told, str) else ()
        if not listed or not all(isinstance(number, kind) for number in listed):
            self._require(name, False, "a whole number of pixels, or (height, width)" if name == "size" else "numbers")
        return listed

    def _require(self, name: str, good: bool, expected: str) -> None:
        if not good:
            raise DataError(
                f"Preprocess has {name}={getattr(self, name)!r}.", f"{name} is {expected}.", f"Pass another {name}."
            )

    def host(self, image: Picture) -> UInt8[Tensor, "C H W"]:
        """The picture upright, in `channels` channels and of `size`. Raises DataError where it cannot be read."""
        return self.host_last(image).permute(2, 0, 1).contiguous()

    def host_last(self, image: Picture) -> UInt8[Tensor, "H W C"]:
        """As `host`, with the channels last: as pictures are decoded, and as workers and the cache keep them."""
        return self._resized(self._decoded(image))

    def host_sized(self, image: Picture) -> tuple[UInt8[Tensor, "C H W"], tuple[int, int]]:
        """As `host`, and the (height, width) that the upright picture had: what is found in it goes back by data.geometry."""
        if self.is_made(image):
            return image.contiguous(), self.size
        plain = self._decoded(image)
        return self._resized(plain).permute(2, 0, 1).contiguous(), (plain.shape[0], plain.shape[1])

    def is_made(self, image: Picture) -> TypeGuard[Tensor]:
        """Whether a picture is uint8 C H W on the host, of these channels and this size, so that `host` would give it back."""
        if not isinstance(image, Tensor) or image.dtype != torch.uint8 or image.device.type != "cpu":
            return False
        shown_whole = self.resize != "crop" or self.crop == 1
        return shown_whole and tuple(image.shape) == (self.channels, *self.size)

    def from_bytes(self, content: bytes, name: str) -> UInt8[Tensor, "H W C"]:
        """As `host_last`, of the bytes of a picture file that errors call `name`."""
        return self._resized(self._decoded_bytes(content, name))

    def from_bytes_sized(self, content: bytes, name: str) -> tuple[UInt8[Tensor, "C H W"], tuple[int, int]]:
        """As `host_sized`, of the bytes of a picture file that errors call `name`."""
        plain = self._decoded_bytes(content, name)
        return self._resized(plain).permute(2, 0, 1).contiguous(), (plain.shape[0], plain.shape[1])

    def stack(self, images: Sequence[Picture]) -> UInt8[Tensor, "B C H W"]:
        """The pictures of a list as one batch."""
        if len(images) == 0:
            raise DataError(
                "The list of pictures is empty.", "At least one was expected.", "Check the path or the filter."
            )
        return torch.stack([self.host(image) for image in images])

    def normalize(self) -> Normalize:
        """The device's part: uint8 or float 0..255 to (x / 255 - mean) / std."""
        return Normalize(self.mean, self.std)

    def to_dict(self) -> dict[str, Any]:
        """What JSON can hold; `from_dict` makes an equal object of it."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Preprocess:
        """The object that `to_dict` was called on."""
        known = [field.name for field in fields(cls)]
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise DataError(
                f"The preprocessing names {', '.join(map(repr, unknown))}.",
                f"It is made of {', '.join(known)}.",
                "It may come from a later version: upgrade lamina.",
            )
        return cls(**values)

    @classmethod
    def from_onnx(cls, path: str | os.PathLike[str]) -> Preprocess:
        """As `from_export`, of an ONNX file."""
        return cls._told_by(path, "an ONNX file", onnx_texts.read)

    @classmethod
    def from_export(cls, path: str | os.PathLike[str]) -> Preprocess:
        """What the host does before an exported network (.onnx, .pt2, .safetensors), as its file tells; see Model.export.

        Raises DataError for a file that is none of lamina's, or of a model that takes no pictures. Nothing else need be installed.
        """
        return cls._told_by(path, "an exported file (.onnx, .pt2, .safetensors)", export_texts.read)

    @classmethod
    def _told_by(
        cls, path: str | os.PathLike[str], kind: str, read_texts: Callable[[str | os.PathLike[str]], dict[str, str]]
    ) -> Preprocess:
        expected = f"{kind[0].upper()}{kind[1:]} that model.export wrote was expected."
        remedy = 'Write one: model.export("model.onnx").'
        try:
            texts = read_texts(path)
        except (OSError, ValueError) as error:
            told = error.strerror if isinstance(error, OSError) else error
            raise DataError(f"{os.fspath(path)} cannot be read as {kind} ({told}).", expected, remedy) from error
        if "lamina export" not in (texts.get("format"), *texts):
            raise DataError(f"{os.fspath(path)} does not tell how pictures are prepared for it.", expected, remedy)
        if "preprocess" not in texts:
            raise DataError(
                f"{os.fspath(path)} holds a model that takes no pictures, or prepares none.",
                "One of pictures was expected, such as a classifier's.",
                "Give it arrays as its network takes them.",
            )
        try:
            return cls.from_dict(json.loads(texts["preprocess"]))
        except (ValueError, TypeError) as error:
            if isinstance(error, DataError):
                raise
            raise DataError(
                f"The preprocessing in {os.fspath(path)} cannot be understood ({error}).", expected, remedy
            ) from error

    def _decoded(self, image: Picture) -> UInt8[Tensor, "H W C"]:
        plain = jpeg.decode(image, self.channels) if isinstance(image, str | os.PathLike) else None
        return self._pixels(read(image)) if plain is None else plain

    def _decoded_bytes(self, content: bytes, name: str) -> UInt8[Tensor, "H W C"]:
        plain = jpeg.decode_bytes(content, self.channels)
        return self._pixels(read_bytes(content, name)) if plain is None else plain

    def _pixels(self, picture: Image.Image) -> UInt8[Tensor, "H W C"]:
        mode = "L" if self.channels == 1 else "RGB"
        plain = torch.from_numpy(np.array(picture if picture.mode == mode else picture.convert(mode)))
        return plain[:, :, None] if self.channels == 1 else plain

    def _resized(self, picture: UInt8[Tensor, "H W C"]) -> UInt8[Tensor, "H W C"]:
        (height, width), (tall, wide) = self.size, picture.shape[:2]
        if self.resize == "stretch":
            return resized(picture, (height, width), interpolation=self.interpolation)
        if self.resize == "pad":
            scale = min(width / wide, height / tall)
            inner_h, inner_w = max(1, round(tall * scale)), max(1, round(wide * scale))
            top, left = (height - inner_h) // 2, (width - inner_w) // 2
            framed = picture.new_zeros(height, width, self.channels)
            framed[top : top + inner_h, left : left + inner_w] = resized(
                picture, (inner_h, inner_w), interpolation=self.interpolation
            )
            return framed
        outer_h, outer_w = int(height / self.crop), int(width / self.crop)
        if outer_h * wide >= outer_w * tall:  # in whole numbers, for 276 * (256 / 276) is less than 256
            outer_w = max(width, wide * outer_h // tall)
        else:
            outer_h = max(height, tall * outer_w // wide)
        window = (round((outer_h - height) / 2), height), (round((outer_w - width) / 2), width)
        return resized(picture, (outer_h, outer_w), window, interpolation=self.interpolation)


class Normalize(nn.Module):
    """(x / 255 - mean) / std in float32, for uint8 or float images (B C H W) with values 0..255.

    The numbers are no part of `state_dict`: the keys of a network that starts with it stay the user's.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        # Times 255 here instead of images / 255 there: one pass less over every batch.
        self.register_buffer(
            "mean", torch.tensor(mean, dtype=torch.float64).mul(255).float().view(1, -1, 1, 1), persistent=False
        )
        self.register_buffer(
            "std", torch.tensor(std, dtype=torch.float64).mul(255).float().view(1, -1, 1, 1), persistent=False
        )

    def forward(self, images: UInt8[Tensor, "B C H W"] | Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        return (images.float() - self.mean) / self.std

    def extra_repr(self) -> str:
        mean, std = (
            [round(value / 255, 6) for value in numbers.flatten().tolist()] for numbers in (self.mean, self.std)
        )
        return f"mean={mean}, std={std}"


def pixels(picture: Image.Image) -> UInt8[Tensor, "C H W"]:
    """The pixels of a grey or RGB picture."""
    array = np.array(picture)
    return torch.from_numpy(array[None] if array.ndim == 2 else np.ascontiguousarray(array.transpose(2, 0, 1)))
