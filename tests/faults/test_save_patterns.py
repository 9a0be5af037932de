"""Every program of the table of save patterns, twenty times each way, under the eyes of a reader at the other side.

What the reader may see: whole states that the program left, one after the other, and the name is never gone unless the
program itself takes it away. What may be left at the other side: what the program leaves, and nothing else.
"""

import base64
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.files import put
from tests.e2e.servers import Pair, wait_until
from tests.e2e.writers import MORE_WRITERS, WRITERS, Writer, is_whole, text
from tests.faults import reader

TIMES = 20

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    """Two servers outside the system's temporary directory: editors save in another way below that."""
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="dirsync-") as home:
        made = Pair(Path(home))
        made.start("b", "a")
        yield made
        made.close()


@contextmanager
def reading(path: Path) -> Iterator[dict[str, Any]]:
    """Have another process read the file all the time; fill in what it saw."""
    program = subprocess.Popen(
        [sys.executable, reader.__file__, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    found: dict[str, Any] = {}
    try:
        assert program.stdout is not None
        assert program.stdout.readline() == "reading\n"
        yield found
        found.update(json.loads(program.communicate(timeout=30)[0]))
    finally:
        program.kill()
        program.communicate()


@pytest.mark.parametrize("role", ["a", "b"])
@pytest.mark.parametrize("writer", WRITERS + MORE_WRITERS, ids=lambda each: each.name)
def test_twenty_saves(pair: Pair, role: str, writer: Writer) -> None:
    near, far = (pair.a, pair.b) if role == "a" else (pair.b, pair.a)
    _clear(near)
    pair.settle()
    said = {name: len(_said(pair, name)) for name in ("conflict", "error")}
    put(near / "text", text("word00"), 1)
    pair.settle()
    left = {text("word00").encode()}
    with reading(far / "text") as seen:
        for number in range(1, TIMES + 1):
            word = f"word{number:02}"
            writer.save(near / "text", word)
            whole = (near / "text").read_bytes()
            assert whole == text(word).encode()
            left.add(whole)
            wait_until(lambda: _content(far / "text") == whole, f"save {number}")  # noqa: B023
    tree = pair.settle()
    assert tree.keys() == {b"text", *(b"text" + suffix.encode() for suffix in writer.leaves)}
    assert seen["reads"] > TIMES
    assert writer.removes or seen["absent"] == 0
    assert {name: len(_said(pair, name)) for name in said} == said
    if writer.is_stepwise:
        return
    states = {base64.b64decode(state) for state in seen["states"]}
    assert [state[:80] for state in states if not is_whole(state)] == []
    assert states <= left


def _said(pair: Pair, name: str) -> list[object]:
    return [*pair.server_a.events(name), *pair.server_b.events(name)]


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _clear(directory: Path) -> None:
    for path in directory.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
