"""What Server B takes over from the Server A that meets it."""

from dirsync.core.reports import HeldName
from dirsync.run.role_b import _ServerB
from dirsync.store.database import Database
from dirsync.wire.meeting import PROTOCOL_MAJOR, PROTOCOL_MINOR, Hello
from tests.replica.local_ground import local_ground, rel


async def test_no_lock_outlives_the_state_of_the_server_that_granted_it(tmp_path):
    own = tmp_path / "b"
    own.mkdir()
    database = Database.open(own)
    async with local_ground(tmp_path, locks_max_bytes=10) as ground:
        server = _ServerB(database, ground.replica, lambda *_: None, ())
        for pair_id in (b"one", b"one"):
            await server.begin(Hello(PROTOCOL_MAJOR, PROTOCOL_MINOR, "control", pair_id=pair_id))
            await ground.replica.hold([HeldName(rel("a"), None)])
        ground.write("a", b"more than there is room for")
        assert await ground.drain() == []
        await server.begin(Hello(PROTOCOL_MAJOR, PROTOCOL_MINOR, "control", pair_id=b"another"))
        (change,) = await ground.next()
        assert (change.path, change.capture, change.content) == (b"a", 0, b"more than there is room for")
    database.close()
