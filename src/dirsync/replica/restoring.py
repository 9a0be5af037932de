"""Bringing a kept version back: an edit of this replica like any other, made by the guarded apply.

Owns what it takes: the name's present state as the guard, the directories above, and that the edit is reported as
everybody's are. What it replaces is kept in turn.
"""

from dirsync.core.entry import Directory
from dirsync.core.paths import RelPath, ancestors, display
from dirsync.core.plan import Action
from dirsync.core.reports import Applied, Failed, Missing, Refused, Step
from dirsync.core.versions import Version
from dirsync.errors import Refusal
from dirsync.replica.applying import Applying
from dirsync.replica.keeping import Versions
from dirsync.replica.settling import Settling
from dirsync.replica.site import Site

_TRIES = 3
_NEW_DIRECTORY = Directory(0o755)


class Restoring:
    """Restores into one replica."""

    def __init__(self, site: Site, settling: Settling, applying: Applying, versions: Versions) -> None:
        self._site = site
        self._settling = settling
        self._applying = applying
        self._versions = versions

    async def restore(self, version: str) -> Version:
        """Bring a version back. Raises Refusal where there is none, or where it cannot be done."""
        async with self._versions.used(version) as (found, _):
            return await self._restore(found)

    async def _restore(self, found: Version) -> Version:
        path = found.path
        for _ in range(_TRIES):
            await self._look(path)
            expected = self._site.index.entry(path)
            if expected == found.entry:
                return found
            steps = [*self._missing_parents(path), Step(Action(path, expected, found.entry))]
            results = await self._applying.apply(steps, is_own_edit=True)
            match results[-1]:
                case Applied():
                    await self._settling.wait_looked()
                    return found
                case Refused():
                    continue
                case Failed(reason):
                    raise Refusal(f"{display(path)} cannot be restored: {reason}")
                case Missing():
                    raise Refusal(f"the content of version {found.id} is not there any more, or damaged")
        raise Refusal(f"{display(path)} is being changed; try again when it is quiet")

    async def _look(self, path: RelPath) -> None:
        self._settling.hint([path])
        await self._settling.wait_looked()
        if path in self._settling.conclusions.unsettled:
            raise Refusal(f"{display(path)} is being written by a program; try again when it is quiet")

    def _missing_parents(self, path: RelPath) -> list[Step]:
        missing = [above for above in ancestors(path) if self._site.index.entry(above) is None]
        return [Step(Action(above, None, _NEW_DIRECTORY)) for above in reversed(missing)]
