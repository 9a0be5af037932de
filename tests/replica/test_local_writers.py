"""What programs do when they save: whatever happens in between, the end is right and nothing is left over."""

import os

import pytest

from dirsync.core.entry import File, Symlink
from tests.replica.local_ground import LocalGround, local_ground, rel


def truncate_and_write(ground: LocalGround) -> None:
    ground.write("a", b"new")


def rename_over(ground: LocalGround) -> None:
    ground.write(".a.tmp", b"new")
    os.rename(ground.path(".a.tmp"), ground.path("a"))


def rename_away_and_create(ground: LocalGround) -> None:
    ground.write("4913", b"")
    os.unlink(ground.path("4913"))
    os.rename(ground.path("a"), ground.path("a~"))
    ground.write("a", b"new")
    os.unlink(ground.path("a~"))


def lock_link_and_backup(ground: LocalGround) -> None:
    os.symlink("user@host.1", ground.path(".#a"))
    os.link(ground.path("a"), ground.path("a.bak"))
    ground.write("b", b"new")
    os.rename(ground.path("b"), ground.path("a"))
    os.unlink(ground.path(".#a"))
    os.unlink(ground.path("a.bak"))


def unlink_and_create(ground: LocalGround) -> None:
    os.unlink(ground.path("a"))
    fd = os.open(ground.path("a"), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
    os.write(fd, b"new")
    os.close(fd)


def in_place(ground: LocalGround) -> None:
    fd = os.open(ground.path("a"), os.O_RDWR)
    os.pwrite(fd, b"new", 0)
    os.ftruncate(fd, 3)
    os.utime(fd, ns=(7, 7))
    os.close(fd)


def unnamed_and_linked(ground: LocalGround) -> None:
    fd = os.open(ground.path("."), os.O_TMPFILE | os.O_WRONLY, 0o644)
    os.write(fd, b"new")
    os.unlink(ground.path("a"))
    os.link(f"/proc/self/fd/{fd}", ground.path("a"), src_dir_fd=fd, follow_symlinks=True)
    os.close(fd)


SAVES = [
    truncate_and_write,
    rename_over,
    rename_away_and_create,
    lock_link_and_backup,
    unlink_and_create,
    in_place,
    unnamed_and_linked,
]


@pytest.mark.parametrize("save", SAVES)
async def test_a_save_arrives_whole(tmp_path, save):
    async with local_ground(tmp_path, is_started=False) as ground:
        ground.write("a", b"old content")
        await ground.snapshot()
        before = ground.seen[rel("a")]
        for _ in range(5):
            save(ground)
            await ground.drain()
            standing = {path: found for path, found in ground.seen.items() if found is not None}
            assert standing.keys() == {rel("a")}
            assert standing[rel("a")].size == 3
        contents = [report.found for report in ground.reports if report.path == rel("a")]
        assert all(isinstance(found, File) and found.size in (3, before.size) for found in contents)


async def test_kinds_take_each_others_place(tmp_path):
    async with local_ground(tmp_path) as ground:
        ground.write("x/y/z", b"1")
        await ground.drain()
        os.unlink(ground.path("x/y/z"))
        os.rmdir(ground.path("x/y"))
        os.symlink("elsewhere", ground.path("x/y"))
        await ground.drain()
        assert isinstance(ground.seen[rel("x/y")], Symlink)
        assert ground.seen[rel("x/y/z")] is None
        os.unlink(ground.path("x/y"))
        ground.write("x/y/z", b"2")
        await ground.drain()
        assert isinstance(ground.seen[rel("x/y/z")], File)
        assert ground.replica.files == 1


async def test_a_swap_of_two_files(tmp_path):
    async with local_ground(tmp_path, is_started=False) as ground:
        ground.write("a", b"a")
        ground.write("b", b"bb")
        await ground.snapshot()
        os.rename(ground.path("a"), ground.path("t"))
        os.rename(ground.path("b"), ground.path("a"))
        os.rename(ground.path("t"), ground.path("b"))
        await ground.drain()
        assert (ground.seen[rel("a")].size, ground.seen[rel("b")].size) == (2, 1)
        assert ground.seen.get(rel("t")) is None


async def test_the_same_size_with_the_time_put_back_is_found(tmp_path):
    async with local_ground(tmp_path, is_started=False) as ground:
        ground.write("a", b"one")
        os.utime(ground.path("a"), ns=(10**18, 10**18))
        before = (await ground.snapshot())[rel("a")]
        ground.write("a", b"two")
        os.utime(ground.path("a"), ns=(10**18, 10**18))
        await ground.drain()
        after = ground.seen[rel("a")]
        assert (after.size, after.mtime_ns) == (before.size, before.mtime_ns)
        assert after.digest != before.digest
