"""`python -m tests.sim.mutants`: does the simulator see? Each mutant lacks one safety step; some seed has to fail.

A mutant is a change of the source text, made while the module is imported, in a process of its own. It counts as seen
by the first seed that fails with it and does not fail without it; seeds whose plan lacks what it needs (a power cut,
somebody between two system calls) are passed over. `python -m tests.sim.mutants NAME...` runs single
ones; exit status 1 where one was not seen within `--seeds`.
"""

import argparse
import concurrent.futures
import importlib.abc
import importlib.machinery
import os
import subprocess
import sys
import time
from pathlib import Path

from tests.sim.mutant_list import MUTANTS

SRC = Path(__file__).parents[2] / "src"
CHUNK = 50


class Mutator(importlib.abc.MetaPathFinder):
    """Imports one module of the product with its text changed."""

    def __init__(self, mutant):
        self._mutant = mutant

    def find_spec(self, fullname, path, target=None):
        if fullname != self._mutant.module:
            return None
        file = self._mutant.file
        loader = _Loader(fullname, str(file), self._mutant)
        return importlib.machinery.ModuleSpec(fullname, loader, origin=str(file))


class _Loader(importlib.machinery.SourceFileLoader):
    def __init__(self, fullname, path, mutant):
        super().__init__(fullname, path)
        self._mutant = mutant

    def get_code(self, fullname):
        return self.source_to_code(self._mutant.changed().encode(), self.path)


def run_one(name, first, count):
    """In a process of its own: run seeds with a mutant (or none), print those that fail, stop at the first."""
    mutant = next((mutant for mutant in MUTANTS if mutant.name == name), None)
    if mutant is not None:
        sys.meta_path.insert(0, Mutator(mutant))
    from tests.sim.plan import make_plan
    from tests.sim.runner import Place, run

    with Place() as place:
        for seed in range(first, first + count):
            plan = make_plan(seed)
            if mutant is not None and not mutant.needs(plan):
                continue
            violation = run(plan, place).violation
            if violation is not None:
                print(f"{seed} {violation[:150]}")
                return


def find_seed(name, seeds):
    """Return (seed, violation) of the first seed that fails because of the mutant, or None."""
    first = 1
    while first <= seeds:
        said = _in_process(name, first, min(CHUNK, seeds + 1 - first))
        if not said:
            first += CHUNK
            continue
        seed, _, violation = said.partition(" ")
        if not _in_process("-", int(seed), 1):
            return int(seed), violation
        first = int(seed) + 1
    return None


def _in_process(name, first, count):
    command = [sys.executable, "-m", "tests.sim.mutants", "--one", name, "--first", str(first), "--seeds", str(count)]
    environment = os.environ | {"PYTHONHASHSEED": "0"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{name} does not run: {done.stderr.strip()}")
    return done.stdout.strip()


def main():
    """Run mutants beside each other, and print the seed that saw each."""
    parser = argparse.ArgumentParser(prog="python -m tests.sim.mutants", description=__doc__)
    parser.add_argument("names", nargs="*", help="these only")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--first", type=int, default=1, help=argparse.SUPPRESS)
    parser.add_argument("--seeds", type=int, default=1_000, help="how many seeds may be needed")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="how many at a time")
    options = parser.parse_args()
    if options.one:
        run_one(options.one, options.first, options.seeds)
        return
    begin = time.monotonic()
    names = options.names or [mutant.name for mutant in MUTANTS]
    survivors = []
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        searches = {pool.submit(find_seed, name, options.seeds): name for name in names}
        for search in concurrent.futures.as_completed(searches):
            name, found = searches[search], search.result()
            if found is None:
                survivors.append(name)
            print(f"{name}: " + ("NOT SEEN" if found is None else f"seed {found[0]}: {found[1]}"), flush=True)
    print(f"{len(names) - len(survivors)} of {len(names)} mutants seen in {time.monotonic() - begin:.0f} s")
    sys.exit(1 if survivors else 0)


if __name__ == "__main__":
    main()
