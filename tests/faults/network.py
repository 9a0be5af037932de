"""Two real servers whose connections go through a proxy that fails on demand, and what the tests look at."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

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
