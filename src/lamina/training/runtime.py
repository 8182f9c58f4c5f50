"""Where and how things run: device, precision, memory format, memory kept by the allocator. Chosen once, given to the step.

Beside it only world.py, core/random.py and nn/native.py name a device backend, and no other file enters autocast. Each choice has an
off switch here and a line in benchmarks/RESULTS.md.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import mmap
import os
import platform
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from lamina.core.errors import LaminaError, UnknownNameError, nearest_names
from lamina.nn import in_eval_mode, synchronise
from lamina.structures.batch import Batch
from lamina.training.world import World, is_spread
from lamina.training.world import shard as spread_out

PRECISIONS = ("auto", "float32", "bfloat16", "float16")
COMPILATIONS = ("auto", "reduce-overhead")
Devices = str | torch.device | Sequence[str | torch.device]


class Runtime:
    """Where and how the processes of a run train.

    `device` is a name, or a list with a device for each process of this machine. `precision` "auto" is bfloat16 autocast
    where the processor computes it in hardware, else float32; "float16" scales the loss so that small gradients survive.
    `channels_last` lays images and kernels out as the convolution kernels of today want them. `fused` asks the optimizer for
    its one-kernel step. `keep_memory` tells glibc to keep freed memory: returning it costs a page fault per page and step.
    `compile` lets torch compile the network in training; "auto" is where it was measured to pay, which so far is nowhere.
    "reduce-overhead" also has a GPU replay its steps as CUDA graphs, for small networks whose kernels take longer to launch than to
    run; elsewhere it is True. It has not been run on a GPU yet.
    `deterministic` makes two runs on one GPU bit-equal, at a price in speed; on a processor they are anyway. Matrix products
    of training in float32 use the GPU's TF32 units unless `tf32` is False. Lamina's own kernels for processors (nn/native.py) are
    switched off for a whole process, by the environment variable LAMINA_KERNELS=0.
    `prefetch` copies the next batch of data on the disk to a GPU while the current one is trained on, by a stream of its own; one
    batch more lies on the device. Its order was tested with made-up streams; it has not been run on a GPU yet.

    Where torchrun started several processes they are joined here. `synchronise` makes BatchNorms see the batches of all of
    them, and `shard` spreads the parameters over them, for networks that do not fit into one device.
    """

    def __init__(
        self,
        device: Devices = "auto",
        *,
        precision: str = "auto",
        channels_last: bool = True,
        fused: bool = True,
        keep_memory: bool = True,
        compile: bool | Literal["auto", "reduce-overhead"] = "auto",
        deterministic: bool = False,
        tf32: bool = True,
        prefetch: bool = True,
        synchronise: bool = False,
        shard: bool = False,
    ) -> None:
        started = (
            "TORCHELASTIC_RUN_ID" in os.environ
        )  # by torchrun; other variables of its kind may mean other processes
        first = device if isinstance(device, str | torch.device) else device[0]
        self.world = World.join(str(first)) if started else World.current()
        self.device = _device(device, self.world)
        _check("precision", precision, PRECISIONS, "Use one of these.")
        if not isinstance(compile, bool):
            _check("compile", compile, COMPILATIONS, "Use one of these, True or False.")
        if precision == "auto":
            precision = "bfloat16" if has_bfloat16(self.device) else "float32"
        self.precision = precision
        self.synchronises, self.shards = synchronise, shard and self.world.size > 1
        self.channels_last = channels_last and not self.shards  # fully_shard takes contiguous parameters alone
        self.fused = fused
        # DeepConvNet on two cores (AVX2): 99 to 108 ms a compiled step, 88 ms an eager one.
        self.compiles = compile in (True, "reduce-overhead")
        self.graphs = compile == "reduce-overhead" and self.device.type == "cuda"
        self.deterministic = deterministic
        self.prefetches = prefetch and self.pins
        if keep_memory and self.device.type == "cpu":
            keep_freed_memory()
        if self.device.type == "cuda":
            set_float32_products(*["tf32" if tf32 else "ieee"] * 2)
            if deterministic:
                _make_deterministic()

    def __repr__(self) -> str:
        layout = "channels last" if self.channels_last else "channels first"
        return f"Runtime({self.device}, {self.precision}, {layout})"

    def place(self, net: nn.Module) -> nn.Module:
        """Moves a network to the device in place, its convolution kernels to channels-last; spreads it. Keys stay the user's."""
        if is_spread(net):
            return net  # its pieces lie where they belong
        if self.channels_last and any(isinstance(module, nn.Conv2d) for module in net.modules()):
            net.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        else:
            net.to(self.device)
        if self.synchronises:
            synchronise(net)
        return spread_out(net, self.world) if self.shards else net

    def compile(self, net: nn.Module) -> nn.Module:
        """Compiles a network in place where that was chosen: the same module, the same keys."""
        if self.graphs:
            net.compile(mode="reduce-overhead")
        elif self.compiles:
            net.compile()
        return net

    def begin_step(self) -> None:
        """Says that a step begins, whose graphs may overwrite what networks answered before. Own steps call it first, and keep copies."""
        if self.graphs:
            torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]

    def put(self, value: Tensor) -> Tensor:
        """The tensor on the device; four-dimensional ones in channels-last if so chosen."""
        if value.device != self.device:
            value = value.to(self.device, non_blocking=self.pins)  # else the host may write there again too soon
        if self.channels_last and value.dim() == 4:
            return value.contiguous(memory_format=torch.channels_last)
        return value

    @property
    def pins(self) -> bool:
        """Whether host memory that stays in place is copied to the device faster, beside other work."""
        return self.device.type == "cuda"

    def ahead(self, adapt: Callable[[Batch], Batch], batches: Iterator[Batch]) -> Iterator[Batch]:
        """The batches as `adapt` puts them on the device: where `prefetches`, each while the one before it is trained on."""
        return self._copied_beside(adapt, batches) if self.prefetches else map(adapt, batches)

    def _copied_beside(self, adapt: Callable[[Batch], Batch], batches: Iterator[Batch]) -> Iterator[Batch]:
        backend, side = torch.get_device_module(self.device), _side_stream(self.device)
        coming: tuple[Batch, Any] | None = None
        failure: Exception | None = None
        while True:
            current, coming = coming, None
            try:
                if (read := next(batches, None)) is not None:
                    with backend.stream(side):  # torch keeps pinned memory until the copy on this stream is done
                        coming = adapt(read), side.record_event()
            except Exception as error:
                failure = error
            if current is not None:  # also where its successor failed: it comes first
                batch, is_copied = current
                main = backend.current_stream(self.device)
                main.wait_event(is_copied)
                for tensor in _tensors(batch):
                    tensor.record_stream(main)  # or the side stream is given its memory while main still reads it
                yield batch
            if failure is not None:
                raise failure
            if coming is None:
                return

    def fits(self, tensors: Iterable[Tensor]) -> bool:
        """Whether the tensors leave at least half of the device's free memory to the network."""
        if self.device.type != "cuda":
            return True
        wanted = sum(tensor.numel() * tensor.element_size() for tensor in tensors if tensor.device != self.device)
        return wanted < torch.cuda.mem_get_info(self.device)[0] / 2

    def memory(self) -> int | None:
        """Bytes of memory: the most that the device had in use, on a CPU what this process has; None where nobody can tell."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device)
        if self.device.type == "mps":
            return torch.mps.driver_allocated_memory()
        with contextlib.suppress(OSError):
            return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * mmap.PAGESIZE
        return None

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        """The context in which a training step computes its loss: the chosen precision."""
        if self.precision == "float32":
            return _NOTHING
        return torch.autocast(self.device.type, dtype=getattr(torch, self.precision))


_NOTHING = contextlib.nullcontext()


@functools.cache
def _side_stream(device: torch.device) -> Any:
    """The stream of a device on which copies run: one for all epochs, because the allocator keeps memory for each."""
    return torch.get_device_module(device).Stream(device)


def _tensors(batch: Batch) -> list[Tensor]:
    parts = [part if isinstance(part, tuple) else (part,) for part in batch if part is not None]
    return [tensor for part in parts for tensor in part]


def set_float32_products(*precisions: str) -> tuple[str, ...]:
    """How a GPU multiplies float32 in matrix products and in convolutions, "ieee" or "tf32"; returns what held before."""
    backends = (torch.backends.cuda.matmul, torch.backends.cudnn.conv)  # type: ignore[attr-defined]
    before = tuple(backend.fp32_precision for backend in backends)
    for backend, precision in zip(backends, precisions, strict=True):
        backend.fp32_precision = precision
    return before


def _make_deterministic() -> None:
    """For the whole process, as torch has it: kernels whose sums run in one order, and none chosen by timing."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuBLAS is first used
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False


@contextlib.contextmanager
def determinism_told() -> Iterator[None]:
    """Says in three parts which operation a deterministic run asked for that torch computes in no fixed order."""
    try:
        yield
    except RuntimeError as error:
        came, _, rest = str(error).partition(", but you set 'torch.use_deterministic_algorithms(True)'")
        if "use_deterministic_algorithms" not in str(error):
            raise
        raise LaminaError(
            f"{(came if rest else str(error).splitlines()[0]).strip()}.",
            "A deterministic run was asked for, which needs operations whose sums run in one order.",
            "Train on device='cpu', where they do, put another layer in its place (AdaptiveAvgPool2d(1) is deterministic), or, if its "
            "runs may differ in the last bits, call torch.use_deterministic_algorithms(True, warn_only=True) before training.",
        ) from error


def has_bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 in hardware. Where it does not, emulation is about ten times slower than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and not processor_flags().isdisjoint({"avx512_bf16", "amx_bf16", "bf16"})


@contextlib.contextmanager
def evaluating(*networks: nn.Module) -> Iterator[None]:
    """Eval mode and true float32 for a while; afterwards every module is in the mode it was in, frozen BatchNorms included."""
    products = set_float32_products("ieee", "ieee")
    try:
        with in_eval_mode(*networks):
            yield
    finally:
        set_float32_products(*products)


@functools.cache
def processor_flags() -> frozenset[str]:
    """The instruction sets of this processor as Linux names them; elsewhere none."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() in ("flags", "Features"):
                return frozenset(value.split())
    return frozenset()


@functools.cache
def keep_freed_memory() -> bool:
    """Tells glibc's malloc to keep what is freed instead of handing it back to the system; True where that took effect.

    A training step allocates and frees the same large blocks again and again; each time the system would have to map and
    zero their pages anew.
    """
    if sys.platform != "linux" or platform.libc_ver()[0] != "glibc":
        return False
    trim_threshold, mmap_threshold = -1, -3  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD of malloc.h
    libc = ctypes.CDLL(None)
    # Older versions of glibc refuse thresholds above 32 MiB.
    mapped = libc.mallopt(mmap_threshold, 1 << 30) or libc.mallopt(mmap_threshold, 1 << 25)
    return bool(libc.mallopt(trim_threshold, (1 << 31) - 1) and mapped)


def _check(argument: str, value: str, known: Sequence[str], remedy: str) -> None:
    if value not in known:
        near = ", ".join(repr(name) for name in nearest_names(str(value), known))
        raise UnknownNameError(f"{argument}={value!r} is not known.", f"The nearest known: {near}.", remedy)


def _device(device: Devices, world: World) -> torch.device:
    if isinstance(device, Sequence) and not isinstance(device, str):
        return _named(_own_of(list(device), world), world)
    name, _, index = str(device).partition(":")
    several = world.size > 1 and int(os.environ.get("LOCAL_WORLD_SIZE", str(world.size))) > 1
    if several and index and name != "cpu":
        raise LaminaError(
            f"device={str(device)!r} came in each of {world.size} processes.",
            "Each process trains on a device of its own.",
            f'Pass {name!r} or "auto" for the device of its rank, or a list with a device for each process of the machine.',
        )
    return _named(f"cuda:{world.local_rank}" if several and name == "cuda" else device, world)


def _named(device: str | torch.device, world: World) -> torch.device:
    if device != "auto":
        try:
            chosen = torch.device(device)
            torch.empty(0, device=chosen)
        except (RuntimeError, AssertionError) as error:  # an unknown name; a backend that is not there
            raise LaminaError(
                f"The device {str(device)!r} cannot be used ({str(error).splitlines()[0]}).",
                f"Here there are: {', '.join(devices())}.",
                'Choose one of these, or "auto".',
            ) from error
        return chosen
    if torch.cuda.is_available():
        return torch.device("cuda", world.local_rank) if world.size > 1 else torch.device("cuda")
    if torch.backends.mps.is_available() and world.size == 1:
        return torch.device("mps")
    return torch.device("cpu")


def devices() -> list[str]:
    """The names of the devices of this machine."""
    gpus = [f"cuda:{index}" for index in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    return ["cpu", *gpus, *(["mps"] if torch.backends.mps.is_available() else [])]


def lacks(device: str) -> bool:
    """Whether a GPU of that name is not on this machine; asked without waking one. Raises RuntimeError for no device's name."""
    kind, here = torch.device(device).type, devices()
    return kind in ("cuda", "mps") and device not in [*here, *(name.partition(":")[0] for name in here)]


def _own_of(chosen: list[str | torch.device], world: World) -> str | torch.device:
    """This process's device of a list that has one for each process of the machine."""
    if world.local_rank < len(chosen) and (len(chosen) == 1 or world.size > 1):
        return chosen[world.local_rank]
    raise LaminaError(
        f"device is a list of {len(chosen)}, and "
        + (f"this is process {world.local_rank} of its machine." if world.size > 1 else "this is one process."),
        "Each process of a run trains on one device of the list.",
        f"Start the script by: torchrun --nproc-per-node {max(len(chosen), 1)} SCRIPT.py, or name one device.",
    )
