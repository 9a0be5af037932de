"""`dirsync status`, `wait` and `events`: what the servers are doing."""

import errno
import math
import os
import select
import sys
from collections.abc import Callable

import click

from dirsync.cli.options import common_options, json_option
from dirsync.cli.server_a import server_a
from dirsync.core.events import Event
from dirsync.errors import Refusal
from dirsync.render.answers import status_text
from dirsync.render.json import event_json
from dirsync.render.tables import escaped
from dirsync.render.text import event_line, wants_colour
from dirsync.wire.client_messages import EventsPart, EventsRequest, StatusReply, StatusRequest, WaitReply, WaitRequest
from dirsync.wire.meeting import Done
from dirsync.wire.messages import Message

_REASONS_SHOWN = 5
_FOR_EVER = -1.0
_ALL = -1


@click.command()
@json_option
@common_options
def status(*, is_json: bool) -> None:
    """Show both servers at a glance: connected, files, bytes, what is pending, locks, the last error."""
    with server_a() as server:
        reply = server.ask(StatusRequest(), StatusReply)
    click.echo(status_text(reply, is_json=is_json), nl=False)


@click.command()
@click.option("--timeout", type=click.FloatRange(min=0), metavar="S", help="Give up after so many seconds.")
@common_options
def wait(*, timeout: float | None) -> None:
    """Wait until both directories are in sync and nothing is pending, held updates aside."""
    if timeout is not None and not math.isfinite(timeout):
        raise click.BadParameter(f"{timeout} is not a number of seconds", param_hint="--timeout")
    with server_a() as server:
        reply = server.ask(WaitRequest(_FOR_EVER if timeout is None else timeout), WaitReply, seconds=None)
    if not reply.is_in_sync:
        shown = [escaped(reason) for reason in reply.reasons[:_REASONS_SHOWN]]
        if len(reply.reasons) > _REASONS_SHOWN:
            shown.append(f"and {len(reply.reasons) - _REASONS_SHOWN} more")
        raise Refusal(f"not in sync after {timeout or 0:g} s: {'; '.join(shown) or 'no reason known'}")


@click.command()
@click.option("--follow", "is_following", is_flag=True, help="Go on with what happens from now on.")
@json_option
@click.option("--last", type=click.IntRange(min=0), metavar="N", help="Only the last N of what has happened.")
@common_options
def events(*, is_following: bool, is_json: bool, last: int | None) -> None:
    """Show the notifications of both servers, as Server A remembers them."""
    line = event_json if is_json else _text_line()

    def show(part: Message) -> None:
        if isinstance(part, EventsPart) and part.events:
            click.echo("\n".join(line(event) for event in part.events))

    with server_a() as server:
        request = EventsRequest(_ALL if last is None else last, is_following)
        server.ask(request, Done, seconds=None, on_part=show, on_beat=_end_without_reader)


def _end_without_reader() -> None:
    """Raise BrokenPipeError where nobody reads what is printed any more; a write would say so, but none may come."""
    if not hasattr(select, "poll"):
        return
    poll = select.poll()
    try:
        poll.register(sys.stdout.fileno(), 0)
    except (OSError, ValueError):  # not a descriptor, or closed: the next write finds out
        return
    if any(flags & select.POLLERR for _, flags in poll.poll(0)):
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


def _text_line() -> Callable[[Event], str]:
    is_coloured = wants_colour(sys.stdout)
    return lambda event: event_line(event, is_coloured=is_coloured)
