"""What a near replica knows of its directory: every entry as last read, in memory, written behind.

Owns the totals and where a content can be found. Only the event loop's thread changes it; worker threads may look a
path up. A row that was not written yet costs one more reading after a crash, nothing else.
"""

from collections.abc import Iterable

from dirsync.core.emptied import give_back_if_empty
from dirsync.core.entry import Digest, Directory, Entry, File, size_of
from dirsync.core.fingerprint import Known
from dirsync.core.paths import RelPath
from dirsync.core.tree import Tree


class Index:
    """The entries of one directory. `files` counts files and links, `size` their bytes."""

    def __init__(self, rows: Iterable[tuple[RelPath, Known]] = ()) -> None:
        self.known = Tree(rows)
        self.files = 0
        self.size = 0
        self._places: dict[Digest, RelPath] = {}
        self._unsaved: set[RelPath] = set()
        self._rowless: set[RelPath] = set()
        for path, known in self.known.items():
            self._count(path, known)
        self._files_taken = self._files_saved = self.files

    def get(self, path: RelPath) -> Known | None:
        """Return what is known of a path."""
        return self.known.get(path)

    def entry(self, path: RelPath) -> Entry | None:
        """Return the entry at a path as last read; None where nothing stood."""
        known = self.known.get(path)
        return None if known is None else known.entry

    def place_of(self, digest: Digest) -> tuple[RelPath, Known] | None:
        """Return a path that held this content when it was last read; whoever uses it verifies the content."""
        path = self._places.get(digest)
        known = None if path is None else self.known.get(path)
        return None if path is None or known is None else (path, known)

    def set(self, path: RelPath, known: Known) -> None:
        """Remember what was read at a path."""
        before = self.known.get(path)
        if before is None:
            self._rowless.add(path)
        else:
            self._discount(path, before)
        self.known.set(path, known)
        self._count(path, known)
        self._unsaved.add(path)

    def discard(self, path: RelPath) -> None:
        """Forget a path at which nothing stands any more."""
        before = self.known.discard(path)
        if before is not None:
            self._discount(path, before)
            self._unsaved.add(path)

    @property
    def is_unrecorded(self) -> bool:
        """Whether files are known, and none was when the index was last saved."""
        return self.files > 0 and self._files_saved == 0

    def take_unsaved(self) -> list[tuple[RelPath, Known | None]]:
        """Return the rows that changed since the last call, to be saved; None forgets a path."""
        rows = [(path, self.known.get(path)) for path in self._unsaved]
        self._unsaved.clear()
        self._files_taken = self.files
        return rows

    def rowless(self, paths: Iterable[RelPath]) -> list[tuple[RelPath, Known]]:
        """Return those of the paths that are known here, but may be in no saved row yet."""
        found = ((path, self.known.get(path)) for path in paths if path in self._rowless)
        return [(path, known) for path, known in found if known is not None]

    def saved(self, rows: Iterable[tuple[RelPath, Known | None]]) -> None:
        """Take note that these rows, the last that were taken, were saved."""
        self._files_saved = self._files_taken
        self._rowless.difference_update(path for path, known in rows if known is not None)
        give_back_if_empty(self._rowless)

    def put_back(self, rows: Iterable[tuple[RelPath, Known | None]]) -> None:
        """Take note that these rows could not be saved."""
        self._unsaved.update(path for path, _ in rows)

    def _count(self, path: RelPath, known: Known) -> None:
        entry = known.entry
        if not isinstance(entry, Directory):
            self.files += 1
            self.size += size_of(entry)
        if isinstance(entry, File):
            self._places[entry.digest] = path

    def _discount(self, path: RelPath, known: Known) -> None:
        entry = known.entry
        if not isinstance(entry, Directory):
            self.files -= 1
            self.size -= size_of(entry)
        if isinstance(entry, File) and self._places.get(entry.digest) == path:
            del self._places[entry.digest]
