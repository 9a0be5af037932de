"""The shim: built with the C compiler of the machine, and told through shared memory when to count and when to kill."""

import ctypes
import mmap
import os
import shutil
import struct
import subprocess
from pathlib import Path

_SOURCE = Path(__file__).with_name("shim.c")
_HEAD = struct.Struct("=IIQQ")
_ROWS, _ROW_BYTES = 16_384, 64
HOW = {"": 0, "+": 1, "t": 2}
"""What happens at a call: killed before it, killed right after it, told to stop (SIGTERM) before it."""
_BYTES = _HEAD.size + _ROWS * _ROW_BYTES


def build(directory: Path) -> Path | None:
    """Compile the shim into `directory`; None where the machine has no C compiler for it."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None or os.uname().sysname != "Linux":
        return None
    library = directory / "shim.so"
    words = [compiler, "-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror", "-o", library, _SOURCE, "-ldl"]
    subprocess.run(words, check=True)
    return library


class Control:
    """The shared memory of one process that is to die: armed by the driver, counted and obeyed by the shim."""

    def __init__(self, file: Path) -> None:
        self.file = file
        with file.open("w+b") as stream:
            stream.truncate(_BYTES)
            self._memory = mmap.mmap(stream.fileno(), _BYTES)

    def arm(self, number: int = 0, how: str = "") -> None:
        """Begin to count; `how` (a key of HOW) is what happens at the call with this number, 0 for nothing."""
        _HEAD.pack_into(self._memory, 0, 0, HOW[how], 0, number)
        struct.pack_into("=I", self._memory, 0, 1)

    def disarm(self) -> None:
        """Count no further, and kill nobody."""
        struct.pack_into("=I", self._memory, 0, 0)

    @property
    def count(self) -> int:
        """How many calls were counted."""
        return int(_HEAD.unpack_from(self._memory, 0)[2])

    @property
    def is_spent(self) -> bool:
        """Whether the call was reached at which the process dies."""
        armed, _, count, kill_at = _HEAD.unpack_from(self._memory, 0)
        return bool(armed and 0 < kill_at <= count)

    def call(self, number: int) -> str:
        """Return what the call with this number was: its name and the end of its path."""
        if not 1 <= number <= min(self.count, _ROWS):
            return ""
        start = _HEAD.size + (number - 1) * _ROW_BYTES
        return self._memory[start : start + _ROW_BYTES].split(b"\0")[0].decode(errors="replace")

    def close(self) -> None:
        """Give the memory back and remove its file."""
        self._memory.close()
        self.file.unlink()


def attach(file: Path) -> None:
    """In the process that is to die: let the preloaded shim obey this control file."""
    if ctypes.CDLL(None).torture_attach(os.fsencode(file)) != 0:
        raise OSError(f"the shim cannot map {file}")
