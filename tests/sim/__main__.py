"""`python -m tests.sim`: run many seeds on all processors, or one with its trace."""

import argparse
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor

from tests.sim.plan import make_plan
from tests.sim.runner import Place, run

CHUNK = 4
_SHOWN_MAX = 20


def main():
    """Run what was asked for; exit status 1 where a promise was broken."""
    if os.environ.get("PYTHONHASHSEED") != "0":
        # The order of sets of names is part of what a seed decides.
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, "-m", "tests.sim", *sys.argv[1:]])
    options = _options()
    if options.seed is not None:
        sys.exit(_show(options.seed))
    sys.exit(_run_all(options))


def _options():
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    parser.add_argument("--seed", type=int, help="run this one and print its trace")
    parser.add_argument("--seeds", type=int, default=100, help="how many seeds to run")
    parser.add_argument("--first", type=int, default=1, help="the first of them")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="how many at a time")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="how long at most")
    parser.add_argument("--stop", action="store_true", help="stop at the first that fails")
    return parser.parse_args()


def _show(seed):
    with Place() as place:
        outcome = run(make_plan(seed), place)
    print("\n".join(outcome.trace))
    print(f"seed {seed}: {outcome.operations} operations, {outcome.faults} faults, {outcome.seconds:.2f} s")
    print(outcome.violation or "every promise held")
    return 0 if outcome.violation is None else 1


def _run_chunk(seeds):
    with Place() as place:
        return [run(make_plan(seed), place) for seed in seeds]


def _run_all(options):
    begin = time.monotonic()
    seeds = range(options.first, options.first + options.seeds)
    chunks = [seeds[at : at + CHUNK] for at in range(0, len(seeds), CHUNK)]
    failed, done, operations, faults = [], 0, 0, 0
    # Its workers come to their end by themselves: one that is killed may hold the lock that the others wait for.
    with ProcessPoolExecutor(options.jobs) as pool:
        for outcomes in pool.map(_run_chunk, chunks):
            for outcome in outcomes:
                done += 1
                operations += outcome.operations
                faults += outcome.faults
                if outcome.violation is not None:
                    failed.append(outcome)
                    print(f"seed {outcome.seed}: {outcome.violation[:300]}", flush=True)
            if (failed and options.stop) or time.monotonic() - begin > 60 * options.minutes:
                pool.shutdown(wait=False, cancel_futures=True)
                break
    seconds = time.monotonic() - begin
    print(
        f"{done} seeds, {operations} operations, {faults} faults in {seconds:.0f} s ({done / seconds:.1f} a second): "
        f"{len(failed)} failed"
    )
    for outcome in failed[:_SHOWN_MAX]:
        print(f"    replay with: make sim SEED={outcome.seed}")
    return 1 if failed else 0


if __name__ == "__main__":
    main()
