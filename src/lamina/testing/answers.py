"""What a network answers, and that it does so whatever the mode, the other rows, the copy, the layout and the precision."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from lamina.core.errors import listed
from lamina.testing.case import ROWS, Case, outputs_of
from lamina.testing.fault import ContractError, checking
from lamina.training import recalibrate

_TRIES = 4  # a dropped unit or a dead ReLU may keep the gradient of one batch from a small layer
_CLOSE = 1e-3  # of the answers' size: float32 sums in another order
_ROUNDINGS = 4  # times a network's distance to its answers in float64 that another order of sums may make
_ROUNDED = 0.01  # a thousand layers make 0.004 of it; more is no rounding
_HALF = 0.15  # of the answers' length: bfloat16 keeps 8 bits, and a deep network adds up its roundings


def check_parameters(case: Case, wanted: int) -> None:
    count = sum(value.numel() for value in case.net.parameters())
    if count != wanted:
        raise ContractError(
            "parameters",
            f"The network has {count:,} parameters.",
            f"It should have {wanted:,}: {abs(count - wanted):,} {'fewer' if count > wanted else 'more'}.",
            "Count them layer by layer with lamina summary.",
        )


def check_output(case: Case) -> None:
    classes: dict[str, int] = {}
    for size in case.sizes:
        where = f"pictures of {size[0]} x {size[1]} px"
        with checking("output", f"Logits for {where} were expected.", "Pass sizes that the network takes."):
            case.net.eval()
            images = case.images(2, size)
            with torch.no_grad():
                outputs = outputs_of(case.net(images))
            if not all(value.isfinite().all() for value in outputs.values()):
                # BatchNorms that have seen nothing do not normalise, and each of hundreds of residual units doubles the variance
                with checking("output", "Finite logits were expected.", "Look at the initial values."):
                    recalibrate(case.net, [images])
                    with torch.no_grad():
                        outputs = outputs_of(case.net(images))
        for field, value in outputs.items():
            if value.dim() != 2 or len(value) != 2 or not value.is_floating_point():
                raise ContractError(
                    "output",
                    f"{field} of 2 {where} is {value.dtype} of the shape {tuple(value.shape)}.",
                    "Floating-point logits (B K) were expected.",
                    "Flatten the last map, and end in the class layer.",
                )
            if not value.isfinite().all():
                raise ContractError(
                    "output",
                    f"{field} of random {where} is not finite.",
                    "Finite logits were expected of a new network.",
                    "Look at the initial values.",
                )
            if classes.setdefault(field, value.shape[1]) != value.shape[1]:
                raise ContractError(
                    "output",
                    f"{field} has {value.shape[1]} classes for {where}.",
                    f"It has {classes[field]} for the first size.",
                    "Pool to a fixed size in front of the class layer.",
                )


def check_modes(case: Case) -> None:
    images = case.images()
    kinds = {}
    for mode in (True, False):
        case.net.train(mode)  # a step in train mode moves statistics from their first values, which would hide faults
        with checking(
            "modes", "An answer in train and in eval mode was expected.", "Look at what depends on training."
        ):
            with torch.no_grad():
                answer = case.net(images)
            kinds[mode] = (type(answer), {field: tuple(value.shape) for field, value in outputs_of(answer).items()})
    if kinds[True] != kinds[False]:
        (train, train_fields), (evaluated, eval_fields) = kinds[True], kinds[False]
        raise ContractError(
            "modes",
            f"Train mode gives a {train.__name__} of {train_fields}, eval mode a {evaluated.__name__} of {eval_fields}.",
            "The same type, fields and shapes were expected.",
            "Give auxiliary answers in both modes, as fields of one NamedTuple.",
        )
    before = {name: value.clone() for name, value in _tensors(case.net).items()}
    first, second = case.answers(images), case.answers(images)
    if not all(torch.equal(a, b) for a, b in zip(first, second, strict=True)):
        raise ContractError(
            "modes",
            "In eval mode the same pictures were answered differently the second time.",
            "The same answer was expected: nothing may be random, or follow the pictures, in eval mode.",
            "Give F.dropout training=self.training, and change no buffer in eval mode.",
        )
    changed = [name for name, value in _tensors(case.net).items() if not torch.equal(value, before[name])]
    if changed:
        raise ContractError(
            "modes",
            f"Answering in eval mode changed {', '.join(changed[:4])}.",
            "Nothing in the network may change in eval mode.",
            "Update statistics where self.training is true.",
        )


def _tensors(net: nn.Module) -> dict[str, Tensor]:
    return dict([*net.named_parameters(), *net.named_buffers()])


def check_gradients(case: Case) -> None:
    net = copy.deepcopy(case.net).train()
    wanted = {name: value for name, value in net.named_parameters() if value.requires_grad}
    with torch.no_grad():
        for value in net.parameters():
            if not value.any():
                value.normal_(
                    std=0.1
                )  # a layer that starts at zero, as a block's last BatchNorm may, hides all behind it
    silent = list(wanted)
    for _ in range(_TRIES):
        with checking("gradients", "Gradients of the logits were expected.", "Keep tensors attached in forward."):
            outputs = outputs_of(net(case.images()))
            torch.autograd.backward([(value * torch.randn_like(value)).sum() for value in outputs.values()])
        silent = [name for name, value in wanted.items() if value.grad is None or not value.grad.any()]
        if not silent:
            break
    infinite = [name for name, value in wanted.items() if value.grad is not None and not value.grad.isfinite().all()]
    missing = [name for name in silent if wanted[name].grad is None]
    for names, came in (
        (missing, "got no gradient"),
        (silent, f"got a gradient of zeros for {_TRIES} random batches"),
        (infinite, "got a gradient that is not finite"),
    ):
        if names:
            raise ContractError(
                "gradients",
                f"{listed(names, most=4)} {came}.",
                "Every parameter that requires a gradient should get one, finite and not zero.",
                "Use it in forward, or take it out, or set requires_grad = False.",
            )


def check_rows(case: Case) -> None:
    images = case.images()
    others = torch.cat([images[:1], 5 * case.images(ROWS - 1)])
    for name, batch in (("other pictures in the other rows", others), ("no other rows", images[:1])):
        with checking("rows", f"An answer to {len(batch)} pictures was expected.", "Let no layer count on the batch."):
            answered = zip(case.answers(images), case.answers(batch), strict=True)
        for alone, among in answered:
            apart = (alone[0] - among[0]).abs().max() / alone[0].abs().max().clamp_min(1e-12)
            if not apart <= _CLOSE and not apart <= _ROUNDINGS * _rounding(case, images):
                raise ContractError(
                    "rows",
                    f"In eval mode the first picture's answer changes by {apart:.1%} with {name}.",
                    "Each picture is answered by itself.",
                    "Take no statistics over the batch in eval mode; flatten from dimension 1.",
                )


def check_copies(case: Case) -> None:
    images = case.images()
    expected = case.answers(images)
    with checking("deepcopy", "A copy that answers was expected.", "Keep what cannot be copied out of the network."):
        copied = case.answers(images, copy.deepcopy(case.net))
    same(
        "deepcopy",
        expected,
        copied,
        "A deep copy answers differently.",
        "Let forward use the network's own modules only.",
    )
    state = case.net.state_dict()
    for name, value in state.items():
        if not isinstance(value, Tensor):
            raise ContractError(
                "state",
                f"{name} in the state is a {type(value).__name__}.",
                "Tensors alone were expected: other things need a pickle to be kept.",
                "Keep it as an argument of the network, or as a buffer.",
            )
    with checking("state", "The state was expected to fit a new network.", "Make the same layers each time."):
        again = case.make()
        again.load_state_dict(state)
        loaded = case.answers(images, again)
    remedy = "Make what is random or learned a parameter or a buffer, and nothing else a part of the answer."
    same("state", expected, loaded, "A new network with the old one's state answers differently.", remedy)


def same(check: str, expected: Sequence[Tensor], came: Sequence[Tensor], told: str, remedy: str) -> None:
    """Raises ContractError, beginning with what is `told`, where two lists of tensors are not equal bit for bit."""
    if not all(torch.equal(a, b) for a, b in zip(expected, came, strict=True)):
        raise ContractError(check, told, "The same, bit for bit, was expected.", remedy)


def check_layouts(case: Case) -> None:
    images = case.images()
    expected = case.answers(images)
    last = torch.channels_last
    with checking("channels-last", "An answer in channels-last was expected.", "Use reshape or flatten, not view."):
        net = copy.deepcopy(case.net).to(memory_format=last)
        came = case.answers(images.contiguous(memory_format=last), net)
    _near("channels-last", expected, came, lambda: _ROUNDINGS * _rounding(case, images), _CLOSE)
    with checking("bfloat16", "An answer in bfloat16 was expected.", "Make tensors in forward of the images' type."):
        net = copy.deepcopy(case.net).to(torch.bfloat16)
        came = case.answers(images.to(torch.bfloat16), net)
    if any(value.dtype != torch.bfloat16 for value in came):
        raise ContractError(
            "bfloat16",
            f"A network in bfloat16 answered in {', '.join(str(value.dtype) for value in came)}.",
            "bfloat16 was expected.",
            "Make tensors in forward of the images' type.",
        )
    # bfloat16 keeps 16 bits less
    _near("bfloat16", expected, [value.float() for value in came], lambda: 2**16 * _rounding(case, images), _HALF)


def _rounding(case: Case, images: Tensor) -> float:
    """How far the answers are from those in float64: hundreds of residual units make much of a float32's last bit."""
    plain, net = case.answers(images), copy.deepcopy(case.net).double()
    try:
        exact = case.answers(images.double(), net)
    except (RuntimeError, TypeError):  # it takes nothing but float32
        return 0.0
    apart = [float((a - b).norm() / b.norm().clamp_min(1e-12)) for a, b in zip(plain, exact, strict=True)]
    return min(max(apart), _ROUNDED)


def _near(
    check: str, expected: Sequence[Tensor], came: Sequence[Tensor], own: Callable[[], float], tolerance: float
) -> None:
    """Raises ContractError for answers that are farther apart than the tolerance, and than the network's `own` roundings explain."""
    for float32, other in zip(expected, came, strict=True):
        apart = (float32 - other).norm() / float32.norm().clamp_min(1e-12)
        if not apart <= tolerance and not apart <= own():
            raise ContractError(
                check,
                f"The answers differ by {apart:.2%} of their length.",
                f"At most {tolerance:.1%} was expected.",
                "Let forward not depend on how tensors lie in memory or what type they have.",
            )
