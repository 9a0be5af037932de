"""`dirsync check`: one line for each thing that has to be right, without changing anything."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click

from dirsync.cli.options import Invocation, common_options
from dirsync.cli.server_a import connect_to
from dirsync.core.entry import Role
from dirsync.errors import ConfigError, DirsyncError, Unreachable
from dirsync.net.tls import Credential
from dirsync.run.checks import check_role, is_this_machine
from dirsync.run.settings import Settings
from dirsync.wire.client_messages import StatusReply, StatusRequest

_WATCHES_ENOUGH = 8192
_INOTIFY = Path("/proc/sys/fs/inotify/max_user_watches")


@click.command()
@common_options
@click.pass_obj
def check(invocation: Invocation) -> int:
    """Check configuration, credential, directories, limits and connectivity, one line each."""
    try:
        settings = invocation.settings()
    except ConfigError as error:
        _report(None, str(error))
        return 1
    _report(f"configuration {settings.path}", None)
    problems = 0
    for look in _looks(settings):
        try:
            _report(look(), None)
        except DirsyncError as error:
            problems += 1
            _report(None, str(error))
    return 1 if problems else 0


def _report(fact: str | None, problem: str | None) -> None:
    click.echo(f"ok       {fact}" if problem is None else f"problem  {problem}")


def _looks(settings: Settings) -> Iterator[Callable[[], str]]:
    yield lambda: _credential(settings)
    for role in Role:
        if is_this_machine(settings.server(role)):
            yield lambda role=role: _directory(settings, role)  # type: ignore[misc]
            yield lambda role=role: _state(settings, role)  # type: ignore[misc]
    if sys.platform == "linux":
        yield _watches
    yield from _connections(settings)


def _credential(settings: Settings) -> str:
    Credential.load(settings.key)
    return f"credential {settings.key}"


def _directory(settings: Settings, role: Role) -> str:
    check_role(settings, role)
    directory = settings.server(role).directory
    if not os.access(directory, os.R_OK | os.W_OK | os.X_OK):
        raise ConfigError(f"directory of server {role.upper()}: {directory} cannot be read and written by this user")
    return f"directory of server {role.upper()}: {directory}"


def _state(settings: Settings, role: Role) -> str:
    """Judge the nearest directory that is there: the state itself is made at the first start."""
    state = settings.state_of(role)
    present = next(place for place in (state, *state.parents) if place.exists())
    if not present.is_dir() or not os.access(present, os.W_OK | os.X_OK):
        raise ConfigError(f"state of server {role.upper()}: {present} cannot be written by this user")
    return f"state of server {role.upper()}: {state}"


def _watches() -> str:
    try:
        watches = int(_INOTIFY.read_text("ascii"))
    except (OSError, ValueError):
        return f"watches: {_INOTIFY} does not say how many there may be"
    if watches < _WATCHES_ENOUGH:
        raise ConfigError(f"watches: {watches} directories at most; raise fs.inotify.max_user_watches with sysctl")
    return f"watches: {watches} directories at most"


def _connections(settings: Settings) -> Iterator[Callable[[], str]]:
    """B is seen through A, as a client sees everything."""
    try:
        with connect_to(settings) as server:
            status = server.ask(StatusRequest(), StatusReply)
    except DirsyncError as error:
        text = str(error)
        yield lambda: _unreachable(text)
        return
    yield lambda: f"server A answers at {settings.reach(Role.A)}"
    yield lambda: _other(status)


def _unreachable(text: str) -> str:
    raise Unreachable(text)


def _other(status: StatusReply) -> str:
    if not status.is_connected:
        raise Unreachable("server B is not connected to server A; start it with `dirsync serve --role b`")
    return "server B is connected to server A"
