"""Something happens between two system calls of a piece of code, without a hook in that code.

The interpreter tells a profile function about every call into C, so each system call that Python makes is a place to
step in: before it, the disk is as the calls before have left it. Single-threaded and exact: the same code on the same
disk has the same windows, so a test can go through all of them, one run each.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from dirsync.disk import syscalls

_MODULES = frozenset({"posix", "fcntl"})
_NOT_SYSTEM_CALLS = frozenset({"fspath", "strerror", "geteuid", "getegid", "getpid", "urandom"})
_THROUGH_CTYPES = {
    syscalls._renameat2.__code__: "renameat2",
    syscalls._openat2.__code__: "openat2",
    syscalls.sync_file_system.__code__: "syncfs",
}


@contextmanager
def at_each_system_call(act: Callable[[int, str], None]) -> Iterator[None]:
    """Call `act` with number and name of each system call of this thread in the block, before it is made.

    What `act` raises, the call raises instead of being made; after that nothing is watched any more. Only `close` was
    made already: it gives its descriptor back whatever it returns.
    """
    number = 0

    def step(frame: FrameType, event: str, argument: object) -> None:
        nonlocal number
        name = _system_call(frame, event, argument)
        if name is not None:
            number += 1
            act(number - 1, name)

    before = sys.getprofile()
    sys.setprofile(step)
    try:
        yield
    finally:
        sys.setprofile(before)


def _system_call(frame: FrameType, event: str, argument: object) -> str | None:
    if event == "call":
        return _THROUGH_CTYPES.get(frame.f_code)
    if event not in ("c_call", "c_return") or getattr(argument, "__module__", None) not in _MODULES:
        return None
    name: str = getattr(argument, "__name__", "")
    is_time = event == ("c_return" if name == "close" else "c_call")
    return name if is_time and name not in _NOT_SYSTEM_CALLS else None
