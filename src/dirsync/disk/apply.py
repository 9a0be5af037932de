"""Applies decided steps to the directory: guarded, kept, durable, one result each.

This file owns the order: contents durable, then the swaps, then the names. What a swap is stands in swap, metadata
and removal; which side wins is not known here.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, replace

from dirsync.core.entry import Directory, File, Symlink
from dirsync.core.fingerprint import Known
from dirsync.core.paths import RelPath, parent
from dirsync.core.plan import Action
from dirsync.core.reports import Failed, Refused
from dirsync.disk.durability import BatchSync, sync_directories
from dirsync.disk.kept import Kept, KeptArea
from dirsync.disk.metadata import dress, owner_at
from dirsync.disk.reasons import reason_of
from dirsync.disk.removal import IsIgnored, NoteNames
from dirsync.disk.root import Root
from dirsync.disk.staging import Staged, Staging
from dirsync.disk.steps import Done, Outcome, Prepared, Stepper
from dirsync.disk.unlocking import Unlocking
from dirsync.errors import DiskError

__all__ = ["NOT_REACHED", "Batch", "Done", "Kept", "Outcome", "Prepared", "apply_batch", "parents_of"]

NOT_REACHED = "the step before it was not done"

OnPlaced = Callable[[RelPath, Known], None]


@dataclass(frozen=True, slots=True)
class Batch:
    """What became of the steps, in their order, and everything that was set aside, also by steps that were not done.

    `stuck` has what is left in the staging area when the block has ended, for the caller to keep: its path by its name.
    """

    outcomes: list[Outcome]
    kept: list[Kept]
    stuck: dict[bytes, RelPath]


def _nothing_ignored(_path: RelPath, _is_directory: bool) -> bool:
    return False


def _nothing_noted(_paths: Sequence[RelPath]) -> None:
    return


def _nobody_told(_path: RelPath, _known: Known) -> None:
    return


@contextmanager
def apply_batch(
    root: Root,
    staging: Staging,
    kept: KeptArea,
    unlocking: Unlocking,
    prepared: Sequence[Prepared],
    sync: BatchSync,
    is_ignored: IsIgnored = _nothing_ignored,
    note_names: NoteNames = _nothing_noted,
    on_placed: OnPlaced = _nobody_told,
) -> Iterator[Batch]:
    """Do the steps in order, and say what became of them; one that fails stops those of its own path, and no other.

    Inside the block every Done is durable, and what it replaced lies in `kept`, durable too. What was staged is
    consumed then; what was not used is there until the block ends. Ignored names that are all that is left in a
    directory that goes are kept as well, their names given to `note_names` before, and so is what somebody put in the
    way of an apply that had to be undone. `on_placed` is told at once of each file that stands at its path, durable or
    not. Where the block fails, what was not used stays until the next start. `sync` was made before anything of the
    batch was staged. While one thread waits for the disk another may apply what touches other paths. Raises RootLost,
    before anything was done.
    """
    run = _Run(root, staging, kept, unlocking, is_ignored, note_names, prepared, sync, on_placed)
    with ExitStack() as cleaning:
        cleaning.callback(run.clean)
        root.verify()
        batch = run.run()
        clean = cleaning.pop_all()
    yield batch
    clean.close()


class _Run:
    def __init__(
        self,
        root: Root,
        staging: Staging,
        kept: KeptArea,
        unlocking: Unlocking,
        is_ignored: IsIgnored,
        note_names: NoteNames,
        prepared: Sequence[Prepared],
        sync: BatchSync,
        on_placed: OnPlaced,
    ) -> None:
        self._on_placed = on_placed
        self._root = root
        self._staging = staging
        self._kept = kept
        self._unlocking = unlocking
        self._prepared = prepared
        self._sync = sync
        self._stepper = Stepper(root, staging, kept, is_ignored, note_names, unlocking, is_synced=not sync.is_whole)

    def run(self) -> Batch:
        """Do all of it."""
        failures = self._make_contents_durable()
        with self._root.turn, closing(self._stepper.parents):
            stepped = self._step_all(failures)
        outcomes = self._make_names_durable(stepped)
        looks = {each.file: (each, self._second_look(each)) for each in self._stepper.kept}
        kept = [each if isinstance(look, Failed) else look for each, look in looks.values()]
        return Batch([_with_look(each, looks) for each in outcomes], kept, self._stepper.stuck)

    def _step_all(self, failures: dict[int, Failed]) -> list[Outcome]:
        """Do the steps. Of several of one path each begins with what the one before left, or is not reached."""
        outcomes: list[Outcome] = []
        last: dict[RelPath, Outcome] = {}
        for index, each in enumerate(self._prepared):
            path = each.action.path
            before = last.get(path)
            if before is not None and not isinstance(before, Done):
                outcome: Outcome = Failed(NOT_REACHED)
            else:
                step = each if before is None else each._replace(known=before.known)
                outcome = failures.get(index) or self._step(step)
            if isinstance(outcome, Done) and outcome.known is not None:
                self._on_placed(path, outcome.known)
            last[path] = outcome
            outcomes.append(outcome)
        return outcomes

    def clean(self) -> None:
        """Drop what was not used. What cannot be dropped now is found at the next start."""
        with suppress(DiskError):
            for each in self._prepared:
                if each.staged is not None and not self._staging.discard(each.staged):
                    self._stepper.stuck[each.staged.swap_name] = each.action.path
            self._staging.tidy()

    def _make_contents_durable(self) -> dict[int, Failed]:
        failures = {}
        dressed = []
        for index, each in enumerate(self._prepared):
            intended = each.action.intended
            if each.staged is None or not isinstance(intended, File | Symlink):
                continue
            try:
                self._dress(each, each.staged, intended)
            except OSError as error:
                failures[index] = Failed(reason_of(error))
            else:
                dressed.append(index)
        if dressed and self._sync.is_whole:
            try:
                self._sync.sync()
            except OSError as error:
                # Which content is affected is not known, and trying again would report success: trust none.
                failures.update(dict.fromkeys(dressed, Failed(reason_of(error))))
        return failures

    def _dress(self, prepared: Prepared, staged: Staged, intended: File | Symlink) -> None:
        owner = self._owner_of(prepared)
        is_synced = not self._sync.is_whole
        if owner is not None or is_synced or not staged.is_dressed:
            place = staged.directory, staged.name
            dress(*place, intended, owner, is_dressed=staged.is_dressed, is_synced=is_synced)

    def _owner_of(self, prepared: Prepared) -> tuple[int, int] | None:
        if not isinstance(prepared.action.expected, File):
            return None
        try:
            with self._root.parent_of(prepared.action.path) as (directory, name):
                return owner_at(directory, name)
        except OSError:  # the parent is gone: the guard will say so
            return None

    def _step(self, prepared: Prepared) -> Outcome:
        try:
            try:
                return self._stepper.step(prepared)
            except PermissionError:
                with self._unlocking.made_writable(parents_of(prepared.action)) as is_changed:
                    if not is_changed:
                        raise
                    return self._stepper.step(prepared)
        except OSError as error:
            return Failed(reason_of(error))
        except DiskError as error:
            return Failed(str(error))

    def _make_names_durable(self, outcomes: list[Outcome]) -> list[Outcome]:
        """Sync what the steps touched; a step whose names are not durable has failed, as far as anybody is told.

        What was put back is made durable, too: after a cut ours could stand there instead. And so is what a step may
        have done before it failed: it is found there, and agreed on. Where nothing was kept, what a cut brings back of
        the staging area's names is our own, and the start drops it.
        """
        if not self._stepper.has_moved and all(isinstance(each, Refused) for each in outcomes):
            return outcomes
        errors: dict[RelPath, OSError] = {}
        common: OSError | None = None
        try:
            if self._sync.is_whole:
                self._sync.sync()
                if self._stepper.kept:
                    self._kept.sync(self._stepper.kept, is_content_durable=True)
            else:
                if self._stepper.kept:
                    self._kept.sync(self._stepper.kept)
                errors = sync_directories(self._root, set().union(*map(_touched, self._prepared)))
                if self._stepper.kept:
                    self._staging.sync()
        except OSError as error:
            common = error
        return [
            _checked(outcome, common or _first_error(errors, each))
            for outcome, each in zip(outcomes, self._prepared, strict=True)
        ]

    def _second_look(self, kept: Kept) -> Kept | Failed:
        try:
            return replace(kept, entry=self._kept.second_look(kept.file, kept.entry))
        except OSError as error:
            return Failed(reason_of(error))


def _with_look(outcome: Outcome, looks: dict[str, tuple[Kept, Kept | Failed]]) -> Outcome:
    if not isinstance(outcome, Done) or outcome.kept is None:
        return outcome
    look = looks[outcome.kept.file][1]
    return look if isinstance(look, Failed) else outcome._replace(kept=look)


def parents_of(action: Action) -> set[RelPath]:
    """Return the directories in which an action changes a name."""
    parents = {parent(action.path)}
    if action.renamed_from is not None:
        parents.add(parent(action.renamed_from))
    return parents


def _touched(prepared: Prepared) -> set[RelPath]:
    """Return the directories in which a step may have changed a name, or bits."""
    action = prepared.action
    touched = parents_of(action)
    if isinstance(action.intended, Directory):
        touched.add(action.path)
    return touched


def _first_error(errors: dict[RelPath, OSError], prepared: Prepared) -> OSError | None:
    return next((errors[path] for path in _touched(prepared) if path in errors), None)


def _checked(outcome: Outcome, error: OSError | None) -> Outcome:
    return Failed(reason_of(error)) if error is not None and isinstance(outcome, Done) else outcome
