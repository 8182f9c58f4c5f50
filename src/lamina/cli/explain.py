"""`lamina explain`: looks into a model and writes what it sees as pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from lamina.cli.commands import Format, Function, ModelFile, app

WHATS = ("grad-cam", "occlusion", "features", "filters", "exciting", "embeddings")
_OF_PICTURES = WHATS[:3]


@app.command(short_help="Pictures of what a model looks at, and of what it has learnt.")
def explain(
    path: ModelFile,
    images: Annotated[
        list[str] | None, typer.Argument(metavar="PICTURE...", help="Pictures, or folders of them.")
    ] = None,
    what: Annotated[
        str,
        typer.Option(
            help="grad-cam or occlusion: where the answer comes from. features: what layers see. filters: what the first layer "
            "looks for. exciting: the pictures of DATA that excite a channel. embeddings: DATA as points."
        ),
    ] = "grad-cam",
    layer: Annotated[
        str | None, typer.Option(help="A layer's name; for features a stride too. [the last, or three]")
    ] = None,
    label: Annotated[str | None, typer.Option(help="The class to explain. [the most probable]")] = None,
    channel: Annotated[int, typer.Option(min=0, help="Of --layer, for exciting.")] = 0,
    method: Annotated[str, typer.Option(help="Of embeddings: pca, tsne or umap.")] = "pca",
    data: Annotated[
        str | None, typer.Option(metavar="DATA", help="For exciting and embeddings. [the run's own]")
    ] = None,
    limit: Annotated[int, typer.Option(min=2, help="Look at so many pictures of DATA at most.")] = 2000,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="The picture to write, of several one sheet. [a file for each]"
        ),
    ] = None,
    format: Format = None,
    model: Function = None,
) -> None:
    """Pictures of what a model looks at: heat over each PICTURE by default, as PICTURE-grad-cam.png in this folder."""
    from lamina.cli import early, patience
    from lamina.core.errors import UnknownNameError, unknown_name

    if what not in WHATS:
        raise unknown_name("way to explain", what, WHATS)
    named = list(images or [])
    if bool(named) != (what in _OF_PICTURES):
        raise UnknownNameError(
            f"--what {what} came {'with' if named else 'without'} pictures.",
            f"{', '.join(_OF_PICTURES)} explain pictures, {', '.join(WHATS[3:])} none.",
            "Leave the pictures out." if named else f"Name some: lamina explain {path} cat.jpg.",
        )
    if output is not None:
        check_ending(output)
    early.check_options(format=format)
    with patience.told():
        from lamina.cli import opening

        opened = opening.open_model(path, model)
        if what in _OF_PICTURES:
            _of_pictures(opened, named, what, layer, label, output)
            return
        told = {"layer": layer, "channel": channel, "method": method, "limit": limit}
        drawn = _of_data(opened, path, what, told, data, format)
        typer.echo(drawn.save(output or Path(f"{_stem(path)}-{what}.png")))


def _of_pictures(
    model: Any, named: list[str], what: str, layer: str | None, label: str | None, output: Path | None
) -> None:
    from lamina import explain
    from lamina.core import progress
    from lamina.core.errors import DataError, LaminaError
    from lamina.core.files import replacing
    from lamina.models import pictures
    from lamina.structures import draw

    files = [Path(file) for each in named for file in pictures.files(each) or []]
    if what == "features" and len(files) > 1 and output is not None:
        raise LaminaError(
            f"{len(files)} pictures came with one --output.", "features writes a sheet for each.", "Leave --output out."
        )
    if what == "occlusion" and layer is not None:
        raise LaminaError(f"--layer {layer} came.", "Occlusion covers the picture itself.", "Leave it out.")
    taken, heats, failed = set[Path](), list[explain.Heat](), 0
    for file in progress.counted(f"explaining ({what})", files, len(files)):
        try:
            if what == "features":
                depth = int(layer) if layer is not None and layer.isdecimal() and not _is_layer(model, layer) else layer
                drawn: Any = explain.feature_maps(model, file, depth)
            elif what == "occlusion":
                drawn = explain.occlusion(model, file, label=label)
            else:
                drawn = explain.grad_cam(model, file, label=label, layer=layer)
        except DataError as error:
            if len(files) == 1:
                raise
            typer.echo(str(error), err=True)
            failed += 1
            continue
        if output is not None and what != "features":
            heats.append(drawn)
            continue
        told = "" if what == "features" else f"  {drawn.told}"
        typer.echo(f"{drawn.save(output or _free(file, what, taken))}{told}")
    if heats and output is not None:
        if len(heats) == 1:
            heats[0].save(output)
        else:
            with replacing(output) as temporary:
                draw.grid([heat.draw() for heat in heats]).save(temporary, format=_kind(output))
        for heat in heats:
            typer.echo(heat.told)
        typer.echo(output)
    if failed:
        raise typer.Exit(1)


def _of_data(model: Any, path: Path, what: str, told: dict[str, Any], data: str | None, format: str | None) -> Any:
    from lamina import explain
    from lamina.cli import opening
    from lamina.core.errors import LaminaError

    run = opening.run_of(path)
    if what == "filters":
        config = {} if run is None else opening.read_config(run)
        try:
            return explain.filters(model, before=_seed(config))
        except LaminaError:
            if _seed(config) is None:
                raise
            return explain.filters(model)  # a network that no name describes
    if data is None and run is None:
        raise LaminaError(
            f"--what {what} came without data.", "It looks at many pictures.", "Name some: --data photos/."
        )
    if data is None:
        assert run is not None
        splits = opening.run_data(run, opening.read_config(run), command="explain")
    else:
        splits = opening.open_data(data, format)
    _, part = opening.part_of(splits, model)
    if what == "exciting":
        found = explain.exciting(model, part, told["layer"], told["channel"], limit=told["limit"])
        if told["layer"] is None:
            typer.echo(f"The layer is {found.layer}, the last with maps; --layer names another.", err=True)
        return found
    return explain.embeddings(model, part, told["method"], layer=told["layer"], limit=told["limit"])


def _seed(config: dict[str, Any]) -> int | None:
    """The seed of a run's initial values; None where it began with weights from elsewhere."""
    asked = config.get("asked", {})
    borrowed = any(asked.get(name) or config.get(name) for name in ("pretrained", "weights"))
    seed = config.get("seed")
    return seed if isinstance(seed, int) and not borrowed else None


def _is_layer(model: Any, name: str) -> bool:
    return any(name == known for known, _ in model.net.named_modules())


def _stem(path: Path) -> str:
    return path.resolve().name if path.is_dir() else path.stem


def _free(file: Path, what: str, taken: set[Path]) -> Path:
    """A name in this folder that no other picture of this call has."""
    number, target = 1, Path(f"{file.stem}-{what}.png")
    while target in taken:
        number += 1
        target = Path(f"{file.stem}-{number}-{what}.png")
    taken.add(target)
    return target


def _kind(path: Path) -> str:
    from PIL import Image

    return Image.registered_extensions().get(path.suffix.lower(), "PNG")


def check_ending(path: Path) -> None:
    """Raises UnknownNameError for a file that is to be a picture and is called otherwise."""
    from lamina.core.errors import UnknownNameError

    endings = (".png", ".jpg", ".pdf")
    if path.suffix.lower() not in endings:
        raise UnknownNameError(
            f"--output {path} came.",
            f"A picture's name was expected: {', '.join(endings)}.",
            f"Use {path.with_suffix('.png')}.",
        )
