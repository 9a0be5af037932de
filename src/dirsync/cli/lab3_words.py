"""Owns the spelling of `lab3`: `-lock -3`, `-unlock -3`, and `lab3` alone. Pure: words in, words out."""

import re
from collections.abc import Sequence

from dirsync.errors import UsageError

BY_INDEX = ("-lock", "-unlock")
"""Options by their look, commands by their meaning."""

_INDEX = re.compile(r"-([0-9]{1,18})")
_DEFAULT = "ls"
_OWN_OPTIONS = ("--help", "--version")


def spelled_out(words: Sequence[str], *, is_completing: bool = False) -> list[str]:
    """Return the words as click reads them: `-lock` is a command, and no command means `ls`.

    While a shell completes the words, nothing is added that nobody typed.
    """
    place = _first_of_command(words)
    first = words[place] if place < len(words) else None
    if first in BY_INDEX:
        inserted = ["--"]
    elif is_completing or (first is not None and (first in _OWN_OPTIONS or not first.startswith("-"))):
        inserted = []
    else:
        inserted = [_DEFAULT]
    return [*words[:place], *inserted, *words[place:]]


def parse_index(word: str) -> int:
    """Return the index in `-3`. Raises UsageError."""
    found = _INDEX.fullmatch(word)
    if found is None:
        raise UsageError(f"an index is written as -3, the first column of the listing; not {word!r}")
    return int(found[1])


def _first_of_command(words: Sequence[str]) -> int:
    """Return how many words at the front are common options with their values."""
    place = 0
    while place < len(words):
        if words[place] == "--config":
            place += 2
        elif words[place] == "--debug" or words[place].startswith("--config="):
            place += 1
        else:
            break
    return min(place, len(words))
