"""What judges a run of chaos can see what it is there to see."""

import pytest

from tests.chaos import writers
from tests.chaos.observer import Observer
from tests.chaos.people import CAREFUL
from tests.chaos.values import Ledger, content_of, number_in
from tests.e2e.servers import wait_until


@pytest.mark.parametrize("size", [0, 1, 100, 5_000])
def test_only_a_whole_value_is_one(size):
    content = content_of(12, size)
    assert number_in(content) == 12
    assert {number_in(content[:length]) for length in range(len(content))} == {None}
    assert number_in(content + b"\n") is None
    assert number_in(content.replace(b"12 12", b"12 13", 1)) is None


def test_a_value_that_is_nowhere_is_lost_unless_somebody_had_it_before_him(tmp_path):
    live, kept = tmp_path / "live", tmp_path / "kept"
    for place in (live / "below", kept):
        place.mkdir(parents=True)
    ledger = Ledger()
    for number in range(4):
        (live / "below" / "f").write_bytes(content_of(number, 10))
        ledger.finished(number, "f")
        if number == 1:
            (kept / "version").write_bytes(content_of(number, 10))
        if number == 2:
            ledger.destroys(live)
    assert set(ledger.lost(live, kept)) == {0}
    assert set(ledger.lost(live)) == {0, 1}


def test_half_a_value_and_a_missing_one_are_seen(tmp_path):
    path = tmp_path / CAREFUL[0]
    observer = Observer(tmp_path)
    observer.start()
    try:
        path.write_bytes(content_of(1, 100))
        wait_until(lambda: observer.seen > 0, "a look")
        path.write_bytes(content_of(1, 100)[:50])
        wait_until(lambda: any("nobody wrote" in line for line in observer.torn), "half a value to be seen")
        path.unlink()
        wait_until(lambda: any("gone" in line for line in observer.torn), "a gap to be seen")
    finally:
        observer.end()


@pytest.mark.parametrize("write", [*writers.ANY, *writers.programs()], ids=lambda write: write.__name__)
def test_every_writer_writes_the_whole_value(tmp_path, monkeypatch, write):
    monkeypatch.setenv("CHAOS_SCRATCH", str(tmp_path))
    for number in (1, 2):
        write(str(tmp_path / "target"), content_of(number, 3_000))
        assert (tmp_path / "target").read_bytes() == content_of(number, 3_000)
