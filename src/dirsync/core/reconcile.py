"""The only file that decides which side wins.

`reconcile` is a pure function of the base and the two present entries. It returns what both sides shall hold;
the actions follow from comparing that with what each side holds now. The rule table stands in docs/architecture.md
and in tests/core/test_reconcile.py; the approach is Unison's three-way comparison (Pierce and Vouillon, 2004).
"""

from typing import NamedTuple

from dirsync.core.entry import Directory, Entry, File, Role, mtime_of, same_content


class Outcome(NamedTuple):
    """What both sides shall hold, and whose content is set aside for it (a conflict), if anybody's."""

    entry: Entry | None
    loser: Role | None = None


def reconcile(base: Entry | None, a: Entry | None, b: Entry | None) -> Outcome:
    """Decide one path. Total, deterministic, and symmetric but for ties, which go to A."""
    if a == b:
        return Outcome(a)
    if b == base:
        return Outcome(a)
    if a == base:
        return Outcome(b)
    # From here on both sides changed, differently.
    if a is None or b is None:
        survivor = b if a is None else a
        # Only a content change beats a deletion; new bits or a new time do not.
        return Outcome(None if same_content(base, survivor) else survivor)
    if isinstance(a, Directory) and isinstance(b, Directory):
        return Outcome(Directory(_merged_mode(base, a, b, Role.A)))
    if isinstance(a, Directory) or isinstance(b, Directory):
        # The directory stays: other entries may depend on it. The file is kept as a version.
        return Outcome(a, Role.B) if isinstance(a, Directory) else Outcome(b, Role.A)
    if isinstance(a, File) and isinstance(b, File):
        return _merged_files(base, a, b)
    winner = _newest(a, b)
    return Outcome(a if winner is Role.A else b, winner.other)


def _newest(a: Entry, b: Entry) -> Role:
    return Role.B if mtime_of(b) > mtime_of(a) else Role.A


def _merged_files(base: Entry | None, a: File, b: File) -> Outcome:
    """Content with its time is one unit, permission bits are another; each follows the side that changed it."""
    newest = _newest(a, b)
    mode = _merged_mode(base, a, b, newest)
    winner = newest
    if isinstance(base, File):
        unit = (base.digest, base.mtime_ns)
        if (a.digest, a.mtime_ns) == unit:
            winner = Role.B
        elif (b.digest, b.mtime_ns) == unit:
            winner = Role.A
    kept = a if winner is Role.A else b
    both_changed = not isinstance(base, File) or unit not in ((a.digest, a.mtime_ns), (b.digest, b.mtime_ns))
    loser = winner.other if both_changed and a.digest != b.digest else None
    return Outcome(File(kept.digest, kept.size, kept.mtime_ns, mode), loser)


def _merged_mode(base: Entry | None, a: File | Directory, b: File | Directory, newest: Role) -> int:
    if type(base) is type(a) and isinstance(base, File | Directory):
        if a.mode == base.mode:
            return b.mode
        if b.mode == base.mode:
            return a.mode
    return a.mode if newest is Role.A else b.mode
