"""Owns how a command line is run: commands are imported when they are named, and errors become one line and a status.

This is the only place that turns an error into an exit status. `--debug` adds the traceback.
"""

import importlib
import io
import sys
import traceback
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import ClassVar, NoReturn

import click

from dirsync.cli.options import Invocation
from dirsync.errors import DirsyncError

INTERRUPTED = 130
FAILED = 1


class CommandGroup(click.Group):
    """A group whose commands are named by `module:attribute` and imported on use, so that each starts fast."""

    commands_at: ClassVar[Mapping[str, str]] = {}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the public names, in the order in which they are explained."""
        return [name for name in self.commands_at if not name.startswith("-")]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command."""
        place = self.commands_at.get(cmd_name)
        if place is None:
            return None
        module, _, attribute = place.partition(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def main(  # type: ignore[override]  # click returns where it is not standalone; this never does
        self, args: Sequence[str] | None = None, prog_name: str | None = None, complete_var: str | None = None
    ) -> NoReturn:
        """Run one command line and exit with its status."""
        name = prog_name or self.name or ""
        invocation = Invocation()
        _escape_what_cannot_be_shown()
        sys.excepthook = _UnexpectedError(name, invocation)
        sys.exit(self._status(args, name, complete_var, invocation))

    def _status(self, args: Sequence[str] | None, name: str, complete_var: str | None, invocation: Invocation) -> int:
        try:
            status = super().main(args, name, complete_var, standalone_mode=False, obj=invocation)
        except click.Abort:
            return INTERRUPTED
        except click.ClickException as error:
            _say(name, invocation, error, f"{error.format_message()} (see `{_help_of(error, name)}`)")
            return error.exit_code
        except DirsyncError as error:
            _say(name, invocation, error, str(error))
            return error.exit_code
        except OSError as error:
            _say(name, invocation, error, str(error))
            return FAILED
        return status if isinstance(status, int) else 0


class _UnexpectedError:
    """A mistake in dirsync itself: still one line, and how to see more."""

    def __init__(self, name: str, invocation: Invocation) -> None:
        self._name = name
        self._invocation = invocation

    def __call__(self, kind: type[BaseException], error: BaseException, _: TracebackType | None) -> None:
        text = f"unexpected {kind.__name__}: {error}"
        hint = "" if self._invocation.is_debug else " (--debug shows where)"
        _say(self._name, self._invocation, error, text + hint)


def _say(name: str, invocation: Invocation, error: BaseException, text: str) -> None:
    if invocation.is_debug:
        traceback.print_exception(error)
    click.echo(f"{name}: {' '.join(text.split())}", err=True)


def _help_of(error: click.ClickException, name: str) -> str:
    context = error.ctx if isinstance(error, click.UsageError) else None
    return f"{context.command_path if context else name} --help"


def _escape_what_cannot_be_shown() -> None:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
