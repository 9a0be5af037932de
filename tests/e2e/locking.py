"""What the tests of locks do and look at, in a line each."""

import json
import os
import subprocess
from pathlib import Path

from dirsync.limits import INLINE_BYTES_MAX
from tests.e2e.files import date
from tests.e2e.servers import SECONDS_MAX, Pair, Said


def lock(pair: Pair, *names: str) -> None:
    """Lock names that are not locked."""
    assert pair.lab3("lock", *names) == "".join(f"locked {name}\n" for name in names)


def unlock(pair: Pair, name: str) -> int:
    """Unlock a name and return how many updates were applied."""
    words = pair.lab3("unlock", name).removeprefix(f"unlocked {name}: ").split()
    assert words[1:] in (["update", "applied"], ["updates", "applied"]), words
    return int(words[0])


def become(pair: Pair, role: str, name: str, content: str | bytes, at: int | None = None) -> None:
    """Give a file new content in one step, as a program does that saves by renaming."""
    path = Path(getattr(pair, role)) / name
    fresh = pair.home / "fresh"
    fresh.write_bytes(content.encode() if isinstance(content, str) else content)
    if at is not None:
        date(fresh, at)
    os.replace(fresh, path)


def queued(pair: Pair, name: str, count: int, **fields: object) -> Said:
    """Wait for the count-th update of a name, and check what was said of it."""
    event = pair.server_a.wait_event("queued", count, path=name)
    assert {key: event[key] for key in fields} == fields, event
    return event


def edits(pair: Pair, name: str, count: int, since: int = 0, *, is_large: bool = False) -> list[int]:
    """Have so many distinct states of B held, each of another size, and return the sizes.

    `is_large`: too large to be applied together with others, so that the drain takes its time over each.
    """
    smallest = since + (INLINE_BYTES_MAX + 1 if is_large else 20)
    sizes = list(range(smallest, smallest + count))
    before = len(pair.server_a.events("queued", path=name))
    for number, size in enumerate(sizes, 1):
        become(pair, "b", name, "x" * size)
        queued(pair, name, before + number)
    return sizes


def applied_sizes(pair: Pair) -> list[object]:
    """Return the sizes of the applied updates, in order."""
    return [event["size"] for event in pair.server_a.events("applied")]


def held(pair: Pair, name: str) -> list[int]:
    """Return the sizes of the held updates of a locked name, in order."""
    (found,) = [one for one in json.loads(pair.lab3("locks", "--json"))["locks"] if one["name"] == name]
    return [update["size"] for update in found["updates"]]


def kept_sizes(pair: Pair, name: str, role: str = "a") -> list[int]:
    """Return the sizes of the versions kept at a server, oldest first."""
    versions = json.loads(pair.command("dirsync", "history", name, "--json").stdout)["versions"]
    return [version["size"] for version in reversed(versions) if version["server"] == role]


def drained(client: "subprocess.Popen[str]") -> tuple[int, str, str]:
    """Wait for the end of a command, and return its status and what it said."""
    out, complaint = client.communicate(timeout=SECONDS_MAX)
    return client.returncode, out, complaint
