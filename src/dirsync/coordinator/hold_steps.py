"""From held updates to steps in directory_a: their contents out of the spool, the directories they need, one apply.

Knows neither the queue nor what becomes of the results, except that a directory that was made is there.
"""

import asyncio
from collections.abc import Sequence

from dirsync.coordinator.hold_journal import HoldJournal
from dirsync.coordinator.pair import Pair
from dirsync.core.entry import Directory, File, Role
from dirsync.core.holds import Hold, Update
from dirsync.core.paths import RelPath, ancestors
from dirsync.core.plan import Action
from dirsync.core.reports import Applied, Failed, Result, Step, now_standing
from dirsync.limits import INLINE_BYTES_MAX
from dirsync.replica.interface import FullReplica


class HoldSteps:
    """Applies the first updates of one hold to directory_a. `replicas` says who can be reached now."""

    def __init__(self, hold: Hold, journal: HoldJournal, pair: Pair, replicas: dict[Role, FullReplica]) -> None:
        self._hold = hold
        self._journal = journal
        self._pair = pair
        self._replicas = replicas

    async def apply(self, group: Sequence[Update]) -> Sequence[Result]:
        """Apply these, which begin with the head, in order, each where the one before was done; a result for each.

        For fewer, where the content of a later one cannot be read. Directory_a must be attached. Raises DirsyncError
        where nothing can be applied.
        """
        replica, head = self._replicas[Role.A], group[0]
        contents: list[bytes | None] = [None]
        if head.size <= INLINE_BYTES_MAX:
            contents = await self._journal.contents(group)
        elif isinstance(head.entry, File) and not await self._stage(replica, head, head.entry):
            return [Failed("the held content is damaged")]
        above = [] if head.entry is None else self._missing_parents()
        steps, expected = list(above), self._hold.seen[Role.A]
        for update, content in zip(group, contents, strict=False):
            steps.append(Step(Action(self._hold.path, expected, update.entry), content, update.id))
            expected = update.entry
        ages, made = self._pair.ages[Role.A], [step.action.path for step in above]
        with ages.applying(made):
            results = await replica.apply(steps)
            now = asyncio.get_running_loop().time()
            for path, step, result in zip(made, above, results[: len(above)], strict=True):
                if isinstance(result, Applied) and ages.is_latest(path, result.serial):
                    self._pair.observe(Role.A, path, now_standing(step.action, result), now)
        return results[len(above) :]

    async def _stage(self, replica: FullReplica, update: Update, entry: File) -> bool:
        have = await replica.stage(entry.digest, entry.size)
        return have == entry.size or await replica.put(entry.digest, entry.size, 0, self._journal.content(update))

    def _missing_parents(self) -> list[Step]:
        missing: list[tuple[RelPath, int]] = []
        for above in ancestors(self._hold.path):
            if isinstance(self._pair.views.get(Role.A, above), Directory):
                break
            recorded = self._pair.views.base.get(above)
            missing.append((above, recorded.mode if isinstance(recorded, Directory) else 0o755))
        return [Step(Action(above, None, Directory(mode))) for above, mode in missing[::-1]]
