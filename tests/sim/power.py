"""A power cut: what a machine finds on its disks after it.

Of an inode: what its last sync made durable, or any later state; data never newer than size and time, so that a file
nobody synced may be empty or hold blocks of zeros where it grew, and one that was written in place a mixture. Of names:
each unsynced change is kept or undone as a whole, either all up to a moment (a journal), or each for itself, as long as
what it rests on is kept. What is older than the kernel waits before it writes is kept.
"""

from dataclasses import dataclass

from tests.sim.nodes import BLOCK_BYTES

ZEROED = 0.5
"""How often a file that grew has its size before its data: with delayed allocation, or without ordered data."""
WRITTEN_SECONDS = 35
"""The kernel writes out by itself what is older than this."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a boot finds changed: contents that were not there before, and contents that people wrote and are gone.

    The latter also where a file that the product wrote still holds them: that it keeps such a copy is not certain.
    """

    lost: frozenset[bytes]
    made: frozenset[bytes]


def power_cut(machine, rng):
    """Take the power from a machine: nothing runs, nothing is open, its file systems are as a boot finds them.

    Returns what changed, for who keeps the books: that a program of the product lost something is not excused here.
    """
    machine.boots += 1
    before = _contents(machine)
    for process in list(machine.processes):
        machine.disk.kill(process)
    machine.disk.close_all(machine)
    for fs in machine.file_systems:
        _cut(fs, rng, machine.now() - WRITTEN_SECONDS * 1_000_000_000)
    after = _contents(machine)
    lost = {content for content, is_persons in before.items() if is_persons and not after.get(content)}
    return Found(frozenset(lost), frozenset(after.keys() - before.keys()))


def _contents(machine):
    """Return the contents of the files of a machine, and whether a person wrote them."""
    found = {}
    pending = [fs.root for fs in machine.file_systems]
    while pending:
        for node in pending.pop().children.values():
            if node.children is not None:
                pending.append(node)
            elif node.is_file:
                found[node.data] = found.get(node.data, False) or node.is_persons
    return found


def _cut(fs, rng, written_ns):
    fs.version += 1
    _cut_names(fs, rng, written_ns)
    for node in list(fs.dirty):
        _cut_states(node, rng, written_ns)
    _sweep(fs)
    fs.sync()


def _cut_names(fs, rng, written_ns):
    pending = list(fs.log.values())
    kept = _kept_by_journal(pending, rng, written_ns) if rng.random() < 0.5 else _kept_singly(pending, rng, written_ns)
    for op in reversed(pending):
        for directory, name, before, _ in op.changes:
            _put(directory, name, before)
    for op in pending:
        fs.forget(op)
        if op in kept:
            for directory, name, _, after in op.changes:
                _put(directory, name, after)


def _put(directory, name, node):
    if node is None:
        directory.children.pop(name, None)
        return
    directory.children[name] = node
    node.parent, node.name = directory, name


def _kept_by_journal(pending, rng, written_ns):
    old = sum(op.at_ns < written_ns for op in pending)
    return set(pending[: rng.choice((len(pending), rng.randint(old, len(pending))))])


def _kept_singly(pending, rng, written_ns):
    kept = set()
    chance = rng.choice((0.2, 0.5, 0.8))
    for op in pending:
        is_possible = all(need.is_durable or need in kept for need in op.needs)
        if is_possible and (op.at_ns < written_ns or rng.random() < chance):
            kept.add(op)
    return kept


def _cut_states(node, rng, written_ns):
    states = [*node.states, node.state()]
    oldest = max((index for index, state in enumerate(states) if state[5] < written_ns), default=0)
    if node.is_unwritable:
        oldest = 0
    kept = rng.choice((oldest, len(states) - 1, rng.randint(oldest, len(states) - 1)))
    data = states[rng.choice((oldest, kept, kept, rng.randint(oldest, kept)))][0]
    node.restore(states[kept])
    if node.is_file:
        node.data = _mixed(states[oldest][0], data, rng)
    node.is_unwritable = False


def _mixed(old, new, rng):
    """Return `new`, or, of what is longer than a block, what is there when only some blocks were written."""
    if len(old) < len(new) and rng.random() < ZEROED:
        return _zeroed(old, new, rng)
    if len(new) <= BLOCK_BYTES or rng.random() < 0.5:
        return new
    if len(old) < len(new):
        begin = len(old) if new.startswith(old) else 0  # what was appended to stays
        return new[: rng.randrange(begin, len(new), BLOCK_BYTES)]
    ends = range(BLOCK_BYTES, len(new) + BLOCK_BYTES, BLOCK_BYTES)
    return b"".join(rng.choice((old, new))[end - BLOCK_BYTES : min(end, len(new))] for end in ends)


def _zeroed(old, new, rng):
    """Return `new` as it is where its size was on the disk before its data: what it grew by may be zeros, by blocks."""
    begin = len(old) if new.startswith(old) else 0
    ends = [*range(begin - begin % BLOCK_BYTES + BLOCK_BYTES, len(new), BLOCK_BYTES), len(new)]
    parts = [new[:begin]]
    for end in ends:
        parts.append(rng.choice((new[begin:end], bytes(end - begin))))
        begin = end
    return b"".join(parts)


def _sweep(fs):
    """Count again what leads to each inode, and drop what nothing leads to."""
    links = {}
    used, pending = 0, [fs.root]
    while pending:
        for node in pending.pop().children.values():
            if node not in links:
                links[node] = 0
                used += len(node.data)
            links[node] += 1
            if node.children is not None:
                pending.append(node)
    numbers = set()
    for node, count in links.items():
        node.links = count
        if node.inode in numbers:  # freed and used again, and now it is not freed
            node.inode = fs.fresh_number()
        numbers.add(node.inode)
    fs.used = used
    for node in list(fs.dirty):
        if node not in links and node is not fs.root:
            node.links = 0
            del fs.dirty[node]
