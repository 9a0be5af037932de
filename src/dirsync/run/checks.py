"""Owns what must hold before a server of one role may start: its directory, its state, its patterns.

Reads the file system and changes nothing. The checks of the running root belong to the replica.
"""

import re
import socket
from pathlib import Path

from dirsync.core.entry import Role
from dirsync.errors import ConfigError
from dirsync.replica.ignoring import compiled, is_plain
from dirsync.run.settings import WILDCARDS, ServerSettings, Settings


def check_role(settings: Settings, role: Role) -> None:
    """Check what one server needs: its directory, the place of the state, the patterns. Raises ConfigError."""
    directory = settings.server(role).directory
    if not directory.is_dir():
        expected = "a directory" if directory.exists() else "an existing directory"
        raise ConfigError(f"{settings.path}: [{role}] directory: expected {expected}, not {directory}")
    _check_overlap(settings)
    _check_state(settings)
    _check_ignore(settings)


def is_this_machine(section: ServerSettings) -> bool:
    """Return whether the server of this section runs on this machine, as far as its addresses tell.

    A server that listens at all addresses runs where others reach it.
    """
    address = section.listen
    if address.host in WILDCARDS and section.connect is not None:
        address = section.connect
    try:
        found = socket.getaddrinfo(address.host, 0, type=socket.SOCK_DGRAM)
    except (OSError, UnicodeError):
        return False
    return any(_can_bind(family, place) for family, _, _, _, place in found)


def _can_bind(family: int, place: tuple[object, ...]) -> bool:
    """Only an address of this machine can be bound."""
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind(place)
    except OSError:
        return False
    return True


def _check_overlap(settings: Settings) -> None:
    a, b = settings.a.directory.resolve(), settings.b.directory.resolve()
    if not (_is_within(a, b) or _is_within(b, a)):
        return
    if is_this_machine(settings.a) and is_this_machine(settings.b):
        raise ConfigError(
            f"{settings.path}: [a] directory and [b] directory: expected two directories, neither inside the other, "
            f"not {a} and {b}"
        )


def _check_state(settings: Settings) -> None:
    """Refuse a state directory that is synchronised, which would never come to rest."""
    for role in Role:
        directory = settings.server(role).directory.resolve()
        if _is_within(settings.state.resolve(), directory):
            raise ConfigError(
                f"{settings.path}: [state] directory: expected a place outside {directory}, not {settings.state}"
            )
        for state in (settings.state_of(one).resolve() for one in Role):
            if _is_within(directory, state) or _is_within(state, directory):
                raise ConfigError(
                    f"{settings.path}: [{role}] directory: expected a place outside the state in {state}, "
                    f"not {directory}"
                )


def _check_ignore(settings: Settings) -> None:
    for pattern in settings.ignore:
        if is_plain(pattern):
            continue
        try:
            compiled([pattern])
        except (ValueError, re.error) as error:
            raise ConfigError(
                f"{settings.path}: [sync] ignore: expected gitignore patterns, not {pattern!r}: {error}"
            ) from None


def _is_within(inner: Path, outer: Path) -> bool:
    """Return whether `inner` is `outer` or below it, also by another name (a second mount, another case)."""
    for place in (inner, *inner.parents):
        if place == outer:
            return True
        try:
            if place.samefile(outer):
                return True
        except OSError:
            continue
    return False
