"""Says on what was measured: nothing a figure could be compared without."""

import datetime
import os
import platform
import sqlite3
import ssl
import subprocess
import timeit
from pathlib import Path

from benchmarks.tools.interface import first_line


def describe(*, is_isolated: bool) -> dict[str, str]:
    """Return what a reader wants to know of this machine, by name."""
    return {
        "processors": f"{os.cpu_count()} x {_processor()}",
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 1024**3:.0f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "Python": f"{platform.python_version()}, {_turns_per_second() / 1e6:.0f} million empty turns a second",
        "OpenSSL": ssl.OPENSSL_VERSION.split()[1],
        "SQLite": sqlite3.sqlite_version,
        "commit": first_line("git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty") or "unknown",
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "load before": f"{os.getloadavg()[0]:.1f}",
        "bytes": "loopback of the run's own, headers and acknowledgements included"
        if is_isolated
        else "loopback of the machine: whatever else used it is counted too",
    }


def _turns_per_second() -> float:
    """Builds of one version differ by a quarter, and most of what dirsync does with small files is interpreted."""
    turns = 1_000_000
    return turns / min(timeit.repeat("for _ in range(turns): pass", globals={"turns": turns}, repeat=5, number=1))


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def describe_failure(error: Exception) -> str:
    """Return one line about an error, with what a failed command said."""
    said = ""
    if isinstance(error, subprocess.CalledProcessError):
        said = ": " + " / ".join(str(error.stderr or error.stdout or "").split("\n")[-4:]).strip(" /")
    return f"{type(error).__name__}: {error}{said}"
