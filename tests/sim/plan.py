"""What one seed chooses: how much is done, by what kinds of operations, and what goes wrong. A swarm: each differs."""

import random
from dataclasses import dataclass

from tests.sim.watching import WatchFaults

OPERATIONS = (
    "write",
    "append",
    "patch",
    "save",
    "save_with_backup",
    "copy",
    "rewrite_silently",
    "delete",
    "rename",
    "there_and_back",
    "rename_directory",
    "swap",
    "make_directory",
    "remove_tree",
    "file_for_directory",
    "link",
    "hard_link",
    "chmod",
    "touch",
)
REQUESTS = ("lock", "lock", "unlock", "unlock", "list", "locks", "wait", "restore")
FAULTS = (
    "kill",
    "kill_at_call",
    "kill_after_keeping",
    "power_cut",
    "power_cut_at_call",
    "power_cut_after_step",
    "power_cut_after_receiving",
    "power_cut_after_restart",
    "power_cut_both",
    "stop",
    "reset",
    "silence",
    "one_way",
    "slow",
    "no_space",
    "io_errors",
    "short_writes",
    "sync_fails",
    "database_errors",
    "few_descriptors",
    "hang",
    "clock_step",
    "lost_state",
    "replaced_machine",
)
AIMED_AT_LINKS = "power_cut_after_failed_rename"
"""Goes wrong besides where the disks have no `renameat2`, mostly: then with true syncs, so that the cut tells."""
HINDERING_SYNCS = {"sync_fails", "few_descriptors"}
_DISK_TROUBLES = {"no_space", "io_errors", "database_errors", AIMED_AT_LINKS, *HINDERING_SYNCS}
OPERATIONS_EACH = 85
REQUESTS_EACH = 35


@dataclass(frozen=True, slots=True)
class DiskKind:
    """What the disks of both machines are like: the state on another file system, coarse stamps, calls missing."""

    is_state_far: bool
    grain_ns: int
    has_renameat2: bool
    can_clone: bool
    reuses_inodes: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """The choices of one seed. Times in seconds of virtual time.

    `aimed` is how often somebody comes where `aims` says that it matters, and `hasty_locks` how often during a look;
    `cold_seconds` is how long a look may take after a start, `large_bytes` the size above which a file is looked at by
    itself, and `late_reports` how often Server A is held up before it takes a report in.
    """

    seed: int
    operations: tuple[str, ...]
    requests: tuple[str, ...]
    faults: tuple[str, ...]
    fault_count: int
    pause_seconds: float
    step_seconds: float
    intruders_per_mille: int
    aimed: float
    hasty_locks: float
    watch: WatchFaults
    locks_max_bytes: int
    inventory_seconds: float
    cold_seconds: float
    large_bytes: int | None
    late_reports: float
    clock_offset_seconds: float
    disk: DiskKind

    @property
    def has_disk_troubles(self):
        """Whether something may be left where it was put aside, until the next start."""
        return not _DISK_TROUBLES.isdisjoint(self.faults)


def make_plan(seed, *, has_faults=True):
    """Return what a seed chooses."""
    rng = random.Random(f"{seed} plan")
    faults = tuple(kind for kind in FAULTS if rng.random() < 0.5) or ("kill",)
    intruders_per_mille = rng.choice((0, 2, 10))
    aimed = random.Random(f"{seed} aimed").choice((0.0, 0.2, 0.5))
    disk = _disk_kind(random.Random(f"{seed} disk"), has_intruders=intruders_per_mille > 0 or aimed > 0)
    if not disk.has_renameat2 and random.Random(f"{seed} links").random() < 0.75:
        faults = (*(kind for kind in faults if kind not in HINDERING_SYNCS), AIMED_AT_LINKS)
    return Plan(
        seed=seed,
        operations=(*(kind for kind in OPERATIONS if rng.random() < 0.6), "write", "save"),
        requests=REQUESTS if rng.random() < 0.7 else ("list", "wait", "restore"),
        faults=faults if has_faults else (),
        fault_count=rng.randint(5, 10) if has_faults else 0,
        pause_seconds=rng.choice((0.05, 0.2, 0.2, 0.6)),
        step_seconds=rng.choice((0.0005, 0.005, 0.05, 0.5)),
        intruders_per_mille=intruders_per_mille,
        aimed=aimed,
        hasty_locks=random.Random(f"{seed} hasty").choice((0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.1)),
        watch=_watch_faults(rng),
        locks_max_bytes=rng.choice((1 << 40, 1 << 40, 1 << 40, 100_000)),
        inventory_seconds=random.Random(f"{seed} inventory").choice((5.0, 0.0001, 0.0001)),
        cold_seconds=random.Random(f"{seed} cold").choice((0.0, 0.0, 0.5)),
        large_bytes=random.Random(f"{seed} large").choice((None, None, None, 50_000)),
        late_reports=random.Random(f"{seed} reports").choice((0.0, 0.0, 0.1)),
        clock_offset_seconds=rng.choice((0.0, 0.0, 0.0, 3.0, -3600.0)),
        disk=disk,
    )


def _disk_kind(rng, *, has_intruders):
    # Without an atomic exchange, somebody who is quicker than an apply is overwritten: that is not promised.
    return DiskKind(
        is_state_far=rng.random() < 0.2,
        grain_ns=rng.choice((1, 1, 4_000_000)),
        has_renameat2=has_intruders or rng.random() < 0.4,
        can_clone=rng.random() < 0.2,
        reuses_inodes=rng.random() < 0.8,
    )


def _watch_faults(rng):
    is_telling = rng.random() < 0.6
    return WatchFaults(
        delay_seconds_max=rng.choice((0.005, 0.05, 0.3)),
        lost=0.0 if is_telling else rng.choice((0.0, 0.1, 0.5)),
        doubled=rng.choice((0.0, 0.2)),
        is_reordered=rng.random() < 0.3,
        overflow=rng.choice((0.0, 0.0, 0.05)),
        is_telling=is_telling,
        is_silent=rng.random() < 0.05,
    )
