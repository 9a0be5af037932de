"""Measures dirsync by whole processes on this machine: `make bench`, or `python benchmarks/figures.py [NAME ...]`.

Two real servers over loopback with everything on (TLS, BLAKE3, archive, durable before visible). Convergence is judged
by what stands on disk at the other side, not by dirsync's word. Prints one line per figure; a control of the same
minute (`cp -a` of the same files) stands beside what depends on the machine's file system.
"""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

BIN = Path(sys.executable).parent
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")
PAUSE = threading.Event()


class Servers:
    """Two servers on two directories below a temporary one."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.a, self.b = home / "a", home / "b"
        self.a.mkdir()
        self.b.mkdir()
        self.config = home / "config.toml"
        self.config.write_text(
            '[a]\ndirectory = "a"\nlisten = "127.0.0.1:0"\n[b]\ndirectory = "b"\nlisten = "127.0.0.1:0"\n'
        )
        self.environment = os.environ | {"XDG_CACHE_HOME": str(home / "cache")}
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        """Start both and wait until they are in sync."""
        for role in "ba":
            words = [BIN / "dirsync", "serve", "--role", role, "--config", self.config, "--quiet"]
            self.processes.append(subprocess.Popen(words, env=self.environment))
        self.run("dirsync", "wait", "--timeout", "600")

    def run(self, *words: str) -> None:
        """Run a command to its end; it may have to wait for Server A to be there."""
        command = [BIN / words[0], *words[1:], "--config", self.config]
        for _ in range(200):
            if subprocess.run(command, env=self.environment, capture_output=True, check=False).returncode == 0:
                return
            PAUSE.wait(0.01)
        raise SystemExit(f"{' '.join(words)} failed")

    def stop(self) -> None:
        """Stop both."""
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.wait(10)
        self.processes.clear()

    def cpu_seconds(self) -> float:
        """Return the processor time both have used."""
        total = 0
        for process in self.processes:
            fields = Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
            total += int(fields[11]) + int(fields[12])
        return total / CLOCK_TICKS

    def memory_mib(self) -> list[float]:
        """Return the resident memory of each."""
        found = []
        for process in self.processes:
            lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
            found.append(next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS")))
        return found


@contextmanager
def servers() -> Iterator[Servers]:
    """Lend a fresh pair, not started."""
    with tempfile.TemporaryDirectory(prefix="dirsync-bench-", dir=os.environ.get("BENCH_DIRECTORY")) as home:
        pair = Servers(Path(home))
        try:
            yield pair
        finally:
            pair.stop()


def until(condition: Callable[[], bool]) -> float:
    """Poll until the condition holds and return the moment; the pause is far below what is measured."""
    while not condition():
        time.sleep(0.0002)
    return time.perf_counter()


def write_small_files(directory: Path, count: int) -> None:
    """Write files of 1 to 16 KiB, 100 in a subdirectory."""
    for number in range(count):
        if number % 100 == 0:
            (directory / f"d{number // 100:04}").mkdir(parents=True)
        content = number.to_bytes(4) * (256 + 256 * (number % 16))
        (directory / f"d{number // 100:04}" / f"f{number:06}").write_bytes(content)


def same(one: Path, two: Path) -> bool:
    """Compare two trees with a program that is not ours."""
    return subprocess.run(["diff", "-rq", one, two], capture_output=True, check=False).returncode == 0


def latency() -> None:
    """One small change each way, 100 times: write returned -> visible at the other side."""
    with servers() as pair:
        pair.start()
        for name, source, target in (("a to b", pair.a, pair.b), ("b to a", pair.b, pair.a)):
            taken = []
            for number in range(110):
                content = f"{name} {number}".encode()
                (source / "small.txt").write_bytes(content)
                written = time.perf_counter()
                path = target / "small.txt"
                taken.append((until(lambda p=path, c=content: p.exists() and p.read_bytes() == c) - written) * 1000)
                PAUSE.wait(0.03)
            taken = sorted(taken[10:])
            print(f"small change {name}: p50 {taken[50]:.1f} ms, p99 {taken[98]:.1f} ms, worst {taken[99]:.1f} ms")


def burst() -> None:
    """2,000 files written into A at once, until B is identical."""
    taken = []
    for _ in range(3):
        with servers() as pair:
            pair.start()
            write_small_files(pair.a, 2000)
            written = time.perf_counter()
            done = until(lambda b=pair.b: len(list(b.glob("*/f*"))) == 2000)
            assert same(pair.a, pair.b)
            taken.append(done - written)
    each = [round(seconds, 2) for seconds in taken]
    print(f"2,000 files at once: median {statistics.median(taken):.2f} s after the last write {each}")


def first() -> None:
    """First synchronisation of 10,000 files into an empty side."""
    with servers() as pair:
        write_small_files(pair.a, 10_000)
        started = time.perf_counter()
        shutil.copytree(pair.a, pair.home / "copy")
        copied = time.perf_counter() - started
        started = time.perf_counter()
        pair.start()
        taken = time.perf_counter() - started
        assert same(pair.a, pair.b)
        print(f"first synchronisation of 10,000 files: {taken:.1f} s (a plain copy in the same minute: {copied:.1f} s)")
        pair.stop()
        started = time.perf_counter()
        pair.start()
        print(f"restart with 10,000 equal files until in sync: {time.perf_counter() - started:.2f} s")
        listing(pair)
        print(f"memory of both servers with 10,000 files: {[round(m) for m in pair.memory_mib()]} MiB")
        idle(pair)


def listing(pair: Servers) -> None:
    """`lab3 ls` as a whole process, 10,000 files."""
    taken = []
    for _ in range(15):
        started = time.perf_counter()
        pair.run("lab3", "ls")
        taken.append((time.perf_counter() - started) * 1000)
    print(f"lab3 ls, 10,000 files: median {statistics.median(taken):.0f} ms, best {min(taken):.0f} ms")


def idle(pair: Servers) -> None:
    """Processor time of both servers over 30 quiet seconds."""
    PAUSE.wait(12)
    before = pair.cpu_seconds()
    PAUSE.wait(30)
    print(f"idle with 10,000 files: {(pair.cpu_seconds() - before) / 30 * 100:.2f} % of a core, both servers together")


def held() -> None:
    """1,000 held updates of 4 KiB: unlock until all are applied."""
    with servers() as pair:
        (pair.b / "held").write_bytes(b"start")
        pair.start()
        pair.run("lab3", "lock", "held")
        for number in range(1000):
            (pair.b / "held").write_bytes(number.to_bytes(4) * 1024)
            if number % 20 == 0:
                pair.run("dirsync", "wait")
        pair.run("dirsync", "wait")
        started = time.perf_counter()
        pair.run("lab3", "unlock", "held")
        print(f"unlock of the held updates: {time.perf_counter() - started:.2f} s")


FIGURES = {"latency": latency, "burst": burst, "first": first, "held": held}

if __name__ == "__main__":
    for chosen in sys.argv[1:] or FIGURES:
        FIGURES[chosen]()
