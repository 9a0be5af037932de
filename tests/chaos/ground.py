"""Two directories with their states on file systems of their own, two servers, and what can be done to all of it."""

import json
import os
import signal
import socket
import subprocess
import threading
from contextlib import ExitStack
from pathlib import Path

from tests.e2e.servers import SECONDS_MAX, Server, tree_of
from tests.support.fault_proxy import FaultProxy

_BIN = Path(os.sys.executable).parent
_SIZE = 2 * 1024**3
_WAIT_SECONDS = 120


def _free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def _found_no_room(server):
    """Return whether a server could not start because its disk was full: its one line says so."""
    complaint = "".join(server.complaints)
    is_full = "is full" in complaint or "no space left" in complaint
    return not server.events("ready") and len(server.complaints) == 1 and is_full


class Ground:
    """Where one life of the chaos takes place; enter it to have both servers running."""

    def __init__(self, home):
        self.home = home
        self.roots = {role: home / f"disk_{role}" / "directory" for role in "ab"}
        self.configs = {role: home / f"config_{role}.toml" for role in "ab"}
        self.environment = os.environ | {"XDG_CACHE_HOME": str(home / "cache")}
        self.can_fill = False
        self._servers = {}
        self._said = {"a": [], "b": []}
        self._lock = threading.RLock()
        self._exit = ExitStack()

    def __enter__(self):
        self.can_fill = all(list(map(self._mount, "ab")))
        ports = {role: _free_port() for role in "ab"}
        self.proxy = self._exit.enter_context(FaultProxy(lambda: ("127.0.0.1", ports["b"])))
        for role in "ab":
            self.roots[role].mkdir()
            self.configs[role].write_text(
                f'[a]\ndirectory = "disk_a/directory"\nlisten = "127.0.0.1:{ports["a"]}"\n'
                f'[b]\ndirectory = "disk_b/directory"\nlisten = "127.0.0.1:{ports["b"]}"\n'
                f'connect = "127.0.0.1:{self.proxy.port}"\n'
                f'[state]\ndirectory = "disk_{role}/state"\n[security]\nkey = "key.pem"\n'
            )
        for role in "ba":
            self.start(role)
        return self

    def __exit__(self, *_):
        for role in list(self._servers):
            self.kill(role)
        self._exit.close()
        if self.can_fill:
            for role in "ab":
                subprocess.run(["umount", "-l", self.home / f"disk_{role}"], check=True)

    def _mount(self, role):
        """Give a side a file system of its own, where that is allowed."""
        place = self.home / f"disk_{role}"
        place.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", f"size={_SIZE}", f"chaos_{role}", place]
        return subprocess.run(mount, check=False, capture_output=True).returncode == 0

    # Servers

    def start(self, role):
        """Run a server, where it does not run."""
        with self._lock:
            if role not in self._servers:
                self._servers[role] = Server(role, self.configs[role], self.environment)

    def kill(self, role):
        """Kill a server, where it runs."""
        with self._lock:
            self._end(role, signal.SIGKILL)

    def end(self, role):
        """End a server as a person does; return what is wrong with how it ended."""
        with self._lock:
            server = self._servers.get(role)
            status = self._end(role, signal.SIGTERM)
            # Told while Python itself still starts, it ends by the signal.
            is_well = status in (None, 0, -signal.SIGTERM) or _found_no_room(server)
            return "" if is_well else f"server {role} ended with {status}: {server.complaints}"

    def _end(self, role, number):
        server = self._servers.pop(role, None)
        if server is None:
            return None
        server.process.send_signal(number)
        status = server.wait_end()
        self._said[role] += [*server.said, *server.complaints, f"ended with {status}"]
        return status

    def pause(self, role):
        """Have a server stand still."""
        with self._lock:
            if role in self._servers:
                self._servers[role].process.send_signal(signal.SIGSTOP)

    def go_on(self, role):
        """Have it go on."""
        with self._lock:
            if role in self._servers:
                self._servers[role].process.send_signal(signal.SIGCONT)

    def dead(self):
        """Return what servers that ended by themselves complained of; without any, wait until both are ready.

        One that could not start while its disk was full is started again instead: its one line said so.
        """
        dead = {}
        for role in list(self._servers):
            while not self._is_ready(role):
                server = self._servers[role]
                self.kill(role)
                if not _found_no_room(server):
                    dead[role] = (server.process.returncode, server.complaints)
                    break
                self.start(role)
        return dead

    def _is_ready(self, role):
        """Wait until a server is ready or has ended; return whether it runs."""
        server = self._servers[role]
        try:
            server.wait_event("ready")
        except AssertionError:
            if server.process.poll() is None:
                raise
        return server.process.poll() is None

    def said(self, role):
        """Return everything that servers of a role have said."""
        with self._lock:
            return self._said[role] + (self._servers[role].said if role in self._servers else [])

    # Disks

    def fill(self, role):
        """Leave a side no room at all."""
        place = self.home / f"disk_{role}"
        status = os.statvfs(place)
        used = (status.f_blocks - status.f_bfree) * status.f_frsize
        resize = ["mount", "-o", f"remount,size={used + 2 * status.f_frsize}", place]
        subprocess.run(resize, check=False, capture_output=True)

    def empty(self, role):
        """Give it room again."""
        subprocess.run(["mount", "-o", f"remount,size={_SIZE}", self.home / f"disk_{role}"], check=True)

    # Commands

    def command(self, *words, seconds=SECONDS_MAX):
        """Run a command as a person would; it never shows a traceback."""
        name, what, *rest = words
        result = subprocess.run(
            [_BIN / name, what, "--config", self.configs["a"], *rest],
            capture_output=True,
            text=True,
            env=self.environment,
            timeout=seconds,
            check=False,
        )
        assert "Traceback" not in result.stderr, result.stderr
        return result

    def settle(self):
        """Unlock everything, have dirsync say that it is in sync, compare, and return what differs."""
        locks = self.command("lab3", "locks", "--json")
        assert locks.returncode == 0, locks.stderr
        for row in json.loads(locks.stdout)["locks"]:
            result = self.command("lab3", "unlock", "--", row["name"], seconds=_WAIT_SECONDS)
            # Somebody may have asked for it before, and been answered in between.
            assert result.returncode == 0 or result.stderr.startswith("lab3: not locked: "), result.stderr
        result = self.command("dirsync", "wait", "--timeout", str(_WAIT_SECONDS), seconds=2 * _WAIT_SECONDS)
        assert result.returncode == 0, result.stderr
        trees = {role: tree_of(root) for role, root in self.roots.items()}
        names = trees["a"].keys() | trees["b"].keys()
        return {
            os.fsdecode(name): [f"{trees[role].get(name)!r:.120}" for role in "ab"]
            for name in sorted(names)
            if trees["a"].get(name) != trees["b"].get(name)
        }

    def keeping_places(self):
        """Return the directories in which what is not live any more can be."""
        return [self.home / f"disk_{role}" / "state" / role / what for role in "ab" for what in ("versions", "spool")]
