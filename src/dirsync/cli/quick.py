"""Owns which command lines Server A answers with what is to be printed, and prints it.

Recognises the plainest spellings only. None means: not here, go the ordinary way, where every spelling and every
complaint is at home. Imports next to nothing, as `dirsync.cli.start`.
"""

import os
import sys

from dirsync.client.quick import Printed, ask_printed
from dirsync.client.remembered import recall, remember
from dirsync.client.way import Way, noted_way
from dirsync.errors import StateError, Unreachable

_FLAGS = {
    ("lab3", "ls"): {"--json", "--long"},
    ("lab3", "locks"): {"--json"},
    ("dirsync", "status"): {"--json"},
}
_BY_INDEX = {"-lock": "lock", "-unlock": "unlock"}
_DIGITS_MAX = 18


def quickly(name: str, arguments: list[str]) -> int | None:
    """Do what is asked and return the exit status; None where it has to go the ordinary way."""
    config, words = _without_config(arguments)
    if config is None or f"_{name.upper()}_COMPLETE" in os.environ or _out_descriptor() is None:
        return None
    asked = _asked(name, words)
    if asked is None:
        return None
    way = noted_way(config)
    if way is None:
        return None
    resolved = _resolved(asked, way)
    if resolved is None:
        return None
    try:
        printed = ask_printed(way, [os.fsencode(word) for word in resolved], is_patient=resolved[0] == "unlock")
    except Unreachable as error:
        _complain(name, f"{error}; start it with `dirsync serve --role a --config {config}`")
        return error.exit_code
    return None if printed is None else _print(name, printed)


def _without_config(arguments: list[str]) -> tuple[str | None, list[str]]:
    """Return the absolute path of the configuration, None where that is not plain, and the other words."""
    words = list(arguments)
    named = os.environ.get("DIRSYNC_CONFIG") or "config.toml"
    if words.count("--config") == 1:
        place = words.index("--config")
        if place + 1 == len(words):
            return None, words
        named = words[place + 1]
        del words[place : place + 2]
    if not named or named.startswith("~") or ".." in named.split("/"):
        return None, words
    return os.path.abspath(named), words


def _asked(name: str, words: list[str]) -> list[str] | None:
    """Return command and arguments, spelled out; None for what is not plain."""
    command, *rest = words if words and not words[0].startswith("--") else ["ls", *words] if name == "lab3" else [""]
    if (name, command) in _FLAGS:
        return [command, *rest] if _FLAGS[name, command].issuperset(rest) else None
    if name != "lab3" or len(rest) != 1:
        return None
    if command in _BY_INDEX:
        return [command, *rest]
    is_name = command in _BY_INDEX.values() and not rest[0].startswith("-")
    return [command, *rest] if is_name and rest[0] else None


def _resolved(asked: list[str], way: Way) -> list[str] | None:
    """Return what is asked with a name in the place of an index."""
    if asked[0] not in _BY_INDEX:
        return asked
    number = asked[1].removeprefix("-")
    if number == asked[1] or not (number.isascii() and number.isdigit()) or len(number) > _DIGITS_MAX:
        return None
    names = recall(way.pair_id)
    if names is None or int(number) >= len(names):
        return None
    return [_BY_INDEX[asked[0]], os.fsdecode(names[int(number)])]


def _out_descriptor() -> int | None:
    """Return where the answer goes; None where it needs more than bytes of UTF-8 written to a descriptor."""
    if sys.stdout is None or sys.stderr is None or sys.stdout.encoding.lower() != "utf-8":
        return None
    try:
        return sys.stdout.fileno()
    except (OSError, ValueError):
        return None


def _print(name: str, printed: Printed) -> int:
    if printed.seen and printed.seen[0].isalnum():  # it names a file
        pair_id, *names = printed.seen
        try:
            remember(pair_id.decode("ascii"), names)
        except StateError as error:
            _complain(name, f"{error}; an index will mean the then current listing")
    descriptor = _out_descriptor()
    assert descriptor is not None
    try:
        for data in printed.out:
            _write(descriptor, data)
    except OSError as error:
        _complain(name, str(error))
        return 1
    for line in printed.complaints:
        _complain(name, line.decode("utf-8", "backslashreplace"))
    return printed.status


def _write(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _complain(name: str, text: str) -> None:
    print(f"{name}: {text}", file=sys.stderr)  # noqa: T201
