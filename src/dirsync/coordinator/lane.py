"""Applies what was planned for one replica: gathers contents, applies in order, learns from the results.

There is one lane per replica and direction. Small things go in batches, in the order of the plan; a large content is
brought over beside the lane first (`transfers`), so nothing waits for it. Decides nothing: a surprise goes back to the
plan.
"""

import asyncio
import functools
from collections.abc import Callable, Sequence
from typing import assert_never

from dirsync.coordinator.actions import is_content_needed, is_independent, paths_of, shall_be
from dirsync.coordinator.batches import Batches
from dirsync.coordinator.bringing import Content, bring
from dirsync.coordinator.conflicts import Conflicts
from dirsync.coordinator.pair import Pair, Trouble
from dirsync.coordinator.tally import Tally
from dirsync.coordinator.telling import Telling
from dirsync.coordinator.transfers import Progress, Transfers
from dirsync.core.emptied import give_back_if_empty
from dirsync.core.entry import ChangeKind, Entry, File, Role, change_kind, same_content, size_of
from dirsync.core.events import Emit, EventName, Value
from dirsync.core.paths import RelPath, to_text
from dirsync.core.plan import Action
from dirsync.core.reports import Applied, ContentAt, Failed, Missing, Refused, Result, Step, now_standing
from dirsync.errors import DirsyncError, Refusal, RootLost, Unreachable
from dirsync.limits import BATCH_ACTIONS_MAX, BATCH_BYTES_MAX, INLINE_BYTES_MAX
from dirsync.replica.interface import FullReplica
from dirsync.replica.weights import weight_of_action

_APPLIES_MAX = 3
"""Batches under way at a time: one is applied, one waits for that, one is brought over."""


class Lane:
    """The way to one replica.

    `is_held` says of a path that nothing may be applied to it now, even if it was planned; `wake` is called when there
    is something to plan again. Invariant: every path handed to `add` is busy in the pair until its work has ended.
    """

    def __init__(
        self,
        role: Role,
        pair: Pair,
        conflicts: Conflicts,
        telling: Telling,
        tally: Tally,
        emit: Emit,
        is_held: Callable[[Role, RelPath], bool],
        wake: Callable[[], None],
    ) -> None:
        self._role = role
        self._pair = pair
        self._conflicts = conflicts
        self._telling = telling
        self._tally = tally
        self._emit = emit
        self._is_held = is_held
        self._wake = wake
        self._target: FullReplica | None = None
        self._source: FullReplica | None = None
        self._batches = Batches()
        self._transfers = Transfers(self._bring, self._brought)
        self._content_wanted: set[RelPath] = set()
        # Where the source held what shall be when it was planned: once it is applied, both have held it.
        self._shared: set[RelPath] = set()
        self._ages = pair.ages[role]
        self._slots = asyncio.Semaphore(_APPLIES_MAX)

    def open(self, target: FullReplica, source: FullReplica) -> None:
        """Both replicas can be reached: what is added from now on will be worked on."""
        self._target, self._source = target, source

    def close(self) -> None:
        """A replica was lost: drop what has not been applied. It is planned anew from what is found later."""
        self._target = self._source = None
        self._shared.clear()
        self._end(*self._transfers.drop())
        self._end(*self._batches.drop())
        self._content_wanted.clear()

    def add(self, actions: list[Action]) -> None:
        """Take over planned actions, in this order."""
        batch: list[Action] = []
        size = 0
        for action in actions:
            self._pair.begin(paths_of(action))
            self._note_shared(action)
            if is_content_needed(action) and size_of(action.intended) > INLINE_BYTES_MAX:
                self._transfers.add(action)
                continue
            # As it is weighed where it is sent: what is cut there again is synced in two parts.
            weight = weight_of_action(action) + (size_of(action.intended) if is_content_needed(action) else 0)
            if batch and (len(batch) >= BATCH_ACTIONS_MAX or size + weight > BATCH_BYTES_MAX):
                self._batches.put(batch)
                batch, size = [], 0
            batch.append(action)
            size += weight
        if batch:
            self._batches.put(batch)

    def is_news(self, path: RelPath, serial: int) -> bool:
        """Take note of a report of the target; return whether it is later than the last apply of the path."""
        return self._ages.is_news(path, serial)

    async def run(self) -> None:
        """Apply until cancelled: batches that depend on nothing beside each other, any other one alone."""
        async with self._transfers.running(), asyncio.TaskGroup() as tasks:
            while True:
                batch = await self._batches.get()
                slots = 1 if all(map(is_independent, batch)) else _APPLIES_MAX
                for _ in range(slots):
                    await self._slots.acquire()
                tasks.create_task(self._work(batch, slots), name=f"apply to {self._role}")

    async def _work(self, batch: list[Action], slots: int) -> None:
        try:
            await self._apply_batch(batch)
        except DirsyncError as error:
            for action in batch:
                self._fall(action, error)
        finally:
            self._end(*batch)
            for _ in range(slots):
                self._slots.release()

    async def _apply_batch(self, batch: list[Action]) -> None:
        if self._target is None or self._source is None:
            return
        target = self._target
        steps = await self._with_contents(batch, self._source)
        conflicts = await self._conflicts.begin(self._role, batch)
        async with self._telling.noted(self._role, self._shared_among(steps)):
            # Whether a name is held is asked last: from here to the apply nothing is awaited.
            steps = [step for step in steps if not any(self._is_held(self._role, p) for p in paths_of(step.action))]
            results = await self._apply(target, steps) if steps and self._target is target else ()
        became = {step.action.path: result for step, result in zip(steps, results, strict=False)}
        await self._conflicts.end(conflicts, became)

    async def _apply(self, target: FullReplica, steps: list[Step]) -> Sequence[Result]:
        with self._ages.applying(path for step in steps for path in paths_of(step.action)):
            results = await target.apply(steps)
            now = asyncio.get_running_loop().time()
            for step, result in zip(steps, results, strict=True):
                self._learn(step.action, result, now)
        return results

    async def _with_contents(self, batch: list[Action], source: FullReplica) -> list[Step]:
        """Give each action the small content it needs; a content the target has somewhere is not sent."""
        contents: dict[RelPath, bytes] = {}
        wanted: list[ContentAt] = []
        for action in batch:
            entry = self._source_file(action)
            if entry is None or entry.size > INLINE_BYTES_MAX:
                continue
            if self._pair.is_agreed_content(entry.digest) and action.path not in self._content_wanted:
                continue
            inline = self._pair.inline(self._role.other, action.path)
            if inline is not None and len(inline) == entry.size:
                contents[action.path] = inline
            else:
                wanted.append(ContentAt(action.path, entry))
        if wanted:
            fetched = await source.fetch(wanted)
            contents.update({r.path: c for r, c in zip(wanted, fetched, strict=True) if c is not None})
        return [Step(action, contents.get(action.path)) for action in batch]

    def _source_file(self, action: Action) -> File | None:
        """Return the source's file whose content the action brings, if it brings one."""
        if not is_content_needed(action):
            return None
        entry = self._pair.views.get(self._role.other, action.path)
        return entry if isinstance(entry, File) and same_content(entry, action.intended) else None

    async def _bring(self, action: Action) -> bool:
        """Bring a large content into the target's staging; False where it is not wanted any more."""
        entry, target, source = self._source_file(action), self._target, self._source
        if entry is None or target is None or source is None:
            return False
        have = await target.stage(entry.digest, entry.size)
        if have < entry.size:
            with Progress(have, functools.partial(self._announce_progress, action)) as progress:
                content = Content(ContentAt(action.path, entry), self._pair.views.get(self._role, action.path))
                await bring(content, source, target, have, progress.arrived)
        return True

    def _brought(self, action: Action, is_here: bool, error: DirsyncError | None) -> None:
        """Hand the action to the lane, or let go of it; one whose lane was closed meanwhile does not come here."""
        if is_here:
            self._batches.put([action])
            return
        if error is not None:
            self._fall(action, error)
        self._end(action)

    def _announce_progress(self, action: Action, done: int) -> None:
        self._emit(EventName.PROGRESS, action.path, {"done": done, "size": size_of(action.intended)})

    def _note_shared(self, action: Action) -> None:
        for path, entry in shall_be(action).items():
            if self._pair.views.get(self._role.other, path) == entry:
                self._shared.add(path)

    def _shared_among(self, steps: Sequence[Step]) -> dict[RelPath, Entry | None]:
        """Return what shall be and was held by the source when it was planned."""
        return {path: entry for step in steps for path, entry in shall_be(step.action).items() if path in self._shared}

    def _end(self, *actions: Action) -> None:
        for action in actions:
            self._shared.difference_update(paths_of(action))
            self._pair.end(paths_of(action))
        give_back_if_empty(self._shared)
        self._wake()

    def _learn(self, action: Action, result: Result, now: float) -> None:
        if not isinstance(result, Missing):
            self._content_wanted.discard(action.path)
        match result:
            case Applied():
                since = self._pair.detected_seconds(action.path, now)
                self._pair.troubles.pop(action.path, None)
                if action.renamed_from is not None:
                    self._applied(action.renamed_from, None, result.serial, now)
                self._applied(action.path, now_standing(action, result), result.serial, now)
                self._announce(action, result, now - since)
            case Refused():
                self._learn_refusal(action, result, now)
            case Missing():
                if action.path in self._content_wanted:
                    self._content_wanted.discard(action.path)
                    self._fall(action, Refusal("the content changed while it was sent"))
                else:
                    self._content_wanted.add(action.path)
            case Failed():
                self._fail(action, result.reason, is_passing=result.is_passing)
            case _:
                assert_never(result)

    def _learn_refusal(self, action: Action, refused: Refused, now: float) -> None:
        found = dict(zip(paths_of(action), (refused.found, refused.found_source), strict=False))
        # Where the plan was overtaken by a report, nobody interfered: the next plan goes by what was reported.
        is_news = self._is_overtaken(action) or any(
            entry != self._pair.views.get(self._role, path) for path, entry in found.items()
        )
        for path, entry in found.items():
            if self._ages.is_latest(path, refused.serial):
                self._pair.observe(self._role, path, entry, now)
        if not is_news:
            self._fail(action, "what stands at the target is being changed", is_passing=True)

    def _is_overtaken(self, action: Action) -> bool:
        """Return whether the target is known to hold something else by now than when the action was planned."""
        views = self._pair.views
        is_moved = action.renamed_from and views.get(self._role, action.renamed_from) != action.expected_source
        return bool(is_moved) or views.get(self._role, action.path) != action.expected

    def _applied(self, path: RelPath, entry: Entry | None, serial: int, now: float) -> None:
        """Take note of what the target holds now; what the source did since is a change of that."""
        if self._ages.is_latest(path, serial):
            self._pair.observe(self._role, path, entry, now)
        if path in self._shared:
            self._pair.agree(path, entry)

    def _fall(self, action: Action, error: DirsyncError) -> None:
        """An action could not even be tried, or its content was gone.

        Of a lost replica everybody learns by itself, and of a content that changed its replica reports.
        """
        if isinstance(error, Unreachable | RootLost):
            self._put_off(action, str(error), is_announced=True)
        else:
            self._fail(action, str(error), is_passing=isinstance(error, Refusal))

    def _fail(self, action: Action, reason: str, *, is_passing: bool) -> None:
        """Note a failure, see to the next try, and announce it once per reason; what may pass only if it does not."""
        before = self._pair.troubles.get(action.path)
        is_told = not is_passing or before is not None
        self._put_off(action, reason, is_announced=is_told)
        if is_told and (before is None or before.reason != reason or not before.is_announced):
            self._emit(EventName.ERROR, action.path, {"reason": reason})

    def _put_off(self, action: Action, reason: str, is_announced: bool) -> None:
        trouble = self._pair.note_trouble(action.path, reason, is_announced)
        asyncio.get_running_loop().call_later(trouble.delay_seconds, self._retry, action.path, trouble)

    def _retry(self, path: RelPath, trouble: Trouble) -> None:
        # A later failure, or none any more, has its own time.
        if self._pair.troubles.get(path) is trouble:
            self._pair.retry(path)
            self._wake()

    def _announce(self, action: Action, result: Applied, seconds: float) -> None:
        kind = change_kind(action.expected, action.intended)
        fields: dict[str, Value] = {"change": kind.value}
        if result.is_renamed and action.renamed_from is not None:
            fields = {"change": ChangeKind.RENAMED.value, "old_path": to_text(action.renamed_from)}
        sent = self._tally.take(action.path)
        if isinstance(action.intended, File):
            sent += self._tally.take(action.intended.digest)
        shown: Entry | None = action.intended if action.intended is not None else action.expected
        fields |= {
            "from": self._role.other.value,
            "to": self._role.value,
            "size": 0 if action.intended is None else size_of(shown),
            "sent": sent,
            "ms": round(seconds * 1000, 3),
        }
        self._emit(EventName.SYNCED, action.path, fields)
        if action.is_conflict and result.kept is not None:
            self._emit(EventName.CONFLICT, action.path, {"winner": self._role.other.value, "kept": result.kept})
