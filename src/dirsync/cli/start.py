"""Where both commands start: the few that everybody waits for by the shortest way, all others by the ordinary one.

What a command means is known in one place, the ordinary one and Server A: here its plainest spellings are recognised,
and what Server A has to print for them is printed. Everything else falls through, and so does everything unusual.
Imports next to nothing: an import of click takes as long as all of a listing.
"""

import os
import sys

_INTERRUPTED = 130


def dirsync() -> None:
    """Run `dirsync`."""
    _start("dirsync")


def lab3() -> None:
    """Run `lab3`."""
    _start("lab3")


def _start(name: str) -> None:
    if os.name == "posix":
        from dirsync.cli.quick import quickly  # noqa: PLC0415

        try:
            status = quickly(name, sys.argv[1:])
        except KeyboardInterrupt:
            print(file=sys.stderr)  # noqa: T201
            status = _INTERRUPTED
        if status is not None:
            sys.exit(status)
    from dirsync.cli import main  # noqa: PLC0415

    (main.lab3 if name == "lab3" else main.dirsync)()
