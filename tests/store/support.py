"""Values to store, settings for properties that use a disk, and a child process to kill."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from dirsync.core.entry import Digest, Directory, Entry, File, Symlink, mtime_of
from dirsync.core.fingerprint import Fingerprint, Known
from dirsync.core.paths import RelPath

on_disk = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
"""One database serves all examples of a property; each begins by clearing what it uses."""

_names = (
    st.binary(min_size=1, max_size=12)
    .map(lambda raw: raw.replace(b"/", b"_").replace(b"\0", b"_"))
    .filter(lambda name: name not in (b".", b".."))
)
paths = st.sampled_from([RelPath(b"a"), RelPath(b"a/b"), RelPath(b"\xff")]) | st.lists(
    _names, min_size=1, max_size=4
).map(lambda names: RelPath(b"/".join(names)))
"""Often one of three, so that a path is met again."""
sizes = st.integers(0, 2**63 - 1)
small_sizes = st.integers(0, 2**40)
times = st.integers(-(2**64), 2**64)
modes = st.integers(0, 0o777)
stamps = st.integers(0, 2**62)
digests = st.binary(min_size=32, max_size=32).map(Digest)
targets = st.binary(min_size=1, max_size=60)


def entries_sized(lengths: st.SearchStrategy[int]) -> st.SearchStrategy[Entry]:
    return st.one_of(
        st.builds(File, digests, lengths, times, modes),
        st.builds(Directory, modes),
        st.builds(Symlink, targets, times),
    )


entries = entries_sized(sizes)
states = st.none() | entries
inodes = st.integers(0, 2**130)
fingerprints = st.builds(Fingerprint, inodes, sizes, times, times, st.integers(0, 2**32 - 1))
knowns = st.builds(Known, entries, fingerprints, stamps)

FILE = File(Digest(b"\1" * 32), 5, 1_700_000_000_123_456_789, 0o644)
OTHER = File(Digest(b"\2" * 32), 7, 1_700_000_001_000_000_000, 0o600)


def exact(entry: Entry | None) -> tuple[Entry | None, int]:
    """What must come back: also the time of a link, which entries do not compare."""
    return entry, mtime_of(entry)


@contextmanager
def child(code: str, directory: Path) -> Iterator[subprocess.Popen[str]]:
    """Run `code` with the state directory as its argument; killed at the end if it still runs."""
    with subprocess.Popen(
        [sys.executable, "-c", code, str(directory)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()
