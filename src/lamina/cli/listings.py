"""`lamina models`, `datasets` and `env`: what there is."""

from __future__ import annotations

import json
import shutil
import textwrap
from typing import Annotated, Any

import typer

from lamina.cli.commands import Json, app


@app.command()
def models(
    task: Annotated[
        str | None, typer.Option(metavar="NAME", help="classification, detection or segmentation. [all]")
    ] = None,
) -> None:
    """The networks that --model knows by name, and the recipes."""
    from lamina import networks, recipes
    from lamina.cli import opening
    from lamina.cli.options import ANNOTATED, USUAL, check_name

    check_name("task", task, USUAL)
    tasks = tuple(USUAL) if task is None else (task,)
    known = recipes.names() if "classification" in tasks else []
    width = max(map(len, [*(name for each in tasks for name in networks.names(each)), *known]))
    room = max(shutil.get_terminal_size().columns - width - 15, 20)
    if "classification" in tasks:
        typer.echo(f"{'network':{width}s}  {'parameters':>11s}  (for the usual pictures and classes)")
        for name in networks.names():
            told = textwrap.shorten(networks.headline(name), room, placeholder=" ...")
            typer.echo(f"{name:{width}s}  {opening.parameters_of(name):>11s}  {told}")
    for number, each in enumerate(each for each in tasks if each in ANNOTATED):
        typer.echo(
            "\n" * (number > 0 or task is None)
            + f"{f'for {each}':{width}s}  {'parameters':>11s}  (of 10 classes; or --backbone)"
        )
        for name in networks.names(each):
            under = f"on {networks.backbone(name)}"
            typer.echo(f"{name:{width}s}  {opening.parameters_of(name):>11s}  {under}")
    if known:
        typer.echo(f"\n{'recipe':{width}s}  (settings with a measured result)")
    for name in known:
        recipe = recipes.get(name)
        typer.echo(f"{name:{width}s}  {recipe.network} on {recipe.data}, {recipe.epochs} epochs")
    typer.echo("\nAlso timm/NAME, a network of timm's; FILE.py:NAME, your own class or function.")


@app.command(short_help="The data sets that can be named.")
def datasets(as_json: Json = False) -> None:
    """The data sets that can be named: for what, how many pictures, how much is fetched, under which licence."""
    from lamina.data.datasets import described

    listed = described()
    if as_json:
        typer.echo(json.dumps(listed, indent=2))
        return
    width = max(len(entry["name"]) for entry in listed)
    typer.echo(f"{'data set':{width}s}  {'task':14s}  {'pictures':>9s}  {'size':>8s}  {'':8s}  licence")
    for entry in listed:
        size = f"{entry['bytes'] / 1e6:,.0f} MB" if entry["bytes"] else ""
        where = "at hand" if entry["at_hand"] else "by hand" if entry["by_hand"] else "fetched"
        line = f"{entry['name']:{width}s}  {entry['tasks'][0]:14s}  {entry['pictures']:9,d}  {size:>8s}  {where:8s}  "
        room = max(shutil.get_terminal_size().columns - len(line), 20)
        typer.echo(line + textwrap.shorten(entry["licence"], room, placeholder=" ..."))
    typer.echo("\nat hand: in the cache or the package; by hand: `lamina data info NAME` says what to put where.")


@app.command()
def env(as_json: Json = False) -> None:
    """Versions, processor and devices, for a bug report."""
    from lamina.cli import machine

    facts = machine.environment()
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
        return
    for name, value in facts.items():
        typer.echo(f"{name:14s} {_shown(value)}")


def _shown(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
