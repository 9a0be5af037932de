"""The checker of locks: what B does must not reach a locked name at A, and held updates leave in their order.

What somebody at A moves between two calls of an apply takes along what is applied to it, or in it: no system call
tells of that before. So of what a person has put in its place, or its directory, nothing is asked in that moment.
"""

from collections import Counter

from tests.sim.trees import shown, standing


class Locks:
    """Watches locked names in directory_a, from the answer of `lock` until `unlock` is asked.

    An `unlock` that had no answer when that `lock` was asked may have reached Server A after it.

    `asked_for`: the names of which a client has ever wanted a lock or a version.
    """

    def __init__(self, world):
        self._world = world
        self._frozen = {}
        self._nodes = {}
        self._came_at = {}
        self._unlocks = Counter()
        self._unlocking = Counter()
        self._restoring = Counter()
        self.asked_for = set()
        self._version = None

    def asked(self, name):
        """Somebody asks for a lock; return how many unlocks have been answered, which `answered` is told."""
        self.asked_for.add(name)
        return self._unlocks[name] - self._unlocking[name]

    def answered(self, name, unlocks):
        """A lock was granted: from now on only people at A change the name, unless an unlock was on its way."""
        if self._unlocks[name] == unlocks:
            self._frozen[name] = self._stands(name)
            self._nodes[name] = self._nodes_of(name)

    def unlock_asked(self, name):
        """From now on its updates may be applied."""
        self._unlocks[name] += 1
        self._unlocking[name] += 1
        self._frozen.pop(name, None)

    def unlock_answered(self, name):
        """Whatever the answer is."""
        self._unlocking[name] -= 1

    def lost(self):
        """Server A has lost its state: it knows of no lock any more."""
        self._frozen.clear()

    def acted(self, side):
        """A person did something."""
        if side == "a":
            for name in self._frozen:
                self._frozen[name] = self._stands(name)
                if self._nodes.get(name) != (nodes := self._nodes_of(name)):
                    self._nodes[name] = nodes
                    self._came_at[name] = self._world.loop.time()

    def restoring(self, name):
        """A client asks for a version: that is a change at A like a person's."""
        self._restoring[name] += 1
        self.asked_for.add(name)

    def restored(self, name):
        """It is done."""
        self._restoring[name] -= 1
        if name in self._frozen:
            self._frozen[name] = self._stands(name)

    def check(self):
        """Look whether anything has changed. Called before each system call of Server A."""
        version = self._world.view("a").version
        if version == self._version:
            return
        self._version = version
        for name, before in self._frozen.items():
            self._nodes[name] = self._nodes_of(name)
            if self._came_at.get(name) == self._world.loop.time():
                self._frozen[name] = self._stands(name)
            elif not self._restoring[name] and self._stands(name) != before:
                change = f"from {shown(before)} to {shown(self._stands(name))}"
                self._world.violated("lock", f"{name.decode()} is locked and was changed {change}")
                return

    @property
    def being_restored(self):
        """The names of which somebody has asked for a version, and has no answer yet."""
        return {name for name, count in self._restoring.items() if count}

    @property
    def names(self):
        """The names that are known to be locked."""
        return set(self._frozen)

    def _stands(self, name):
        node = self._node(name.split(b"/"))
        return None if node is None else standing(node)

    def _nodes_of(self, name):
        """Return what stands there and its directory; compared by identity."""
        parts = name.split(b"/")
        return self._node(parts), self._node(parts[:-1])

    def _node(self, parts):
        node = self._world.root("a")
        for part in parts:
            if node is None or node.children is None:
                return None
            node = node.children.get(part)
        return node
