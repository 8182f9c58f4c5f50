"""The processes that train together: torch.distributed under torchrun. Who am I, and what do all of us say?

Gradients are averaged here, at the update, and no network is wrapped: a step may use several networks, or one through
several of its methods, and leave parts of them out of some batches. All of that has been seen to fail under a DDP wrapper.
"""

from __future__ import annotations

import atexit
import os
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from lamina.core.errors import LaminaError

_BUCKET = 25 << 20  # bytes that go round in one call, as in torch's DDP: while one travels the next is filled
_SHARDED_FROM = 1 << 20  # numbers: what is smaller travels with the module around it
_TIMEOUT_S = 1800.0
_LEFT: list[World] = []  # those that this process has left; it joins no other


@dataclass(frozen=True)
class World:
    """The place of this process among all: `rank` of `size`, and `local_rank` among those of this machine."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @property
    def is_main(self) -> bool:
        """Whether this process is the one that prints, logs and writes."""
        return self.rank == 0

    @property
    def shard(self) -> tuple[int, int]:
        """(rank, size), as loaders take it."""
        return self.rank, self.size

    @classmethod
    def current(cls) -> World:
        """The world as torch.distributed knows it; one process where it is not initialised."""
        if not (dist.is_available() and dist.is_initialized()):
            return cls()
        return cls(dist.get_rank(), dist.get_world_size(), int(os.environ.get("LOCAL_RANK", "0")))

    @classmethod
    def join(cls, device: str = "auto", *, timeout_s: float = _TIMEOUT_S) -> World:
        """Joins the other processes if torchrun started this one; leaves them at exit. A second call changes nothing.

        They talk by NCCL on GPUs, each of which gets one process, and by gloo on processors. Where somebody does not answer
        within `timeout_s` the others fail. Raises LaminaError where there are fewer GPUs than processes.
        """
        world = cls.current()
        if _LEFT or dist.is_initialized() or "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
            return world
        backend = "gloo"
        if device.split(":")[0] in ("auto", "cuda") and torch.cuda.is_available():
            local, there = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
            if local >= there:
                raise LaminaError(
                    f"Process {local + 1} of this machine came, and it has {there} GPUs.",
                    "Each process trains on a GPU of its own.",
                    f"Pass --nproc-per-node {there} (--devices {there}) or less.",
                )
            torch.cuda.set_device(local)
            backend = "cpu:gloo,cuda:nccl"  # what is small and on the host need not visit the GPU
        timeout = timedelta(seconds=timeout_s)
        store, rank, size = next(rendezvous("env://", timeout=timeout))
        if os.environ.get("GROUP_WORLD_SIZE", "1") == "1":
            # torchrun keeps one store over its restarts: without a place of their own in it the processes would find the
            # addresses of those that are gone. Machines count restarts each for itself, so there the store must be new.
            store = PrefixStore(f"attempt {os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=timeout)
        atexit.register(_leave)
        return cls.current()

    def leave(self) -> None:
        """Waits for the others, then goes on alone: afterwards `World.current()` has one process."""
        if self.size > 1:
            self.barrier()
            _LEFT.append(self)
        _leave()

    # Gradients and weights ----------------------------------------------------------------------------------------

    def average(self, parameters: Iterable[nn.Parameter], count: float | Tensor = 1.0) -> None:
        """Replaces gradients by their mean over all processes, weighed by counts.

        Before, `.grad` holds the sum of count_i * grad_i over this process's batches, and `count` is the sum of its count_i
        (samples, tokens); afterwards the sums of all processes, divided by the sum of all counts. A gradient that is None
        here and present elsewhere counts as zeros; None everywhere stays None. Multiply the *loss* by its count, not the
        gradient: synchronised BatchNorms and sharded parameters carry parts of it to other processes in the backward pass.
        """
        given = list(parameters)
        sharded = [p for p in given if is_sharded(p)]
        plain = [p for p in given if not is_sharded(p)]
        if not plain:
            self._rescale(sharded, count)
            return
        buckets = _buckets(plain)
        missing = [p.grad is None for p in plain]
        flats, works = [], []
        for index, bucket in enumerate(buckets):
            sizes = [p.numel() for p in bucket]
            tail = 1 + len(plain) if index == 0 else 0  # the first also carries the count, and who has which gradient
            flat = torch.empty(sum(sizes) + tail, dtype=wide(bucket[0].dtype), device=bucket[0].device)
            views = _views(flat, bucket)
            there = [(view, p.grad) for view, p in zip(views, bucket, strict=True) if p.grad is not None]
            if len(there) < len(bucket):
                flat.zero_()
            if there:
                torch._foreach_copy_([view for view, _ in there], [gradient for _, gradient in there])
            if isinstance(count, Tensor):  # the gradients of a batch that counts nothing may be NaN
                flat[: sum(sizes)].masked_fill_(count <= 0, 0.0)
            if tail:
                ends = flat[-tail:]
                if isinstance(count, Tensor):
                    ends[0].copy_(count.detach().reshape(()))
                else:
                    ends[0].fill_(count)
                ends[1:].fill_(1.0)
                if any(missing):
                    ends[1:].copy_(torch.tensor([0.0 if none else 1.0 for none in missing]))
            flats.append((flat, views))
            if self.size > 1:
                works.append(dist.all_reduce(flat, async_op=True))
        for work in works:
            work.wait()
        ends = flats[0][0][-1 - len(plain) :]
        total = ends[0].clamp(min=1e-12)
        # Only who lacks a gradient has to look whether another has it, and to wait for the device to know.
        present = [value > 0 for value in ends[1:].tolist()] if any(missing) else [True] * len(plain)
        somebody_has = iter(present)
        for (flat, views), bucket in zip(flats, buckets, strict=True):
            flat.div_(total)
            for view, p in zip(views, bucket, strict=True):
                if next(somebody_has):
                    p.grad = view.to(p.dtype)
        self._rescale(sharded, total, summed=True)

    def _rescale(self, sharded: Sequence[nn.Parameter], count: float | Tensor, *, summed: bool = False) -> None:
        """fully_shard has taken the plain mean over processes already."""
        if not sharded:
            return
        total = count if summed else self.sum(count).clamp(min=1e-12)
        for p in sharded:
            if p.grad is not None:
                p.grad.mul_(self.size / total)

    def mean(self, value: Tensor, count: float | Tensor = 1.0) -> Tensor:
        """The mean of a scalar over all processes, weighed by counts: what a line search compares."""
        if self.size == 1:
            return value.detach()
        both = torch.stack([value.detach().double() * count, torch.as_tensor(count, device=value.device).double()])
        dist.all_reduce(both)
        return (both[0] / both[1]).to(value.dtype)

    def sum(self, value: float | Tensor) -> Tensor:
        """The sum of a number over all processes; on the device of `value`."""
        total = torch.as_tensor(value).detach().clone()
        total = total if total.is_floating_point() else total.double()
        if self.size > 1:
            dist.all_reduce(total)
        return total

    def broadcast(self, networks: nn.Module | Iterable[nn.Module], *, buffers_only: bool = False) -> None:
        """Gives all processes the parameters and buffers of process 0, or the buffers alone. Not for sharded networks."""
        if self.size == 1:
            return
        tensors: dict[int, Tensor] = {}
        for net in [networks] if isinstance(networks, nn.Module) else networks:
            for tensor in [*([] if buffers_only else net.parameters()), *net.buffers()]:
                if not is_sharded(tensor):
                    tensors[id(tensor)] = tensor.detach()
        self.broadcast_tensors(tensors.values())

    def broadcast_tensors(self, tensors: Iterable[Tensor]) -> None:
        """Fills tensors, which all processes have alike, with the values of process 0."""
        for bucket in _buckets(tensors) if self.size > 1 else ():
            flat = torch.empty(sum(t.numel() for t in bucket), dtype=bucket[0].dtype, device=bucket[0].device)
            views = _views(flat, bucket)
            for view, tensor in zip(views, bucket, strict=True):
                view.copy_(tensor)
            dist.broadcast(flat, 0)
            for view, tensor in zip(views, bucket, strict=True):
                tensor.copy_(view)

    # Words --------------------------------------------------------------------------------------------------------

    def gather(self, value: Any) -> list[Any]:
        """The objects of all processes, in their order, on each of them; tensors in them should be on the host."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    def most(self, *values: int) -> list[int]:
        """The largest of each value over all processes: with flags, whether any has one."""
        if self.size == 1:
            return list(values)
        told = torch.tensor(values, dtype=torch.int64, device=_words_device())
        dist.all_reduce(told, dist.ReduceOp.MAX)
        return [int(value) for value in told.tolist()]

    def barrier(self) -> None:
        """Waits until all have come; fails after the time that `join` was given."""
        if self.size > 1:
            self.most(0)


class Agreement:
    """Lets all processes do something between the same two updates, though each of them learns of it at another time.

    A signal reaches one process, or a callback ends training on one: had it stopped at once, the others would wait for its
    gradients for ever. So all ask one another, not at each step but about `a_second` times a second, and when they do so
    next is also agreed on.
    """

    def __init__(self, world: World, *, a_second: float = 20.0) -> None:
        self._world, self._interval_s = world, 1.0 / a_second
        self._steps, self._next = 0, 1
        self._asked_at = time.perf_counter()

    def __call__(self, *wishes: int, now: bool = False) -> list[int] | None:
        """The largest of each wish over all processes; None at a step at which nobody asks. All must call it alike."""
        if self._world.size == 1:
            return list(wishes)
        self._steps += 1
        if self._steps < self._next and not now:
            return None
        elapsed = max(time.perf_counter() - self._asked_at, 1e-9)
        steps = min(max(int(self._steps * self._interval_s / elapsed), 1), 1000)
        *agreed, slowest = self._world.most(*wishes, -steps)
        self._steps, self._next = 0, -slowest
        self._asked_at = time.perf_counter()
        return agreed


# Sharded networks -------------------------------------------------------------------------------------------------


def shard(net: nn.Module, world: World) -> nn.Module:
    """Spreads the parameters over all processes in place (torch's fully_shard); keys stay the user's.

    Modules with a million numbers of their own or more are sharded one by one, so that only one of them is whole at a
    time; the rest goes with the root. Networks that are used through another method than `forward` need torch's
    `register_fsdp_forward_method`. All processes must run the same modules in each batch.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    world.broadcast(net)
    device = next(net.parameters()).device
    mesh = init_device_mesh(device.type, (world.size,))
    done: set[int] = set()
    for module in reversed(list(net.modules())):  # children before their parents
        if module is net or isinstance(module, nn.ModuleList | nn.ModuleDict):
            continue  # a list is never called, so nothing would make its parameters whole
        own = {id(p): p.numel() for p in module.parameters() if id(p) not in done}
        if sum(own.values()) >= _SHARDED_FROM:
            fully_shard(module, mesh=mesh)
            done |= own.keys()
    fully_shard(net, mesh=mesh)
    return net


def whole(state: Any) -> Any:
    """The same nested state with sharded tensors made whole, in host memory. All processes must call it alike."""
    if isinstance(state, dict):
        return {name: whole(value) for name, value in state.items()}
    if isinstance(state, list | tuple):
        return type(state)(whole(value) for value in state)
    sharded: Any = state
    return sharded.full_tensor().cpu() if isinstance(state, Tensor) and is_sharded(state) else state


def spread(state: Any, like: Any) -> Any:
    """The inverse of `whole`: a tensor that stands where `like` holds a sharded one is cut as that is."""
    if isinstance(state, dict) and isinstance(like, dict):
        return {name: spread(value, like.get(name)) for name, value in state.items()}
    if isinstance(state, list) and isinstance(like, list) and len(state) == len(like):
        return [spread(value, other) for value, other in zip(state, like, strict=True)]
    tensors = isinstance(like, Tensor) and isinstance(state, Tensor)
    if not (tensors and is_sharded(like)) or is_sharded(state) or state.shape != like.shape:
        return state
    from torch.distributed.tensor import DTensor, distribute_tensor

    assert isinstance(like, DTensor)
    return distribute_tensor(state.to(like.device), like.device_mesh, like.placements)


def spread_optimizer(state: dict[str, Any], optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """An optimizer's state that `whole` made whole, cut as the optimizer's parameters are."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    return dict(
        spread(state, {"state": {at: dict.fromkeys(own, parameters[at]) for at, own in state["state"].items()}})
    )


def is_sharded(tensor: Tensor) -> bool:
    """Whether a tensor is spread over processes."""
    module = sys.modules.get("torch.distributed.tensor")  # where nobody has imported it, nothing is
    return module is not None and isinstance(tensor, module.DTensor)


def is_spread(net: nn.Module) -> bool:
    """Whether `shard` has spread a network; between its passes the parameters of a spread one may be whole for a while."""
    module = sys.modules.get("torch.distributed.fsdp")
    return module is not None and isinstance(net, module.FSDPModule)


def abandon() -> None:
    """For a process that has failed: at its end it waits for nobody, and the others notice that it is gone."""
    atexit.unregister(_leave)


def _leave() -> None:
    if dist.is_available() and dist.is_initialized() and not hasattr(sys, "last_value"):  # a failed one must not wait
        dist.destroy_process_group()


def _words_device() -> torch.device:
    """Host memory, unless the user's own group can only talk from GPUs."""
    on_host = "gloo" in str(dist.get_backend_config()) or not torch.cuda.is_available()
    return torch.device("cpu") if on_host else torch.device("cuda", torch.cuda.current_device())


def wide(dtype: torch.dtype) -> torch.dtype:
    """The type in which numbers of a type are summed up: float32 for halves."""
    return torch.promote_types(dtype, torch.float32)


def _buckets(tensors: Iterable[Tensor]) -> list[list[Tensor]]:
    """Neighbours of one type on one device, up to a size: the same on all processes."""
    buckets: list[list[Tensor]] = []
    room, kind = 0, None
    for tensor in tensors:
        size = tensor.numel() * tensor.element_size()
        if kind != (tensor.dtype, tensor.device) or size > room:
            buckets.append([])
            room, kind = _BUCKET, (tensor.dtype, tensor.device)
        buckets[-1].append(tensor)
        room -= size
    return buckets


def _views(flat: Tensor, tensors: Sequence[Tensor]) -> list[Tensor]:
    """Parts of a flat tensor in the shapes and memory layouts of others, as fused optimizers want gradients."""
    views, offset = [], 0
    for tensor in tensors:
        if tensor.is_contiguous() or (tensor.dim() == 4 and tensor.is_contiguous(memory_format=torch.channels_last)):
            views.append(flat.as_strided(tensor.shape, tensor.stride(), offset))
        else:
            views.append(flat[offset : offset + tensor.numel()].view(tensor.shape))
        offset += tensor.numel()
    return views
