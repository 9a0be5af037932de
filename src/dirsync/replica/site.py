"""What the parts of a near replica share: the directory, its state area, what is known of it, and who is told.

Owns nothing but the way in: the root may be lost and come back, so every use of it goes through `ground`.
"""

from dataclasses import dataclass
from pathlib import Path

from dirsync.core.entry import Role
from dirsync.core.events import Emit
from dirsync.core.fingerprint import Known
from dirsync.core.paths import RelPath
from dirsync.disk.kept import KeptArea
from dirsync.disk.root import Root
from dirsync.disk.staging import Staging
from dirsync.disk.unlocking import Unlocking
from dirsync.errors import RootLost
from dirsync.replica.ignoring import IgnoreRules
from dirsync.replica.index import Index
from dirsync.replica.outbox import Outbox
from dirsync.replica.threads import Threads
from dirsync.store.database import Database


@dataclass(frozen=True, slots=True)
class Ground:
    """The directory as it was opened, and where content waits for it."""

    root: Root
    staging: Staging
    unlocking: Unlocking

    def close(self) -> None:
        """Give both back."""
        self.staging.close()
        self.root.close()


class Site:
    """One directory, its state area `state`, and everything known and said about it."""

    def __init__(self, role: Role, directory: str, state: Path, database: Database, emit: Emit) -> None:
        self.role = role
        self.directory = directory
        self.state = state
        self.database = database
        self.emit = emit
        self.index = Index()
        self.placed: dict[RelPath, Known] = {}
        """What an apply under way has put at a path, by the thread that did; its end puts it into the index."""
        self.outbox = Outbox()
        self.threads = Threads()
        self.kept = KeptArea(state)
        self.rules = IgnoreRules((), self._is_internal)
        self.lost_reason = "the directory is not open yet"
        self._ground: Ground | None = None
        self._staging: Staging | None = None

    @property
    def ground(self) -> Ground:
        """The directory. Raises RootLost while it is not to be trusted."""
        if self._ground is None:
            raise RootLost(self.lost_reason)
        return self._ground

    @property
    def is_lost(self) -> bool:
        """Whether the directory is not to be trusted now."""
        return self._ground is None

    def stand_on(self, ground: Ground) -> None:
        """Work with this directory from now on."""
        self._ground = ground
        self._staging = ground.staging
        self.lost_reason = ""

    def leave(self, reason: str) -> Ground | None:
        """Stop using the directory; return what is to be closed when no thread uses it any more."""
        ground, self._ground = self._ground, None
        self.lost_reason = reason
        return ground

    def _is_internal(self, path: RelPath) -> bool:
        # Also while the root is lost: what is hinted at then is looked at when it is back.
        return self._staging is not None and self._staging.is_staging(path)
