"""Tells one running time of the machine from the next."""

from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def boot_id() -> bytes:
    """Return what changes with each boot, and only then; empty where the system does not say."""
    try:
        return _BOOT_ID.read_bytes().strip()
    except OSError:
        return b""
