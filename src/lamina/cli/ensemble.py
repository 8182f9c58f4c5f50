"""`lamina ensemble`: several models that answer as one, beside each of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from lamina.cli.commands import Format, Json, app
from lamina.core.errors import LaminaError, UnknownNameError


@app.command(short_help="Several models that answer as one, beside each of them.")
def ensemble(
    members: Annotated[
        list[Path], typer.Argument(metavar="MODEL...", help="Model files, run folders, or one folder of snapshots.")
    ],
    data: Annotated[
        str, typer.Option(metavar="DATA", help="What to measure on: a data set's name, or a folder per class.")
    ],
    split: Annotated[
        str | None,
        typer.Option(help="train, validation or test. [default: test, else validation, else what training held out]"),
    ] = None,
    weights: Annotated[
        str, typer.Option(metavar="WEIGHTS", help="equal, learned (on validation pictures), or numbers: 1,2,1.")
    ] = "equal",
    average: Annotated[str, typer.Option(metavar="WHAT", help="Average probs or logits.")] = "probs",
    validation: Annotated[
        str | None, typer.Option(metavar="DATA", help="Learn weights on this. [default: the validation part of --data]")
    ] = None,
    tta: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Several views of each picture: ten-crop, multi-scale, flip, shift."),
    ] = None,
    save: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the ensemble into one model file.")] = None,
    format: Format = None,
    as_json: Json = False,
) -> None:
    """Loss and accuracy of several models and of their mean, and what it gains over the best of them."""
    from lamina.cli import opening
    from lamina.models import tta as views
    from lamina.tasks import Ensemble
    from lamina.tasks.classification.ensemble import member_files

    numbers = None if weights in ("equal", "learned") else _numbers(weights)
    if validation is not None and weights != "learned":
        raise UnknownNameError(
            f"--validation came beside --weights {weights}.",
            "It is what weights are learned on.",
            "Add --weights learned.",
        )
    if tta is not None:
        views.get(tta)
    if average not in ("probs", "logits"):
        raise UnknownNameError(f"--average is {average!r}.", "It is probs or logits.", "Leave it out for probs.")
    kind: Literal["probs", "logits"] = "logits" if average == "logits" else "probs"
    paths = member_files(members[0]) if len(members) == 1 else members
    if len(paths) < 2:
        raise LaminaError(
            f"{paths[0]} is one model.",
            "Two members or more were expected, to be compared.",
            f"Name further files, or a folder of snapshots; of one model: lamina evaluate {paths[0]} DATA.",
        )
    opened = Ensemble([_member(path, opening) for path in paths], weights=numbers, average=kind)
    opened.names = list(map(str, paths))
    splits = opening.open_data(data, format)
    if weights == "learned":
        opened.learn_weights(splits if validation is None else opening.open_data(validation, format))
    name, part = opening.part_of(splits, opened, split)
    table = opened.compare(part if split is not None or name != "train" else splits, tta=tta)
    if save is not None:
        opened.save(save)
    held = opening.is_held_out(name, splits)
    if as_json:
        typer.echo(json.dumps({"split": name, "held_out": held, "pictures": len(part), **table.to_dict()}))
        return
    typer.echo(f"{data}, {name}{', held out by training' if held else ''}: {len(part):,} pictures")
    typer.echo(str(table))
    if save is not None:
        typer.echo(f"Saved: {save}")


def _member(path: Path, opening: Any) -> Any:
    """The classifier of a file or a run."""
    from lamina.tasks import Classifier

    model = opening.open_model(path)
    if not isinstance(model, Classifier):
        raise LaminaError(
            f"{path} holds another kind: {type(model).__name__}.",
            "The members of an ensemble are classifiers.",
            "Leave it out.",
        )
    return model


def _numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise UnknownNameError(
            f"--weights {text!r} came.", "It is equal, learned, or a number for each member.", "Use --weights 1,2,1."
        ) from None
