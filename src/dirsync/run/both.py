"""Runs both servers in one terminal: `python -m dirsync.run.both`, which is what `make run` does.

Each server is a process of its own; their lines are passed through as they come. When one ends, so does the other.
"""

import contextlib
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping

from dirsync.core.entry import Role
from dirsync.render.text import NO_COLOUR, ROLE_COLOURS, wants_colour

STOP_SECONDS = 5.0
"""A server ends within 2 s; what has not ended by then is killed, which its state survives."""

_COMMAND = (sys.executable, "-m", "dirsync.cli", "serve", "--role")
_COMPLAINT = "dirsync: "


def run_both(command: Iterable[str] = _COMMAND) -> int:
    """Run both servers until one ends or somebody interrupts; return the exit status of the one that failed, else 0."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    ended: queue.SimpleQueue[Role] = queue.SimpleQueue()
    servers: dict[Role, subprocess.Popen[str]] = {}
    printers = []
    first = None
    try:
        for role in Role:
            servers[role] = _start([*command, role.value])
            printers.append(threading.Thread(target=_pass_on, args=(role, servers[role], ended)))
            printers[-1].start()
        first = ended.get()
    except KeyboardInterrupt:
        pass
    finally:
        # Whoever is impatient has no other way: the servers end in time or are killed.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        _stop(servers)
        for printer in printers:
            printer.join()
    if first is None:
        return 0
    status = servers[first].returncode
    return 1 if status < 0 else status


def _start(command: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8", errors="replace"
    )


def _pass_on(role: Role, server: subprocess.Popen[str], ended: "queue.SimpleQueue[Role]") -> None:
    """Print the server's lines until it ends. A closed or full output ends the printing, not the server."""
    assert server.stdout is not None
    before, after = (ROLE_COLOURS[role], NO_COLOUR) if wants_colour(sys.stdout) else ("", "")
    with contextlib.suppress(OSError), server.stdout as lines:
        for line in lines:
            who = f"{role.upper()}  " if line.startswith(_COMPLAINT) else ""
            sys.stdout.write(f"{before}{who}{line.rstrip()}{after}\n")
            sys.stdout.flush()
    server.wait()
    ended.put(role)


def _stop(servers: Mapping[Role, "subprocess.Popen[str]"]) -> None:
    """Ctrl-C at a terminal has reached the servers already; being told twice does them no harm."""
    for server in servers.values():
        if server.poll() is None:
            server.terminate()
    for server in servers.values():
        try:
            server.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


if __name__ == "__main__":
    sys.exit(run_both())
