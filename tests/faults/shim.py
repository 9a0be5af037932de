"""The disk that fails on request: builds the preload library, and tells it what to do while a server runs.

The rule is a page shared with the server, so it changes at any moment, from outside, without a restart.
"""

import errno
import mmap
import os
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

KINDS = [
    *("open", "read", "write", "rename", "link", "unlink", "mkdir", "rmdir", "symlink", "truncate", "mode", "owner"),
    *("times", "fsync", "syncfs", "xattr", "close", "readdir"),
]
"""As in the library, in the same order."""
CHANGES = tuple(kind for kind in KINDS if kind not in {"open", "read", "close", "readdir"})
"""The calls after each of which the disk is another one."""
_LAYOUT = struct.Struct("=9I256s256s256s256s")
_FAIL, _SHORT, _CUT = 1, 2, 3
_FOREVER = 2**32 - 1


def built(directory: Path) -> Path:
    """Build the library there, or skip the test where there is no compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or not hasattr(os, "O_PATH"):
        pytest.skip("needs Linux and a C compiler")
    library = directory / "shim.so"
    source = Path(__file__).with_name("shim.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-O2", "-o", library, source, "-ldl"], check=True)
    return library


class Rule:
    """What goes wrong for one server, which has to be started with `environment`. Nothing does, to begin with."""

    def __init__(self, library: Path, file: Path, mounts: tuple[Path, ...] = ()) -> None:
        file.write_bytes(bytes(_LAYOUT.size))
        with file.open("r+b") as stream:
            self._page = mmap.mmap(stream.fileno(), _LAYOUT.size)
        self.environment = {
            "LD_PRELOAD": str(library),
            "FAULT_RULE": str(file),
            "CUT_MOUNTS": ":".join(map(str, mounts)),
        }

    def _set(self, action: int, kinds: tuple[str, ...], words: tuple[str | Path, ...], **numbers: int) -> None:
        self.disarm()
        bits = sum(1 << KINDS.index(kind) for kind in kinds)
        first, times = numbers.get("first", 1), numbers.get("times", _FOREVER)
        texts = [os.fsencode(word) for word in words] + [b""] * (4 - len(words))
        fields = (bits, first, times, action, numbers.get("error", 0), numbers.get("is_log_kept", 0))
        self._page[4 : _LAYOUT.size] = _LAYOUT.pack(0, 0, 0, *fields, *texts)[4:]
        self._page[0:4] = struct.pack("=I", 1)

    def fail(
        self, kinds: str, *words: str | Path, error: int = errno.EIO, first: int = 1, times: int = _FOREVER
    ) -> None:
        """Have calls of these kinds, on paths with one of these words, fail from the `first`-th on, so many times."""
        self._set(_FAIL, tuple(kinds.split()), words, first=first, times=times, error=error)

    def shorten(self, *words: str | Path, first: int = 1, times: int = _FOREVER) -> None:
        """Have writes take only half of what they are given."""
        self._set(_SHORT, ("write",), words, first=first, times=times)

    def cut(self, at: int, *words: str | Path, is_log_kept: bool) -> None:
        """Have the power fail just before the `at`-th change on these paths; 0 only counts them."""
        times = 1 if at else 0
        self._set(_CUT, CHANGES, words, first=max(at, 1), times=times, is_log_kept=int(is_log_kept))

    def pause(self) -> None:
        """Have everything go well, until it is told to go on."""
        self._page[0:4] = bytes(4)

    def go_on(self) -> None:
        """Count anew, under the rule as it was set."""
        self._page[4:12] = bytes(8)
        self._page[0:4] = struct.pack("=I", 1)

    def disarm(self) -> None:
        """Have everything go well from now on."""
        self._page[0:4] = struct.pack("=I", 0)

    @property
    def count(self) -> int:
        """How many calls were meant, since the rule was set."""
        return int(_LAYOUT.unpack(self._page[:])[1])

    @property
    def hits(self) -> int:
        """How many of them failed."""
        return int(_LAYOUT.unpack(self._page[:])[2])

    def close(self) -> None:
        """Give the page back."""
        self._page.close()
