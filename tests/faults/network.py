"""Two real servers whose connections go through a proxy that fails on demand, and what the tests look at."""

import os
import secrets
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import pytest

from tests.e2e.servers import Pair, Said, Server
from tests.support.fault_proxy import FaultProxy


class ProxiedPair(Pair):
    """A pair of which Server A reaches Server B through `proxy`."""

    def __init__(self, home: Path, proxy: FaultProxy, extra: str = "") -> None:
        super().__init__(home, extra)
        self.proxy = proxy
        text = self.config.read_text()
        self.config.write_text(text.replace("[state]", f'connect = "127.0.0.1:{proxy.port}"\n[state]', 1))


@contextmanager
def proxied_pair(home: Path, extra: str = "") -> Iterator[ProxiedPair]:
    """Lend a pair behind a proxy; nothing runs yet, and whatever a test starts is ended."""

    def place_of_b() -> tuple[str, int]:
        host, port = (home / "state" / "b" / "address").read_text().strip().rsplit(":", 1)
        return host, int(port)

    with FaultProxy(place_of_b) as proxy:
        pair = ProxiedPair(home, proxy, extra)
        try:
            yield pair
        finally:
            for server in pair.running.values():
                if server.process.poll() is None:
                    server.process.send_signal(signal.SIGCONT)
            pair.close()


def moment_of(event: Said) -> float:
    """Return when something was said, in seconds."""
    return datetime.fromisoformat(str(event["time"])).timestamp()


def disconnections(server: Server) -> int:
    """Return how often a server has said that it lost the other one."""
    return len(server.events("disconnected"))


def wait_apart(pair: Pair, since: dict[str, int]) -> dict[str, Said]:
    """Wait until both servers have said once more that they lost each other."""
    return {role: server.wait_event("disconnected", since[role] + 1) for role, server in pair.running.items()}


def both_disconnections(pair: Pair) -> dict[str, int]:
    """Return how often each server has said that it lost the other one."""
    return {role: disconnections(server) for role, server in pair.running.items()}


def descriptors(server: Server) -> int:
    """Return how many descriptors a server has open."""
    return len(os.listdir(f"/proc/{server.process.pid}/fd"))


def resident_bytes(server: Server) -> int:
    """Return how much memory a server uses now."""
    pages = int(Path(f"/proc/{server.process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def pass_time(seconds: float) -> None:
    """Let a fault last: the length of a silence or a stop is what is tested, nothing is waited for by it."""
    threading.Event().wait(seconds)


class Network:
    """A network namespace of its own with nothing in it but a loopback, where packets to and from Server B can fail.

    "up" are the packets to Server B, "down" those from it.
    """

    def __init__(self, place_of_b: Path) -> None:
        self._place_of_b = place_of_b
        self.name = f"dirsync-{secrets.token_hex(4)}"
        # Not by `ip netns exec`, which would give it a copy of all mounts, those of other tests' disks included.
        self.words = ["nsenter", f"--net=/run/netns/{self.name}"]
        """What runs a command in it."""

    def open(self) -> None:
        """Make it. Skips the test where that is not possible."""
        missing = [tool for tool in ("ip", "nft", "nsenter", "tc") if shutil.which(tool) is None]
        if os.geteuid() != 0 or missing:
            pytest.skip(f"needs root and the tools of the network (missing: {', '.join(missing) or 'root'})")
        made = subprocess.run(["ip", "netns", "add", self.name], capture_output=True, text=True, check=False)
        if made.returncode != 0:
            pytest.skip(f"no network namespace can be made here: {made.stderr.strip()}")
        self.run("ip", "link", "set", "lo", "up")
        self.run("nft", "add table inet faults; add chain inet faults in { type filter hook input priority 0; }")

    def close(self) -> None:
        """Remove it; whatever ran in it has ended."""
        subprocess.run(["ip", "netns", "del", self.name], capture_output=True, check=False)

    def run(self, *words: str) -> str:
        """Run a command in it and return what it printed."""
        return subprocess.run([*self.words, *words], capture_output=True, text=True, check=True).stdout

    @property
    def port(self) -> str:
        """The port of Server B."""
        return self._place_of_b.read_text().strip().rsplit(":", 1)[1]

    def fail(self, *ways: str, how: str = "drop", which: str = "") -> None:
        """Have packets on these ways fail: all of them, or those that `which` matches (in the language of nft)."""
        for way in ways:
            end = "dport" if way == "up" else "sport"
            self.run("nft", f"add rule inet faults in tcp {end} {self.port} {which} {how}")

    def heal(self) -> None:
        """Let everything pass again."""
        self.run("nft", "flush chain inet faults in")


@contextmanager
def networked_pair(home: Path) -> Iterator[tuple[Pair, Network]]:
    """Lend a pair in a network of its own; nothing runs yet, and whatever a test starts is ended."""
    pair = Pair(home)
    network = Network(pair.state / "b" / "address")
    network.open()
    pair.prefix = pair.place = network.words
    try:
        yield pair, network
    finally:
        try:
            pair.close()
        finally:
            network.close()
