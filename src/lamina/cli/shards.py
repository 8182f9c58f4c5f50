"""`lamina data shard`: a data set as tar files that disks and networks read at full speed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lamina.cli import launch
from lamina.cli.commands import Data
from lamina.cli.data import Format, Task, data_app


@data_app.command(short_help="Write DATA as shards: tar files of many samples.")
def shard(
    data: Data,
    output: Annotated[Path, typer.Argument(metavar="OUTPUT", help="A new folder; each part is a folder in it.")],
    samples_per_shard: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="A shard ends after N samples, whatever their size.")
    ] = None,
    megabytes: Annotated[
        float | None, typer.Option(min=0.001, metavar="MB", help="A shard ends when it has so many. [default: 256]")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the order: samples are shuffled before they are written.")] = 0,
    format: Format = None,
    task: Task = None,
) -> None:
    """Write DATA as shards, which `lamina train OUTPUT` and every reader of WebDataset's layout take.

    Pictures keep their bytes, broken ones too: `lamina check` finds those. An index beside the shards says where each lies, so
    that they are opened at once.
    """
    from lamina.core.errors import UnknownNameError

    if samples_per_shard is not None and megabytes is not None:
        raise UnknownNameError(
            "--samples-per-shard and --megabytes were given.", "One says where a shard ends.", "Leave one out."
        )
    with launch.interrupted("before a shard was begun; nothing was written"):
        from lamina.data import looking
        from lamina.data.shards import MEGABYTES, write_shards

        found = looking.opened(data, format=format, task=task)
        typer.echo(str(found))
    with launch.interrupted(f"before all shards were written; the same command replaces those in {output}"):
        write_shards(
            found,
            output,
            samples_per_shard=samples_per_shard,
            megabytes=MEGABYTES if megabytes is None else megabytes,
            seed=seed,
            told=typer.echo,
        )
    typer.echo(f"Pictures are in there as they came: lamina check {output} finds broken ones.")
