"""Machines that lose what they had: a state directory, or everything."""

from tests.sim.servers import state_of
from tests.sim.trees import STAGING_PREFIX, contents_below, nodes_below, remove_below


def forget_state(world, server):
    """A server's state directory is lost, and with it every content that stood nowhere else."""
    state, root = world.disk.find(state_of(server.name).encode()), world.root(server.name)
    # Whoever clears the state away clears this, too.
    staging = {name: node for name, node in root.children.items() if name.startswith(STAGING_PREFIX)}
    for lost in (state, *staging.values()):
        for content in contents_below(lost).values():
            world.ledger.excuse(content, f"in the lost state of {server.name}")
        kept = [node for _, node in nodes_below(lost)]
        remove_below(lost)
        world.removed.update(node for node in kept if not node.links)  # whoever writes on there writes to nothing
    for name, node in staging.items():
        root.fs.rename([(root, name, node, None)])
    root.fs.sync()
    server.database.renew()
    if server.name == "a":
        world.locks.lost()


def replace_machine(world, server):
    """State and directory of a server are gone; what stood nowhere else is lost with them."""
    name = server.name
    for content in set(world.view(name).contents.values()) - _safe_at(world, "b" if name == "a" else "a"):
        world.ledger.excuse(content, f"on the disk of {name} that is gone")
    world.power_cuts[name] += 1  # nobody goes on with what he had open there
    world.disk.close_all(world.machines[name])
    root = world.root(name)
    world.removed.update(node for _, node in world.view(name).nodes)
    remove_below(root)
    root.xattrs = {}
    forget_state(world, server)


def _safe_at(world, side):
    """Return the contents that a server has in its directory, or has set aside for good."""
    state = world.disk.find(state_of(side).encode()).children
    areas = [state[name] for name in (b"versions", b"spool") if name in state]
    aside = [content for area in areas for content in contents_below(area).values()]
    standing = world.view(side).contents.items()
    return {*aside, *(content for path, content in standing if not path.startswith(STAGING_PREFIX))}
