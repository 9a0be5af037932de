"""Owns the user's cache directory of dirsync: where it is, and that a file in it changes as a whole.

What is in it can be lost at any time. Imports next to nothing: it is on the way of commands that start fast.
"""

import os
import sys


def cache_file(name: str) -> str:
    """Return the path of a file in the user's cache directory."""
    return os.path.join(_directory(), name)


def read(file: str) -> bytes | None:
    """Return the content, or None where it cannot be read."""
    try:
        with open(file, "rb") as stream:
            return stream.read()
    except OSError:
        return None


def replace(file: str, content: bytes) -> None:
    """Write the file as a whole: a reader sees the old content or the new. Raises OSError."""
    os.makedirs(os.path.dirname(file), mode=0o700, exist_ok=True)
    temporary = f"{file}.{os.getpid()}.{os.urandom(4).hex()}"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
        os.replace(temporary, file)
    except OSError:
        remove(temporary)
        raise


def remove(file: str) -> None:
    """Remove the file, if that is possible."""
    try:
        os.unlink(file)
    except OSError:
        pass


def _directory() -> str:
    if sys.platform == "linux" and "ANDROID_DATA" not in os.environ:
        # What platformdirs says there, without the 20 ms that importing it takes.
        base = os.environ.get("XDG_CACHE_HOME", "")
        return os.path.join(base if base.strip() else os.path.expanduser("~/.cache"), "dirsync")
    import platformdirs  # noqa: PLC0415  (slow to import, see above)

    return platformdirs.user_cache_dir("dirsync")
