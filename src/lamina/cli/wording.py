"""What the library says to who writes Python, said to who types a command: `batch_size=32` is `--batch-size 32`."""

from __future__ import annotations

import re
from collections.abc import Callable

_OPTIONS = (
    "accumulate",
    "augment",
    "average",
    "batch_size",
    "checkpoint_every",
    "clip_norm",
    "device",
    "epochs",
    "freeze_epochs",
    "log_every",
    "optimizer",
    "precision",
    "recipe",
    "schedule",
    "seed",
)
_RULES: list[tuple[str, str | Callable[[re.Match[str]], str]]] = [
    (r"\bresume=True\b(?: \(--resume\))?", "--resume"),
    (r"update=\{'accumulate': (\d+)\} in compile\b", r"--accumulate \1"),
    (r"\bbegin with weights that have learnt \(model=[^)]*\)\)", "try another network (--model NAME)"),
    (r"\(epochs=\.\.\.\)", "(--epochs N)"),
    (r", or pass the \w+ as an object\.", "."),
    (r"\bUse model\.evaluate\(data\)[^.]*\.", "Its figures: lamina evaluate MODEL."),
    (r"\bCall summary\(input_shape=[^.]*\)\.", "Add --input-shape 3,32,32: channels, height, width."),
    (r"\b(?:learning_rate|lr)=", "--lr "),
    (rf"\b({'|'.join(_OPTIONS)})=(['\"]?)([\w.:+-]+?)\2(?=[\s,;.)]|$)", lambda m: f"{_option(m[1])} {m[3]}"),
    (r"\b(batch_size|clip_norm|checkpoint_every|log_every|freeze_epochs)\b", lambda m: _option(m[1])),
]


def as_typed(text: str) -> str:
    """The text with Python's arguments as the options of the command line."""
    for pattern, told in _RULES:
        text = re.sub(pattern, told, text)
    return text


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"
