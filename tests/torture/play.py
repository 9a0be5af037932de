"""One telling of a scenario on one home: the servers, the person who works, and the victim, who dies once and returns.

Whatever a person did before the death stays done; what was asked and not answered is asked again.
"""

import json
import os
import signal
from collections import Counter
from collections.abc import Callable

from tests.torture.home import Home, contents, put
from tests.torture.processes import Process, Processes, Stuck
from tests.torture.shim import Control

WAIT_SECONDS = "25"


class Play:
    """The stage. `victim` is the role that dies; `before` runs in its process before it serves."""

    def __init__(self, home: Home, victim: str = "", before: Callable[[], None] | None = None) -> None:
        self.home = home
        self.victim = victim
        self._before = before
        self._processes = Processes()
        self.servers: dict[str, Process] = {}
        self.ended: list[Process] = []
        self.control = Control(home.path.parent / f"{home.path.name}.control")
        self.has_died = False
        self.death_status = -signal.SIGKILL
        self.values: Counter[bytes] = Counter()
        """Every content that a person finished, and how often."""
        self.note_values()

    def arm(self, number: int, how: str) -> None:
        """Begin to count the victim's calls; at the call with this number it is killed, or told to stop."""
        self.death_status = 0 if how == "t" else -signal.SIGKILL
        self.control.arm(number, how)

    # Servers

    def start(self, role: str) -> None:
        """Start a server; it is not waited for."""
        is_mortal = role == self.victim
        self.servers[role] = self._processes.start(
            *("dirsync", "serve", "--role", role, "--log-format", "json", "--config", str(self.home.config)),
            control=self.control.file if is_mortal else None,
            before=self._before if is_mortal else None,
        )

    def wait_ready(self, *roles: str) -> None:
        """Wait until servers are ready, reviving the victim if need be."""
        for role in roles:
            while not self.wait_said(role, "ready"):
                self.revive()

    def wait_said(self, role: str, name: str, count: int = 1, **fields: object) -> bool:
        """Wait until a server has said this so often; False where the victim died first."""
        return self._wait(lambda: self.servers[role].count(name, **fields) >= count, f"{name} {fields} of {role}")

    def said(self, name: str) -> list[dict[str, object]]:
        """Return everything that was said under this name, by all servers that ever ran."""
        return [event for server in self.ran() for event in server.said if event["event"] == name]

    def ran(self) -> list[Process]:
        """Return all servers that ever ran."""
        return [*self.ended, *self.servers.values()]

    @property
    def is_dead(self) -> bool:
        """Whether the victim lies there."""
        server = self.servers.get(self.victim)
        return server is not None and server.status is not None

    def _wait(self, condition: Callable[[], bool], what: str) -> bool:
        """Wait for it; False where the victim died first."""
        self._processes.wait(lambda: condition() or self.is_dead, what)
        return condition()

    def revive(self) -> None:
        """Take up what the victim left: nothing is torn at this moment; then start it again, immortal."""
        server = self.servers.pop(self.victim)
        self.ended.append(server)
        if server.status != self.death_status or self.has_died:
            raise Stuck(f"server {self.victim} ended by itself, with {server.status}: {server.err[-600:]}")
        self.has_died = True
        self.control.disarm()
        for role in "ab":
            for path, content in contents(self.home.directory(role)).items():
                if content not in self.values:
                    raise AssertionError(f"{path!r} at {role} is torn right after the kill: {content[:60]!r}")
        self.start(self.victim)
        self.wait_ready(self.victim)

    def stop_all(self) -> None:
        """End all servers as a person does."""
        for role in list(self.servers):
            server = self.servers.pop(role)
            os.kill(server.id, signal.SIGTERM)
            if self._processes.wait_end(server) != 0:
                raise Stuck(f"server {role} did not end cleanly: {server.status} {server.err}")

    def kill(self, role: str) -> None:
        """End a server that is not the victim, as by a kill."""
        server = self.servers.pop(role)
        self._processes.kill(server)
        self.ended.append(server)

    def kill_all(self) -> None:
        """End all servers, as by a kill."""
        for role in list(self.servers):
            self.kill(role)

    def close(self) -> None:
        """End everything."""
        self._processes.close()
        self.control.close()

    # The person

    def put(self, role: str, name: str, content: bytes, at: int = 0, mode: int = 0o644) -> None:
        """Finish a file."""
        self.values[content] += 1
        put(self.home.directory(role), name, content, at, mode)

    def note_values(self) -> None:
        """Take note of everything that stands in the directories as finished."""
        for role in "ab":
            for content in contents(self.home.directory(role)).values():
                self.values[content] += 1

    def settle(self) -> None:
        """Have dirsync say that it is in sync, reviving the victim if need be. Raises Stuck."""
        while True:
            status, complaint = self.try_command("dirsync", "wait", "--timeout", WAIT_SECONDS)
            if status == 0:
                return
            if status is not None:
                raise Stuck(f"dirsync wait: {complaint.strip()}")

    def ask(self, *words: str) -> str:
        """Have a command succeed, asking again where its server died meanwhile. Raises Stuck."""
        while True:
            status, text = self.try_command(*words)
            if status == 0:
                return text
            if status is not None:
                raise Stuck(f"{' '.join(words)}: {text.strip()}")

    def try_command(self, *words: str) -> tuple[int | None, str]:
        """Run a command; None for its status where the victim died meanwhile, and was revived."""
        if self.is_dead:
            self.revive()
        client = self._processes.start(*words, "--config", str(self.home.config))
        self._wait(lambda: client.status is not None, f"{' '.join(words)}")
        if self.control.is_spent:
            # Its client may have heard of the death before us.
            self._wait(lambda: False, "the death")
        if self.is_dead:
            self.revive()
            has_answered = client.status == 0
            self._processes.kill(client)
            if not has_answered:
                return None, client.err
        return client.status, client.out if client.status == 0 else client.err

    def wait_queued(self, count: int) -> None:
        """Wait until so many updates of the one locked file are held, reviving the victim if need be."""
        if not self.has_died and self.wait_said("a", "queued", count):
            return
        self.settle()
        (held,) = self.locks().values()
        if len(held) != count:
            raise AssertionError(f"{count} updates should be held by now, not {held}")

    def wait_captured(self, count: int) -> None:
        """Wait until B has captured so many states by itself; once it is ready again it has captured what it found."""
        if self._wait(lambda: self.home.captured("b") >= count, f"{count} captures at B"):
            return
        self.revive()
        if (found := self.home.captured("b")) != count:
            raise AssertionError(f"B captured {found} states by itself, not {count}")

    def locks(self) -> dict[str, list[int]]:
        """Return the locked names, and the sizes of their held updates in order."""
        found = json.loads(self.ask("lab3", "locks", "--json"))["locks"]
        return {lock["name"]: [update["size"] for update in lock["updates"]] for lock in found}
