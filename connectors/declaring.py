"""What the declarations of commands share. It loads nothing that a --help does not need."""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import click

from connectors.commands.options import Options

Command = TypeVar("Command", bound=Callable[..., Any])
Result = TypeVar("Result")
PATH = click.Path(path_type=Path)


def everywhere(command: Command) -> Command:
    """Accept --data and --config behind every command as well as before it."""

    def keep(context: click.Context, parameter: click.Parameter, value: Path | None) -> None:
        if value is not None and parameter.name is not None:
            setattr(context.ensure_object(Options), parameter.name, value)

    for name, help_text in (
        ("--config", "The settings file (default: ./frontdesk.toml)."),
        ("--data", "Where frontdesk keeps its state."),
    ):
        command = click.option(name, type=PATH, expose_value=False, callback=keep, help=help_text)(command)
    return command


def run_work(work: Coroutine[Any, Any, Result]) -> Result:
    """Do the work of a command, with what goes wrong on the way told in a line each."""
    import asyncio
    import logging

    class OneLine(logging.Formatter):
        """An error in a line; its traceback only with --debug."""

        def formatException(self, ei: Any) -> str:
            return super().formatException(ei) if _debug() else f"{ei[0].__name__}: {ei[1]} (see more with --debug)"

    handler = logging.StreamHandler()
    handler.setFormatter(OneLine("Note: %(message)s"))
    # Also for libraries that raise their own level, as OPENAI_LOG does.
    handler.setLevel(logging.ERROR)
    logging.basicConfig(level=logging.ERROR, handlers=[handler])
    # At a terminal the notes of each reply say which model failed.
    logging.getLogger("agent.models.breaker").setLevel(logging.CRITICAL)
    return asyncio.run(work)


def end_quietly_when_stopped() -> None:
    """Who stops it while it is being loaded gets the same exit status as later, when nothing was begun."""
    import signal

    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))


def _debug() -> bool:
    return click.get_current_context().ensure_object(Options).debug
