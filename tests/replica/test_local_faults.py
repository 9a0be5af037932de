"""Any one system call of a near replica's worker threads fails: it lives on, and leaves nothing lying around."""

import asyncio
import errno
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import TypeVar

import pytest

from dirsync.core.entry import File
from dirsync.core.plan import Action
from dirsync.core.reports import HeldName, Step
from dirsync.errors import DirsyncError
from dirsync.replica.threads import Threads
from tests.replica.local_ground import LocalGround, local_ground, rel
from tests.replica.test_local_apply import a_file
from tests.support.windows import at_each_system_call

T = TypeVar("T")

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]

_NAMES = ("edited", "deleted", "replaced", "goes", "held")
_SECONDS = 30.0


class OneFailure:
    """Lets the `at`-th system call of all worker threads fail with this error number, counted from `begin` on."""

    def __init__(self, at: int, number: int) -> None:
        self._at, self._number = at, number
        self._turn = threading.Lock()
        self._count = 0
        self._is_counting = False
        self.has_failed = False

    def begin(self) -> None:
        """Count from now on."""
        self._is_counting = True

    def end(self) -> None:
        """Let everything go well from now on."""
        self._is_counting = False

    def around(self, call: Callable[[], T]) -> Callable[[], T]:
        """Return the call with the failure in it, if it comes by then."""

        def watched() -> T:
            with at_each_system_call(self._step):
                return call()

        return watched if self._is_counting else call

    def _step(self, _number: int, _name: str) -> None:
        with self._turn:
            self._count += self._is_counting
            if not self._is_counting or self.has_failed or self._count < self._at:
                return
            self.has_failed = True
        raise OSError(self._number, "as the test wants it")


async def live(ground: LocalGround) -> None:
    """Have a person and the other side do something of everything; what fails is refused, and no more."""
    replica = ground.replica
    ground.write("made/below", b"made")
    ground.write("edited", b"edited anew")
    os.unlink(ground.path("deleted"))
    with suppress(DirsyncError):
        await replica.look(is_full=True)
    known = {path: seen.entry for path, seen in replica._site.index.known.items()}
    steps = [
        Step(Action(rel("added"), None, a_file(b"added")), b"added"),
        Step(Action(rel("replaced"), known.get(rel("replaced")), a_file(b"new")), b"new"),
    ]
    if isinstance(known.get(rel("goes")), File):
        steps.append(Step(Action(rel("goes"), known[rel("goes")], None)))
    with suppress(DirsyncError):
        await replica.apply(steps)
    with suppress(DirsyncError):
        await replica.hold([HeldName(rel("held"), known.get(rel("held")))])
    ground.write("held", b"a state of it")
    with suppress(DirsyncError):
        await replica.look(is_full=False)


async def is_seen(ground: LocalGround) -> bool:
    """Have everything looked at; False where that did not work out now."""
    try:
        await ground.replica.look(is_full=True)
    except DirsyncError:
        return False
    return True


async def one_life(home: Path, failure: OneFailure) -> list[str]:
    """Live with one failure, then well; return what lies around in the end."""
    home.mkdir()
    async with local_ground(home) as ground, asyncio.timeout(_SECONDS):
        for name in _NAMES:
            ground.write(name, name.encode())
        await ground.replica.look(is_full=True)
        await ground.drain()
        failure.begin()
        await live(ground)
        failure.end()
        while not await is_seen(ground):
            await asyncio.sleep(0.1)
        return os.listdir(ground.state / "staging")


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC], ids=errno.errorcode.get)
async def test_each_call_fails_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    failure = OneFailure(0, number)
    run = Threads._run

    async def run_with_failure(self, pool, call):
        return await run(self, pool, failure.around(call))

    monkeypatch.setattr(Threads, "_run", run_with_failure)
    left = {}
    for at in count(1):
        failure = OneFailure(at, number)
        found = await one_life(tmp_path / str(at), failure)
        if found:
            left[at] = found
        if not failure.has_failed:
            break
    assert at > 100
    assert not left
