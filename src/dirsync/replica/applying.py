"""Steps into the directory: their contents found and staged, swapped in under guard, recorded from results.

Owns the order around an apply: one apply of a path at a time, no look at it meanwhile, the index only from what was
done. So what comes back as a hint is already known, and nothing is echoed. Which steps is decided elsewhere.
"""

import asyncio
import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial

from dirsync.core.entry import Directory, Entry, File, Symlink
from dirsync.core.paths import RelPath
from dirsync.core.plan import Action
from dirsync.core.reports import Applied, Failed, Missing, Refused, Result, Step
from dirsync.disk.apply import NOT_REACHED, Done, Prepared, apply_batch, parents_of
from dirsync.disk.durability import BatchSync
from dirsync.disk.probe import O_READ, lstat_at
from dirsync.disk.reasons import reason_of
from dirsync.disk.root import Parents
from dirsync.disk.staging import Staged, Staging
from dirsync.disk.unlocking import is_closed
from dirsync.errors import DirsyncError, DiskError, RootLost, StateError
from dirsync.limits import INLINE_BYTES_MAX
from dirsync.replica.gifts import gift_of, last_given
from dirsync.replica.keeping import Versions
from dirsync.replica.saving import save_rows
from dirsync.replica.settling import Settling
from dirsync.replica.site import Ground, Site
from dirsync.replica.turns import Turns
from dirsync.store.given_rows import Gift

_Ready = Prepared | Missing | Failed


@dataclass(frozen=True, slots=True)
class _Swapped:
    """What became of the steps.

    `given` are the held updates that were given last; `trouble` says why that could not be noted.
    """

    outcomes: list[Done | Refused | Failed]
    versions: dict[str, str]
    given: dict[RelPath, Gift]
    trouble: StateError | None = None


class Applying:
    """The applies of one replica."""

    def __init__(self, site: Site, settling: Settling, versions: Versions, on_lost: Callable[[str], None]) -> None:
        self._site = site
        self._on_lost = on_lost
        self._settling = settling
        self._versions = versions
        self._turns = Turns()
        self._running: set[asyncio.Task[list[Result]]] = set()

    async def apply(self, steps: Sequence[Step], *, is_own_edit: bool = False) -> Sequence[Result]:
        """Do the steps in order; one result each. An edit of our own is found and reported like anybody's.

        Of several steps of one path each needs the one before. Once begun it is finished, also where the caller loses
        interest. Raises RootLost, and StateError where it was done but could not be noted.
        """
        task = asyncio.create_task(self._apply(steps, is_own_edit), name="apply")
        self._running.add(task)
        task.add_done_callback(self._ended)
        return await asyncio.shield(task)

    async def finish(self) -> None:
        """Wait for the applies under way."""
        if self._running:
            await asyncio.wait(self._running)

    def _ended(self, task: "asyncio.Task[list[Result]]") -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # whoever still waits gets it; it is not to be complained about where nobody does

    async def _apply(self, steps: Sequence[Step], is_own_edit: bool) -> list[Result]:
        site, paths = self._site, _touched(step.action for step in steps)
        async with self._turns.of(paths):
            parked = [*paths, *self._locked_parents(steps)]
            self._settling.park(parked)
            try:
                await self._save_names(steps)
                ready, swapped = await self._carry_out(steps)
                prepared = _prepared(ready)
                doubtful, changed = await self._take_note(prepared, swapped, is_own_edit)
                if swapped.trouble is not None:
                    raise swapped.trouble
                serial = site.outbox.serial  # still parked: whatever these paths were reported as, was before
            except RootLost as lost:
                self._on_lost(str(lost))
                raise
            except DirsyncError:
                # No result says what was done, so that it is reported.
                self._settling.tell(paths)
                raise
            finally:
                for path in paths:
                    site.placed.pop(path, None)
                self._settling.unpark(parked)
            self._settling.hint(doubtful)
            self._settling.tell(changed)
        outcomes = iter(swapped.outcomes)
        results = [
            _result(each.action, next(outcomes), swapped.versions, serial) if isinstance(each, Prepared) else each
            for each in ready
        ]
        # What a refusal found may be a moment's state: what settles is told, also where it is what was known before.
        refused = [step.action for step, result in zip(steps, results, strict=True) if isinstance(result, Refused)]
        self._settling.tell(_touched(refused))
        return results

    async def _carry_out(self, steps: Sequence[Step]) -> tuple[list[_Ready], _Swapped]:
        """Stage the contents, then swap them in: by one call where nothing comes between and the staging is quick.

        Two threads that make many small calls at a time cost each other more than what they do at the same time.
        """
        threads, ground = self._site.threads, self._site.ground
        is_noted = any(step.update for step in steps)
        if not is_noted and all(map(_is_at_hand, steps)):
            return await threads.apply(partial(self._prepare_and_swap, ground, steps))
        ready, sync = await threads.bulk(partial(self._prepare_all, ground, steps))
        prepared = _prepared(ready)
        gifts = [gift_of(step, each) for step, each in zip(steps, ready, strict=True) if isinstance(each, Prepared)]
        noted = await self._note_gifts(ground, gifts, prepared, sync)
        return ready, await threads.apply(partial(self._swap, ground, prepared, noted, sync))

    async def _save_names(self, steps: Sequence[Step]) -> None:
        """Have the names of whatever may be moved to the kept files durably, so that a crash cannot make it nameless.

        Where nothing is known to stand, something may by the time that a step reaches it: given by the one before.
        """
        index, threads = self._site.index, self._site.threads
        replaced = [step.action.path for step in steps if step.action.expected is not None]
        if rows := index.rowless(replaced):
            await threads.record(partial(save_rows, self._site.database, rows))
            index.saved(rows)
        if unknown := [path for path in replaced if index.get(path) is None]:
            await threads.record(partial(self._versions.note_names, unknown))

    async def _note_gifts(
        self, ground: Ground, gifts: Sequence[Gift | None], prepared: Sequence[Prepared], sync: BatchSync
    ) -> list[Gift | None]:
        try:
            return await self._settling.holds.giving(gifts)
        except StateError:
            await self._site.threads.bulk(partial(_discard, ground.staging, prepared, sync))
            raise

    def _locked_parents(self, steps: Sequence[Step]) -> set[RelPath]:
        """Return the directories that an apply may have to make writable for a moment: nobody is to see that."""
        parents: set[RelPath] = set().union(*(parents_of(step.action) for step in steps))
        return {path for path in parents if _is_read_only(self._site.index.entry(path))}

    # In worker threads

    def _prepare_and_swap(self, ground: Ground, steps: Sequence[Step]) -> tuple[list[_Ready], _Swapped]:
        with ground.root.turn:
            ready, sync = self._prepare_all(ground, steps)
        prepared = _prepared(ready)
        return ready, self._swap(ground, prepared, [None] * len(prepared), sync)

    def _prepare_all(self, ground: Ground, steps: Sequence[Step]) -> tuple[list[_Ready], BatchSync]:
        """Stage what the steps need; also return how they are made durable, for `_swap` to give back."""
        sync = BatchSync(ground.root, len(steps), is_receiving=ground.staging.is_receiving)
        ready: list[_Ready] = []
        broken: set[RelPath] = set()
        parents = Parents(ground.root)
        try:
            for step in steps:
                each = Failed(NOT_REACHED) if step.action.path in broken else self._prepare(ground, parents, step)
                if not isinstance(each, Prepared):
                    broken.add(step.action.path)
                ready.append(each)
        finally:
            parents.close()
        return ready, sync

    def _prepare(self, ground: Ground, parents: Parents, step: Step) -> _Ready:
        action = step.action
        index = self._site.index
        known_source = None if action.renamed_from is None else index.get(action.renamed_from)
        try:
            staged = self._stage(ground, parents, step)
        except (DiskError, StateError) as error:
            return Failed(str(error))
        except OSError as error:
            return Failed(reason_of(error))
        return staged if isinstance(staged, Missing) else Prepared(action, staged, index.get(action.path), known_source)

    def _stage(self, ground: Ground, parents: Parents, step: Step) -> Staged | Missing | None:
        action, intended = step.action, step.action.intended
        if isinstance(intended, Symlink):
            return ground.staging.link(action.path, intended.target)
        if not isinstance(intended, File) or action.renamed_from is not None:
            return None
        if _has_content(action.expected, intended) and not _has_other_names(parents, action.path):
            return None
        staging, digest = ground.staging, intended.digest
        staged = None if step.content is None else staging.write(action.path, digest, step.content, intended)
        staged = staged or staging.take(action.path, digest) or self._copy(ground, action.path, intended)
        return staged or Missing(digest)

    def _copy(self, ground: Ground, path: RelPath, file: File) -> Staged | None:
        """Stage a content that stands elsewhere in the directory, or is kept."""
        place = self._site.index.place_of(file.digest)
        if place is not None:
            try:
                with ground.root.parent_of(place[0]) as (directory, name):
                    source = os.open(name, O_READ, dir_fd=directory)
            except OSError:
                source = -1  # it went since; another place may have it
            staged = _copy_from(ground.staging, path, file, source)
            if staged is not None:
                return staged
        source_kept = self._versions.open_content(file.digest)
        return None if source_kept is None else _copy_from(ground.staging, path, file, source_kept)

    def _swap(
        self, ground: Ground, prepared: Sequence[Prepared], gifts: Sequence[Gift | None], sync: BatchSync
    ) -> _Swapped:
        if not prepared:
            sync.close()
            return _Swapped([], {}, {})
        site, holds = self._site, self._settling.holds
        noted = {gift.path for gift in gifts if gift is not None}
        parts = (ground.root, ground.staging, site.kept, ground.unlocking)
        trouble: StateError | None = None
        try:
            ignores, note_names, on_placed = site.rules.ignores, self._versions.note_names, site.placed.__setitem__
            with sync, apply_batch(*parts, prepared, sync, ignores, note_names, on_placed) as batch:
                versions = self._versions.record(batch.kept)
                given = last_given(batch.outcomes, gifts)
                if noted:
                    holds.given(noted, given)
        except RootLost:
            if noted:
                holds.given(noted, {})
            raise
        except StateError as error:
            trouble = error
        self._versions.take_up(batch.stuck)
        return _Swapped(batch.outcomes, versions, given, trouble)

    # On the event loop

    async def _take_note(
        self, prepared: Sequence[Prepared], swapped: _Swapped, is_own_edit: bool
    ) -> tuple[list[RelPath], list[RelPath]]:
        """Bring the index up to what was done; return the paths to look at, and those changed by somebody since.

        Of the latter the index knows nothing, so whatever stands there is told, also if it is nothing.
        """
        doubtful: list[RelPath] = []
        changed: list[RelPath] = []
        done: dict[RelPath, Entry | None] = {}
        for each, outcome in zip(prepared, swapped.outcomes, strict=True):
            paths = _touched([each.action])
            if not isinstance(outcome, Done) or is_own_edit:
                doubtful += paths
                continue
            for path in paths:
                if path == each.action.path and outcome.known is not None:
                    self._site.index.set(path, outcome.known)
                else:
                    self._site.index.discard(path)
            if outcome.known is None and outcome.entry is not None:
                changed.append(each.action.path)
            done.update((path, outcome.entry if path == each.action.path else None) for path in paths)
        await self._settling.holds.applied(done, swapped.given)
        return doubtful, changed


def _touched(actions: Iterable[Action]) -> list[RelPath]:
    paths: list[RelPath] = []
    for action in actions:
        paths.append(action.path)
        if action.renamed_from is not None:
            paths.append(action.renamed_from)
    return paths


def _prepared(ready: Sequence[_Ready]) -> list[Prepared]:
    return [each for each in ready if isinstance(each, Prepared)]


def _is_at_hand(step: Step) -> bool:
    """Return whether nothing large has to be copied to stage it, not even where what stands there has other names."""
    action, intended = step.action, step.action.intended
    if step.content is not None or not isinstance(intended, File):
        return True
    is_there = _has_content(action.expected, intended)
    return action.renamed_from is not None or (is_there and intended.size <= INLINE_BYTES_MAX)


def _is_read_only(entry: Entry | None) -> bool:
    return isinstance(entry, Directory) and is_closed(entry.mode)


def _has_content(expected: Entry | None, intended: File) -> bool:
    return isinstance(expected, File) and expected.digest == intended.digest


def _has_other_names(parents: Parents, path: RelPath) -> bool:
    """Return whether a file has further hard links: time and bits of one name are then set on a copy of it."""
    try:
        return lstat_at(*parents.place_of(path)).st_nlink > 1
    except OSError:  # it went since, or cannot be reached: the step will say so
        return False


def _copy_from(staging: Staging, path: RelPath, file: File, source: int) -> Staged | None:
    if source < 0:
        return None
    try:
        return staging.copy(path, file, source)
    finally:
        os.close(source)


def _discard(staging: Staging, prepared: Sequence[Prepared], sync: BatchSync) -> None:
    """Drop what was staged for nothing. What cannot be dropped now is found at the next start."""
    with sync, suppress(DiskError):
        for each in prepared:
            if each.staged is not None:
                staging.discard(each.staged)
        staging.tidy()


def _result(action: Action, outcome: Done | Refused | Failed, versions: dict[str, str], serial: int) -> Result:
    if isinstance(outcome, Refused):
        return replace(outcome, serial=serial)
    if isinstance(outcome, Failed):
        return outcome
    kept = None if outcome.kept is None else versions.get(outcome.kept.file)
    return Applied(serial, kept, outcome.is_renamed, is_as_it_was=outcome.entry != action.intended)
