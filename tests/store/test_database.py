import os
import sqlite3
import stat
import threading
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest

from dirsync.core.paths import RelPath
from dirsync.errors import StateError
from dirsync.store import archive, meta
from dirsync.store.database import FILE_NAME, Database
from tests.store.support import FILE
from tests.support.state_copy import committed


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def write(database: Database, key: str, value: bytes = b"1") -> None:
    with database.transaction() as connection:
        meta.put(connection, key, value)


def write_and_fail(database: Database, key: str, error: BaseException) -> None:
    with database.transaction() as connection:
        meta.put(connection, key, b"1")
        raise error


def overfill(database: Database) -> None:
    with database.transaction() as connection:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages}")
        meta.put(connection, "little", b"1")
        meta.put(connection, "large", b"x" * 1_000_000)


def read(database: Database, key: str) -> bytes | None:
    with database.transaction() as connection:
        return meta.get(connection, key)


def test_what_was_committed_is_there_after_reopening(directory: Path) -> None:
    with closing(Database.open(directory)) as database:
        write(database, "key", b"value")
    with closing(Database.open(directory)) as database:
        assert read(database, "key") == b"value"


def test_an_error_changes_nothing(database: Database) -> None:
    with pytest.raises(KeyError):
        write_and_fail(database, "key", KeyError())
    assert read(database, "key") is None


def test_an_interrupt_changes_nothing(database: Database) -> None:
    with pytest.raises(KeyboardInterrupt):
        write_and_fail(database, "key", KeyboardInterrupt())
    assert read(database, "key") is None


def test_a_transaction_is_invisible_until_it_ends(database: Database, directory: Path) -> None:
    with database.transaction() as connection:
        meta.put(connection, "key", b"value")
        with committed(directory) as observer:
            assert observer.execute("SELECT count(*) FROM meta").fetchone() == (0,)
    with committed(directory) as observer:
        assert observer.execute("SELECT count(*) FROM meta").fetchone() == (1,)


def test_nobody_else_opens_it_and_no_memory_is_shared(database: Database, directory: Path) -> None:
    """A disk that is gone would take the pages of a mapped file with it, and end the process."""
    write(database, "key", b"value")
    with (
        closing(sqlite3.connect(directory / FILE_NAME, timeout=0)) as other,
        pytest.raises(sqlite3.OperationalError, match="locked"),
    ):
        other.execute("SELECT count(*) FROM meta")
    assert not directory.joinpath(f"{FILE_NAME}-shm").exists()


def test_nesting_is_refused_and_the_outer_one_goes_on(database: Database) -> None:
    with database.transaction() as connection:
        meta.put(connection, "outer", b"1")
        with pytest.raises(AssertionError), database.transaction():
            pass
    assert read(database, "outer") == b"1"


def test_threads_take_turns(database: Database) -> None:
    write(database, "count", b"0")
    start = threading.Barrier(8)
    failures: list[BaseException] = []

    def count() -> None:
        try:
            start.wait()
            for _ in range(25):
                with database.transaction() as connection:
                    present = int(meta.get(connection, "count") or b"")
                    meta.put(connection, "count", b"%d" % (present + 1))
        except (StateError, AssertionError, sqlite3.Error) as error:
            failures.append(error)

    threads = [threading.Thread(target=count) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert read(database, "count") == b"200"


def test_a_rollback_in_one_thread_leaves_the_others_alone(database: Database) -> None:
    start = threading.Barrier(2)

    def fail() -> None:
        start.wait()
        for _ in range(50):
            with pytest.raises(KeyError):
                write_and_fail(database, "never", KeyError())

    thread = threading.Thread(target=fail)
    thread.start()
    start.wait()
    for number in range(50):
        write(database, str(number))
    thread.join()
    with database.transaction() as connection:
        keys = {key for (key,) in connection.execute("SELECT key FROM meta")}
    assert keys == {str(number) for number in range(50)}


def test_settings_that_make_it_durable(database: Database) -> None:
    with database.transaction() as connection:
        values = {
            name: connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("journal_mode", "synchronous", "fullfsync", "foreign_keys")
        }
        busy = connection.execute("PRAGMA busy_timeout").fetchone()[0]
    assert values == {"journal_mode": "wal", "synchronous": 2, "fullfsync": 1, "foreign_keys": 1}
    assert busy > 0


@pytest.mark.skipif(os.name == "nt", reason="permission bits are POSIX's")
def test_everything_is_private_whatever_the_umask(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        directory = tmp_path / "made" / "on" / "demand"
        with closing(Database.open(directory)) as database:
            write(database, "key")
            files = {path.name: mode_of(path) for path in directory.iterdir()}
    finally:
        os.umask(old)
    assert {mode_of(path) for path in (directory, directory.parent, directory.parent.parent)} == {0o700}
    assert files == dict.fromkeys(("lock", FILE_NAME, f"{FILE_NAME}-wal"), 0o600)


@pytest.mark.skipif(os.name == "nt", reason="permission bits are POSIX's")
def test_what_was_open_to_others_is_closed_and_what_lies_above_stays(tmp_path: Path) -> None:
    above, directory = tmp_path / "above", tmp_path / "above" / "state"
    directory.mkdir(parents=True)
    (directory / FILE_NAME).touch()
    for path, mode in ((above, 0o755), (directory, 0o755), (directory / FILE_NAME, 0o644)):
        path.chmod(mode)
    Database.open(directory).close()
    assert [mode_of(path) for path in (above, directory, directory / FILE_NAME)] == [0o755, 0o700, 0o600]


def test_closing_leaves_one_file_and_the_lock(directory: Path) -> None:
    database = Database.open(directory)
    write(database, "key")
    database.close()
    database.close()
    assert sorted(path.name for path in directory.iterdir()) == ["lock", FILE_NAME]
    with pytest.raises(StateError, match="closed already"), database.transaction():
        pass


def test_closing_waits_for_the_transaction_under_way(directory: Path) -> None:
    database = Database.open(directory)
    inside, closing_now = threading.Event(), threading.Event()

    def work() -> None:
        with database.transaction() as connection:
            inside.set()
            closing_now.wait()
            for number in range(200):
                meta.put(connection, str(number), b"1")

    thread = threading.Thread(target=work)
    thread.start()
    inside.wait()
    closing_now.set()
    database.close()
    thread.join()
    with closing(Database.open(directory)) as reopened:
        assert read(reopened, "199") == b"1"


def test_a_full_disk_is_named_and_takes_nothing(database: Database) -> None:
    write(database, "before")
    with pytest.raises(StateError, match=r"disk of the state directory .* is full"):
        overfill(database)
    with database.transaction() as connection:
        connection.execute("PRAGMA max_page_count = 1000000")
        assert [meta.get(connection, key) for key in ("before", "little", "large")] == [b"1", None, None]
    write(database, "large", b"x" * 1_000_000)
    assert read(database, "large") == b"x" * 1_000_000


@pytest.mark.parametrize(("blocks", "said"), [(0, "is full"), (1, "cannot be used: disk I/O error")])
def test_an_io_error_on_a_full_disk_is_a_full_disk(database, monkeypatch, blocks, said):
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_bavail=blocks))
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR_SHMSIZE
    with pytest.raises(StateError, match=said), database.transaction():
        raise error


def test_other_errors_name_the_database(database: Database, directory: Path) -> None:
    with (
        pytest.raises(StateError, match=f"{directory / FILE_NAME}.*no such table"),
        database.transaction() as connection,
    ):
        connection.execute("SELECT * FROM nowhere")


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StateError, match="file/state"):
        Database.open(tmp_path / "file" / "state")


def test_a_row_that_cannot_be_is_damage(database: Database) -> None:
    with database.transaction() as connection:
        archive.record(connection, [(RelPath(b"file"), FILE)])
        connection.execute("UPDATE archive SET kind = 9")
    with pytest.raises(StateError, match=r"damaged .*kind 9.*move it aside"), database.transaction() as connection:
        list(archive.load(connection))
