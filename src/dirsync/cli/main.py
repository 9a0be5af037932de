"""The two commands: which words they know, and where each is kept. Does nothing itself."""

import click

from dirsync import __version__
from dirsync.cli.group import CommandGroup
from dirsync.cli.lab3_words import spelled_out
from dirsync.cli.options import common_options


class DirsyncGroup(CommandGroup):
    """`dirsync`."""

    commands_at = {
        "serve": "dirsync.cli.serving:serve",
        "status": "dirsync.cli.overview:status",
        "wait": "dirsync.cli.overview:wait",
        "events": "dirsync.cli.overview:events",
        "history": "dirsync.cli.keeping:history",
        "restore": "dirsync.cli.keeping:restore",
        "keygen": "dirsync.cli.credential:keygen",
        "check": "dirsync.cli.checking:check",
    }


class Lab3Group(CommandGroup):
    """`lab3`, whose commands may look like options, and which lists when told nothing."""

    commands_at = {
        "ls": "dirsync.cli.listing:ls",
        "lock": "dirsync.cli.locking:lock",
        "unlock": "dirsync.cli.locking:unlock",
        "locks": "dirsync.cli.locking:locks",
        "-lock": "dirsync.cli.locking:lock_index",
        "-unlock": "dirsync.cli.locking:unlock_index",
    }

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the words in click's own spelling."""
        return super().parse_args(ctx, spelled_out(args, is_completing=ctx.resilient_parsing))


@click.group(
    cls=DirsyncGroup,
    name="dirsync",
)
@click.version_option(__version__, message="%(prog)s %(version)s")
@common_options
def dirsync() -> None:
    """Keep two directories on two servers identical, live."""


@click.group(
    cls=Lab3Group,
    name="lab3",
)
@click.version_option(__version__, message="%(prog)s %(version)s")
@common_options
def lab3() -> None:
    """List both directories as one, and lock files.

    `lab3` alone lists. `lab3 -lock -3` locks the file that the last listing showed at index 3,
    `lab3 -unlock -3` unlocks it.
    """
