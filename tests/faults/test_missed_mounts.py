"""What is mounted inside a directory and goes away: its files count as out of reach, not as deleted."""

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest

from dirsync.core.paths import RelPath
from dirsync.disk.probe import Gone, probe
from dirsync.disk.root import Root
from dirsync.disk.scan import scan
from dirsync.replica.mounts import note, remembered
from dirsync.store.database import Database
from tests.faults.disks import Disk, need_disks

pytestmark = pytest.mark.faults

INNER, FILE, OUTER = RelPath(b"inner"), RelPath(b"inner/deep/file"), RelPath(b"outer")


@pytest.fixture
def inner(tmp_path: Path) -> Iterator[Disk]:
    """A file system inside a directory."""
    need_disks("tmpfs")
    (tmp_path / "root").mkdir()
    disk = Disk(tmp_path / "root", "inner", "tmpfs", size=4)
    (disk.path / "deep").mkdir()
    (disk.path / "deep/file").write_text("1")
    (tmp_path / "root/outer").write_text("2")
    yield disk
    disk.close()


def test_a_file_system_that_is_gone_hides_what_was_on_it(tmp_path: Path, inner: Disk) -> None:
    root, database = Root.open(str(tmp_path / "root")), Database.open(tmp_path / "state")
    known = dict.fromkeys([INNER, RelPath(b"inner/deep"), FILE, OUTER])
    found = scan(root, {}, lambda *_: False)
    assert (found.mounts, found.suspects) == ({INNER}, set(known))
    note(database, root, found)
    assert root.mounts == remembered(database) == {INNER}

    inner.vanish()
    found = scan(root, {}, lambda *_: False)
    assert INNER in found.unreadable
    assert found.suspects == {INNER, OUTER}
    with pytest.raises(OSError, match="No such device") as caught:
        root.open_directory(INNER)
    assert caught.value.errno == errno.ENODEV
    assert "mount it again" in probe(root, FILE, None).reason
    note(database, root, found)
    assert remembered(database) == {INNER}

    inner.mount()
    assert scan(root, {}, lambda *_: False).mounts == {INNER}
    inner.vanish()
    inner.path.rmdir()
    assert isinstance(probe(root, FILE, None), Gone)
    note(database, root, scan(root, {}, lambda *_: False))
    assert root.mounts == remembered(database) == frozenset()
    root.close()
    database.close()
