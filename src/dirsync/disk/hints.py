"""Owns what a watcher may say: where to look, never what happened.

A hint may be late, doubled, wrong or missing; what is true is found by looking.
"""

import os
from dataclasses import dataclass, field


@dataclass(slots=True)
class Hints:
    """Places to look at. Names are bytes relative to the watched directory, unchecked; b"" is the directory itself.

    `written` are those of the paths that a program wrote to in place, as far as the watcher can tell. `trees` are
    directories that appeared: what lies in them may have come before anybody watched. `marks` are the watcher's own
    marks that came by, which proves that everything before them has been reported. `is_scan_needed` says that something
    may have been missed anywhere.
    """

    paths: set[bytes] = field(default_factory=set)
    trees: set[bytes] = field(default_factory=set)
    marks: set[bytes] = field(default_factory=set)
    is_scan_needed: bool = False
    written: set[bytes] = field(default_factory=set)

    def __bool__(self) -> bool:
        return bool(self.paths or self.trees or self.marks or self.is_scan_needed)


def is_directory(path: str | bytes) -> bool:
    """Return whether a directory, not a link to one, stands at `path` now."""
    return os.path.isdir(path) and not os.path.islink(path)
