"""A TCP proxy between two servers that does to their connections what a network may do.

It understands nothing of what it carries; it counts bytes. "up" is the way from the dialler (Server A) to the listener
(Server B), "down" the way back. Runs in a thread of its own; everything public may be used from the test's thread.
"""

import asyncio
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

Way = Literal["up", "down"]
WAYS: tuple[Way, Way] = ("up", "down")
End = Literal["reset", "close", "half close"]

_READ_BYTES = 16 * 1024
_SECONDS_MAX = 60.0


@dataclass(eq=False)
class Line:
    """One carried connection. `carried` counts the bytes each way; `cut_at` ends it when so many were."""

    number: int
    streams: dict[Way, tuple[asyncio.StreamReader, asyncio.StreamWriter]]
    carried: dict[Way, int] = field(default_factory=lambda: {"up": 0, "down": 0})

    def end(self, how: End) -> None:
        """Break it off."""
        for _, writer in self.streams.values():
            if how == "reset":
                plain = writer.get_extra_info("socket")
                plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()
            else:
                writer.close()


@dataclass
class _Plan:
    """`way` and `at` are None for whatever is carried next."""

    way: Way | None
    at: int | None
    number: int | None
    act: Callable[[Line, bytes, int], bytes]


class FaultProxy:
    """Carries connections from its own port to wherever `target` says at that moment. A context manager.

    `stalled`: ways on which nothing is carried, and nobody is told, as in a silent partition. `bytes_per_second`: of
    each way, all connections together. `delay_seconds`: of each piece. `is_refusing`: new connections are reset.
    """

    def __init__(self, target: Callable[[], tuple[str, int]]) -> None:
        self._target = target
        self.stalled: set[Way] = set()
        self.stalled_lines: set[int] = set()
        self.bytes_per_second = 0.0
        self.delay_seconds = 0.0
        self.is_refusing = False
        self.carried: dict[Way, int] = {"up": 0, "down": 0}
        self.lines: list[Line] = []
        """Every connection that was ever carried, in order."""
        self._alive: set[Line] = set()
        self._plan: _Plan | None = None
        self._happened = threading.Event()
        self._free_at = {"up": 0.0, "down": 0.0}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault proxy", daemon=True)
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0

    def __enter__(self) -> "FaultProxy":
        self._thread.start()
        self._do(self._start())
        return self

    def __exit__(self, *_: object) -> None:
        self._do(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_SECONDS_MAX)
        self._loop.close()

    # Faults.

    def cut(self, how: End = "reset", number: int | None = None) -> None:
        """Break off every connection that is carried now, or the one with this number."""
        self._do(self._cut(how, number))

    def cut_at(self, way: Way, at: int, how: End = "reset", number: int | None = None) -> None:
        """Break the next connection off (or the one with this number) when it has carried so many bytes this way."""

        def act(line: Line, piece: bytes, count: int) -> bytes:
            self._loop.call_soon(self._end, line, how)
            return piece[:count]

        self._arm(_Plan(way, at, number, act))

    def corrupt_at(self, way: Way, at: int, number: int | None = None) -> None:
        """Flip a bit of the next connection's byte with this number."""
        self._arm(_Plan(way, at, number, _with_flipped_bit))

    def corrupt_next(self) -> None:
        """Flip a bit of whatever is carried next."""
        self._arm(_Plan(None, None, None, _with_flipped_bit))

    def wait_happened(self) -> None:
        """Wait until what `cut_at` or `corrupt_at` asked for has happened."""
        assert self._happened.wait(_SECONDS_MAX), "the planned fault was never reached"

    @property
    def has_happened(self) -> bool:
        """Whether it has."""
        return self._happened.is_set()

    def disarm(self) -> None:
        """Drop what was planned and has not happened."""
        self._plan = None

    @property
    def alive(self) -> list[Line]:
        """The connections that are carried now, oldest first."""
        return sorted(self._alive, key=lambda line: line.number)

    # Inside, in the thread of the loop.

    def _arm(self, plan: _Plan) -> None:
        self._happened.clear()
        self._plan = plan

    def _do(self, work: "asyncio.coroutines.Coroutine[object, object, None]") -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(_SECONDS_MAX)

    async def _start(self) -> None:
        listening = socket.socket()
        # What waits in here is on a wire that holds little: a sender must not think that it was carried.
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _READ_BYTES)
        listening.bind(("127.0.0.1", 0))
        self._server = await asyncio.start_server(self._accept, sock=listening, limit=_READ_BYTES)
        self.port = listening.getsockname()[1]

    async def _stop(self) -> None:
        assert self._server is not None
        self._server.close()
        await self._cut("reset", None)
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _cut(self, how: End, number: int | None) -> None:
        for line in list(self._alive):
            if number in (None, line.number):
                self._end(line, how)

    def _end(self, line: Line, how: End) -> None:
        if how == "half close":
            line.streams["down"][1].write_eof()
            return
        self._alive.discard(line)
        line.end(how)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._carry(reader, writer)
        except OSError:
            writer.transport.abort()
        finally:
            self._tasks.discard(task)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.is_refusing:
            plain = writer.get_extra_info("socket")
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
            return
        far_reader, far_writer = await asyncio.open_connection(*self._target())
        line = Line(len(self.lines), {"up": (reader, far_writer), "down": (far_reader, writer)})
        self.lines.append(line)
        self._alive.add(line)
        try:
            async with asyncio.TaskGroup() as tasks:
                for way in WAYS:
                    tasks.create_task(self._pump(line, way))
        except* OSError:
            pass
        finally:
            self._alive.discard(line)
            line.end("close")

    async def _pump(self, line: Line, way: Way) -> None:
        reader, writer = line.streams[way]
        while piece := await reader.read(_READ_BYTES):
            while way in self.stalled or line.number in self.stalled_lines:
                await asyncio.sleep(0.02)
            await self._pace(way, len(piece))
            piece = self._meddled(line, way, piece)
            line.carried[way] += len(piece)
            self.carried[way] += len(piece)
            writer.write(piece)
            await writer.drain()
        while way in self.stalled or line.number in self.stalled_lines:
            await asyncio.sleep(0.02)  # nor is the end of a connection carried
        writer.write_eof()

    async def _pace(self, way: Way, size: int) -> None:
        if self.bytes_per_second:
            now = self._loop.time()
            self._free_at[way] = max(now, self._free_at[way]) + size / self.bytes_per_second
            await asyncio.sleep(self._free_at[way] - now)
        if self.delay_seconds:
            await asyncio.sleep(self.delay_seconds)

    def _meddled(self, line: Line, way: Way, piece: bytes) -> bytes:
        plan = self._plan
        if plan is None or plan.way not in (None, way) or plan.number not in (None, line.number):
            return piece
        count = 0 if plan.at is None else plan.at - line.carried[way]
        if not 0 <= count < len(piece):
            return piece
        self._plan = None
        self._happened.set()
        return plan.act(line, piece, count)


def _with_flipped_bit(_: Line, piece: bytes, count: int) -> bytes:
    return piece[:count] + bytes([piece[count] ^ 1]) + piece[count + 1 :]
