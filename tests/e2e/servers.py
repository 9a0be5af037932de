"""Two real servers on two real directories, and the commands people type, for tests.

Waiting is always for something that was said (an event, the end of a command), never for time to pass; the time limits
only end a test that would hang.
"""

import json
import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.support import preloaded

SECONDS_MAX = 40.0
_BIN = Path(sys.executable).parent

Said = dict[str, object]
Tree = dict[bytes, tuple[object, ...]]


def tree_of(root: Path) -> Tree:
    """Return what a person would compare: contents, times to the nanosecond, permission bits, link texts."""
    found: Tree = {}
    top = os.fsencode(root)
    for directory, directories, files in os.walk(top):
        for name in directories + files:
            path = os.path.join(directory, name)
            status = os.lstat(path)
            key = os.path.relpath(path, top)
            if stat.S_ISLNK(status.st_mode):
                found[key] = ("link", os.readlink(path))
            elif stat.S_ISDIR(status.st_mode):
                found[key] = ("directory", stat.S_IMODE(status.st_mode) & 0o777)
            elif stat.S_ISREG(status.st_mode):
                with open(path, "rb") as file:
                    content = file.read()
                found[key] = ("file", content, status.st_mtime_ns, stat.S_IMODE(status.st_mode) & 0o777)
            else:
                found[key] = ("other",)
    return found


def _among(said: Sequence[Said], name: str, fields: dict[str, object]) -> list[Said]:
    """Return what was said under this name, with these fields."""
    return [e for e in said if e["event"] == name and all(e.get(k.rstrip("_")) == v for k, v in fields.items())]


class Server:
    """One running `dirsync serve`, and everything it has said."""

    def __init__(self, role: str, config: Path, environment: dict[str, str], prefix: Sequence[str] = ()) -> None:
        self.role = role
        self.last_announced: Callable[[], Said | None] = lambda: None
        """What the server is known to have announced last: it may still be on its way to us."""
        self._said: list[Said] = []
        self._heard = threading.Condition()
        self.process = subprocess.Popen(
            [*prefix, _BIN / "dirsync", "serve", "--role", role, "--config", config, "--log-format", "json"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self.complaints: list[str] = []
        self._readers = [
            threading.Thread(target=self._read_events, daemon=True),
            threading.Thread(target=self._read_complaints, daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    def _read_events(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._heard:
                self._said.append(json.loads(line))
                self._heard.notify_all()
        with self._heard:
            self._heard.notify_all()

    def _read_complaints(self) -> None:
        assert self.process.stderr is not None
        self.complaints.extend(self.process.stderr)

    @property
    def said(self) -> list[Said]:
        """Everything that was said until now."""
        if self.process.poll() is None and (last := self.last_announced()) is not None:
            with self._heard:
                assert self._heard.wait_for(lambda: last in self._said or self.process.poll() is not None, SECONDS_MAX)
        with self._heard:
            return list(self._said)

    def events(self, name: str, **fields: object) -> list[Said]:
        """Return what was said under this name, with these fields."""
        return _among(self.said, name, fields)

    def wait_event(self, name: str, count: int = 1, **fields: object) -> Said:
        """Wait until this was said so many times, and return the last one."""

        def is_said() -> bool:
            return len(_among(self._said, name, fields)) >= count or self.process.poll() is not None

        with self._heard:
            is_there = self._heard.wait_for(is_said, SECONDS_MAX)
            found = _among(self._said, name, fields)
        if not is_there or len(found) < count:
            tail = "\n".join(map(str, self._said[-15:]))
            raise AssertionError(
                f"{self.role} did not say {name} {fields} {count} times; it said at last\n{tail}\n{self.complaints}"
            )
        return found[count - 1]

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End it as a person does, and return its exit status."""
        self.process.send_signal(number)
        return self.wait_end()

    def kill(self) -> None:
        """End it as a power cut of this process."""
        self.process.kill()
        self.wait_end()

    def wait_end(self) -> int:
        """Wait until it has ended, and return its exit status."""
        status = self.process.wait(SECONDS_MAX)
        for reader in self._readers:
            reader.join(SECONDS_MAX)
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()
        return status


class Pair:
    """Two directories, their configuration, and whichever servers run on them."""

    def __init__(self, home: Path, extra: str = "") -> None:
        self.home = home
        self.a, self.b = home / "directory_a", home / "directory_b"
        self.state = home / "state"
        for directory in (self.a, self.b):
            directory.mkdir()
        self.config = home / "config.toml"
        self.config.write_text(
            f'[a]\ndirectory = "directory_a"\nlisten = "127.0.0.1:0"\n'
            f'[b]\ndirectory = "directory_b"\nlisten = "127.0.0.1:0"\n'
            f'[state]\ndirectory = "state"\n[security]\nkey = "state/key.pem"\n{extra}'
        )
        self.is_aside: Callable[[bytes], bool] = lambda path: False
        """Says which paths need not be the same at both sides (ignored names)."""
        self.environment = os.environ | {"XDG_CACHE_HOME": str(home / "cache"), "TZ": "UTC"}
        self.prefix: list[str] = []
        """The command, with its words, under which servers are run."""
        self.place: list[str] = []
        """The command, with its words, under which people's commands are run."""
        self.running: dict[str, Server] = {}

    def start_alone(self, *roles: str) -> None:
        """Start servers and wait until they are ready, whether or not they find each other."""
        for role in roles:
            self.running[role] = Server(role, self.config, self.environment, self.prefix)
            if role == "a":
                self.running[role].last_announced = self._last_of_a
        for role in roles:
            self.running[role].wait_event("ready")

    def start(self, *roles: str) -> None:
        """Start servers and wait until they are ready; of both, until they are connected and in sync."""
        self.start_alone(*roles)
        if len(self.running) == 2:
            self.settle()

    def _last_of_a(self) -> Said | None:
        shown = self.command("dirsync", "events", "--last", "200", "--json", is_ok=None).stdout
        return next((said for said in map(json.loads, reversed(shown.splitlines())) if said["role"] == "a"), None)

    @property
    def server_a(self) -> Server:
        """The running Server A."""
        return self.running["a"]

    @property
    def server_b(self) -> Server:
        """The running Server B."""
        return self.running["b"]

    def stop(self, *roles: str) -> None:
        """Stop servers; each ends cleanly."""
        ended = [self.running.pop(role) for role in roles or tuple(self.running)]
        statuses = {server.role: server.stop() for server in ended}
        assert not any(statuses.values()), (statuses, [server.complaints for server in ended])

    def kill(self, *roles: str) -> None:
        """Kill servers."""
        for role in roles:
            self.running.pop(role).kill()

    def close(self) -> None:
        """End whatever still runs; a server that had died by itself is a failure."""
        running, self.running = list(self.running.values()), {}
        dead = [server for server in running if server.process.poll() is not None]
        for server in running:
            server.kill()
        assert not dead, [(server.role, server.process.returncode, server.complaints) for server in dead]

    def command(self, *words: str | bytes | Path, is_ok: bool | None = True) -> subprocess.CompletedProcess[str]:
        """Run `dirsync …` or `lab3 …` as a person would. `is_ok`: whether it must succeed; None for either."""
        line = [*words, "--config", self.config]
        if self.place:
            name, *rest = line
            result = subprocess.run(
                [*self.place, _BIN / str(name), *rest],
                capture_output=True,
                text=True,
                errors="surrogateescape",
                env=self.environment,
                timeout=SECONDS_MAX + 20,
                check=False,
            )
        else:
            result = preloaded.run(line, self.environment, SECONDS_MAX + 20)
        assert "Traceback" not in result.stderr, result.stderr
        if is_ok is not None:
            assert (result.returncode == 0) is is_ok, (words, result.returncode, result.stdout, result.stderr)
        return result

    def begin(self, *words: str | bytes | Path) -> "subprocess.Popen[str]":
        """Start a command and leave it running; whoever started it waits for its end."""
        name, *rest = words
        return subprocess.Popen(
            [*self.place, _BIN / str(name), *rest, "--config", self.config],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="surrogateescape",
            env=self.environment,
        )

    def lab3(self, *words: str | bytes, is_ok: bool | None = True) -> str:
        """Run `lab3 …` and return what it printed."""
        return self.command("lab3", *words, is_ok=is_ok).stdout

    def rows(self) -> list[Said]:
        """Return the rows of `lab3 ls --json`."""
        rows: list[Said] = json.loads(self.lab3("ls", "--json"))["files"]
        return rows

    def status(self) -> dict[str, Any]:
        """Return what `dirsync status --json` prints."""
        shown: dict[str, Any] = json.loads(self.command("dirsync", "status", "--json").stdout)
        return shown

    def settle(self) -> Tree:
        """Have dirsync say that it is in sync, compare the trees independently, and return the one they are."""
        self.command("dirsync", "wait", "--timeout", str(SECONDS_MAX))
        a, b = tree_of(self.a), tree_of(self.b)
        differing = {p for p in a.keys() | b.keys() if a.get(p) != b.get(p) and not self.is_aside(p)}
        assert not differing, {path: f"{a.get(path)!r:.300} | {b.get(path)!r:.300}" for path in sorted(differing)[:5]}
        return a


def wait_until(condition: Callable[[], bool], what: str, seconds: float = SECONDS_MAX) -> None:
    """Poll for what no program announces (a file of another program); used only where there is nothing to wait on."""
    pause = threading.Event()
    waited = 0.0
    while not condition():
        pause.wait(0.01)
        waited += 0.01
        assert waited < seconds, f"waited in vain for {what}"
