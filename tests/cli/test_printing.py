import os
import threading
from collections.abc import Iterator

import pytest

from dirsync.cli.printing import Notifications
from dirsync.core.entry import Role
from dirsync.core.events import Event, EventName


def event(number: int) -> Event:
    return Event(number, Role.A, EventName.NOTICE)


def line(event: Event) -> str:
    return f"{event.time_ns} ä"


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    os.close(ends[0])


def read_to_end(reader: int) -> None:
    while os.read(reader, 1 << 20):
        pass


def test_events_are_printed_in_order_and_at_once(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    with open(writer, "w", encoding="ascii") as stream, Notifications(stream, line) as notifications:
        notifications.emit(event(1))
        assert os.read(reader, 100) == b"1 \\xe4\n"
        notifications.emit(event(2))
        notifications.emit(event(3))
    assert os.read(reader, 100) == b"2 \\xe4\n3 \\xe4\n"


def test_nobody_reading_does_not_hold_the_server_up(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    with open(writer, "w", encoding="utf-8") as stream:
        notifications = Notifications(stream, lambda event: line(event) * 1000)
        with notifications:
            for number in range(30_000):
                notifications.emit(event(number))
        assert os.read(reader, 2) == b"0 "
        drain = threading.Thread(target=read_to_end, args=(reader,))
        drain.start()
        notifications._thread.join(30)
        assert not notifications._thread.is_alive()
    drain.join()


@pytest.mark.parametrize("path", ["/dev/full", None])
def test_an_output_that_is_full_or_closed_is_no_error(path: str | None) -> None:
    seen: list[int] = []

    def note(event: Event) -> str:
        seen.append(event.time_ns)
        return line(event)

    if path is None:
        reader, writer = os.pipe()
        os.close(reader)
    else:
        writer = os.open(path, os.O_WRONLY)
    with open(writer, "w", encoding="utf-8") as stream, Notifications(stream, note) as notifications:
        notifications.emit(event(1))
        notifications.emit(event(2))
    assert seen == [1, 2]


def test_nowhere_to_print_is_quiet() -> None:
    with Notifications(None, line) as notifications:
        notifications.emit(event(1))


def test_what_waits_is_printed_in_one_write(pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    _, writer = pipe
    has_begun, may_go_on = threading.Event(), threading.Event()
    writes: list[bytes] = []

    def slow_line(event: Event) -> str:
        has_begun.set()
        may_go_on.wait()
        return line(event)

    monkeypatch.setattr("dirsync.cli.printing.os.write", lambda _, data: writes.append(data) or len(data))
    with open(writer, "w", encoding="ascii") as stream, Notifications(stream, slow_line) as notifications:
        notifications.emit(event(1))
        has_begun.wait()
        notifications.emit(event(2))
        notifications.emit(event(3))
        may_go_on.set()
        notifications._is_ending = True
        notifications._thread.join()
    assert writes == [b"1 \\xe4\n", b"2 \\xe4\n3 \\xe4\n"]
