"""A whole pair in one process: two servers, their machines and the network, people, a client, and what goes wrong.

One seed decides everything. `World` holds the parts and the hooks between them; `story` tells what happens, `checkers`
say what must hold.
"""

import asyncio
import random
import traceback
from contextlib import contextmanager
from dataclasses import replace

from dirsync.core.events import EventName
from dirsync.errors import DirsyncError
from dirsync.store import hold_rows
from tests.sim import clients
from tests.sim.checkers import Honest, Torn
from tests.sim.databases import SimDatabase
from tests.sim.disk import Killed, SimDisk, running
from tests.sim.durable import Durable
from tests.sim.ledger import Ledger
from tests.sim.locking import Locks
from tests.sim.loop import SimTask
from tests.sim.network import Network
from tests.sim.operations import Person
from tests.sim.plan import HINDERING_SYNCS
from tests.sim.processes import Process, context_of, current
from tests.sim.servers import Server, directory_of, state_of
from tests.sim.syscalls import Calls
from tests.sim.trace import Trace
from tests.sim.trees import STAGING_PREFIX, View, contents_below
from tests.sim.watching import watcher_class

EPOCH_NS = 1_795_000_000_000_000_000
"""The wall clock when virtual time is 0: late in 2026."""
RESTART_SECONDS = 1.0
COLD_SECONDS = 3.0
"""How long after its start a server reads slowly: nothing is in the page cache."""
LATE_SECONDS = 0.3
"""How long at most Server A is held up before it takes a report in."""
UNWIND_SECONDS = 20.0


class Violation(AssertionError):
    """A promise was broken. `checker` names it."""

    def __init__(self, checker, text):
        super().__init__(f"{checker}: {text}")
        self.checker = checker


class World:
    """The parts of one simulation. `plan` says what its seed has chosen; `place` is a real directory for databases."""

    def __init__(self, plan, loop, place, template):
        self.plan = plan
        self.limits = plan
        self.loop = loop
        self.trace = Trace(loop.time, place)
        self.violation = None
        self.failed = loop.create_future()
        self.network = Network(self.rng("network"))
        self.disk = SimDisk(self.now_ns)
        self.machines = {name: self.disk.machine(name) for name in "ab"}
        self.servers = {
            name: Server(self, name, self.machines[name], SimDatabase(place / name, template)) for name in "ab"
        }
        self.ledger = Ledger()
        self.calls = Calls(self)
        self.disk.before_call = self.calls.before
        self.locks = Locks(self)
        self.honest = Honest(self)
        self.torn = Torn(self)
        self.durable = Durable(self)
        self._watchers = {
            name: watcher_class(self.disk, self.rng(f"watcher {name}"), replace(plan.watch)) for name in "ab"
        }
        self.people = {}
        self.removed = set()  # what people have removed, and may still have open
        self._opened = {}  # since when people have had a file open
        self._recorded = set()
        self._before_cut = {}
        self._views = {}
        self.events = []
        self.last_act = {}
        self.power_cuts = {"a": 0, "b": 0}
        self._jobs = self.rng("jobs")
        self._reports = self.rng("reports")
        self._tasks = {}
        self._is_over = False

    def watcher(self, *arguments):
        """Return a watcher for the current process, in the place of the product's."""
        return self._watchers[current.get().name](*arguments)

    def rng(self, purpose):
        """Return the chance of one purpose: what is drawn for others does not change it."""
        return random.Random(f"{self.plan.seed} {purpose}")

    def now_ns(self):
        """Return the true wall clock."""
        return EPOCH_NS + int(self.loop.time() * 1e9)

    def prepare(self, stand_ins):
        """Make the disks as the plan wants them, the directories, and the people in them."""
        simos, kind = stand_ins.os, self.plan.disk
        stand_ins.libc.has_renameat2 = kind.has_renameat2
        stand_ins.fcntl.can_clone = kind.can_clone
        for name, machine in self.machines.items():
            if kind.is_state_far:
                simos.mkdir(f"/sim/{name}/state", 0o700)
                machine.mount(f"/sim/{name}/state".encode())
            for fs in machine.file_systems:
                fs.grain_ns, fs.reuses_inodes = kind.grain_ns, kind.reuses_inodes
            for path in (f"/sim/{name}/state", state_of(name), directory_of(name)):
                simos.makedirs(path, 0o700 if "state" in path else 0o755, exist_ok=True)
            for fs in machine.file_systems:
                fs.sync()
            self._views[name] = View(self.disk.find(directory_of(name).encode()))
            self.people[name] = Person(
                name, directory_of(name), simos, self.rng(f"person {name}"), self._finished, self.now_ns
            )

    def root(self, side):
        """Return the node of a synchronised directory."""
        return self._views[side].root

    def view(self, side):
        """Return what stands in a synchronised directory, as it is looked at again and again."""
        return self._views[side]

    def tree(self, side):
        """Return what stands in a synchronised directory."""
        return self._views[side].tree

    # People

    @contextmanager
    def acting(self, side):
        """Take note of what a person does within the block."""
        token = running.set(None)
        opened = self._open_files(side)
        before = self._in_reach(side, opened)
        nodes = self._views[side].nodes
        kinds = self.tree(side)
        try:
            yield
        finally:
            running.reset(token)
            now = self.loop.time()
            self.ledger.changed(side, before, self._in_reach(side, opened), now, self._opened_at(side, now))
            self.removed.update(node for _, node in nodes if not node.links)
            after = self.tree(side)
            for path in kinds.keys() | after.keys():
                if kinds.get(path) != after.get(path):
                    self.last_act[side, path] = now
            self.locks.acted(side)

    def _open_files(self, side):
        """Return the files that people at a side have open, wherever they are by now."""
        device = self.root(side).fs.device
        files = [file for file in self.disk.descriptors.values() if file.owner is None]
        return {file.node for file in files if file.node.fs.device == device and file.node.is_file}

    def _opened_at(self, side, now):
        """Return since when people have had files open at a side, by node and by path, and take note of new ones."""
        opened = {node: self._opened.get(node, now) for node in self._open_files(side)}
        other = {node: at for node, at in self._opened.items() if node.fs.device != self.root(side).fs.device}
        self._opened = other | opened
        return opened | {path: opened[node] for path, node in self._views[side].nodes if node in opened}

    def _in_reach(self, side, opened):
        """Return the contents that people at a side can change: what stands there, and what they had open."""
        stands = self._views[side].contents.items()
        # A staged copy is no place of theirs: what they delete meanwhile is destroyed by them.
        found = {path: content for path, content in stands if not path.startswith(STAGING_PREFIX)}
        return found | {node: node.data for node in opened if node.links}

    async def clear_way(self, side, name):
        """Somebody does what an unlock that stopped asks for: away with what stands in the way of a name."""
        for obstacle in self.people[side].obstacles(name):
            with self.acting(side):
                for _ in obstacle:
                    pass

    def _finished(self, side, path, node):
        """Somebody has finished writing a file; if people have removed it meanwhile, that was their doing."""
        if node not in self.removed:
            self.ledger.finish(node.data, side, path, self.loop.time())
            if all(standing is not node for _, standing in self._views[side].nodes):
                self.ledger.set_aside.add(node.data)
        if (path, node) not in self._views[side].nodes:
            # Its file was deleted, or replaced, while it stood there half written: what came later went with it.
            self.ledger.take_away({path: node.data}, {})

    # What servers do

    def said(self, event):
        """A server has announced something."""
        self.trace.event(event)
        self.events.append(event)
        if event.name is EventName.IN_SYNC:
            self.honest.in_sync()

    def restart_soon(self, server):
        """A server has given up: somebody starts it again."""
        self.loop.call_later(RESTART_SECONDS, server.start)

    def unwinding(self, process):
        """A process was killed: its tasks must come to an end without its help."""
        self.spawn(self._unwound(process), "unwinding")

    async def _unwound(self, process):
        for _ in range(int(UNWIND_SECONDS)):
            await asyncio.sleep(1.0)
            if not process.tasks:
                return
            process.cancel_all()
        self.violated("bounds", f"tasks of {process} do not end: {list(process.tasks)[:5]}")

    def before_power_cut(self, server):
        """Remember what a machine that is about to lose its power has promised to keep."""
        self.power_cuts[server.name] += 1
        self._before_cut = self._views[server.name].contents
        if self._has_true_syncs:
            self.durable.before_cut(server.name)
            self._recorded = self.durable.promised(server.name)

    @property
    def _has_true_syncs(self):
        """Whether what was set aside is durable once it is recorded: not where syncs fail, which is known."""
        return HINDERING_SYNCS.isdisjoint(self.plan.faults)

    def after_power_cut(self, server, found):
        """What people had not synced may be gone, and what they were writing stands there as far as they had come."""
        standing = set(self._views[server.name].contents.values())
        lost = found.lost | self._copies(server.name)
        if not self._has_true_syncs:
            lost |= set(self._before_cut.values())  # not even what a server had put in its place is promised to stay
        for content in lost - standing - self._recorded:
            self.ledger.excuse(content, f"not synced before the power cut of {server.name}")
        self.ledger.broken_off.update(self._views[server.name].contents.values())
        before, after = self._before_cut, self._views[server.name].contents
        self.ledger.gone(server.name, set(before.values()) - set(after.values()), self.loop.time())
        self.ledger.take_away(before, after)
        self.ledger.take_away(after, before)  # what is there instead may pass for what it was
        self.removed = {node for node in self.removed if not node.links}  # what was removed may be back
        self.locks.acted(server.name)
        if self._has_true_syncs:
            self.durable.after_cut(server.name)
        else:
            self.ledger.broken_off.update(found.made)  # also of what was set aside, where its sync had failed

    def _copies(self, side):
        """Return what a server has copied of what people had, and drops where no row names it, or it is unfinished."""
        state = self.disk.find(state_of(side).encode()).children
        found = set(contents_below(state[b"captures"]).values()) if b"captures" in state else set()
        versions = contents_below(state[b"versions"]) if b"versions" in state else {}
        return found | {content for name, content in versions.items() if name.startswith(b"new-")}

    def before_statement(self, process, statement):
        """A statement is about to be executed by a database."""
        self.calls.before_statement(process, statement)

    # Results

    def violated(self, checker, text, error=None):
        """A promise was broken: the run ends here."""
        if self.violation is None:
            self.violation = Violation(checker, text)
            self.trace(f"VIOLATION {self.violation}")
            if error is not None:
                self.trace("".join(traceback.format_exception(error)))
            self.failed.set_result(None)

    def spawn(self, work, name):
        """Do something beside the story; an error in it is a fault of the simulation."""
        context = context_of(Process("c", 0))
        task = context.run(self.loop.create_task, work, name=name)
        self._tasks[task] = None
        task.add_done_callback(self._done)
        return task

    def _done(self, task):
        del self._tasks[task]
        if not task.cancelled() and task.exception() is not None and not self._is_over:
            self.violated("simulation", f"{task.get_name()} failed: {task.exception()!r}", task.exception())

    def complained(self, _, context):
        """The loop has caught an error that nobody handled."""
        error, task = context.get("exception"), context.get("task", context.get("future"))
        if isinstance(task, SimTask) and task.process is not None and task.process.is_dead:
            return
        if not self._is_over and not isinstance(error, Killed):
            self.violated("crash", f"{context['message']}: {error!r}", error)

    async def end(self):
        """The story is told, or was broken off: let everything that still runs unwind."""
        self._is_over = True
        for server in self.servers.values():
            server.kill()
        for _ in range(int(UNWIND_SECONDS)):
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()
            await asyncio.sleep(1.0)
            if len(asyncio.all_tasks()) == 1:
                return
        raise AssertionError(f"tasks do not end: {asyncio.all_tasks()}")

    def job_seconds(self, process, kind, call):
        """Return how long a blocking call waits, and how long until its outcome is taken up."""
        rng = self._jobs
        scale = 0.02 if rng.random() < 0.03 else 0.0005
        before, after = self.calls.aims.around_job(process, kind, call) if self.calls.aims.is_on else (0.0, 0.0)
        before += self._cold_seconds(process, kind)
        return rng.random() * scale + before, rng.random() * scale + after

    def _cold_seconds(self, process, kind):
        if kind != "look" or self.loop.time() >= self.servers[process.name].started + COLD_SECONDS:
            return 0.0
        return self._jobs.random() * self.plan.cold_seconds

    def late_seconds(self):
        """Return how long nobody comes to a report, or to a part of an inventory: mostly not at all."""
        is_late = self._reports.random() < self.plan.late_reports
        return self._reports.random() * LATE_SECONDS if is_late else 0.0

    def held_names(self):
        """Return the names that a lock keeps apart."""
        return self._names_of(hold_rows.load_locks)

    def queued_names(self):
        """Return the locked names that have updates."""
        return self._names_of(hold_rows.load_updates)

    def _names_of(self, load):
        server = self.servers["a"]
        if not server.database.is_open:
            return set()
        with server.database.opened.transaction() as connection:
            return {row.path for row in load(connection)}

    async def wait_surely(self, seconds):
        """Wait until in sync, with both servers at their best; None, or why it never came."""
        until = self.loop.time() + seconds
        reason = "never asked"
        while self.loop.time() < until:
            try:
                reply = await clients.wait(until - self.loop.time())
            except DirsyncError as error:
                reason = str(error)
                await asyncio.sleep(0.5)
                continue
            if reply.is_in_sync:
                return None
            reason = "; ".join(reply.reasons)
        return reason
