"""Owns the note of where the short way of a configuration is, so that a command which starts fast reads no TOML.

One file per configuration in the user's cache directory, made when a command came through with that configuration.
It is believed only while the configuration is, by its stat, the very file that was read then. Imports next to nothing,
as `dirsync.client.cache`.
"""

import os
import time

from blake3 import blake3

from dirsync.client.cache import cache_file, read, replace

_HEADER = b"dirsync way 1"
_SEPARATOR = b"\0"
_SETTLED_SECONDS = 2.0
"""A file changed more recently may change again without a sign: its stat proves nothing yet."""


class Way:
    """Where the socket and the credential are, and which pair answers there (in hexadecimal)."""

    __slots__ = ("key", "pair_id", "socket")

    def __init__(self, socket: str, key: str, pair_id: str) -> None:
        self.socket = socket
        self.key = key
        self.pair_id = pair_id


def note_way(config: str, way: Way) -> None:
    """Note the way, if the configuration, which has just been read, was left alone lately."""
    try:
        status = os.stat(config)
        if time.time() - max(status.st_mtime, status.st_ctime) < _SETTLED_SECONDS or os.path.abspath(config) != config:
            return
        words = [_stamp(status), config, way.socket, way.key, way.pair_id]
        content = _SEPARATOR.join([_HEADER, *map(os.fsencode, words)])
        file = _file(config)
        if read(file) != content:
            replace(file, content)
    except OSError:
        return  # the next command starts as slowly as this one


def noted_way(config: str) -> Way | None:
    """Return the way that was noted for the configuration as it stands now, else None. `config` is absolute."""
    content = read(_file(config))
    try:
        stamp = _stamp(os.stat(config))
    except OSError:
        return None
    words = [os.fsdecode(word) for word in (content or b"").split(_SEPARATOR)]
    if len(words) != 6 or words[:3] != [_HEADER.decode(), stamp, config]:
        return None
    return Way(*words[3:])


def _stamp(status: os.stat_result) -> str:
    return f"{status.st_dev} {status.st_ino} {status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"


def _file(config: str) -> str:
    return cache_file(f"{blake3(os.fsencode(config)).hexdigest(length=16)}.way")
