"""Runs the comparison in namespaces of its own where that is allowed (Linux, as root).

Its loopback then carries nobody else's bytes and its ports are nobody else's; its mounts and all its processes go with
it, also when it is killed.
"""

import fcntl
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Sequence

_IN_OWN = "DIRSYNC_BENCH_NAMESPACES"
_UNSHARE = ("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 0x1


def isolate(arguments: Sequence[str]) -> bool:
    """Replace this process by one in its own namespaces.

    Returns, without replacing it, True where it already is one and False where it cannot be.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if os.environ.get(_IN_OWN):
        _raise_loopback()
        return True
    if os.geteuid() != 0 or not shutil.which("unshare"):
        return False
    if subprocess.run([*_UNSHARE, "true"], check=False, capture_output=True).returncode != 0:
        return False
    os.environ[_IN_OWN] = "1"
    os.execvp("unshare", [*_UNSHARE, sys.executable, "-m", "benchmarks", *arguments])


def _raise_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sH14s", b"lo", 0, b"")
        flags = struct.unpack("16sH14s", fcntl.ioctl(any_socket, _SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sH14s", b"lo", flags | _IFF_UP, b""))
