"""A pair whose servers stand on disks that fail: each role's directory and state can lie on a disk of their own."""

import hashlib
import json
import os
import signal
from contextlib import contextmanager
from pathlib import Path

from tests.e2e.files import put
from tests.e2e.servers import Pair, Server, tree_of, wait_until
from tests.faults.disks import Disk, sync
from tests.faults.shim import Rule
from tests.support.state_copy import committed


class Machines(Pair):
    """Two machines. `disks` of a role are those that its directory and its state lie on, in this order.

    Roles in `rules` run under that rule.
    """

    def __init__(self, home: Path, extra: str = "") -> None:
        super().__init__(home, extra)
        self.disks: dict[str, list[Disk]] = {"a": [], "b": []}
        self.rules: dict[str, Rule] = {}

    def directory(self, role: str) -> Path:
        """Return the directory of a role."""
        return self.a if role == "a" else self.b

    def place_directory(self, role: str, disk: Disk) -> None:
        """Have the role's directory on this disk, from before its first start on."""
        self.directory(role).rmdir()
        self._place(self.directory(role), disk.path / "directory", role, disk)

    def place_state(self, role: str, disk: Disk) -> None:
        """Have the role's state on this disk, from before its first start on."""
        self.state.mkdir(exist_ok=True)
        self._place(self.state / role, disk.path / "state", role, disk)

    def _place(self, link: Path, place: Path, role: str, disk: Disk) -> None:
        place.mkdir()
        link.symlink_to(place)
        if disk not in self.disks[role]:
            self.disks[role].append(disk)

    def start_alone(self, *roles: str) -> None:
        """Start servers and wait until they are ready, each under its rule."""
        self.launch(*roles)
        for role in roles:
            self.running[role].wait_event("ready")

    def launch(self, *roles: str) -> None:
        """Start servers, each under its rule, and wait for nothing."""
        for role in roles:
            rule = self.rules.get(role)
            environment = self.environment | (rule.environment if rule else {})
            self.running[role] = Server(role, self.config, environment, self.prefix)

    @contextmanager
    def stopped(self, role: str):
        """Keep a server from seeing anything for a moment."""
        process = self.running[role].process
        process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            process.send_signal(signal.SIGCONT)

    def is_alive(self, role: str) -> bool:
        """Return whether a server still runs."""
        return role in self.running and self.running[role].process.poll() is None

    def sync(self, role: str) -> None:
        """Make what a person did on this machine durable."""
        for disk in self.disks[role]:
            sync(disk.path)

    def close(self) -> None:
        """End the servers, then the disks; what hangs in a frozen one could not end."""
        try:
            for disk in self.disks["a"] + self.disks["b"]:
                disk.thaw()
            super().close()
        finally:
            for disk in self.disks["a"] + self.disks["b"]:
                disk.close()
            for rule in self.rules.values():
                rule.close()

    def status(self) -> dict[str, object]:
        """Return what `dirsync status --json` says."""
        found: dict[str, object] = json.loads(self.command("dirsync", "status", "--json").stdout)
        return found

    def reason(self, name: str) -> str | None:
        """Return why a file waits, as `dirsync status` tells it; None where it does not wait."""
        waiting = {one["name"]: one["reason"] for one in self.status()["pending"]}
        return waiting.get(name)

    def waits(self, name: str, *reasons: str) -> None:
        """See that a file waits, with one of these in its reason, in `dirsync status`."""

        def is_waiting() -> bool:
            return any(reason in (self.reason(name) or "") for reason in reasons)

        wait_until(is_waiting, f"{name} to wait because of {reasons}, not {self.reason(name)}")

    def goes_on(self, role: str, label: str) -> None:
        """See that another file is carried to this role meanwhile."""
        put(self.directory("a" if role == "b" else "b") / label, unique(label))
        self.server_a.wait_event("synced", path=label, to=role)
        assert (self.directory(role) / label).read_bytes() == unique(label)

    def contents(self, role: str) -> set[bytes]:
        """Return the contents of all files in the directory of a role."""
        return {found[1] for found in tree_of(self.directory(role)).values() if found[0] == "file"}

    def kept(self, role: str, name: str | None = None) -> list[bytes]:
        """Return the contents that a server keeps (of one name), oldest first; each must be where its row says."""
        kept = []
        with committed(self.state / role) as database:
            for path, file, size in database.execute("SELECT path, file, size FROM versions ORDER BY number"):
                place = self.state / role / "versions" / file
                content = os.fsencode(os.readlink(place)) if place.is_symlink() else place.read_bytes()
                assert size is None or len(content) == size, (role, path, size, content[:100])
                if name is None or path == os.fsencode(name):
                    kept.append(content)
        return kept

    def is_sound(self, role: str) -> bool:
        """Return whether the database of a server is whole, and nothing waits in its staging area."""
        with committed(self.state / role) as database:
            return database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def unique(label: object, size: int = 100) -> bytes:
    """Return a content that no other label has."""
    seed = hashlib.sha256(repr(label).encode()).hexdigest().encode()
    return (seed * (size // len(seed) + 1))[:size]
