"""`dirsync serve`: one server in the foreground, its notifications on standard output."""

import sys
from collections.abc import Callable

import click

from dirsync.cli.options import Invocation, common_options
from dirsync.cli.printing import Notifications
from dirsync.core.entry import Role
from dirsync.core.events import Event
from dirsync.render.json import event_json
from dirsync.render.text import event_line, wants_colour
from dirsync.run.serve import serve as run_server


@click.command()
@click.option("--role", type=click.Choice([role.value for role in Role]), required=True, help="Which server to run.")
@click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="How notifications are printed: for people, or one JSON object a line.",
)
@click.option("--quiet", is_flag=True, help="Print no notifications.")
@common_options
@click.pass_obj
def serve(invocation: Invocation, *, role: str, log_format: str, quiet: bool) -> int:
    """Run one server until it is told to stop (Ctrl-C, SIGTERM)."""
    settings = invocation.settings()
    with Notifications(None if quiet else sys.stdout, _line(log_format)) as notifications:
        return run_server(Role(role), settings, notifications.emit)


def _line(log_format: str) -> Callable[[Event], str]:
    if log_format == "json":
        return event_json
    is_coloured = wants_colour(sys.stdout)
    return lambda event: event_line(event, is_coloured=is_coloured)
