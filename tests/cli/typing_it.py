"""Types a command line as a user would, against a scripted Server A, and gives back what the user would see."""

from collections.abc import Callable
from pathlib import Path

from click.testing import CliRunner, Result

from dirsync.cli.main import dirsync, lab3
from dirsync.wire.messages import Message
from tests.client.scripted_server import Answer, ScriptedServer

COMMANDS = {"dirsync": dirsync, "lab3": lab3}


def typed(line: str, *more: str) -> Result:
    """Run the line, split at blanks, then `more` as they are."""
    name, *words = line.split()
    return CliRunner().invoke(COMMANDS[name], [*words, *more])


def scripted(folder: Path, answer: Callable[[Message], Answer]) -> ScriptedServer:
    return ScriptedServer(folder, answer)


def the_error(result: Result) -> str:
    """Return the one line on standard error."""
    (line,) = result.stderr.splitlines()
    return line
