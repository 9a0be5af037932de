"""The safety steps of the product, each with the text that takes it away."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dirsync.limits import INVENTORY_SECONDS
from tests.sim.plan import Plan

SRC = Path(__file__).parents[2] / "src"


def _any(_plan):
    return True


def _has_locks(plan):
    return "lock" in plan.requests


def _has_power_cuts(plan):
    return any(kind.startswith("power_cut") for kind in plan.faults)


def _has_deaths(plan):
    return _has_power_cuts(plan) or not {"kill", "kill_at_call", "kill_after_keeping", "stop"}.isdisjoint(plan.faults)


def _has_intruders(plan):
    return plan.intruders_per_mille > 0 or plan.aimed > 0


def _has_aims(plan):
    return plan.aimed > 0


def _has_short_inventories(plan):
    return plan.inventory_seconds < INVENTORY_SECONDS


@dataclass(frozen=True, slots=True)
class Mutant:
    """`old`, which occurs once in the module, becomes `new`. `needs`: no other plan can show it.

    `also`: (old, new) of what does the same step a second time; either alone would do.
    """

    name: str
    module: str
    old: str
    new: str
    needs: Callable[[Plan], bool] = _any
    also: tuple[tuple[str, str], ...] = ()

    @property
    def file(self):
        """The source of the module."""
        return SRC / (self.module.replace(".", "/") + ".py")

    def changed(self):
        """Return the text of the module without the step."""
        text = self.file.read_text("utf-8")
        for old, new in ((self.old, self.new), *self.also):
            assert text.count(old) == 1, f"{self.name}: {text.count(old)} places fit in {self.file}"
            text = text.replace(old, new)
        return text


MUTANTS = (
    # Durability
    Mutant(
        "staged content not synced",
        "dirsync.disk.metadata",
        "        if is_synced:\n            os.fsync(fd)\n    finally:\n        os.close(fd)\n\n\ndef dress_open",
        "    finally:\n        os.close(fd)\n\n\ndef dress_open",
        needs=_has_power_cuts,
    ),
    Mutant(
        "directories not synced",
        "dirsync.disk.apply",
        "errors = sync_directories(self._root, set().union(*map(_touched, self._prepared)))",
        "errors = {}",
        needs=_has_power_cuts,
    ),
    Mutant(
        "kept versions not synced",
        "dirsync.disk.apply",
        "                    self._kept.sync(self._stepper.kept)\n",
        "                    pass\n",
        needs=_has_power_cuts,
    ),
    Mutant(
        "kept content not synced",
        "dirsync.disk.kept",
        "                self._sync_content(os.fsencode(file))\n",
        "                pass\n",
        needs=_has_power_cuts,
    ),
    Mutant(
        "spooled content not synced",
        "dirsync.disk.spool",
        "                os.fsync(self._fd)\n",
        "",
        needs=_has_power_cuts,
    ),
    Mutant(
        "spooled name not synced",
        "dirsync.disk.spool",
        "                _sync_directory(self._path.parent)\n",
        "",
        needs=_has_power_cuts,
    ),
    Mutant(
        "captured content not synced",
        "dirsync.disk.copying",
        "            os.fsync(self._open_fd)\n",
        "",
        needs=_has_power_cuts,
    ),
    Mutant(
        "captured name not synced",
        "dirsync.disk.copying",
        "                sync_directory(holder)\n",
        "                pass\n",
        needs=_has_power_cuts,
    ),
    Mutant(
        "received content not synced",
        "dirsync.disk.receiving",
        "                    os.fsync(part.fd)\n",
        "",
        needs=_has_power_cuts,
    ),
    Mutant(
        "database commits not synced",
        "dirsync.store.database",
        "synchronous = FULL",
        "synchronous = OFF",
        needs=_has_power_cuts,
    ),
    Mutant(
        "no transactions",
        "dirsync.store.database",
        '                self._connection.execute("BEGIN IMMEDIATE")\n                yield self._connection\n'
        '                self._connection.execute("COMMIT")\n',
        "                yield self._connection\n",
        needs=_has_deaths,
    ),
    Mutant(
        "what a failed step has done not synced",
        "dirsync.disk.apply",
        "all(isinstance(each, Refused) for each in outcomes)",
        "not any(isinstance(each, Done) for each in outcomes)",
        needs=_has_power_cuts,
    ),
    # Guards
    Mutant(
        "guard believes anything",
        "dirsync.disk.guard",
        "            if found.entry != expected:\n",
        "            if False:\n",
    ),
    Mutant(
        "no look after the exchange",
        "dirsync.disk.swap",
        "            is_it = is_same(lstat_at(*aside), seen.fingerprint)\n            kept",
        "            is_it = True\n            kept",
        needs=_has_intruders,
    ),
    Mutant(
        "no look after taking out",
        "dirsync.disk.swap",
        "                is_it = is_same(lstat_at(*aside), seen.fingerprint)\n                kept",
        "                is_it = True\n                kept",
        needs=_has_intruders,
    ),
    Mutant(
        "nothing put back",
        "dirsync.disk.swap",
        "            try:\n                self._exchange(aside, place, path)\n"
        "            except FileNotFoundError:\n"
        "                # Removed meanwhile",
        "            return\n"
        "            try:\n                self._exchange(aside, place, path)\n"
        "            except FileNotFoundError:\n"
        "                # Removed meanwhile",
    ),
    Mutant(
        "replaced files not kept",
        "dirsync.disk.swap",
        "            kept = self._area.keep(*aside, path, expected, self.kept, why) if is_it else None\n"
        "        if kept is None:\n",
        "            os.unlink(aside[1], dir_fd=aside[0])\n            kept = None\n        if not is_it:\n",
    ),
    Mutant(
        "deleted files not kept",
        "dirsync.disk.swap",
        "                kept = self._area.keep(*aside, path, expected, self.kept, why) if is_it else None\n"
        "            if kept is None:\n",
        "                os.unlink(aside[1], dir_fd=aside[0])\n                kept = None\n"
        "            if not is_it:\n",
    ),
    Mutant(
        "target overwritten where nothing was expected",
        "dirsync.disk.swap",
        "                syscalls.rename_noreplace(*aside, *place)\n            except FileExistsError:\n"
        "                return Refused(observe(*place))\n",
        "                os.rename(aside[1], place[1], src_dir_fd=aside[0], dst_dir_fd=place[0])\n"
        "            except FileExistsError:\n                return Refused(observe(*place))\n",
        needs=_has_intruders,
    ),
    Mutant(
        "no second look at what was kept",
        "dirsync.disk.kept",
        "            return entry\n        return self.as_it_is(file, entry)\n",
        "            return entry\n        return entry\n",
    ),
    # Stable reads
    Mutant(
        "writers not asked for",
        "dirsync.disk.syscalls",
        "    return False if ctypes.get_errno() == errno.EAGAIN else None\n",
        "    return None\n",
    ),
    Mutant(
        "no stat after reading",
        "dirsync.disk.probe",
        "    is_same = before == after and reading.size == before.size\n",
        "    is_same = True\n",
        needs=_has_intruders,
    ),
    Mutant(
        "quiet not looked at again",
        "dirsync.disk.probe",
        "and before != target.wishes.quiet:",
        "and target.wishes.quiet is None:",
        also=(("before == target.wishes.quiet\n", "target.wishes.quiet is not None\n"),),
    ),
    Mutant(
        "a young content not read again",
        "dirsync.disk.probe",
        "(not is_open_for_writing(fd) and _is_still(fd, reading))",
        "not is_open_for_writing(fd)",
        needs=_has_aims,
    ),
    # Locks
    Mutant(
        "a lock does not wait for an apply",
        "dirsync.coordinator.holds",
        "                await self._pair.ages[Role.A].wait_applied(path)\n",
        "",
    ),
    Mutant(
        "planned steps applied to locked names",
        "dirsync.coordinator.lane",
        "if not any(self._is_held(self._role, p) for p in paths_of(step.action))",
        "",
    ),
    Mutant(
        "a look that is done again is believed",
        "dirsync.replica.concluding",
        "        if not self._is_as_held(path, outcome, capture):\n",
        "        if not self._is_as_held(path, outcome, capture):\n"
        "            if isinstance(outcome, Settled):\n"
        "                self._remember(path, outcome)\n",
        needs=_has_locks,
    ),
    Mutant(
        "captures not reported again",
        "dirsync.replica.local",
        "        self._settling.tell(self._settling.holds.report_again())\n",
        "",
    ),
    Mutant(
        "an applied update stays in the journal",
        "dirsync.coordinator.hold_journal",
        "            for update in updates:\n                hold_rows.remove_update(connection, update.id)\n",
        "",
    ),
    Mutant(
        "captures released before the update is durable",
        "dirsync.coordinator.hold_intake",
        "        kind = change_kind(self._hold.seen[origin], entry)\n",
        "        await self._captures.release(taken)\n        kind = change_kind(self._hold.seen[origin], entry)\n",
        needs=_has_deaths,
    ),
    # Memory of the last run
    Mutant(
        "another replica is not a first run",
        "dirsync.run.role_a",
        "    if is_older or await asyncio.to_thread(identity.partner, database, replica.role) != replica_id:\n",
        "    if False:\n",
    ),
    Mutant(
        "a stat proves what changed shortly before a boot",
        "dirsync.replica.saving",
        "                index_rows.doubt_after(connection, bound_ns)\n",
        "",
        needs=_has_power_cuts,
    ),
    Mutant(
        "no row before a file is moved",
        "dirsync.replica.applying",
        "                await self._save_names(steps)\n",
        "",
        needs=_has_deaths,
    ),
    Mutant(
        "what an interrupted apply left is not made durable",
        "dirsync.replica.footing",
        "        if not is_durable:\n",
        "        if False:\n",
        needs=_has_power_cuts,
    ),
    Mutant(
        "strays not taken up at the start",
        "dirsync.replica.local",
        "        await site.threads.bulk(partial(self._versions.adopt, site.ground))\n",
        "",
        needs=_has_deaths,
    ),
    # In sync
    Mutant(
        "old reports taken for new",
        "dirsync.coordinator.report_ages",
        "        return not is_late\n",
        "        return True\n",
    ),
    Mutant(
        "wait does not have everything looked at",
        "dirsync.coordinator.loop",
        "        is_full = True\n        while True:\n",
        "        is_full = False\n        while True:\n",
    ),
    Mutant(
        "what a snapshot left open is not told",
        "dirsync.replica.concluding",
        "        self.tell(unsettled)\n",
        "",
    ),
    Mutant(
        "what a snapshot has not read is not told",
        "dirsync.replica.concluding",
        "        self.tell(unread)\n",
        "",
        needs=_has_short_inventories,
    ),
    Mutant(
        "what a snapshot has not read is told as it was known",
        "dirsync.replica.concluding",
        '        odd.update(dict.fromkeys(unread, Problem("it has not been read yet")))\n',
        "",
        needs=_has_short_inventories,
    ),
    Mutant(
        "what is left is not planned again",
        "dirsync.coordinator.pair",
        "        self.dirty |= left\n",
        "",
    ),
)
