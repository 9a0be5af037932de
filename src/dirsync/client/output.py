"""Owns writing a kept version to a file of the user's: whole, or not at all."""

import contextlib
import os
import tempfile
from pathlib import Path

from dirsync.client.calls import ServerA
from dirsync.core.entry import Entry, File
from dirsync.errors import DiskError, RemoteProtocolError
from dirsync.wire.client_messages import OutputRequest
from dirsync.wire.meeting import Chunk
from dirsync.wire.messages import Message
from dirsync.wire.replica_messages import RestoreReply


def write_version(server: ServerA, request: OutputRequest, output: Path) -> RestoreReply:
    """Fetch a version and put it at `output`, with its time and permission bits, replacing what is there.

    Raises Refusal where there is no such version, DiskError where `output` cannot be written.
    """
    try:
        descriptor, temporary = tempfile.mkstemp(dir=output.parent, prefix=".dirsync-output-")
        try:
            reply = _receive(server, request, descriptor, temporary)
            os.replace(temporary, output)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
            raise
    except OSError as error:
        raise DiskError(f"{output} cannot be written: {error.strerror}") from error
    return reply


def _receive(server: ServerA, request: OutputRequest, descriptor: int, temporary: str) -> RestoreReply:
    with os.fdopen(descriptor, "wb") as stream:

        def write(part: Message) -> None:
            if isinstance(part, Chunk):
                stream.write(part.data)

        reply = server.ask(request, RestoreReply, seconds=None, on_part=write)
        received = stream.tell()
    _finish(reply.version.entry, received, temporary)
    return reply


def _finish(entry: Entry, received: int, temporary: str) -> None:
    if not isinstance(entry, File):
        raise RemoteProtocolError("the version has no content to write to a file")
    if received != entry.size:
        raise RemoteProtocolError(f"the version has {entry.size} bytes, {received} came")
    os.chmod(temporary, entry.mode)
    os.utime(temporary, ns=(entry.mtime_ns, entry.mtime_ns))
