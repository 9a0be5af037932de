"""`python -m tests.chaos.driver --minutes 30`: live on, life after life, until something is wrong or time is up.

A life has fresh directories and some rounds. In a round people write at both sides, clients lock, and everything goes
wrong; then faults and people rest, and what must hold is checked. The first thing that does not hold ends the run with
exit status 1 and leaves the directories where they are.
"""

import argparse
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.chaos.ground import Ground
from tests.chaos.nemesis import Clients, Line, Processes
from tests.chaos.observer import Observer
from tests.chaos.people import CAREFUL, FLAT, NESTED, Database, Person
from tests.chaos.values import Ledger

_ROUNDS = 4
_ROUND_SECONDS = (8, 15, 30)


class Wrong(Exception):
    """A promise was broken."""


def check(ground, ledger, observers):
    """Raise Wrong where a promise was broken. All faults are mended, nobody writes."""
    dead = ground.dead()
    if dead:
        raise Wrong(f"a server ended by itself: {dead}")
    differing = ground.settle()
    if differing:
        raise Wrong(f"in sync was said, but these differ: {differing}")
    lost = ledger.lost(*ground.roots.values(), *ground.keeping_places())
    if lost:
        raise Wrong(f"these values are lost: {lost}")
    torn = [line for observer in observers for line in observer.torn]
    if torn:
        raise Wrong(f"torn: {torn[:10]}")
    # Programs that found the disk full leave temporary files named after their targets.
    known = {name.split("/")[0] for name in FLAT + NESTED + CAREFUL} | {"link", "4913", Database.NAME}
    for root in ground.roots.values():
        strange = {name for name in os.listdir(root) if not any(part in name for part in known)}
        if strange:
            raise Wrong(f"nobody wrote {strange} in {root}")
        if complaint := Database.complaint(root):
            raise Wrong(complaint)


def one_round(ground, ledger, seed, seconds):
    """Let people write and everything go wrong for some seconds, then rest and check; return what was done."""
    people = [Person(ground.roots[role], ledger, f"{seed} {role}") for role in "ab"]
    observers = [Observer(root) for root in ground.roots.values()]
    hands = [Processes(ground, seed), Line(ground, seed), Clients(ground, seed)]
    database = Database(ground.roots["a"])
    everybody = [*people, *observers, *hands, database]
    for one in everybody:
        one.start()
    until = time.monotonic() + seconds
    while time.monotonic() < until and not any(one.failed for one in (*people, *hands)):
        time.sleep(0.1)
    for one in everybody:
        one.end()
    failed = [repr(one.failed) for one in (*people, *hands) if one.failed]
    if failed:
        raise Wrong(f"somebody gave up: {failed}")
    check(ground, ledger, observers)
    done = sum((hand.done for hand in hands), Counter())
    done["operations"] = sum(person.operations for person in people)
    done["observed"] = sum(observer.seen for observer in observers)
    return done


def one_life(seed, minutes_left):
    """Run some rounds on fresh directories; return what was done. Raises Wrong and leaves the directories there."""
    rng = random.Random(seed)
    home = Path(tempfile.mkdtemp(prefix="dirsync-chaos-"))
    (home / "scratch").mkdir()
    os.environ["CHAOS_SCRATCH"] = str(home / "scratch")
    done = Counter(lives=1)
    ledger = Ledger()
    ground = Ground(home)
    with ground:
        try:
            for number in range(_ROUNDS):
                if minutes_left() <= 0:
                    break
                done += one_round(ground, ledger, f"{seed}.{number}", rng.choice(_ROUND_SECONDS))
                done["rounds"] += 1
        except BaseException:
            keep = home.with_name(home.name + ".kept")
            for role in "ab":
                shutil.copytree(
                    home / f"disk_{role}", keep / f"disk_{role}", symlinks=True, ignore=shutil.ignore_patterns("*.sock")
                )
                (keep / "story").write_text("\n".join(ledger.story))
                (keep / f"said_{role}").write_text("\n".join(map(str, ground.said(role))))
            print(f"seed {seed}: the directories, states and last words are in {keep}", file=sys.stderr)
            raise
    done["values"] = len(ledger.written)
    done["excused"] = len(ledger.excused)
    shutil.rmtree(home)
    return done


def main():
    """Run until the time is up; the exit status says whether all promises held."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0, help="how long, checks included")
    parser.add_argument(
        "--seed", type=int, default=int(time.time()), help="what people do and what goes wrong follow from it"
    )
    options = parser.parse_args()
    until = time.monotonic() + options.minutes * 60
    total = Counter()
    life = 0
    while time.monotonic() < until:
        seed = f"{options.seed}.{life}"
        try:
            done = one_life(seed, lambda: until - time.monotonic())
        except (Wrong, AssertionError) as error:
            print(f"seed {seed}: {error}", file=sys.stderr)
            return 1
        total += done
        life += 1
        print(
            f"{(until - time.monotonic()) / 60:5.1f} min left  "
            + "  ".join(f"{k} {v}" for k, v in sorted(done.items())),
            flush=True,
        )
    print("all:  " + "  ".join(f"{k} {v}" for k, v in sorted(total.items())))
    return 0


if __name__ == "__main__":
    sys.exit(main())
