"""Who is let in, who is not, and what each of them is told; over real sockets on the loopback."""

import asyncio
import socket
import ssl
from contextlib import ExitStack, asynccontextmanager

import msgpack
import pytest

from dirsync.core.entry import Role
from dirsync.errors import Refusal, RemoteProtocolError, Unreachable
from dirsync.net import dial as dial_module
from dirsync.net import listen as listen_module
from dirsync.net.dial import dial
from dirsync.net.listen import listen
from dirsync.net.reasons import CREDENTIAL_DIFFERS, reason_of
from dirsync.wire.client_messages import StatusRequest
from dirsync.wire.codec import decode, encode
from dirsync.wire.meeting import Denied, Done, Hello, Welcome
from dirsync.wire.messages import Reply, Request

HELLO = Hello(1, 0, "control", machine="near")
WELCOME = Welcome(1, 0, Role.B, machine="far")


class House:
    """A listener and what it saw."""

    def __init__(self):
        self.verdict = WELCOME
        self.met = []
        self.taken = []
        self.left = []
        self.listener = None

    def meet(self, hello):
        self.met.append(hello)
        return self.verdict

    async def take(self, hello, connection):
        async def answer(request, incoming):
            return Done()

        self.taken.append(hello)
        connection.serve(answer)
        async with connection:
            self.left.append(await connection.wait_closed())


@asynccontextmanager
async def open_house(credential, host="127.0.0.1"):
    house = House()
    async with asyncio.TaskGroup() as tasks:
        house.listener = await listen(host, 0, credential, house.meet, house.take, tasks)
        try:
            yield house
        finally:
            await house.listener.close()


async def visit(house, credential, hello=HELLO, host="127.0.0.1"):
    return await dial(host, house.listener.port, credential, hello)


async def test_who_is_welcome_is_connected(credential):
    async with open_house(credential) as house:
        connection, welcome = await visit(house, credential)
        assert welcome == WELCOME
        async with connection:
            assert await connection.request(StatusRequest()) == Done()
        assert house.met == house.taken == [HELLO]


@pytest.mark.parametrize("kind", ["control", "bulk", "client"])
async def test_each_kind_of_connection_reaches_who_takes_it(credential, kind):
    async with open_house(credential) as house:
        connection, _ = await visit(house, credential, Hello(1, 0, kind))
        async with connection:
            assert await connection.request(StatusRequest()) == Done()
        assert [hello.kind for hello in house.taken] == [kind]


async def test_the_loopback_of_the_other_family(credential):
    try:
        probe = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("no IPv6 here")
    probe.close()
    async with open_house(credential, "::1") as house:
        connection, _ = await visit(house, credential, host="::1")
        await connection.close()


async def test_who_is_denied_is_told_why(credential):
    async with open_house(credential) as house:
        house.verdict = Denied("another session is there")
        with pytest.raises(Refusal, match="another session is there"):
            await visit(house, credential)
        assert house.taken == []


@pytest.mark.parametrize(("major", "who"), [(0, "the other end needs"), (2, "this end needs")])
async def test_another_major_version_is_denied_in_one_line(credential, major, who):
    async with open_house(credential) as house:
        with pytest.raises(Refusal, match=f"version 1.*speaks {major}: {who}"):
            await visit(house, credential, Hello(major, 0, "control"))
        assert house.met == []


async def test_a_later_minor_version_with_more_to_say_is_welcome(credential):
    """It knows capabilities that nobody here knows, and its hello has a field more than ours."""
    later = Hello(1, 7, "control", replica_id=b"a", capabilities=("teleport", "rewind"), root=(1, 2), attempt=3)
    async with open_house(credential) as house:
        link = await dial_module._connect("127.0.0.1", house.listener.port, credential)
        kind, (number, (body, fields)) = msgpack.unpackb(encode(Request(0, later)))
        link.send(msgpack.packb((kind, (number, (body, (*fields, b"a field of later"))))))
        assert decode(await link.receive()) == Reply(0, WELCOME)
        assert house.met == [later]
        await link.close(1)


async def test_a_listener_of_a_later_minor_version_is_met(credential):
    async with open_house(credential) as house:
        house.verdict = Welcome(1, 7, Role.B, capabilities=("teleport",))
        connection, welcome = await visit(house, credential)
        async with connection:
            assert welcome == house.verdict
            assert await connection.request(StatusRequest()) == Done()


async def test_a_listener_of_another_major_version_is_left(credential):
    async with open_house(credential) as house:
        house.verdict = Welcome(2, 0, Role.B)
        with pytest.raises(Refusal, match="speaks 2"):
            await visit(house, credential)


async def test_a_kind_that_is_not_known_is_denied(credential):
    async with open_house(credential) as house:
        with pytest.raises(Refusal, match="kind"):
            await visit(house, credential, Hello(1, 0, "visitor"))
        assert house.met == []


async def test_a_listener_with_another_credential_is_left(credential, stranger):
    async with open_house(stranger) as house:
        with pytest.raises(Unreachable, match="differs"):
            await visit(house, credential)
        assert house.met == []


class Trusting:
    """A credential that lets every listener pass, as a thief's would."""

    def __init__(self, credential):
        self._credential = credential

    def client_context(self):
        context = self._credential.client_context()
        context.verify_mode = ssl.CERT_NONE
        return context

    def is_held_by(self, _):
        return True


async def test_a_dialler_with_another_credential_is_not_met_and_never_connected(credential, stranger):
    async with open_house(credential) as house:
        with pytest.raises(Unreachable, match="differs"):
            await visit(house, Trusting(stranger))
        assert house.met == []


async def test_a_guest_who_says_something_else_than_hello_is_cut_off(credential):
    async with open_house(credential) as house:
        with pytest.raises(Unreachable):
            await visit(house, credential, StatusRequest())
        assert house.met == []


async def test_a_listener_that_answers_something_else_is_left(credential):
    async with open_house(credential) as house:
        house.verdict = Done()
        with pytest.raises(RemoteProtocolError):
            await visit(house, credential)


# Those who say nothing.


@pytest.fixture
def hasty(monkeypatch):
    for module in (dial_module, listen_module):
        monkeypatch.setattr(module, "HANDSHAKE_SECONDS", 0.2)


@pytest.fixture
def sockets():
    with ExitStack() as sockets:
        yield sockets


def closed_by_far_end(plain):
    try:
        return plain.recv(100) == b""
    except ConnectionResetError:
        return True


async def test_a_guest_who_says_nothing_at_all_is_cut_off(credential, hasty):
    async with open_house(credential) as house:
        with socket.create_connection(("127.0.0.1", house.listener.port)) as plain:
            assert await asyncio.to_thread(closed_by_far_end, plain)


async def test_a_guest_who_proves_itself_and_says_nothing_is_cut_off(credential, hasty):
    async with open_house(credential) as house:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", house.listener.port, ssl=credential.client_context(), server_hostname="x"
        )
        assert await reader.read() == b""
        writer.transport.abort()


async def test_a_listener_that_says_nothing_is_left(credential, hasty):
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(Unreachable, match="no answer in time"):
        await dial("127.0.0.1", silent.getsockname()[1], credential, HELLO)


async def test_more_guests_than_there_is_room_for_are_turned_away(credential, monkeypatch):
    monkeypatch.setattr(listen_module, "CONNECTIONS_MAX", 1)
    async with open_house(credential) as house:
        first, _ = await visit(house, credential)
        async with first:
            with pytest.raises(Refusal, match="1 connections already"):
                await visit(house, credential)
            await first.request(StatusRequest())
        while house.listener._guests:
            await asyncio.sleep(0)
        again, _ = await visit(house, credential)
        await again.close()


async def test_strangers_who_say_nothing_keep_nobody_out(credential, monkeypatch, sockets):
    monkeypatch.setattr(listen_module, "STRANGERS_MAX", 2)
    async with open_house(credential) as house:
        address = "127.0.0.1", house.listener.port
        silent = [sockets.enter_context(socket.create_connection(address)) for _ in range(4)]
        connection, _ = await visit(house, credential)
        async with connection:
            assert await connection.request(StatusRequest()) == Done()
        assert len(house.listener._strangers) <= 2
        # The oldest had to go.
        assert await asyncio.to_thread(closed_by_far_end, silent[0])


# Addresses where nobody is.


def free_port():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return unused.getsockname()[1]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_nobody_listens(credential, host):
    port = free_port()
    with pytest.raises(Unreachable, match=f"{host}:{port}: nobody listens there"):
        await dial(host, port, credential, HELLO)


async def test_a_name_that_nobody_knows(credential, monkeypatch):
    async def unknown(*_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", unknown)
    with pytest.raises(Unreachable, match=r"nowhere\.invalid:7402: the name of the host is not known"):
        await dial("nowhere.invalid", 7402, credential, HELLO)


async def test_something_else_answers(credential):
    async def greet(_, writer):
        writer.write(b"220 mail.example.org ready\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    async with server:
        with pytest.raises(Unreachable, match="something else than dirsync"):
            await dial("127.0.0.1", server.sockets[0].getsockname()[1], credential, HELLO)


async def test_an_address_that_is_taken(credential):
    async with open_house(credential) as house:
        port = house.listener.port
        async with asyncio.TaskGroup() as tasks:
            with pytest.raises(Unreachable, match=f"cannot listen at 127.0.0.1:{port}: Address already in use"):
                await listen("127.0.0.1", port, credential, house.meet, house.take, tasks)


# The end.


async def test_who_comes_while_the_tasks_are_ending_is_turned_away(credential):
    house, complaints = House(), []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))

    async def come_late():
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            with pytest.raises(Unreachable):
                await visit(house, credential)

    async def end():
        async with asyncio.TaskGroup() as tasks:
            house.listener = await listen("127.0.0.1", 0, credential, house.meet, house.take, tasks)
            tasks.create_task(come_late())
            await asyncio.sleep(0)
            raise ValueError

    with pytest.raises(ExceptionGroup) as ended:
        await end()
    await house.listener.close()
    assert ended.group_contains(ValueError)
    assert not complaints


async def test_closing_the_listener_ends_its_guests(credential):
    async with open_house(credential) as house:
        connection, _ = await visit(house, credential)
        async with connection:
            await connection.request(StatusRequest())
            await house.listener.close()
            assert await connection.wait_closed() == reason_of(None)
        with pytest.raises(Unreachable, match="nobody listens"):
            await visit(house, credential)
        await house.listener.close()


async def test_a_guest_who_breaks_off_is_noticed(credential):
    async with open_house(credential) as house:
        connection, _ = await visit(house, credential)
        async with connection:
            await connection.request(StatusRequest())
            connection._link.transport.abort()
        while not house.left:
            await asyncio.sleep(0)
        assert house.left in (["the far end closed the connection"], ["the far end broke the connection off"])


def test_reasons_are_for_people():
    assert reason_of(None) == "the far end closed the connection"
    assert reason_of(ssl.SSLCertVerificationError("self-signed")) == CREDENTIAL_DIFFERS
    assert reason_of(ConnectionResetError()) == "the far end broke the connection off"
    assert reason_of(TimeoutError()) == "no answer in time"
    assert reason_of(OSError(113, "No route to host")) == "No route to host"
    assert reason_of(ValueError("odd")) == "odd"
