"""Runs single seeds: builds the world, tells the story, and returns what came of it."""

import asyncio
import gc
import shutil
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.sim.databases import make_template
from tests.sim.loop import SimLoop, Stuck
from tests.sim.patched import rigged
from tests.sim.patching import simulated
from tests.sim.story import Story
from tests.sim.world import World

FAST_PLACES = ("/dev/shm",)
HORIZON_SECONDS = 3_600.0
RUNS_PER_COLLECTION = 4


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one seed. `violation` is None where every promise held."""

    seed: int
    violation: str | None
    trace: tuple[str, ...]
    digest: str
    operations: int
    faults: int
    seconds: float


class Place:
    """A real directory for the databases, in memory where there is one. Enter it."""

    def __enter__(self):
        fast = next((place for place in FAST_PLACES if Path(place).is_dir()), None)
        self.path = Path(tempfile.mkdtemp(prefix="dirsync-sim-", dir=fast))
        self.template = self.path / "template"
        make_template(self.template)
        self._runs = 0
        gc.freeze()  # the program itself is no garbage: what each run leaves is collected in a tenth of the time
        return self

    def made_garbage(self):
        """A run has ended: what several of them left is collected at once."""
        self._runs += 1
        if self._runs % RUNS_PER_COLLECTION == 0:
            gc.collect()

    def __exit__(self, *_):
        gc.unfreeze()
        gc.collect()
        shutil.rmtree(self.path)


def run(plan, place):
    """Run the simulation that a plan describes."""
    begin = time.perf_counter()
    with made(plan, place) as world:
        story = Story(world)
        _play(world.loop, world, story)
    return Outcome(
        plan.seed,
        None if world.violation is None else str(world.violation),
        tuple(world.trace.lines),
        world.trace.digest(),
        story.operations + story.requests,
        story.faults.count,
        time.perf_counter() - begin,
    )


@contextmanager
def made(plan, place):
    """Lend the world of a plan, in which nothing runs yet; the product is on its disks and network meanwhile."""
    was_enabled = gc.isenabled()
    gc.disable()
    loop = SimLoop()
    asyncio.set_event_loop(loop)
    here = place.path / "run"
    shutil.rmtree(here, ignore_errors=True)
    here.mkdir()
    try:
        world = World(plan, loop, here, place.template)
        loop.job_seconds = world.job_seconds
        loop.set_exception_handler(world.complained)
        disk = simulated(world.disk, world.rng("secrets"))
        with disk as stand_ins, rigged(world):
            world.prepare(stand_ins)
            yield world
    finally:
        asyncio.set_event_loop(None)
        loop.close()
        if was_enabled:
            gc.enable()
        place.made_garbage()


def _play(loop, world, story):
    telling = world.spawn(story.run(), "story")
    ending = loop.create_task(asyncio.wait([telling, world.failed], return_when=asyncio.FIRST_COMPLETED))
    loop.call_later(HORIZON_SECONDS, world.violated, "simulation", "the story does not end")
    try:
        loop.run_until_complete(ending)
    except Stuck as stuck:
        world.violated("simulation", str(stuck))
    loop.run_until_complete(world.end())
