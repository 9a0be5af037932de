"""What a server left in the middle of an apply, killed or without its root: durable before anybody is told of it."""

import errno
import os

import pytest

from dirsync.core.events import EventName
from dirsync.core.reports import Back, Lost
from dirsync.replica import footing, saving
from tests.replica.local_ground import local_ground, rel


@pytest.fixture
def order(monkeypatch):
    order = []
    monkeypatch.setattr(footing, "sync_all", lambda _: order.append("durable"))
    return order


@pytest.mark.parametrize("is_killed", [False, True])
async def test_after_a_kill_what_stands_there_is_made_durable_before_it_is_told(
    tmp_path, monkeypatch, order, is_killed
):
    with monkeypatch.context() as patch:
        if is_killed:
            patch.setattr(saving.IndexWriter, "_note_end", lambda _: None)
        async with local_ground(tmp_path):
            order.append("first")
    async with local_ground(tmp_path, is_started=False):
        order.append("second")
    assert order == (["first", "durable", "second"] if is_killed else ["first", "second"])


async def test_when_the_root_is_back_what_stands_there_is_made_durable_before_it_is_told(tmp_path, order):
    async with local_ground(tmp_path) as ground:
        (tmp_path / "root").rename(tmp_path / "away")
        await ground.next()
        assert order == []
        (tmp_path / "away").rename(tmp_path / "root")
        while not any(isinstance(report, Back) for report in ground.reports):
            await ground.next()
        assert set(order) == {"durable"}


async def test_where_it_cannot_be_made_durable_that_is_said_and_it_goes_on(tmp_path, monkeypatch):
    def fail(_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(footing, "sync_all", fail)
    with monkeypatch.context() as patch:
        patch.setattr(saving.IndexWriter, "_note_end", lambda _: None)
        async with local_ground(tmp_path):
            pass
    async with local_ground(tmp_path) as ground:
        ((_, fields),) = ground.of(EventName.ERROR)
        assert "may not be durable" in fields["reason"]


async def test_the_staging_area_in_the_root_is_invisible_also_while_the_root_is_lost(tmp_path):
    """What is hinted at meanwhile is looked at when the root is back."""
    (tmp_path / "state").mkdir(mode=0o700)
    (tmp_path / "state/staging_in_root").write_bytes(b".dirsync-0")
    inside = rel(".dirsync-0/new-f")
    async with local_ground(tmp_path) as ground:
        rules = ground.replica._site.rules
        assert rules.hides(inside)
        (tmp_path / "root").rename(tmp_path / "away")
        while not any(isinstance(report, Lost) for report in ground.reports):
            await ground.next()
        assert ground.replica._site.is_lost
        assert rules.hides(inside)
