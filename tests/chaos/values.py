"""What is written, and the ledger that knows which of it may be gone.

Each value is written once and can be recognised whole. It may be gone at the end only if a person or program destroyed
it that had it before it: whoever overwrites, deletes or renames over a name reads it first, and what was read is
excused. (What dirsync puts there between that read and the overwriting came from the other side, where it is live, or
kept, or was itself excused.)
"""

import os
import re
import threading
import time
from dataclasses import dataclass, field

_HEAD = re.compile(rb"\Avalue (\d+) of (\d+) bytes\n")


def content_of(number, size):
    """Return the bytes of value `number`, `size` or a few more, which no other value is a part of."""
    line = b"%d " % number * 8 + b"\n"
    body = line * (size // len(line) + 1)
    return b"value %d of %d bytes\n" % (number, len(body)) + body


def number_in(content):
    """Return which value this is, None where it is not a whole one."""
    head = _HEAD.match(content)
    if head is None:
        return None
    number, size = int(head[1]), int(head[2])
    return number if content == content_of(number, size - 1) and len(content) == head.end() + size else None


def read_value(path):
    """Return which value stands at a path, None where none does."""
    try:
        with open(path, "rb") as file:
            return number_in(file.read())
    except OSError:
        return None


@dataclass
class Ledger:
    """Every value that a program finished writing, and those that somebody destroyed who had read them."""

    written: dict[int, str] = field(default_factory=dict)
    excused: set[int] = field(default_factory=set)
    story: list[str] = field(default_factory=list)
    _last: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def next_number(self):
        """Return the number of a value that was never written."""
        with self._lock:
            self._last += 1
            return self._last

    def finished(self, number, where):
        """Note that this value stands somewhere: the program has closed its file without an error."""
        with self._lock:
            self.written[number] = where
        self.tell(f"wrote {number}", where)

    def destroys(self, path):
        """Note that what stands at a path, or below it, is about to be destroyed by somebody who has it before him."""
        if os.path.isdir(path) and not os.path.islink(path):
            seen = [read_value(os.path.join(top, name)) for top, _, names in os.walk(path) for name in names]
        else:
            seen = [read_value(path)]
        with self._lock:
            self.excused.update(number for number in seen if number is not None)
        self.tell(f"will destroy {[number for number in seen if number is not None]}", path)

    def tell(self, what, where):
        """Add to the story that is left where something went wrong."""
        now = time.time()
        clock = time.strftime("%H:%M:%S", time.gmtime(now))
        self.story.append(f"{clock}.{int(now % 1 * 1e6):06d}  {what}  {where}")

    def lost(self, *places):
        """Return the values, with where they were written, that are in none of these directories and not excused."""
        found = set()
        for place in places:
            for top, _, names in os.walk(place):
                found.update(read_value(os.path.join(top, name)) for name in names)
        return {
            number: where
            for number, where in self.written.items()
            if number not in found and number not in self.excused
        }
