"""The one file: a safetensors file whose header tells what the weights belong to. Opening it runs nobody's code.

__metadata__
    format   "lamina"
    version  "1": later versions of the library read it (golden files in the tests)
    model    JSON: kind, network, and what that kind of model adds (preprocessing, classes, metrics, versions)
    sha256   of the version, the JSON, and every tensor's name, type, shape and bytes
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lamina import networks
from lamina.core import sealed
from lamina.core.errors import FileFormatError, LaminaError
from lamina.core.files import replacing
from lamina.core.model_paths import located as located
from lamina.core.sealed import digest, header_of, tensors_of
from lamina.models.graph import Graph
from lamina.networks.load import fill as fill
from lamina.training.world import is_spread, whole

VERSION = "1"
_READABLE = ("1",)
_KEYS = {"format", "version", "model", "sha256"}
_PLAIN = "it holds weights for plain torch, for net.load_state_dict(safetensors.torch.load_file(path))"
_EXPORTED = {".onnx": "ONNX Runtime runs it", ".pt2": "torch.export.load(path).module() runs it"}


class Contents(NamedTuple):
    """What a model file holds: the description from its header, its tensors by name, and the SHA-256 of both."""

    path: Path
    description: dict[str, Any]
    tensors: dict[str, Tensor]
    digest: str = ""


def write(path: str | os.PathLike[str], net: nn.Module, description: Mapping[str, Any]) -> Path:
    """Writes a network's state and its description; the file that was there survives a full disk or a kill."""
    return take(net, description)(path)


def take(net: nn.Module, description: Mapping[str, Any]) -> Callable[[str | os.PathLike[str]], Path]:
    """What `write` would write now; the function given back writes it, once or more and from any thread."""
    text = json.dumps({**description, "versions": versions()}, sort_keys=True)
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in whole(net.state_dict()).items()}

    def write_taken(path: str | os.PathLike[str]) -> Path:
        target = Path(path)
        header = {"format": "lamina", "version": VERSION, "model": text, "sha256": digest(VERSION, text, tensors)}
        try:
            with replacing(target) as temporary:
                sealed.write(temporary, tensors, header)
        except OSError as error:
            raise LaminaError(
                f"{target} could not be written ({error.strerror or error}).",
                "A folder that may be written, with room on its disk, was expected; what was there before is untouched.",
                "Choose another place, or make room, and save again.",
            ) from error
        return target

    return write_taken


def read(path: str | os.PathLike[str]) -> Contents:
    """Reads and checks a model file, of a run's folder its best. A foreign, truncated or damaged one is a FileFormatError that
    says which it is."""
    source = located(path)
    data = source.read_bytes()
    header = header_of(data)
    if source.suffix in _EXPORTED or "lamina export" in (header or {}):
        raise FileFormatError(
            f"{source} is an exported file: {_EXPORTED.get(source.suffix, _PLAIN)}.",
            "A model file was expected, which can be trained and exported again.",
            "Open what model.save wrote.",
        )
    begin = "If it holds weights, begin with them: lamina.Classifier('NETWORK', pretrained=PATH)."
    if header is None and source.suffix == ".npz" and data[:2] == b"PK":
        raise FileFormatError(
            f"{source} is an archive of numpy arrays.",
            "A model file written by save was expected, which also says what its weights belong to.",
            begin,
        )
    if header is None and _is_picture(data):
        raise FileFormatError(
            f"{source} is a picture.",
            "A model file was expected.",
            f"Ask a model about it: lamina predict MODEL {source.name}, or model.predict({source.name!r}).",
        )
    if header is None and _is_pickle(data):
        raise FileFormatError(
            f"{source} is a pickle or a torch.save archive.",
            "Model files are safetensors: unpickling a file can run any code that it holds.",
            begin,
        )
    if header is None:
        raise FileFormatError(
            f"{source} is damaged, cut short, or no model file: its header cannot be read.",
            "A safetensors file written by save was expected.",
            "Copy it anew from where it came from.",
        )
    try:
        tensors = tensors_of(data)
    except ValueError as error:
        raise _damaged(source, str(error)) from error
    if len(_KEYS & header.keys()) < 2:  # others write "format" too; one flipped bit in a key of ours leaves three
        raise FileFormatError(
            f"{source} is a safetensors file of another program: its header does not describe a model.",
            "A file written by save was expected.",
            begin,
        )
    if header.get("format") == "lamina checkpoint":
        raise FileFormatError(
            f"{source} is a checkpoint: it holds what a run needs to go on.",
            "A model file was expected.",
            "Open best.safetensors or last.safetensors beside it, or go on with the run by resume=True (--resume).",
        )
    version, text = header.get("version", ""), header.get("model", "")
    if header.get("format") != "lamina" or digest(version, text, tensors) != header.get("sha256"):
        raise _damaged(source, "its content does not give the hash that its header holds")
    if version not in _READABLE:
        raise FileFormatError(
            f"{source} has the format version {version}.",
            f"This version of lamina reads {', '.join(_READABLE)}.",
            "Update lamina: pip install -U lamina.",
        )
    with understanding(source):
        description = json.loads(text)
        if isinstance(description, dict):
            return Contents(source, description, tensors, header.get("sha256", ""))
    raise FileFormatError(
        f"{source} describes its model by a {type(description).__name__}.",
        "A JSON object with the model's kind and network was expected.",
        "Do not trust this file.",
    )


@contextmanager
def understanding(path: Path) -> Iterator[None]:
    """Whatever goes wrong inside is the fault of a file's description, however it was made up: a FileFormatError says so.

    What is already an error of three parts passes.
    """
    try:
        yield
    except LaminaError:
        raise
    except (LookupError, TypeError, AttributeError, ValueError, ArithmeticError, RuntimeError, AssertionError) as error:
        raise FileFormatError(
            f"The description in {path} cannot be made a model ({type(error).__name__}: {error}).",
            "The description that save wrote was expected, and modules made as they were when it was saved.",
            "Get the file anew from where it came from; if you pass modules, check that they can be made.",
        ) from error


def describe(net: nn.Module, graph: Graph | None) -> dict[str, Any]:
    """How a network can be made again: by its layers, by its name in `networks`, or by a module that the user brings."""
    if graph is not None:
        return {"made_of": "layers", "graph": graph.config()}
    architecture = networks.architecture(net)
    if architecture is not None:
        return {"made_of": "network", **architecture}
    kind = (
        type(net).__mro__[2] if is_spread(net) else type(net)
    )  # torch puts a class and a mixin in front of a spread one's
    return {"made_of": "module", "module": f"{kind.__module__}.{kind.__qualname__}"}


def rebuild(contents: Contents, modules: Mapping[str, Any]) -> tuple[nn.Module, Graph | None]:
    """The network with its weights, and its layer graph where it has one. Parameters are matched by name."""
    with understanding(contents.path):
        return _rebuilt(contents, modules)


def _rebuilt(contents: Contents, modules: Mapping[str, Any]) -> tuple[nn.Module, Graph | None]:
    network = contents.description.get("network", {})
    made_of = network.get("made_of")
    graph: Graph | None = None
    if made_of == "layers":
        graph = Graph.from_config(network["graph"], modules=dict(modules))
        net = graph.net
    elif made_of == "network":
        name, told = network["name"], network["arguments"]
        try:
            net = networks.recreate(name, told)
        except LaminaError as error:
            came = f"The network that {contents.path} describes cannot be made. {error.came}"
            raise FileFormatError(came, error.expected, error.remedy) from error
    elif made_of == "module":
        name = network["module"]
        if name not in modules:
            raise FileFormatError(
                f"{contents.path} holds the weights of your module {name}.",
                "A model file holds no code.",
                f"Pass it: lamina.load(path, modules={{{name!r}: the_module}}).",
            )
        net = modules[name] if isinstance(modules[name], nn.Module) else modules[name]()
    else:
        raise FileFormatError(
            f"{contents.path} asks for a network made of {made_of!r}.",
            "Model files name 'layers', 'network' or 'module' and nothing else.",
            "Do not trust this file, or update lamina.",
        )
    fill(net, contents.tensors, contents.path)
    return net, graph


def versions() -> dict[str, str]:
    """The versions of what a result depends on."""
    from lamina import __version__

    return {"lamina": __version__, "torch": torch.__version__}


def _is_picture(data: bytes) -> bool:
    """Whether a file begins as JPEG, PNG, GIF, WebP or TIFF pictures do."""
    begin = data[:12]
    return begin.startswith((b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"II*\0", b"MM\0*")) or (
        begin.startswith(b"RIFF") and begin.endswith(b"WEBP")
    )


def _is_pickle(data: bytes) -> bool:
    """Whether a file without a readable header begins as a pickle or a zip archive does.

    A header's length may begin so too (0x80 is its lowest byte in one file of 32), but then a brace follows it.
    """
    return (data[:1] == b"\x80" or data[:2] == b"PK") and data[8:9] != b"{"


def _damaged(source: Path, why: str) -> FileFormatError:
    return FileFormatError(
        f"{source} is damaged: {why}.",
        "A whole file was expected; the smallest change to it is found by its hash.",
        "Copy it anew from where it came from.",
    )
