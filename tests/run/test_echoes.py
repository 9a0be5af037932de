"""What asyncio says of a connection that broke does not reach a person, who is told of it in our words."""

import asyncio
import logging
import socket

import pytest

from dirsync.run.serve import is_no_echo


@pytest.fixture
def heard(caplog):
    logger = logging.getLogger("asyncio")
    logger.addFilter(is_no_echo)
    yield caplog
    logger.removeFilter(is_no_echo)


async def test_a_transport_that_broke_says_nothing_of_each_write(heard):
    ours, theirs = socket.socketpair()
    transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, sock=ours)
    theirs.close()
    for _ in range(10):
        transport.write(b"nobody reads this")
    assert not heard.records
    transport.close()


def test_whatever_else_asyncio_says_is_heard(heard):
    logging.getLogger("asyncio").warning("Task exception was never retrieved")
    assert len(heard.records) == 1
