"""Refused connections are said once a minute each, whoever knocks how often."""

from dirsync.core.events import EventName
from dirsync.run.strangers import Strangers


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def strangers() -> tuple[Strangers, Clock, list[object]]:
    clock, said = Clock(), []

    def emit(name: EventName, path: object, fields: dict[str, object]) -> None:
        assert (name, path) == (EventName.NOTICE, None)
        said.append(fields["reason"])

    return Strangers(emit, clock), clock, said


def test_the_same_is_said_once() -> None:
    door, _, said = strangers()
    for _ in range(3):
        door.refused("10.0.0.1", "no")
    assert said == ["refused a connection from 10.0.0.1: no"]


def test_another_host_or_reason_is_said() -> None:
    door, _, said = strangers()
    door.refused("10.0.0.1", "no")
    door.refused("10.0.0.2", "no")
    door.refused("10.0.0.1", "never")
    assert len(said) == 3


def test_after_a_minute_it_is_said_again() -> None:
    door, clock, said = strangers()
    door.refused("10.0.0.1", "no")
    clock.seconds += 59
    door.refused("10.0.0.1", "no")
    assert len(said) == 1
    clock.seconds += 2
    door.refused("10.0.0.1", "no")
    assert len(said) == 2


def test_a_crowd_does_not_fill_the_log() -> None:
    door, clock, said = strangers()
    for number in range(1000):
        door.refused(f"10.0.{number}.1", "no")
    assert len(said) == 100
    clock.seconds += 61
    door.refused("10.9.9.9", "no")
    assert len(said) == 101
