"""Writes the trees that are synchronised, and compares two of them name by name and byte by byte."""

import os
import random
import stat
from collections.abc import Collection, Iterator
from pathlib import Path

FILES_PER_DIRECTORY = 100
SMALL_BYTES_MIN, SMALL_BYTES_MAX = 1024, 16 * 1024
PIECE_BYTES = 1024 * 1024
LONG_AGO_NS = 1_000_000_000_000_000_000
"""September 2001: the time of a file before its change, so that no tool's coarse clock can miss the change."""

_NOISE = random.Random(20).randbytes(PIECE_BYTES + SMALL_BYTES_MAX)
"""Does not compress."""


def small_names(count: int, prefix: str) -> list[str]:
    """Return the names of a set of small files, some to a directory."""
    return [f"{prefix}{number // FILES_PER_DIRECTORY:05}/f{number:06}" for number in range(count)]


def small_content(number: int) -> bytes:
    """Return the content of one small file: of 1 to 16 KiB, different for every number."""
    size = SMALL_BYTES_MIN + number * 7919 % (SMALL_BYTES_MAX - SMALL_BYTES_MIN + 1)
    start = number * 104_729 % PIECE_BYTES
    return number.to_bytes(8) + _NOISE[start : start + size - 8]


def write_small(root: Path, names: Collection[str], mtime_ns: int | None = None) -> None:
    """Write these small files and the directories they need, with this time if one is given."""
    made: set[str] = set()
    for number, name in enumerate(names):
        directory = name.rpartition("/")[0]
        if directory not in made:
            (root / directory).mkdir(parents=True, exist_ok=True)
            made.add(directory)
        path = f"{root}/{name}"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.write(descriptor, small_content(number))
        os.close(descriptor)
        if mtime_ns is not None:
            os.utime(path, ns=(mtime_ns, mtime_ns))


def write_large(path: Path, size: int, seed: int) -> None:
    """Write a file that no tool can shrink, a multiple of 1 MiB long, and date it back."""
    noise = random.Random(seed)
    with path.open("wb") as file:
        for _ in range(size // PIECE_BYTES):
            file.write(noise.randbytes(PIECE_BYTES))
    os.utime(path, ns=(LONG_AGO_NS, LONG_AGO_NS))


def differences(a: Path, b: Path, own_names: Collection[str] = (), within_ns: int = 0) -> list[str]:
    """Return what differs between two trees: names, kinds, sizes, permission bits, times of files, contents.

    Names in `own_names` (what a tool keeps for itself in the tree) are left out, with what is below them.
    """
    one, two = _entries(a, own_names), _entries(b, own_names)
    found = [f"{name}: only at one side" for name in sorted(one.keys() ^ two.keys())]
    for name in sorted(one.keys() & two.keys()):
        found.extend(f"{name}: {what}" for what in _differing(one[name], two[name], within_ns))
    if not found:
        found = [
            f"{name}: contents"
            for name, status in one.items()
            if stat.S_ISREG(status.st_mode) and not _is_same_content(a / name, b / name)
        ]
    return found


def _entries(root: Path, own_names: Collection[str]) -> dict[str, os.stat_result]:
    return dict(_walk(os.fspath(root), "", own_names))


def _walk(root: str, below: str, own_names: Collection[str]) -> Iterator[tuple[str, os.stat_result]]:
    with os.scandir(f"{root}/{below}") as entries:
        for entry in entries:
            if entry.name in own_names:
                continue
            name = f"{below}{entry.name}"
            yield name, entry.stat(follow_symlinks=False)
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(root, f"{name}/", own_names)


def _differing(one: os.stat_result, two: os.stat_result, within_ns: int) -> Iterator[str]:
    if one.st_mode != two.st_mode:
        yield f"mode {one.st_mode:o} and {two.st_mode:o}"
    elif stat.S_ISREG(one.st_mode):
        if one.st_size != two.st_size:
            yield f"{one.st_size} and {two.st_size} bytes"
        if abs(one.st_mtime_ns - two.st_mtime_ns) > within_ns:
            yield f"times {one.st_mtime_ns} and {two.st_mtime_ns}"


def _is_same_content(one: Path, two: Path) -> bool:
    with one.open("rb", buffering=0) as a, two.open("rb", buffering=0) as b:
        while True:
            piece = a.read(PIECE_BYTES)
            if piece != b.read(PIECE_BYTES):
                return False
            if not piece:
                return True
