"""Owns how a command comes to its connection with Server A."""

from collections.abc import Iterator
from contextlib import contextmanager

import click

from dirsync.cli.options import Invocation
from dirsync.client.calls import ServerA, connect
from dirsync.client.way import Way, note_way
from dirsync.core.entry import Role
from dirsync.errors import CredentialError, Unreachable
from dirsync.net.tls import Credential
from dirsync.run.settings import Settings
from dirsync.wire.shortway import SOCKET_NAME


@contextmanager
def server_a() -> Iterator[ServerA]:
    """Connect to the Server A of the configuration for the length of a command.

    Raises ConfigError, CredentialError, or Unreachable that says how to start it.
    """
    settings = click.get_current_context().ensure_object(Invocation).settings()
    with connect_to(settings) as server:
        yield server


def connect_to(settings: Settings) -> ServerA:
    """Connect. Raises CredentialError, or Unreachable that says how to start it."""
    if not settings.key.exists():
        raise CredentialError(
            f"there is no credential at {settings.key}: servers on one machine make it when they start; "
            "otherwise copy it from a server"
        )
    credential = Credential.load(settings.key)
    try:
        server = connect(settings.reach(Role.A), credential)
    except Unreachable as error:
        raise Unreachable(f"{error}; start it with `dirsync serve --role a --config {settings.path}`") from error
    _note_short_way(settings, server.pair_id)
    return server


def _note_short_way(settings: Settings, pair_id: bytes) -> None:
    """Let the next command find the short way without reading the configuration, if there is one here."""
    socket = settings.state_of(Role.A) / SOCKET_NAME
    if socket.exists():
        note_way(str(settings.path), Way(str(socket), str(settings.key), pair_id.hex()))
