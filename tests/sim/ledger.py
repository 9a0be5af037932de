"""Every content that people made, and what became of it: the oracle of "nothing is lost, nothing is invented".

A value is a content that somebody finished writing. It may disappear only if its destroyer, a person, had it before
them: it stood at the place that they overwrote or deleted. Whatever else makes it disappear is a loss.
"""

from dataclasses import dataclass, field
from types import MappingProxyType


@dataclass(slots=True)
class Value:
    """A finished content: where it was written first, and who was right to destroy it, if somebody was."""

    content: bytes
    side: str
    path: bytes
    at: float
    excuse: str = ""


QUIET_SECONDS = 1.0
"""A file that stays open but quiet for this long is taken as it is."""
GROWS_SECONDS = 3.0
"""A file that only grows for so long is taken as it is, however many programs add to it."""
PAUSE_SECONDS = 2 * QUIET_SECONDS
"""Whoever looks late notices a pause that is as long as this."""


@dataclass(slots=True)
class Draft:
    """A content that stands at one side while somebody is writing: since when, and how long it once stood there.

    `grows_since`: since when its file had only grown when this came to stand there.
    """

    since: float | None = None
    grows_since: float = 0.0
    longest: float = 0.0
    is_sample: bool = False

    def stood(self, at):
        """Return for how long it stood there without a change."""
        return self.longest if self.since is None else max(self.longest, at - self.since)

    def may_be_sampled(self, at):
        """Return whether its file had only grown for long enough while it stood there."""
        return self.is_sample or (self.since is not None and at - self.grows_since >= GROWS_SECONDS)

    def gone(self, at):
        """It stands there no more."""
        self.is_sample = self.may_be_sampled(at)
        self.longest, self.since = self.stood(at), None


@dataclass(slots=True)
class Ledger:
    """The values by content, and the drafts. Empty content is no value: it cannot be told whose it was."""

    values: dict[bytes, Value] = field(default_factory=dict)
    drafts: dict[tuple[str, bytes], Draft] = field(default_factory=dict)
    taken: set[tuple[bytes, bytes]] = field(default_factory=set)
    """(path, content): somebody, or a power cut, took it away from there, at one of the sides."""
    set_aside: set[bytes] = field(default_factory=set)
    """What was finished in a file that stood nowhere by then: somebody else had set it aside meanwhile."""
    growing: dict[tuple[str, object], tuple[float, float]] = field(default_factory=dict)
    """By side and place: since when the file there has only grown, without a long pause, and when it did so last."""
    broken_off: set[bytes] = field(default_factory=set)
    """What stood there after a power cut: nobody writes on, so that it is as good as finished."""

    def finish(self, content, side, path, at):
        """Somebody has finished writing this."""
        if content and content not in self.values:
            self.values[content] = Value(content, side, path, at)

    def changed(self, side, before, after, at, opened=MappingProxyType({})):
        """A person did one step: what stood in the tree of a side before it, and after it, by path.

        `opened`: since when somebody has had it open, of each place of which somebody has.
        """
        self.take_away(before, after)
        gone = set(before.values()) - set(after.values())
        for content in gone:
            if content in self.values:
                self.values[content].excuse = f"destroyed by a person at {side}, {at:.3f}"
        self.gone(side, gone, at)
        came = set(after.values()) - set(before.values())
        for place, content in after.items():
            if content != (old := before.get(place)):
                grows_since = self._grown(side, place, old, content, at, opened.get(place, at))
                if content in came:
                    draft = self.drafts.setdefault((side, content), Draft())
                    draft.grows_since = grows_since if draft.since is None else min(draft.grows_since, grows_since)
                    draft.since = at

    def gone(self, side, contents, at):
        """These stand at this side no more."""
        for content in contents:
            draft = self.drafts.get((side, content))
            if draft is not None:
                draft.gone(at)

    def _grown(self, side, place, old, content, at, opened):
        """Return since when the file at this place has only grown, and take note of this change.

        Whoever waits for a writer does so from when it was opened, also where nothing has been written yet.
        """
        begin = max(opened, at - PAUSE_SECONDS)
        since, last = self.growing.get((side, place), (begin, at))
        if at - last >= PAUSE_SECONDS:
            since = begin
        if old is None or len(content) <= len(old):
            since = at
        self.growing[side, place] = since, at
        return since

    def take_away(self, before, after):
        """Take down what stands no more where it stood."""
        self.taken.update(place for place in before.items() if after.get(place[0]) != place[1])

    def excuse(self, content, reason):
        """This value may be gone."""
        if content in self.values and not self.values[content].excuse:
            self.values[content].excuse = reason

    def asked_for(self, content):
        """Somebody has asked for this value to be brought back: it is not to be lost again."""
        if content in self.values:
            self.values[content].excuse = ""

    def lost(self, present):
        """Return the values that are neither in `present` (a set of contents) nor excused."""
        return [value for value in self.values.values() if not value.excuse and value.content not in present]

    def is_known(self, content):
        """Return whether somebody wrote this content, finished or not."""
        return (
            not content
            or content in self.values
            or content in self.broken_off
            or any((side, content) in self.drafts for side in "ab")
        )

    def may_stand(self, content, side, at):
        """Return whether a reader at `side` may see this: finished, a draft of this side, or one that may be taken.

        That is one that stood quietly, or in a file that has only grown for long.
        """
        if not content or content in self.values or content in self.broken_off:
            return True
        if (side, content) in self.drafts:
            return True
        draft = self.drafts.get(("b" if side == "a" else "a", content))
        return draft is not None and (draft.stood(at) >= QUIET_SECONDS or draft.may_be_sampled(at))
