"""How the command line helps and ends: options by topic, and Ctrl-C that says where it came."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup


class Commands(TyperGroup):
    """The commands. What Ctrl-C or SIGTERM has stopped says so once, and ends with the shell's code: 130 or 143."""

    def make_context(self, *args: Any, **extra: Any) -> Any:
        """Parses the command line."""
        with _said():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: Any) -> Any:
        """Runs a command."""
        with _said():
            return super().invoke(ctx)


@contextlib.contextmanager
def _said() -> Iterator[None]:
    from lamina.cli import launch

    try:
        yield
    except KeyboardInterrupt as interrupt:
        launch.say_last(str(interrupt) or "Stopped by Ctrl-C.")
        raise typer.Exit(130) from None
    except SystemExit as ended:
        if not isinstance(ended.code, str):
            raise
        launch.say_last(ended.code)
        raise typer.Exit(143) from None


_UsageError: Any = typer.BadParameter.__mro__[1]  # which typer brings along, or click
_MEANT = {"--pretrained": "A file of weights, or a published name: --weights FILE, without --pretrained."}


class ByTopic(TyperCommand):
    """A command whose help lists its options under their topics (`rich_help_panel`), in the order in which they come."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parses; where an option is given what it does not take, says which one does."""
        typed = list(args)
        try:
            return super().parse_args(ctx, args)
        except _UsageError as error:
            if error.message.startswith(("Got unexpected extra", "Option")):
                named = [hint for option, hint in _MEANT.items() if any(word.split("=")[0] == option for word in typed)]
                error.message = " ".join([error.message, *named])
            raise

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Writes the arguments, then each topic."""
        topics: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is None:
                continue
            usual = "Arguments" if parameter.param_type_name == "argument" else "Other"
            topics.setdefault(getattr(parameter, "rich_help_panel", None) or usual, []).append(record)
        for topic, records in topics.items():
            with formatter.section(topic):
                formatter.write_dl(records)
