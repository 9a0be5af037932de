"""Locks: a locked name is frozen at A against B, and its updates are applied in order once it is unlocked."""

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from tests.e2e.files import put
from tests.e2e.locking import applied_sizes, become, drained, edits, held, kept_sizes, lock, queued, unlock
from tests.e2e.servers import Pair, tree_of, wait_until

_MIB = 1024 * 1024
_IMMUTABLE = "not permitted: the file is immutable or belongs to another user"


@pytest.fixture
def shared(pair: Pair) -> Pair:
    """Two files on both sides, in sync and listed."""
    put(pair.a / "f", "original", at=0)
    put(pair.a / "other", "o", at=0)
    pair.start("b", "a")
    pair.lab3()
    return pair


# What people type, and what they are told.


def test_lock_and_unlock_by_the_index_of_the_last_listing(shared: Pair) -> None:
    assert shared.lab3("-lock", "-0") == "locked f\n"
    assert shared.lab3("-lock", "-0") == "f is locked already\n"
    assert shared.lab3("ls").splitlines() == [
        "0  8  2020-09-13 12:26:40  locked  f",
        "1  1  2020-09-13 12:26:40          other",
    ]
    put(shared.a / "a new first one", "n")
    shared.settle()
    assert shared.lab3("-unlock", "-0") == "unlocked f: 0 updates applied\n", "what the last listing showed"
    assert " locked" not in shared.lab3("ls")
    assert shared.lab3("-lock", "-0") == "locked a new first one\n"
    shutil.rmtree(shared.home / "cache")
    assert shared.lab3("-lock", "-1") == "locked f\n", "with no remembered listing the current one counts"


def test_lock_and_unlock_several_by_name(shared: Pair) -> None:
    name = b"n\xff\n"
    put(Path(os.fsdecode(os.path.join(os.fsencode(shared.a), name))), "x")
    shared.settle()
    assert shared.lab3("lock", name, "f", "other") == "locked n\\xff\\n\nlocked f\nlocked other\n"
    become(shared, "b", "other", "22")
    queued(shared, "other", 1)
    assert shared.lab3("unlock", "f", name, "other") == (
        "unlocked f: 0 updates applied\nunlocked n\\xff\\n: 0 updates applied\nunlocked other: 1 update applied\n"
    )


def test_what_cannot_be_done_is_said_in_one_line(shared: Pair) -> None:
    (shared.b / "d").mkdir()
    os.mkfifo(shared.b / "pipe")
    shared.command("dirsync", "wait")
    for words, said in (
        (["-lock", "-2"], "no index 2 in the last listing, which showed 0 to 1; list again with `lab3`"),
        (["-unlock", "-1"], "not locked: other"),
        (["unlock", "f"], "not locked: f"),
        (["unlock", "nowhere"], "not locked: nowhere"),
        (["lock", "nowhere"], "no such file: nowhere"),
        (["lock", "d"], "a directory cannot be locked, only files and links: d"),
        (
            ["lock", "../f"],
            "not a normal relative path: ../f; a name is written as the listing shows it, relative to the directory",
        ),
        (["lock", "pipe"], "not a file or link, so it is not synchronised: pipe"),
    ):
        result = shared.command("lab3", *words, is_ok=False)
        assert (result.returncode, result.stdout, result.stderr) == (1, "", f"lab3: {said}\n")
    for words in (["-lock", "3"], ["-lock"], ["-lock", "-x"], ["lock"]):
        result = shared.command("lab3", *words, is_ok=False)
        assert (result.returncode, result.stderr.count("\n")) == (2, 1), (words, result.stderr)


def test_locks_shows_the_held_updates_in_order(shared: Pair) -> None:
    lock(shared, "f")
    become(shared, "b", "f", "22")
    queued(shared, "f", 1)
    become(shared, "a", "f", "333")
    queued(shared, "f", 2)
    os.remove(shared.b / "f")
    queued(shared, "f", 3)
    lines = shared.lab3("locks").splitlines()
    assert lines[0].startswith("f  locked since ")
    assert lines[0].endswith("  3 updates held")
    assert [line.split()[:4] for line in lines[1:]] == [
        ["1", "b", "modified", "2"],
        ["2", "a", "modified", "3"],
        ["3", "b", "deleted", "0"],
    ]
    (found,) = json.loads(shared.lab3("locks", "--json"))["locks"]
    assert (found["name"], found["draining"], found["reason"]) == ("f", False, "")
    assert [(u["origin"], u["change"], u["size"]) for u in found["updates"]] == [
        ("b", "modified", 2),
        ("a", "modified", 3),
        ("b", "deleted", 0),
    ]
    assert "locked  f  3 updates held" in shared.command("dirsync", "status").stdout


# While it is locked.


def test_each_state_of_b_is_held_in_order_and_nothing_is_applied(shared: Pair) -> None:
    lock(shared, "f")
    before = os.stat(shared.a / "f")
    path = shared.b / "f"
    become(shared, "b", "f", "22")
    queued(shared, "f", 1, change="modified", size=2)
    path.chmod(0o600)
    queued(shared, "f", 2, change="metadata", size=2)
    os.utime(path, ns=(5, 5))
    queued(shared, "f", 3, change="metadata", size=2)
    os.remove(path)
    queued(shared, "f", 4, change="deleted", size=0)
    become(shared, "b", "f", "4444")
    queued(shared, "f", 5, change="added", size=4)
    os.rename(path, shared.b / "away")
    queued(shared, "f", 6, change="deleted", size=0)
    os.rename(put(shared.b / "nearby", "66666"), path)
    queued(shared, "f", 7, change="added", size=5)
    os.remove(path)
    queued(shared, "f", 8, change="deleted", size=0)
    path.symlink_to("other")
    queued(shared, "f", 9, change="added", size=5)
    shared.command("dirsync", "wait")
    after = os.stat(shared.a / "f")
    assert after == before
    assert (shared.a / "f").read_text() == "original"
    assert (shared.a / "away").read_text() == "4444", "the rest of the directory goes on"
    assert not (shared.a / "nearby").exists()
    assert unlock(shared, "f") == 9
    assert [event["remaining"] for event in shared.server_a.events("applied")] == [8, 7, 6, 5, 4, 3, 2, 1, 0]
    assert [event["change"] for event in shared.server_a.events("applied")] == [
        "modified", "metadata", "metadata", "deleted", "added", "deleted", "added", "deleted", "added",
    ]  # fmt: skip
    assert os.readlink(shared.a / "f") == "other"
    shared.settle()
    assert kept_sizes(shared, "f") == [8, 2, 4, 5], "whatever an update replaced can be restored"


def test_a_drain_applies_every_update_and_ends_with_both_the_same(shared: Pair) -> None:
    lock(shared, "f")
    sizes = edits(shared, "f", 30)
    assert unlock(shared, "f") == 30
    assert applied_sizes(shared) == sizes
    assert kept_sizes(shared, "f") == [8, *sizes[:-1]]
    assert shared.settle()[b"f"][1] == b"x" * sizes[-1]
    (event,) = shared.server_a.events("unlocked")
    assert (event["path"], event["applied"]) == ("f", 30)
    become(shared, "b", "f", "an ordinary change again")
    assert shared.settle()[b"f"][1] == b"an ordinary change again"
    assert len(shared.server_a.events("queued")) == 30


def test_the_newest_state_wins_over_a_state_seen_before(shared: Pair) -> None:
    """The states x, y, x are three updates, although two are alike."""
    lock(shared, "f")
    for count, content in enumerate(["y", "original", "y", "original"], 1):
        become(shared, "b", "f", content, at=count)
        queued(shared, "f", count)
    assert unlock(shared, "f") == 4
    assert applied_sizes(shared) == [1, 8, 1, 8]
    assert shared.settle()[b"f"][1] == b"original"


def test_other_files_go_on_in_both_directions(shared: Pair) -> None:
    put(shared.a / "d" / "f", "f")
    shared.settle()
    lock(shared, "d/f")
    become(shared, "b", "d/f", "held")
    queued(shared, "d/f", 1)
    put(shared.b / "d" / "g", "from b")
    put(shared.a / "d" / "h", "from a")
    put(shared.b / "other", "changed")
    shared.command("dirsync", "wait")
    assert (shared.a / "d" / "g").read_text() == "from b"
    assert (shared.b / "d" / "h").read_text() == "from a"
    assert (shared.a / "other").read_text() == "changed"
    assert (shared.a / "d" / "f").read_text() == "f"


def test_a_s_edits_pass_while_nothing_waits_and_join_the_queue_once_something_does(shared: Pair) -> None:
    lock(shared, "f")
    become(shared, "a", "f", "22")
    assert shared.settle()[b"f"][1] == b"22"
    (shared.a / "f").chmod(0o600)
    assert shared.settle()[b"f"][3] == 0o600
    assert not shared.server_a.events("queued")
    become(shared, "b", "f", "333")
    queued(shared, "f", 1)
    become(shared, "a", "f", "4444")
    queued(shared, "f", 2)
    become(shared, "b", "f", "55555")
    queued(shared, "f", 3)
    (shared.a / "f").chmod(0o640)
    queued(shared, "f", 4, change="metadata", size=4)
    shared.command("dirsync", "wait")
    assert (shared.b / "f").read_text() == "55555", "nobody's work is overwritten while a lock is held"
    assert (shared.a / "f").read_text() == "4444"
    assert unlock(shared, "f") == 4
    assert applied_sizes(shared) == [3, 4, 5, 4]
    assert shared.settle()[b"f"][1::2] == (b"4444", 0o640), "the order of arrival decides"
    assert kept_sizes(shared, "f", "b") == [8, 5]


def test_a_deletes_and_makes_it_again_while_updates_wait(shared: Pair) -> None:
    lock(shared, "f")
    become(shared, "b", "f", "22")
    queued(shared, "f", 1)
    os.remove(shared.a / "f")
    queued(shared, "f", 2, change="deleted", size=0)
    become(shared, "a", "f", "4444")
    queued(shared, "f", 3, change="added", size=4)
    become(shared, "b", "f", "55555")
    queued(shared, "f", 4)
    assert unlock(shared, "f") == 4
    assert applied_sizes(shared) == [2, 0, 4, 5]
    assert shared.settle()[b"f"][1] == b"55555"


def test_a_s_deletion_of_a_locked_file_passes_and_b_can_make_it_again(shared: Pair) -> None:
    lock(shared, "f")
    os.remove(shared.a / "f")
    assert b"f" not in shared.settle()
    become(shared, "b", "f", "22")
    queued(shared, "f", 1, change="added", size=2)
    shared.command("dirsync", "wait")
    assert not (shared.a / "f").exists()
    assert unlock(shared, "f") == 1
    assert shared.settle()[b"f"][1] == b"22"


def test_both_delete_it(shared: Pair) -> None:
    lock(shared, "f")
    become(shared, "b", "f", "22")
    queued(shared, "f", 1)
    os.remove(shared.a / "f")
    queued(shared, "f", 2)
    os.remove(shared.b / "f")
    queued(shared, "f", 3)
    assert unlock(shared, "f") == 3
    assert b"f" not in shared.settle()


def test_a_name_that_only_b_has(pair: Pair) -> None:
    """Found by a comparison at the start, on a server that was alone until then."""
    put(pair.a / "f", "a", at=0)
    pair.start("b", "a")
    lock(pair, "f")
    os.remove(pair.b / "f")
    queued(pair, "f", 1)
    os.remove(pair.a / "f")
    queued(pair, "f", 2)
    become(pair, "b", "f", "333")
    queued(pair, "f", 3)
    row = pair.rows()[0]
    assert (row["name"], row["servers"], row["locked"], row["queued"]) == ("f", ["b"], True, 3)
    assert unlock(pair, "f") == 3
    assert pair.settle()[b"f"][1] == b"333"


def test_a_locked_file_in_a_directory_that_b_deletes_stays_with_its_parents(shared: Pair) -> None:
    put(shared.a / "d" / "e" / "f", "f")
    put(shared.a / "d" / "e" / "g", "g")
    put(shared.a / "d" / "h", "h")
    shared.settle()
    lock(shared, "d/e/f")
    subprocess.run(["rm", "-r", shared.b / "d"], check=True)
    queued(shared, "d/e/f", 1, change="deleted")
    shared.command("dirsync", "wait")
    assert tree_of(shared.a).keys() == {b"f", b"other", b"d", b"d/e", b"d/e/f"}
    assert unlock(shared, "d/e/f") == 1
    assert shared.settle().keys() == {b"f", b"other"}
    assert kept_sizes(shared, "d/e/f") == [1]


def test_a_locked_file_in_a_directory_that_b_renames_stays_with_its_parents(shared: Pair) -> None:
    put(shared.a / "d" / "f", "f")
    put(shared.a / "d" / "g", "g")
    shared.settle()
    lock(shared, "d/f")
    os.rename(shared.b / "d", shared.b / "moved")
    queued(shared, "d/f", 1, change="deleted")
    shared.command("dirsync", "wait")
    assert tree_of(shared.a).keys() == {b"f", b"other", b"d", b"d/f", b"moved", b"moved/f", b"moved/g"}
    assert unlock(shared, "d/f") == 1
    assert shared.settle().keys() == {b"f", b"other", b"moved", b"moved/f", b"moved/g"}


def test_b_makes_a_directory_of_a_locked_file_and_a_file_again(shared: Pair) -> None:
    lock(shared, "f")
    os.remove(shared.b / "f")
    queued(shared, "f", 1)
    put(shared.b / "f" / "child", "c")
    queued(shared, "f", 2)
    shared.command("dirsync", "wait")
    assert (shared.a / "f").read_text() == "original"
    assert unlock(shared, "f") == 2
    assert shared.settle()[b"f/child"][1] == b"c"


def test_held_updates_do_not_count_as_pending(shared: Pair) -> None:
    lock(shared, "f")
    edits(shared, "f", 2)
    assert shared.command("dirsync", "wait", "--timeout", "5").returncode == 0
    assert "connected, in sync" in shared.command("dirsync", "status").stdout


# Unlocking.


def test_unlock_needs_no_b(shared: Pair) -> None:
    lock(shared, "f")
    sizes = edits(shared, "f", 3)
    shared.stop("b")
    shared.server_a.wait_event("disconnected")
    assert unlock(shared, "f") == 3
    assert (shared.a / "f").read_text() == "x" * sizes[-1]
    become(shared, "b", "f", "afterwards")
    shared.start("b")
    assert shared.settle()[b"f"][1] == b"afterwards"
    assert len(shared.server_a.events("queued")) == 3


def test_unlock_while_b_hangs(shared: Pair) -> None:
    lock(shared, "f")
    sizes = edits(shared, "f", 3)
    os.kill(shared.server_b.process.pid, signal.SIGSTOP)
    try:
        assert unlock(shared, "f") == 3
        assert (shared.a / "f").read_text() == "x" * sizes[-1]
        assert shared.lab3("lock", "other") == "locked other\n"
    finally:
        os.kill(shared.server_b.process.pid, signal.SIGCONT)
    become(shared, "b", "other", "held")
    queued(shared, "other", 1)
    shared.lab3("unlock", "other")
    shared.settle()


def test_an_update_that_cannot_be_applied_stops_the_drain_and_is_tried_again(shared: Pair) -> None:
    lock(shared, "f")
    sizes = edits(shared, "f", 3)
    if subprocess.run(["chattr", "+i", shared.a / "f"], check=False, capture_output=True).returncode:
        pytest.skip("files cannot be made immutable here")
    try:
        for _ in range(2):
            result = shared.command("lab3", "unlock", "f", is_ok=False)
            assert result.returncode == 1
            assert result.stderr == f"lab3: f stays locked: {_IMMUTABLE}; 3 updates stay held\n"
        (locked,) = json.loads(shared.lab3("locks", "--json"))["locks"]
        assert (locked["draining"], locked["reason"], len(locked["updates"])) == (False, _IMMUTABLE, 3)
        put(shared.b / "other", "goes on")
        shared.command("dirsync", "wait")
        assert (shared.a / "other").read_text() == "goes on"
        assert (shared.a / "f").read_text() == "original"
        become(shared, "b", "f", "x" * 50)
        queued(shared, "f", 4)
    finally:
        subprocess.run(["chattr", "-i", shared.a / "f"], check=True)
    assert unlock(shared, "f") == 4
    assert applied_sizes(shared) == [*sizes, 50]
    shared.settle()


def test_something_that_is_not_synchronised_stands_there_at_a(shared: Pair) -> None:
    lock(shared, "f")
    edits(shared, "f", 2)
    os.remove(shared.a / "f")
    queued(shared, "f", 3)
    os.mkfifo(shared.a / "f")
    result = shared.command("lab3", "unlock", "f", is_ok=False)
    assert "f stays locked: " in result.stderr
    assert "FIFO" in result.stderr
    os.remove(shared.a / "f")
    assert unlock(shared, "f") == 3
    assert b"f" not in shared.settle()


@pytest.mark.faults
def test_locking_again_stops_the_drain_between_two_updates(shared: Pair) -> None:
    lock(shared, "f")
    # So many that their drain outlasts the start of the client that stops it several times over.
    sizes = edits(shared, "f", count := 300, is_large=True)
    unlocking = shared.begin("lab3", "unlock", "f")
    shared.server_a.wait_event("applied", 3)
    shared.lab3("lock", "f")
    done = applied_sizes(shared)
    (status, _, complaint) = drained(unlocking)
    assert (status, "locked again" in complaint) == (1, True), complaint
    assert 3 <= len(done) < count
    assert (shared.a / "f").read_text() == "x" * done[-1]
    become(shared, "b", "f", "x" * 1000)
    queued(shared, "f", count + 1)
    assert len(held(shared, "f")) == count + 1 - len(done)
    assert (shared.a / "f").read_text() == "x" * done[-1]
    assert unlock(shared, "f") == count + 1 - len(done)
    assert applied_sizes(shared) == [*sizes, 1000]
    shared.settle()


def test_interrupting_the_client_does_not_stop_the_drain(shared: Pair) -> None:
    lock(shared, "f")
    sizes = edits(shared, "f", 40, is_large=True)
    unlocking = shared.begin("lab3", "unlock", "f")
    shared.server_a.wait_event("applied", 2)
    unlocking.send_signal(signal.SIGINT)
    assert drained(unlocking)[0] != 0
    shared.server_a.wait_event("unlocked")
    assert applied_sizes(shared) == sizes
    shared.settle()


def test_what_b_does_during_the_drain_is_one_ordinary_change_afterwards(shared: Pair) -> None:
    lock(shared, "f")
    sizes = edits(shared, "f", 40, is_large=True)
    unlocking = shared.begin("lab3", "unlock", "f")
    shared.server_a.wait_event("applied", 2)
    become(shared, "b", "f", "the end")
    assert drained(unlocking)[0] == 0
    assert applied_sizes(shared) == sizes
    assert shared.settle()[b"f"][1] == b"the end"
    assert len(shared.server_a.events("queued")) == 40


def test_an_edit_of_a_during_the_drain_goes_to_the_tail(shared: Pair) -> None:
    lock(shared, "f")
    sizes = edits(shared, "f", 40, is_large=True)
    unlocking = shared.begin("lab3", "unlock", "f")
    shared.server_a.wait_event("applied", 2)
    become(shared, "a", "f", "edited by A")
    assert drained(unlocking)[0] == 0
    assert sorted(applied_sizes(shared)) == sorted([*sizes, 11]), "every update, and the edit, once"
    assert applied_sizes(shared)[-1] == 11
    assert shared.settle()[b"f"][1] == b"edited by A"
    assert kept_sizes(shared, "f").count(11) == 1, "the edit that an update replaced is kept"


def test_two_people_at_once(shared: Pair) -> None:
    clients = [shared.begin("lab3", "lock", "f") for _ in range(3)]
    said = sorted(drained(client)[1] for client in clients)
    assert said == ["f is locked already\n", "f is locked already\n", "locked f\n"]
    assert len(shared.server_a.events("locked")) == 1
    edits(shared, "f", 20)
    clients = [shared.begin("lab3", "unlock", "f") for _ in range(2)]
    results = [drained(client) for client in clients]
    assert any(said == "unlocked f: 20 updates applied\n" for _, said, _ in results), results
    assert all(status == 0 or complaint == "lab3: not locked: f\n" for status, _, complaint in results), results


# Limits.


def test_the_limit_of_all_held_updates_together(pair: Pair) -> None:
    with pair.config.open("a") as config:
        config.write('[locks]\nmax_size = "100 KiB"\n')
    put(pair.a / "f", "f", at=0)
    put(pair.a / "g", "g", at=0)
    pair.start("b", "a")
    lock(pair, "f", "g")
    become(pair, "b", "g", b"1" * 90_000)
    queued(pair, "g", 1)
    become(pair, "b", "f", b"2" * 80_000)
    notice = pair.server_a.wait_event("notice", path="f")
    assert "max_size" in str(notice["reason"])
    become(pair, "b", "f", b"3" * 70_000)
    pair.command("dirsync", "wait")
    assert (pair.b / "f").read_bytes() == b"3" * 70_000, "B's copy is the only one, and is left alone"
    assert (pair.a / "f").read_text() == "f"
    assert [event["path"] for event in pair.server_a.events("queued")] == ["g"]
    unlock(pair, "g")
    queued(pair, "f", 1, size=70_000)
    assert unlock(pair, "f") == 1
    assert pair.settle()[b"f"][1] == b"3" * 70_000
    lock(pair, "f")
    become(pair, "b", "f", b"4" * 300_000)
    pair.server_b.wait_event("notice", path="f")
    pair.command("dirsync", "wait")
    assert (pair.a / "f").read_bytes() == b"3" * 70_000
    assert unlock(pair, "f") == 0, "more than can ever be held follows at the unlock"
    assert pair.settle()[b"f"][1] == b"4" * 300_000


def test_the_limit_and_a_s_own_edits(pair: Pair) -> None:
    with pair.config.open("a") as config:
        config.write('[locks]\nmax_size = "100 KiB"\n')
    put(pair.a / "f", "f", at=0)
    pair.start("b", "a")
    lock(pair, "f")
    become(pair, "a", "f", b"1" * 200_000)
    assert pair.settle()[b"f"][1] == b"1" * 200_000, "what passes is not held"
    become(pair, "b", "f", b"2" * 90_000)
    queued(pair, "f", 1)
    become(pair, "a", "f", b"3" * 200_000)
    pair.server_a.wait_event("notice", path="f")
    pair.command("dirsync", "wait")
    assert (pair.b / "f").read_bytes() == b"2" * 90_000
    assert unlock(pair, "f") == 2
    assert pair.settle()[b"f"][1] == b"3" * 200_000, "it came last"


def test_a_large_file(shared: Pair) -> None:
    lock(shared, "f")
    content = os.urandom(20 * _MIB)
    become(shared, "b", "f", content)
    queued(shared, "f", 1, size=len(content))
    become(shared, "b", "f", content[::-1])
    queued(shared, "f", 2, size=len(content))
    assert unlock(shared, "f") == 2
    assert (shared.a / "f").read_bytes() == content[::-1]
    shared.settle()


def test_a_hundred_locked_files(live: Pair) -> None:
    names = [f"f{number:02}" for number in range(100)]
    for name in names:
        put(live.a / name, name)
    live.settle()
    assert live.lab3("lock", *names).splitlines() == [f"locked {name}" for name in names]
    for name in names:
        become(live, "b", name, f"{name} at B")
    live.server_a.wait_event("queued", 100)
    live.command("dirsync", "wait")
    assert all((live.a / name).read_text() == name for name in names)
    assert live.lab3("unlock", *names).splitlines() == [f"unlocked {name}: 1 update applied" for name in names]
    tree = live.settle()
    assert all(tree[name.encode()][1] == f"{name} at B".encode() for name in names)


def test_vim_saves_a_locked_file_at_b(shared: Pair) -> None:
    lock(shared, "f")
    vim = ["vim", "-u", "NONE", "-es", "-c", "set backupcopy=no", "-c", "%s/$/ and more/", "-c", "wq", shared.b / "f"]
    try:
        subprocess.run(vim, check=True, stdin=subprocess.DEVNULL, timeout=20)
    except FileNotFoundError:
        pytest.skip("vim is not installed")
    wait_until(lambda: bool(shared.server_a.events("queued", path="f", size=18)), "the saved file")
    assert (shared.a / "f").read_text() == "original"
    unlock(shared, "f")
    assert shared.settle().keys() == {b"f", b"other"}
    assert (shared.a / "f").read_text() == "original and more\n"
