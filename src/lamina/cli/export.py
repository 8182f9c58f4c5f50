"""`lamina export`: a trained model as a file for other programs, compared with the network before it gets its name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from lamina.cli.commands import Function, Json, ModelFile, app
from lamina.core.errors import LaminaError


@app.command(short_help="Write a model as ONNX, torch program or plain weights.")
def export(
    model: ModelFile,
    out: Annotated[
        Path,
        typer.Argument(metavar="OUT", help="FILE.onnx, FILE.pt2 (torch.export) or FILE.safetensors (weights alone)."),
    ],
    precision: Annotated[
        str, typer.Option(help="float32, float16, bfloat16, or of ONNX int8 (static, calibrated on --data).")
    ] = "float32",
    data: Annotated[
        str | None,
        typer.Option(
            metavar="DATA",
            help="Pictures to compare on, and to calibrate int8 on: a folder, a data set's name. [default: the run's own]",
        ),
    ] = None,
    tolerance: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            help="Largest difference of the answers. [default: 1e-3; float16 0.02, bfloat16 0.1, int8 0.5; values also a fifth of their "
            "spread on average]",
        ),
    ] = None,
    agreement: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=1.0,
            help="Least share of the pictures that keep their class. [default: 0.99, of the pixels of maps in float32 0.999]",
        ),
    ] = None,
    engine: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Compare an .onnx in this alone: onnxruntime or openvino; may be given twice. [default: all that are installed]",
        ),
    ] = None,
    fixed_size: Annotated[
        bool, typer.Option("--fixed-size", help="Take pictures of the model's own size alone.")
    ] = False,
    function: Function = None,
    as_json: Json = False,
) -> None:
    """Write a file that runs without lamina; it is run, and compared with the network on pictures.

    Where its answers lie farther apart than --tolerance, or fewer classes agree than --agreement, nothing is written, and the
    exit code is 1.
    """
    from lamina.cli import early, patience
    from lamina.core import export_texts

    early.check_name("precision", precision, early.keys("export/writing.py", "PRECISIONS") or [precision])
    for name in engine or ():
        early.check_name("engine", name, early.keys("export/writing.py", "ENGINES") or [name])
    if out.suffix not in export_texts.FORMATS:
        known = ", ".join(f"{suffix} ({kind})" for suffix, kind in export_texts.FORMATS.items())
        raise LaminaError(
            f"{out} ends in {out.suffix or 'nothing'!r}.",
            f"The ending says which format is written: {known}.",
            "Name the file so.",
        )
    with patience.told():
        from lamina.cli import opening

        opened = opening.open_model(model, function)
        tried = opening.data_of(model, command="export", needed=precision == "int8") if data is None else data
        made = opened.export(
            out,
            precision=precision,
            data=tried,
            tolerance=tolerance,
            agreement=agreement,
            any_size=not fixed_size,
            engines=engine or None,
        )
    typer.echo(json.dumps(made.to_dict(), indent=2) if as_json else str(made))
