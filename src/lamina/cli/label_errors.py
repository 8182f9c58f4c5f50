"""`lamina check DATA --labels`: which labels are probably wrong, shown as a page of pictures."""

from __future__ import annotations

import json
import shlex
import warnings
from pathlib import Path

import typer

from lamina.cli import launch

_USUAL = {"model": "fastconvnet", "folds": 4, "epochs": 5}
PAGE, LIST, CLEANED, KEPT = "suspects.html", "suspects.csv", "cleaned.csv", "folds"


def check_labels(
    data: str,
    *,
    output: Path,
    format: str | None = None,
    model: str = "fastconvnet",
    folds: int = 4,
    epochs: int = 5,
    seed: int = 0,
    json_file: str | None = None,
) -> None:
    """Prints the suspects, writes their pictures and two lists into `output`, and says how to go on.

    Folds that are done are kept in `output`, so the same command goes on after a Ctrl-C. `json_file` "-" prints JSON alone.
    """
    from lamina.cli import opening
    from lamina.cli.wording import as_typed
    from lamina.core.errors import DataError
    from lamina.core.files import replacing
    from lamina.tasks.classification.label_errors import find_label_errors

    asked = {"format": format, "model": model, "folds": folds, "epochs": epochs}
    words = [word for name, value in asked.items() if value != _USUAL.get(name) for word in (f"--{name}", str(value))]
    command = f"It goes on with: {shlex.join(['lamina', 'check', data, '--labels', '--output', str(output), *words])}"
    as_json = json_file == "-"
    splits = opening.open_data(data, format)
    if splits.task != "classification":
        raise DataError(
            f"{data} is a data set for {splits.task}.",
            "--labels judges pictures that have one label each.",
            f"Leave it out: lamina check {shlex.quote(data)}.",
        )
    part = next(name for name in splits.parts())
    if not as_json:
        typer.echo(f"{data}: the labels of {len(splits[part]):,} {part} pictures, {len(splits.classes)} classes")
    with launch.interrupted(f"before the first fold was done. {command}"), warnings.catch_warnings():
        if not as_json:  # the summary tells it
            warnings.filterwarnings("ignore", message="The network agrees with")
        try:
            found = find_label_errors(
                splits[part],
                model=model,
                folds=folds,
                epochs=epochs,
                seed=seed,
                run=output / KEPT,
                verbose=0 if as_json else "auto",
            )
        except (KeyboardInterrupt, SystemExit) as error:
            raise type(error)(f"{error}\n{command}" if str(error) else "") from None
    page = found.gallery(output / PAGE)
    found.to_csv(output / LIST)
    cleaned = found.cleaned_list(output / CLEANED) if found.is_learnt else None
    if as_json:
        typer.echo(json.dumps(found.to_dict()))
        return
    if json_file is not None:
        with replacing(json_file) as path:
            path.write_text(json.dumps(found.to_dict()), encoding="utf-8")
    typer.echo(as_typed(str(found)))
    typer.echo(f"Look at them: {page}\nAll of them: {output / LIST}")
    if cleaned is None:
        typer.echo(f"No {CLEANED} is written: the network has learnt too little.")
        return
    typer.echo(f"The data without them: {cleaned}")
    if hasattr(found.data, "paths"):
        typer.echo(f"Train without them: {shlex.join(['lamina', 'train', str(cleaned)])}")
    typer.echo("Correct or remove the files that are wrong, and train again. A suspect is no proof.")
