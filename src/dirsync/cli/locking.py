"""`lab3 lock`, `unlock` and `locks`, and `-lock -3`, `-unlock -3`, whose index means what the last listing showed."""

import click

from dirsync.cli.lab3_words import parse_index
from dirsync.cli.options import common_options, json_option, name_to_path
from dirsync.cli.server_a import server_a
from dirsync.client.calls import ServerA
from dirsync.client.listing import ask_listing
from dirsync.client.remembered import recall
from dirsync.core.paths import RelPath
from dirsync.errors import Refusal
from dirsync.render.answers import locked_text, locks_text, unlocked_text
from dirsync.wire.client_messages import LockReply, LockRequest, LocksReply, LocksRequest, UnlockReply, UnlockRequest

_as_typed = {"ignore_unknown_options": True}


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@common_options
def lock(*, names: tuple[str, ...]) -> None:
    """Lock files by name: until they are unlocked, no update from Server B changes them at Server A."""
    paths = [name_to_path(name) for name in names]
    with server_a() as server:
        for path in paths:
            _lock(server, path)


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@common_options
def unlock(*, names: tuple[str, ...]) -> None:
    """Unlock files by name: the held updates are applied in the order received."""
    paths = [name_to_path(name) for name in names]
    with server_a() as server:
        for path in paths:
            _unlock(server, path)


@click.command("-lock", context_settings=_as_typed)
@click.argument("index", metavar="-INDEX", type=click.UNPROCESSED)
@common_options
def lock_index(*, index: str) -> None:
    """Lock the file that the last listing showed at this index."""
    number = parse_index(index)
    with server_a() as server:
        _lock(server, _path_at(server, number))


@click.command("-unlock", context_settings=_as_typed)
@click.argument("index", metavar="-INDEX", type=click.UNPROCESSED)
@common_options
def unlock_index(*, index: str) -> None:
    """Unlock the file that the last listing showed at this index."""
    number = parse_index(index)
    with server_a() as server:
        _unlock(server, _path_at(server, number))


@click.command()
@json_option
@common_options
def locks(*, is_json: bool) -> None:
    """Show the locked files and, for each, the held updates in order."""
    with server_a() as server:
        reply = server.ask(LocksRequest(), LocksReply)
    click.echo(locks_text(reply.locks, is_json=is_json), nl=False)


def _lock(server: ServerA, path: RelPath) -> None:
    reply = server.ask(LockRequest(path), LockReply)
    click.echo(locked_text(path, was_locked=reply.was_locked), nl=False)


def _unlock(server: ServerA, path: RelPath) -> None:
    """However long the updates take: only a silent server is given up."""
    applied = server.ask(UnlockRequest(path), UnlockReply, seconds=None).applied
    click.echo(unlocked_text(path, applied), nl=False)


def _path_at(server: ServerA, index: int) -> RelPath:
    remembered = recall(server.pair_id.hex()) if server.pair_id else None
    if remembered is None:
        reply = ask_listing(server)
        remembered = recall(reply.pair_id.hex())
        if remembered is None:
            remembered = [row.path for row in reply.rows]
    if index >= len(remembered):
        known = f"0 to {len(remembered) - 1}" if remembered else "nothing"
        raise Refusal(f"no index {index} in the last listing, which showed {known}; list again with `lab3`")
    return remembered[index]
