"""`lamina calibrate`: a classifier whose probabilities are nearer to how often it is right."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from lamina.cli import early, patience
from lamina.cli.commands import Format, Function, Json, ModelFile, app


@app.command(short_help="Bring a classifier's probabilities nearer to how often it is right.")
def calibrate(
    path: ModelFile,
    data: Annotated[
        str | None,
        typer.Argument(
            metavar="DATA", help="Pictures that it was not trained on. A run of `lamina train` has its own."
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="The file to write. [MODEL itself, anew]")
    ] = None,
    format: Format = None,
    model: Function = None,
    as_json: Json = False,
) -> None:
    """Fit a classifier's temperature to held-out pictures, and write it into its file; no answer gets another class.

    Of DATA the validation part, or what training held out, is learnt from. Where there is a test part too, the error that is
    left is measured on it.
    """
    early.check_options(format=format)
    with patience.told():
        from lamina import explain
        from lamina.cli import opening

        opened = opening.open_model(path, model)
        _require(opened, path)
        splits = _data(path, data, format)
        found = opened.calibrate(splits)
        written = opened.save(opening.model_file(path) if output is None else output)
        test = getattr(splits, "test", None)
        left = None if test is None else explain.calibration(opened, test)
    if as_json:
        told = {"path": str(written), **found.to_dict(), **({} if left is None else {"test": left.to_dict()})}
        typer.echo(json.dumps(told, indent=2))
        return
    typer.echo(str(found))
    if left is not None:
        typer.echo(f"Test, {left.count:,} pictures that it was not fitted to: {left}")
    typer.echo(written)


def _data(path: Path, data: str | None, format: str | None) -> Any:
    from lamina.cli import opening
    from lamina.core.errors import LaminaError

    if data is not None:
        return opening.open_data(data, format)
    run = opening.run_of(path)
    if run is None:
        raise LaminaError(
            f"calibrate came without DATA, and {path} lies in no run's folder.",
            "A run remembers its data, and a bare model file does not.",
            f"Name pictures that it was not trained on: lamina calibrate {path} DATA.",
        )
    return opening.run_data(run, opening.read_config(run), command="calibrate")


def _require(model: Any, path: Path) -> None:
    """Raises LaminaError for what has no temperature."""
    from lamina.core.errors import LaminaError

    if not hasattr(model, "calibrate"):
        raise LaminaError(
            f"{path} holds a {type(model).__name__}.", "A classifier has a temperature.", "Name one, such as runs/pets."
        )
