"""What the journal of the locks leaves behind where the disk or the database fails it."""

import os

import pytest
from blake3 import blake3

from dirsync.coordinator.hold_journal import HoldJournal
from dirsync.core.entry import ChangeKind, File, Role
from dirsync.core.holds import Hold
from dirsync.disk.spool import Spool
from dirsync.errors import StateError
from dirsync.store import hold_rows
from dirsync.store.database import Database
from tests.support.trees import at

X = at("x")
CONTENT = b"held"
ENTRY = File(blake3(CONTENT).digest(), len(CONTENT), 1, 0o644)


@pytest.fixture
def database(tmp_path):
    database = Database.open(tmp_path)
    yield database
    database.close()


async def _chunks():
    yield CONTENT


@pytest.mark.parametrize("calls", [["enqueue"], ["enqueue", "set_seen"]], ids=["the row", "anything"])
async def test_an_update_that_cannot_be_recorded_leaves_one_content_at_most(database, tmp_path, monkeypatch, calls):
    """It is tried for as long as it takes: with one more each time the disk would be full in the end."""
    journal = HoldJournal(database, Spool(tmp_path / "spool"), lambda: 1)
    hold = Hold(X, dict.fromkeys(Role))
    await journal.lock(hold)

    def fail(*_args, **_kwargs):
        raise StateError("the disk is full")

    async def enqueue():
        return await journal.enqueue(hold, Role.B, ENTRY, ChangeKind.ADDED, _chunks())

    with monkeypatch.context() as failing:
        for call in calls:
            failing.setattr(hold_rows, call, fail)
        for _ in range(3):
            with pytest.raises(StateError):
                await enqueue()
            assert len(os.listdir(tmp_path / "spool")) == 1
    update = await enqueue()
    assert os.listdir(tmp_path / "spool") == [update.file]
    assert await journal.contents([update]) == [CONTENT]
