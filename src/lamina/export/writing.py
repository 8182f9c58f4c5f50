"""A deployable network into a file for other programs: ONNX, a torch program, or its weights for plain torch.

Each file is opened again and asked before it gets its name: one that answers otherwise than the network never does.
"""

from __future__ import annotations

import copy
import importlib.util
import io
import json
import math
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from lamina.core import export_texts, progress
from lamina.core.errors import DataError, LaminaError, MissingExtraError, unknown_name
from lamina.core.files import replacing
from lamina.core.warnings import warn
from lamina.export import int8, metadata, onnx_file, samples, translations
from lamina.export.checking import OF_SPREAD, TOLERANCES, Check, ModuleEngine, Reference
from lamina.export.deployable import Deployable
from lamina.export.engines import Engine, OnnxEngine, OpenVinoEngine
from lamina.export.exported import Exported
from lamina.export.lowering import TYPES
from lamina.export.program import open_axes, program
from lamina.export.samples import Samples

FORMATS = export_texts.FORMATS
PRECISIONS = ("float32", "float16", "bfloat16", "int8")
ENGINES = ("onnxruntime", "openvino")  # that run an .onnx; each of the other formats is run by torch
EXTRA_FILE = export_texts.PROGRAM_FILE


def write(
    deployable: Deployable,
    path: str | os.PathLike[str],
    *,
    precision: str = "float32",
    tried: Samples | None = None,
    tolerance: float | None = None,
    agreement: float | None = None,
    any_size: bool = True,
    engines: Sequence[str] | None = None,
) -> Exported:
    """Writes the network into a file of the format that the path's ending names, if it answers there as it does in torch.

    .onnx and .pt2 take inputs as they come (pictures: uint8 B C H W) and give answers in float32; .safetensors holds the
    `state_dict` alone. `precision` is "float32", "float16", "bfloat16" (see `program` and `to_onnx`) or, of ONNX, "int8" (see
    `quantise`), for which real samples are needed: half of those `tried` give the ranges, and the other half is compared.

    `tolerance` is the largest difference allowed: absolute for probabilities, for other answers a share of the largest. Without it, it is
    1e-3 in float32, 0.02 in float16, 0.1 in bfloat16, 0.5 in int8, and values may on average lie a fifth of their standard deviation apart
    (with a `tolerance` that alone counts). `agreement` is the least share of classes that stay, without it
    0.99. `engines` (of ENGINES) are those that an .onnx is compared in; without it all that are installed. Raises
    LaminaError, and leaves what was there, where the network cannot be expressed or the file answers otherwise.
    """
    target = _checked(path, precision, tolerance, agreement)
    chosen = _chosen(target, engines)
    if target.suffix == ".safetensors" and deployable.description.get("kind") == "ensemble":
        raise LaminaError(
            f"{target} would hold the weights of several networks.",
            "Weights for plain torch are those of one.",
            "Export the members one by one, or the ensemble as .onnx or .pt2.",
        )
    if precision == "int8" and tried is None:
        raise DataError(
            "int8 came without data.",
            f"The ranges of 8-bit numbers are taken from real pictures, some {samples.CALIBRATION} of them.",
            'Pass data="photos/" (--data photos/).',
        )
    if target.suffix == ".onnx":
        onnx_file.require_extra()
    tried = tried or samples.made(deployable)
    calibration, compared = tried.halves() if precision == "int8" else (tried, tried)
    texts = metadata.texts(deployable, precision=precision)
    try:
        with replacing(target) as temporary:  # at once, so that a folder that cannot be written to costs no minutes
            progress.step(f"asking the network in torch about {len(compared)} {compared.told}")
            reference = Reference(deployable, compared)
            if target.suffix == ".onnx":
                content, sizes = _onnx(deployable, reference, calibration, precision, any_size=any_size, texts=texts)
            elif target.suffix == ".pt2":
                content, sizes = _program(deployable, precision, any_size=any_size, texts=texts)
            else:
                content, sizes = _weights(deployable, precision, texts), ""
            temporary.write_bytes(content)
            checks = []
            for engine in _opened(deployable, temporary, target.suffix, chosen):
                progress.step(f"comparing in {engine.name} on {len(compared)} {compared.told}")
                checks.append(reference.check(engine, other_size=sizes == "any size"))
            told = f"{len(compared)} {compared.told}"
            limit = TOLERANCES[precision] if tolerance is None else tolerance
            made = Exported(target, FORMATS[target.suffix], precision, len(content), sizes, told, limit, tuple(checks))
            least = reference.least_agreement(precision) if agreement is None else agreement
            _require(made, agreement=least, of_spread=OF_SPREAD if tolerance is None else math.inf)
    except OSError as error:
        raise LaminaError(
            f"{target} could not be written ({error.strerror or error}).",
            "A folder that may be written, with room on its disk, was expected; what was there before is untouched.",
            "Choose another place, or make room, and export again.",
        ) from error
    if any(check.is_vacuous for check in checks):
        warn(
            f"{target} was tried on {made.tried_on}, in which no box was found: how it chooses boxes is untested. "
            'Pass data="photos/" (--data photos/) with pictures of what it detects.'
        )
    return made


def _checked(path: str | os.PathLike[str], precision: str, tolerance: float | None, agreement: float | None) -> Path:
    target = Path(path)
    if target.suffix not in FORMATS:
        known = ", ".join(f"{suffix} ({name})" for suffix, name in FORMATS.items())
        raise LaminaError(
            f"{target} ends in {target.suffix or 'nothing'!r}.",
            f"The ending says which format is written: {known}.",
            "Name the file so.",
        )
    if target.is_dir():
        raise LaminaError(f"{target} is a folder.", "The name of a file was expected.", "Name a file in it.")
    if precision not in PRECISIONS:
        raise unknown_name("precision", precision, PRECISIONS)
    if precision == "int8" and target.suffix != ".onnx":
        raise LaminaError(
            f"int8 came with {target}.", "Only ONNX files hold 8-bit networks.", "Name a file that ends in .onnx."
        )
    if tolerance is not None and not tolerance >= 0:
        raise LaminaError(f"tolerance is {tolerance}.", "0 or more was expected.", "Leave it out for the usual one.")
    if agreement is not None and not 0 <= agreement <= 1:
        raise LaminaError(
            f"agreement is {agreement}.",
            "A share of the classes, 0 to 1, was expected.",
            "Leave it out for the usual one.",
        )
    return target


def _chosen(target: Path, engines: Sequence[str] | None) -> Sequence[str] | None:
    """The engines to compare in, each once; None for all that are installed."""
    if engines is None:
        return None
    named = list(dict.fromkeys([engines] if isinstance(engines, str) else engines))
    for name in named:
        if name not in ENGINES:
            raise unknown_name("engine for ONNX", name, ENGINES)
    if target.suffix != ".onnx" or not named:
        raise LaminaError(
            f"engines={named} came with {target}.",
            f"Of {', '.join(ENGINES)}, which run an .onnx, at least one was expected; other files are run by torch.",
            "Leave engines (--engine) out.",
        )
    if "openvino" in named and not _has_openvino():  # before minutes are spent
        raise MissingExtraError("OpenVINO", "openvino")
    return named


def _onnx(
    deployable: Deployable,
    reference: Reference,
    calibration: Samples,
    precision: str,
    *,
    any_size: bool,
    texts: Mapping[str, str],
) -> tuple[bytes, str]:
    """The bytes, and the sizes of pictures that they take: open ones are tried, for a converter may have fixed them inside."""
    arithmetic = precision if precision != "int8" else "float32"
    progress.step("writing ONNX")
    model = onnx_file.to_onnx(deployable, any_size=any_size, precision=arithmetic)
    if onnx_file.is_open(model):
        progress.step("trying another size of pictures")
        engine = OnnxEngine(onnx_file.with_texts(model, texts))
        if not reference.takes_other_sizes(engine, arithmetic):
            model = onnx_file.to_onnx(deployable, any_size=False, precision=arithmetic)
    sizes = _sizes(deployable, is_open=onnx_file.is_open(model))
    if precision == "int8":
        own = Reference(deployable, calibration, engine=OnnxEngine(model.SerializeToString()))  # several times as fast
        model = int8.quantise(model, own, calibration)
    return onnx_file.with_texts(model, texts), sizes


def _program(deployable: Deployable, precision: str, *, any_size: bool, texts: Mapping[str, str]) -> tuple[bytes, str]:
    progress.step("writing a torch program")
    made = translations.without_library(program(deployable, any_size=any_size, precision=precision))
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of weights that share memory; the file is opened again and asked
        torch.export.save(made, stream, extra_files={EXTRA_FILE: json.dumps(dict(texts))})
    return stream.getvalue(), _sizes(deployable, is_open=any(any(axes[2:]) for axes in open_axes(made)))


def _weights(deployable: Deployable, precision: str, texts: Mapping[str, str]) -> bytes:
    """The `state_dict` under its own keys. "format" says "pt", as other programs expect of weights of torch."""
    tensors = {
        name: (value.to(TYPES[precision]) if value.is_floating_point() else value).detach().cpu().contiguous().clone()
        for name, value in deployable.net.state_dict().items()
    }
    about = {name: text for name, text in texts.items() if name not in ("format", "version")}
    return save_tensors(tensors, {"format": "pt", metadata.FORMAT: metadata.VERSION, **about})


def _sizes(deployable: Deployable, *, is_open: bool) -> str:
    if any(value.dim() != 4 for value in deployable.example):
        return ""
    height, width = deployable.example[0].shape[2:]
    return "any size" if is_open else f"{height} x {width} px"


def _opened(deployable: Deployable, path: Path, suffix: str, chosen: Sequence[str] | None) -> list[Engine]:
    """What runs the file, which is read from the disk again: of an .onnx the chosen engines, or whatever is here."""
    content = path.read_bytes()
    if suffix == ".onnx":
        names = [name for name in ENGINES if name != "openvino" or _has_openvino()] if chosen is None else chosen
        return [OpenVinoEngine(content) if name == "openvino" else OnnxEngine(content) for name in names]
    if suffix == ".pt2":
        return [ModuleEngine("torch.export", torch.export.load(io.BytesIO(content)).module())]
    module = deployable.module()
    plain = copy.deepcopy(module.net)
    for value in plain.state_dict().values():
        value.zero_()  # what the file lacks is not there by chance
    plain.load_state_dict(load_tensors(content))
    module.net = plain
    return [ModuleEngine("plain torch", module)]


def _require(made: Exported, *, agreement: float, of_spread: float) -> None:
    """Raises LaminaError where the answers lie too far from the network's, or too few classes agree."""
    failed = [check for check in made.checks if not _is_close(check, made.tolerance, agreement, of_spread)]
    if not failed:
        return
    checks = "; ".join(map(str, made.checks))
    least = (
        f", and {100 * agreement:g} % of the {made.checks[0].alike},"
        if agreement and made.agreement is not None
        else ""
    )
    if any((check.of_spread or 0) > of_spread for check in failed):
        least += f", and on average {100 * of_spread:g} % of the spread of the values,"
    ways = ["export it in float32"] if made.precision != "float32" else []
    good = [check.engine for check in made.checks if check not in failed]
    if good:  # of several that run an .onnx
        ways.append(f"leave {failed[0].engine} out, if it is not to run there, by engines={good} (--engine {good[0]})")
    if math.isfinite(made.largest_difference):
        ways.append(f"allow it by {_allowing(made, agreement, of_spread)}")
    remedy = ", or ".join(ways) or "look into the network for what gives no finite numbers"
    raise LaminaError(
        f"In {made.precision} {made.path} answers otherwise than the network, on {made.tried_on} ({checks}).",
        f"Differences of at most {made.tolerance:g}{least} were expected; the file was not written.",
        f"{remedy[0].upper()}{remedy[1:]}.",
    )


def _is_close(check: Check, tolerance: float, agreement: float, of_spread: float) -> bool:
    same = check.agreement is None or check.agreement >= agreement
    return check.largest_difference <= tolerance and same and (check.of_spread or 0.0) <= of_spread


def _allowing(made: Exported, agreement: float, of_spread: float) -> str:
    """The settings that would let it pass."""
    ways = []
    if made.largest_difference > made.tolerance or any((check.of_spread or 0) > of_spread for check in made.checks):
        enough = f"{_rounded_up(made.largest_difference):g}"
        ways.append(f"tolerance={enough} (--tolerance {enough})")
    if made.agreement is not None and made.agreement < agreement:
        enough = f"{math.floor(100 * made.agreement) / 100:g}"
        ways.append(f"agreement={enough} (--agreement {enough})")
    return " and ".join(ways)


def _rounded_up(value: float) -> float:
    """The next number of one digit."""
    digit = 10.0 ** math.floor(math.log10(value)) if value else 1.0
    return math.ceil(value / digit) * digit


def _has_openvino() -> bool:
    return importlib.util.find_spec("openvino") is not None
