"""What must hold after a server was killed, started again, and both have settled: the invariants, one function each.

Each raises AssertionError with what it found. The numbers are those of the reliability catalogue: nothing lost (I1),
both the same (I2), nothing resurrected or invented (I3, I4), locks and queues (I6: the scenarios), quiet (I7), honest
(I8), nothing outside touched (I9). Torn states (I5) are looked for at the moment of the kill, by the play.
"""

from datetime import UTC, datetime

from blake3 import blake3

from tests.e2e.servers import Tree
from tests.torture.home import Home
from tests.torture.play import Play

_HOME_NAMES = {"config.toml", "cache", "directory_a", "directory_b", "moved away", "outside", "state"}
_NEWS = ("detected", "synced", "queued", "applied", "conflict", "locked", "unlocked")


def check_trees(home: Home, expected: Tree | None) -> None:
    """Both directories hold the same, to the bit and the nanosecond, and it is what the person made of them."""
    a, b = home.tree("a"), home.tree("b")
    assert a == b, f"the directories differ: {_difference(a, b)}"
    assert expected is None or a == expected, f"not what was made: {_difference(a, expected)}"


def check_quiet(play: Play) -> None:
    """Nothing happens any more, also when both sides look at everything."""
    since = datetime.now(UTC)
    play.settle()
    said = [event for name in _NEWS for event in play.said(name)]
    # By its own time: the line of what was said before may arrive only now.
    news = [event for event in said if datetime.fromisoformat(str(event["time"])) > since]
    assert not news, f"it is not quiet: {news}"


def check_said(play: Play) -> None:
    """Nobody complained, and nothing was said to have failed."""
    for server in play.ran():
        complaints = server.err.splitlines()
        assert not complaints, f"{server.words[3]} complained: {complaints[-5:]}"
    errors = play.said("error") + play.said("skipped")
    assert not errors, f"it was said: {errors}"


def check_kept(play: Play, kept: dict[str, list[bytes]]) -> None:
    """What was replaced or deleted is kept, and what is kept is what somebody finished, whole."""
    for role in "ab":
        versions = play.home.versions(role)
        contents = [content for _, _, content in versions if content is not None]
        for wanted in kept.get(role, []):
            assert wanted in contents, f"lost: {wanted[:60]!r} is not among the versions of {role}"
        for path, _, content in versions:
            assert content is None or content in play.values, f"a version of {path!r} at {role} is torn"
        files = {file for _, file, _ in versions}
        there = {file.name for file in (play.home.state / role / "versions").iterdir()}
        assert there == files, f"kept files of {role} without a row: {sorted(there - files)}"


def check_state(home: Home, role: str) -> None:
    """The database is sound, agrees with the files beside it, and nothing is left lying around."""
    state = home.state / role
    with home.database(role) as connection:
        (verdict,) = connection.execute("PRAGMA integrity_check").fetchone()
        assert verdict == "ok", f"the database of {role}: {verdict}"
        assert not connection.execute("PRAGMA foreign_key_check").fetchall()
        spooled = {file for (file,) in connection.execute("SELECT file FROM updates WHERE file IS NOT NULL")}
        captured = {file for (file,) in connection.execute("SELECT file FROM captures WHERE file IS NOT NULL")}
        held = [path for (path,) in connection.execute("SELECT path FROM held_names")]
        base = connection.execute("SELECT path, digest FROM archive").fetchall()
    assert _names(home, role, "spool") == spooled, f"spool of {role}: {_names(home, role, 'spool') ^ spooled}"
    assert _names(home, role, "captures") == captured, f"captures of {role}: {_names(home, role, 'captures')}"
    assert not _names(home, role, "staging"), f"left in the staging of {role}: {_names(home, role, 'staging')}"
    assert not spooled | captured, f"{role} still holds {spooled | captured}"
    assert not held, f"{role} still captures {held}"
    if role == "a":
        tree = home.tree("a")
        assert dict(base).keys() == tree.keys(), f"the base: {dict(base).keys() ^ tree.keys()}"
        for path, digest in base:
            assert digest is None or digest == blake3(bytes(tree[path][1])).digest(), f"the base of {path!r} is old"
    assert (state.stat().st_mode & 0o777, (state / "state.db").stat().st_mode & 0o777) == (0o700, 0o600)


def check_outside(home: Home, before: Tree) -> None:
    """Nothing but the two directories and the state was touched."""
    assert {path.name for path in home.path.iterdir()} <= _HOME_NAMES, list(home.path.iterdir())
    now = home.outside_tree()
    assert now == before, f"outside: {_difference(now, before)}"


def _names(home: Home, role: str, area: str) -> set[str]:
    directory = home.state / role / area
    return {path.name for path in directory.iterdir()} if directory.exists() else set()


def _difference(one: Tree, other: Tree) -> dict[bytes, str]:
    paths = sorted(path for path in one.keys() | other.keys() if one.get(path) != other.get(path))
    return {path: f"{_short(one.get(path))} | {_short(other.get(path))}" for path in paths[:5]}


def _short(standing: tuple[object, ...] | None) -> str:
    return str(standing and tuple(part[:40] if isinstance(part, bytes) else part for part in standing))
