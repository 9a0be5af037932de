"""Packets that are lost, refused and delayed between two real servers, in a network namespace (as root)."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.files import put
from tests.e2e.servers import Pair
from tests.faults.network import (
    Network,
    both_disconnections,
    descriptors,
    moment_of,
    networked_pair,
    pass_time,
    wait_apart,
)

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]

Record = Callable[[str, object], None]
Place = tuple[Pair, Network]

FOUND_SECONDS = 10.0
"""Promised: a lost connection is found within this."""
LOADED_SECONDS = 10.0
"""What a machine with other work may add to that."""
MIB = 1024 * 1024


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with networked_pair(tmp_path) as made:
        made[0].start("b", "a")
        yield made


def complaints(pair: Pair) -> list[object]:
    return [e for server in pair.running.values() for e in server.events("error")]


def write_on_both(pair: Pair, number: int) -> None:
    put(pair.a / f"a{number}", os.urandom(100 + 4_000 * (number % 20)))
    put(pair.b / f"b{number}", os.urandom(100 + 4_000 * (number % 20)))


@pytest.mark.parametrize("ways", [("up", "down"), ("up",), ("down",)], ids=["both ways", "to B", "to A"])
def test_packets_that_vanish_for_a_while(place: Place, ways: tuple[str, ...], record_property: Record) -> None:
    pair, network = place
    before = both_disconnections(pair)
    put(pair.a / "mark", "1")
    mark = moment_of(pair.server_a.wait_event("synced", path="mark"))
    network.fail(*ways)
    for number in range(30):
        write_on_both(pair, number)
    for role, event in wait_apart(pair, before).items():
        record_property(f"found_seconds_{role}", round(moment_of(event) - mark, 1))
        assert moment_of(event) - mark < FOUND_SECONDS + LOADED_SECONDS
    for number in range(30, 60):
        write_on_both(pair, number)
        pass_time(1)
    status = json.loads(pair.command("dirsync", "status", "--json", is_ok=None).stdout)
    assert (status["connected"], status["in_sync"]) == (False, False)
    network.heal()
    assert len(pair.settle()) == 121
    assert complaints(pair) == []


def test_connections_that_are_reset_by_the_network(place: Place) -> None:
    pair, network = place
    before = both_disconnections(pair)
    network.fail("up", how="reject with tcp reset")
    write_on_both(pair, 1)
    pair.server_a.wait_event("disconnected", before["a"] + 1)
    pass_time(5)
    network.heal()
    assert len(pair.settle()) == 2
    assert complaints(pair) == []


def test_every_socket_killed_again_and_again(place: Place) -> None:
    pair, network = place
    for number in range(10):
        pair.settle()
        before = both_disconnections(pair)
        write_on_both(pair, number)
        network.run("ss", "-K", "dport", "=", network.port)
        wait_apart(pair, before)
    assert len(pair.settle()) == 20
    assert complaints(pair) == []


def test_a_tenth_of_the_packets_is_lost(place: Place, record_property: Record) -> None:
    pair, network = place
    network.fail("up", "down", which="numgen random mod 100 < 10")
    for number in range(100):
        write_on_both(pair, number)
    put(pair.a / "large", os.urandom(5 * MIB))
    assert len(pair.settle()) == 201
    record_property("disconnections", both_disconnections(pair))
    assert complaints(pair) == []


def test_a_link_that_goes_and_comes(place: Place, record_property: Record) -> None:
    pair, network = place
    put(pair.a / "large", os.urandom(100 * MIB))
    pair.settle()
    before = {role: descriptors(server) for role, server in pair.running.items()}
    for number in range(10):
        write_on_both(pair, number)
        put(pair.b / f"large{number}", os.urandom(5 * MIB))
        network.fail("up", "down")
        pass_time(number * 1.5)
        network.heal()
        pass_time(1)
    assert len(pair.settle()) == 31
    after = {role: descriptors(server) for role, server in pair.running.items()}
    record_property("descriptors", f"{before} {after}")
    assert all(after[role] <= before[role] + 3 for role in before), (before, after)
    assert complaints(pair) == []


def test_a_path_with_a_small_mtu(place: Place) -> None:
    pair, network = place
    network.run("ip", "link", "set", "lo", "mtu", "600")
    put(pair.a / "large", os.urandom(5 * MIB))
    for number in range(20):
        write_on_both(pair, number)
    assert len(pair.settle()) == 41
    assert both_disconnections(pair) == {"b": 0, "a": 0}


def test_a_path_that_swallows_large_packets(place: Place, record_property: Record) -> None:
    """Small messages and heartbeats pass, everything else vanishes: that is told, not waited for in silence."""
    pair, network = place
    network.run("ip", "link", "set", "lo", "mtu", "1500")
    before = both_disconnections(pair)
    network.fail("up", "down", which="meta length > 700")
    put(pair.a / "large", os.urandom(5 * MIB))
    said = wait_apart(pair, before)
    record_property("found", {role: event["reason"] for role, event in said.items()})
    pair.server_a.wait_event("notice")
    assert "cannot be reached" in str(pair.server_a.events("notice")[0]["reason"])
    network.heal()
    pair.settle()
    assert complaints(pair) == []


def test_a_link_of_a_hundred_kilobits(place: Place, record_property: Record) -> None:
    pair, network = place
    network.run("ip", "link", "set", "lo", "mtu", "1500")
    network.run(
        "tc", *["qdisc", "add", "dev", "lo", "root", "tbf", "rate", "100kbit", "burst", "4kb", "latency", "400ms"]
    )
    put(pair.a / "large", os.urandom(2 * MIB))
    put(pair.b / "large too", os.urandom(2 * MIB))
    pair.server_a.wait_event("progress", path="large")
    for number in range(4):
        put(pair.a / f"small{number}", f"{number}")
        put(pair.b / f"little{number}", f"{number}")
        record_property(f"up_ms{number}", pair.server_a.wait_event("synced", path=f"small{number}")["ms"])
        record_property(f"down_ms{number}", pair.server_a.wait_event("synced", path=f"little{number}")["ms"])
    assert not pair.server_a.events("synced", path="large")
    assert both_disconnections(pair) == {"b": 0, "a": 0}
    network.run("tc", "qdisc", "del", "dev", "lo", "root")
    pair.settle()
    assert complaints(pair) == []
