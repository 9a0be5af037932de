"""Connections that are cut, silenced, damaged and slowed down in every way: nothing is lost, done twice or stuck."""

import json
import os
import random
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path

import pytest

from dirsync.core.entry import Role
from dirsync.net.tls import Credential
from dirsync.wire.codec import encode
from dirsync.wire.framing import encode_frame
from dirsync.wire.meeting import Welcome
from dirsync.wire.messages import Reply
from tests.e2e.files import put
from tests.e2e.locking import become, lock, queued, unlock
from tests.e2e.servers import SECONDS_MAX, Pair, Server, wait_until
from tests.faults.network import (
    ProxiedPair,
    both_disconnections,
    descriptors,
    moment_of,
    pass_time,
    proxied_pair,
    resident_bytes,
    wait_apart,
)
from tests.support.fault_proxy import WAYS, End, Way

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]

Record = Callable[[str, object], None]

FOUND_SECONDS = 10.0
"""Promised: a lost connection is found within this."""
LOADED_SECONDS = 10.0
"""What a machine with other work may add to that."""
MIB = 1024 * 1024
_CUTS = 20


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[ProxiedPair]:
    with proxied_pair(tmp_path) as made:
        yield made


@pytest.fixture
def live(pair: ProxiedPair) -> ProxiedPair:
    pair.start("b", "a")
    return pair


def is_offline(pair: Pair) -> bool:
    status = json.loads(pair.command("dirsync", "status", "--json", is_ok=None).stdout)
    return not status["connected"] and not status["in_sync"]


def complaints(pair: Pair) -> list[object]:
    return [e for server in pair.running.values() for e in server.events("error")]


# Silence


@pytest.mark.parametrize("ways", [("up", "down"), ("up",), ("down",)], ids=["both ways", "to B", "to A"])
def test_a_silent_partition_is_found_at_both_ends_and_heals(
    live: ProxiedPair, ways: tuple[Way, ...], record_property: Record
) -> None:
    before = both_disconnections(live)
    put(live.a / "mark", "1")
    mark = moment_of(live.server_a.wait_event("synced", path="mark"))
    live.settle()
    live.proxy.stalled = set(ways)
    for number in range(50):
        put(live.a / f"a{number}", f"{number}")
        put(live.b / f"b{number}", f"{number}")
    said = wait_apart(live, before)
    for role, event in said.items():
        seconds = moment_of(event) - mark
        record_property(f"found_seconds_{role}", round(seconds, 1))
        assert seconds < FOUND_SECONDS + LOADED_SECONDS
    assert is_offline(live)
    live.proxy.stalled = set()
    assert len(live.settle()) == 101
    assert complaints(live) == []


def test_the_bulk_connection_that_is_lost_alone_ends_the_session_and_both_come_back(live: ProxiedPair) -> None:
    for how in ("reset", "close", "half close"):
        before = both_disconnections(live)
        control, bulk = live.proxy.alive[-2:]
        assert control.number < bulk.number
        live.proxy.cut(how, bulk.number)
        wait_apart(live, before)
        put(live.a / f"large {how}", os.urandom(MIB))
        live.settle()
    before = both_disconnections(live)
    live.proxy.stalled_lines = {live.proxy.alive[-1].number}
    wait_apart(live, before)
    live.settle()
    assert complaints(live) == []


def test_both_stopped_and_woken_go_on(live: ProxiedPair) -> None:
    """As a machine that slept: whatever the session is worth then, what was changed meanwhile arrives."""
    for server in live.running.values():
        server.process.send_signal(signal.SIGSTOP)
    put(live.a / "x", "1")
    put(live.b / "y", "2")
    pass_time(12)
    for server in live.running.values():
        server.process.send_signal(signal.SIGCONT)
    assert set(live.settle()) == {b"x", b"y"}


@pytest.mark.parametrize("role", ["a", "b"])
def test_a_server_that_is_stopped_for_a_minute_costs_the_other_no_memory(
    live: ProxiedPair, role: str, record_property: Record
) -> None:
    stopped, other = live.running[role], live.running["b" if role == "a" else "a"]
    target = live.a if role == "b" else live.b
    put(target / "warm", os.urandom(32 * MIB))
    live.settle()
    before = resident_bytes(other)
    stopped.process.send_signal(signal.SIGSTOP)
    block = os.urandom(MIB)
    most = before
    for number in range(40):
        put(target / f"large{number}", bytes([number]) * MIB + block * 15)
        for small in range(50):
            put(target / f"small{number}-{small}", block[: 60 * 1024] + b"%d %d" % (number, small))
        other.wait_event("detected", path=f"large{number}")
        most = max(most, resident_bytes(other))
    other.wait_event("disconnected")
    for _ in range(60):
        pass_time(1)
        most = max(most, resident_bytes(other))
    record_property("grown_mib", (most - before) // MIB)
    assert most - before < 256 * MIB, "640 MiB were written in large files, 120 MiB in small ones"
    stopped.process.send_signal(signal.SIGCONT)
    live.command("dirsync", "wait", "--timeout", "200")
    live.settle()
    assert complaints(live) == []


# Cuts


def edits(pair: Pair, number: int, chance: random.Random) -> None:
    """One of each kind of change, on both sides."""
    for root, other in ((pair.a, pair.b), (pair.b, pair.a)):
        name = f"{root.name}{number}"
        put(root / name, chance.randbytes(chance.choice((10, 3_000, 70_000, 300_000))))
        earlier = root / f"{root.name}{number - 1}"
        if earlier.exists():
            earlier.rename(root / f"{root.name}{number - 1} renamed")
        foreign = root / f"{other.name}{number - 2}"
        if foreign.exists():
            foreign.write_bytes(chance.randbytes(500))
        old = root / f"{other.name}{number - 4} renamed"
        if old.exists():
            old.unlink()
        (root / f"directory {name}").mkdir()
        (root / f"link {name}").symlink_to(name)


@pytest.mark.parametrize("how", ["reset", "close"])
@pytest.mark.parametrize("way", WAYS)
def test_cut_after_any_number_of_bytes(live: ProxiedPair, way: Way, how: End, record_property: Record) -> None:
    chance = random.Random(f"{way} {how}")
    cuts = 0
    for number in range(_CUTS):
        # Of a new session every byte of the meeting; then the first kilobytes; then further on.
        at = chance.choice((chance.randrange(3_500), chance.randrange(20_000), chance.randrange(700_000)))
        live.proxy.cut_at(way, at, how)
        live.proxy.cut(how)
        edits(live, number, chance)
        live.settle()
        cuts += live.proxy.has_happened
        live.proxy.disarm()
    record_property("cuts", cuts)
    assert cuts >= _CUTS // 3
    assert complaints(live) == []
    for server in live.running.values():
        assert server.events("conflict") == []


def test_a_flipped_bit_anywhere_is_refused(live: ProxiedPair, record_property: Record) -> None:
    chance = random.Random(9)
    flips = 0
    for number in range(_CUTS):
        live.proxy.corrupt_at(chance.choice(WAYS), chance.choice((chance.randrange(3_000), chance.randrange(100_000))))
        live.proxy.cut()
        edits(live, number, chance)
        live.settle()
        flips += live.proxy.has_happened
        live.proxy.disarm()
    record_property("flips", flips)
    assert flips >= _CUTS // 3


@pytest.mark.parametrize("how", ["reset", "half close"])
@pytest.mark.parametrize("change", ["added", "modified", "deleted", "renamed", "large"])
def test_an_end_between_request_and_answer(live: ProxiedPair, change: str, how: End) -> None:
    """B does what it was asked, and A never hears that; then the two compare."""
    size = 3 * MIB if change == "large" else 100
    one, other = live.a / "one", live.b / "other" if change == "renamed" else live.b / "one"
    if change != "added":
        put(one, "old" * size)
    live.settle()
    live.proxy.stalled = {"down"}
    match change:
        case "deleted":
            one.unlink()
            wait_until(lambda: not other.exists(), "B to have done it")
        case "renamed":
            one.rename(live.a / "other")
            wait_until(other.exists, "B to have done it")
        case _:
            content = os.urandom(size)
            put(one, content)
            if change != "large":
                wait_until(lambda: other.exists() and other.read_bytes() == content, "B to have done it")
    before = both_disconnections(live)
    live.proxy.cut(how)
    live.proxy.stalled = set()
    wait_apart(live, before)
    live.settle()
    kept = 0 if change in ("added", "renamed") else 1
    versions = json.loads(live.command("dirsync", "history", "one", "--json").stdout)["versions"]
    assert len(versions) == kept, versions
    assert live.server_a.events("conflict") == []
    assert complaints(live) == []


def test_updates_of_a_locked_file_are_queued_once_each_whatever_is_cut(live: ProxiedPair) -> None:
    put(live.a / "f", "first")
    live.settle()
    lock(live, "f")
    chance = random.Random(3)
    sizes = []
    for number in range(25):
        live.proxy.cut_at(chance.choice(WAYS), chance.randrange(30_000), chance.choice(("reset", "close")))
        live.proxy.cut()
        sizes.append(100 + number if number % 3 else 100_000 + number)
        become(live, "b", "f", os.urandom(sizes[-1]))
        queued(live, "f", number + 1)
        live.proxy.disarm()
    assert [event["size"] for event in live.server_a.events("queued", path="f")] == sizes
    assert unlock(live, "f") == len(sizes)
    assert [event["size"] for event in live.server_a.events("applied", path="f")] == sizes
    live.settle()
    assert len(live.server_a.events("queued")) == len(sizes)


def test_a_link_that_flaps_leaks_no_descriptor_and_makes_progress(live: ProxiedPair, record_property: Record) -> None:
    chance = random.Random(7)
    put(live.a / "large", os.urandom(150 * MIB))
    put(live.b / "large too", os.urandom(20 * MIB))
    live.settle()
    live.proxy.bytes_per_second = 30 * MIB
    before = {role: descriptors(server) for role, server in live.running.items()}
    for number in range(30):
        put(live.a / f"l{number}", chance.randbytes(3 * MIB))
        put(live.b / f"m{number}", chance.randbytes(3 * MIB))
        pass_time(chance.random())
        live.proxy.cut(chance.choice(("reset", "close")))
    live.proxy.bytes_per_second = 0
    live.settle()
    after = {role: descriptors(server) for role, server in live.running.items()}
    record_property("descriptors", f"{before} {after}")
    for role in before:
        assert after[role] <= before[role] + 3, (before, after)
    assert complaints(live) == []


# Large transfers


def staging_of(pair: Pair, role: str) -> list[int]:
    return [path.stat().st_size for path in (pair.state / role / "staging").iterdir()]


@pytest.mark.parametrize("source", ["a", "b"])
def test_a_large_transfer_that_is_cut_again_and_again_goes_on(
    live: ProxiedPair, source: str, record_property: Record
) -> None:
    way: Way = "up" if source == "a" else "down"
    target = "b" if source == "a" else "a"
    size = 200 * MIB
    live.proxy.bytes_per_second = 60 * MIB
    start = live.proxy.carried[way]
    put(getattr(live, source) / "large", os.urandom(size))
    for share in (0.2, 0.4, 0.6, 0.6, 0.7, 0.8, 0.9, 0.99):
        wait_until(lambda s=share: sum(staging_of(live, target)) >= s * size, f"{share} of the content")
        live.proxy.cut("reset")
    synced = live.server_a.wait_event("synced", path="large")
    live.settle()
    carried = live.proxy.carried[way] - start
    record_property("sent_mib", carried // MIB)
    record_property("said_sent", synced["sent"])
    assert carried < 1.5 * size
    assert staging_of(live, target) == []


@pytest.mark.parametrize("source", ["a", "b"])
@pytest.mark.parametrize("killed", ["sender", "receiver"])
def test_a_large_transfer_goes_on_after_either_server_was_killed(
    live: ProxiedPair, source: str, killed: str, record_property: Record
) -> None:
    way: Way = "up" if source == "a" else "down"
    target = "b" if source == "a" else "a"
    victim = source if killed == "sender" else target
    size = 200 * MIB
    live.proxy.bytes_per_second = 60 * MIB
    start = live.proxy.carried[way]
    put(getattr(live, source) / "large", os.urandom(size))
    most = 0
    for share in (0.1, 0.3, 0.5, 0.6, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99):
        wait_until(lambda s=share: sum(staging_of(live, target)) >= s * size, f"{share} of the content")
        live.kill(victim)
        most = max(most, sum(staging_of(live, target)))
        live.start_alone(victim)
    live.command("dirsync", "wait", "--timeout", "60")
    live.settle()
    carried = live.proxy.carried[way] - start
    record_property("sent_mib", carried // MIB)
    assert carried < 1.5 * size
    assert most <= size
    assert staging_of(live, target) == []


# Slow links


def test_a_slow_link_starves_neither_heartbeats_nor_small_changes(live: ProxiedPair, record_property: Record) -> None:
    live.proxy.bytes_per_second = 100_000 / 8
    put(live.a / "large", os.urandom(4 * MIB))
    put(live.b / "large too", os.urandom(4 * MIB))
    pass_time(10)
    for number in range(4):
        put(live.a / f"small{number}", f"{number}")
        said = live.server_a.wait_event("synced", path=f"small{number}")
        record_property(f"small_up_ms_{number}", said["ms"])
        put(live.b / f"little{number}", f"{number}")
        said = live.server_a.wait_event("synced", path=f"little{number}")
        record_property(f"small_down_ms_{number}", said["ms"])
        pass_time(3)
    assert both_disconnections(live) == {"b": 0, "a": 0}
    for name in ("large", "large too"):
        done = [event["done"] for event in live.server_a.events("progress", path=name)]
        assert len(done) > 0
        assert done[-1] <= live.proxy.carried["up" if name == "large" else "down"], (
            "what has arrived, not what is on its way"
        )
    assert not live.server_a.events("synced", path="large")
    live.proxy.bytes_per_second = 0
    live.settle()


def test_a_long_way_is_only_slower(live: ProxiedPair) -> None:
    live.proxy.delay_seconds = 0.2
    for number in range(5):
        put(live.a / f"a{number}", os.urandom(100_000))
        put(live.b / f"b{number}", f"{number}")
    assert len(live.settle()) == 10
    assert both_disconnections(live) == {"b": 0, "a": 0}


# Nobody there


def test_refused_again_and_again(live: ProxiedPair) -> None:
    live.proxy.is_refusing = True
    live.proxy.cut()
    live.server_a.wait_event("disconnected")
    put(live.a / "x", "1")
    pass_time(5)
    live.proxy.is_refusing = False
    assert set(live.settle()) == {b"x"}
    notices = [e for e in live.server_a.events("notice") if "cannot be reached" in str(e["reason"])]
    assert len(notices) == 1, notices


# Starting again


@pytest.mark.parametrize("seed", range(3))
def test_either_server_killed_at_any_moment_of_a_session(live: ProxiedPair, seed: int) -> None:
    chance = random.Random(seed)
    for number in range(12):
        role = chance.choice("ab")
        way = chance.choice(WAYS)
        live.proxy.cut_at(way, chance.choice((chance.randrange(4_000), chance.randrange(200_000))))
        live.proxy.cut()
        edits(live, number, chance)
        wait_until(lambda: live.proxy.has_happened or not_needed(live), "the moment")
        live.kill(role)
        live.proxy.disarm()
        live.start_alone(role)
        live.settle()
    assert complaints(live) == []


def not_needed(pair: Pair) -> bool:
    """Whether the session has ended its work without ever carrying so much."""
    status = json.loads(pair.command("dirsync", "status", "--json", is_ok=None).stdout)
    return bool(status["in_sync"])


def test_a_server_b_of_another_major_version_is_said_once_and_tried_slowly(pair: ProxiedPair) -> None:
    """Whatever else it is: one clear line, and a try every two seconds at most."""
    pair.command("dirsync", "keygen")
    with OtherVersion(Credential.load(pair.state / "key.pem")) as other:
        text = pair.config.read_text()
        pair.config.write_text(text.replace(f"127.0.0.1:{pair.proxy.port}", other.address))
        pair.start_alone("a")
        other.wait_met(4)
        said = pair.server_a.wait_event("notice")
        assert said["reason"] == (
            "Server B cannot be reached: this is protocol version 1, the other end speaks 2: this end needs an update"
        )
        other.wait_met(6)
        assert len(pair.server_a.events("notice")) == 1
        gaps = [later - earlier for earlier, later in pairwise(other.met)]
        assert max(gaps[-2:]) > 1.5, gaps
        assert pair.server_a.events("connected") == []


class OtherVersion:
    """A listener that welcomes everybody in the second major version of the protocol."""

    def __init__(self, credential: Credential) -> None:
        self.met: list[float] = []
        self._context = credential.server_context()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._heard = threading.Condition()
        self._thread = threading.Thread(target=self._serve)
        self.address = f"127.0.0.1:{self._listening.getsockname()[1]}"

    def __enter__(self) -> "OtherVersion":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._thread.join(SECONDS_MAX)
        self._listening.close()

    def wait_met(self, count: int) -> None:
        with self._heard:
            assert self._heard.wait_for(lambda: len(self.met) >= count, SECONDS_MAX)

    def _serve(self) -> None:
        with suppress(OSError):  # the end: it listens no more
            while True:
                plain, _ = self._listening.accept()
                with suppress(OSError), self._context.wrap_socket(plain, server_side=True) as tls:
                    tls.recv(65536)
                    tls.sendall(encode_frame(encode(Reply(0, Welcome(2, 0, Role.B)))))
                    with self._heard:
                        self.met.append(time.monotonic())
                        self._heard.notify_all()
                    tls.recv(65536)


@contextmanager
def a_tenth_of_a_processor(*servers: Server) -> Iterator[None]:
    """Leave these servers little of the machine, where it has cgroups of the first version and lets us."""
    group = Path("/sys/fs/cgroup/cpu") / f"dirsync-{os.getpid()}"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"no processor time can be rationed here: {error}")
    try:
        (group / "cpu.cfs_quota_us").write_text("10000")
        for server in servers:
            (group / "cgroup.procs").write_text(str(server.process.pid))
        yield
    finally:
        for server in servers:
            (group.parent / "cgroup.procs").write_text(str(server.process.pid))
        group.rmdir()


def test_servers_with_little_of_the_processor_do_not_lose_each_other(live: ProxiedPair) -> None:
    with a_tenth_of_a_processor(live.server_a, live.server_b):
        for number in range(600):
            put(live.a / f"a{number}", f"{number}")
            put(live.b / f"b{number}", os.urandom(3_000))
        live.server_a.wait_event("synced", 300)
        assert both_disconnections(live) == {"b": 0, "a": 0}
    live.settle()
    assert both_disconnections(live) == {"b": 0, "a": 0}
