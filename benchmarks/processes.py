"""The processes of a tool: started, told to end, killed if they do not; what they use; what crossed the loopback."""

import os
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

END_SECONDS = 10.0
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Processes:
    """What one tool runs. Each process leads a session of its own, which is killed as a whole in the end."""

    def __init__(self, log: Path, environment: Mapping[str, str]) -> None:
        self.log = log
        self.environment = {**os.environ, **environment}
        # Compiled modules are what people have from the second start on.
        self.environment.pop("PYTHONDONTWRITEBYTECODE", None)
        self._running: list[subprocess.Popen[bytes]] = []

    def start(self, words: Sequence[str | Path]) -> "subprocess.Popen[bytes]":
        """Start a process that goes on running; what it says is appended to the log."""
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.environment,
                start_new_session=True,
            )
        self._running.append(process)
        return process

    def run(self, words: Sequence[str | Path], seconds_max: float) -> str:
        """Run a command to its end and return what it printed.

        Raises:
            subprocess.SubprocessError: it failed or did not end in time.

        """
        done = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env=self.environment,
            timeout=seconds_max,
            check=False,
        )
        if done.returncode != 0:
            with self.log.open("a") as log:
                log.write(done.stdout + done.stderr)
            done.check_returncode()
        return done.stdout

    def dead(self) -> list[str]:
        """Return the names of those that ended although nobody told them to."""
        return [str(process.args[0]) for process in self._running if process.poll() is not None]  # type: ignore[index]

    def stop(self) -> None:
        """End all: told first, killed with all their children if they do not."""
        running, self._running = self._running, []
        for process in running:
            process.terminate()
        for process in running:
            try:
                process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                continue

    def pids(self) -> list[int]:
        """Return the processes and their descendants."""
        children: dict[int, list[int]] = {}
        for path in Path("/proc").iterdir():
            if path.name.isdigit():
                fields = _stat_fields(int(path.name))
                if fields:
                    children.setdefault(int(fields[1]), []).append(int(path.name))
        found = [process.pid for process in self._running]
        for pid in found:
            found.extend(children.get(pid, []))
        return found

    def cpu_seconds(self) -> float:
        """Return the processor time that they and their ended children have used."""
        return sum(sum(map(int, fields[11:15])) for pid in self.pids() if (fields := _stat_fields(pid))) / CLOCK_TICKS

    def memory_bytes(self) -> int:
        """Return the resident memory of all together."""
        return sum(int(fields[21]) * PAGE_BYTES for pid in self.pids() if (fields := _stat_fields(pid)))


def _stat_fields(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat from the state on; none if the process has gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def loopback_bytes() -> int:
    """Return what the loopback interface has carried: headers and acknowledgements included, each packet once."""
    for line in Path("/proc/net/dev").read_text().splitlines():
        name, _, counters = line.partition(":")
        if name.strip() == "lo":
            return int(counters.split()[0])
    return 0


def is_listening(port: int) -> bool:
    """Say whether somebody accepts connections at a port of the loopback interface."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_port() -> int:
    """Return a port of the loopback interface that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
