"""`dirsync history` and `restore`: what was replaced or deleted, and bringing it back."""

from pathlib import Path

import click

from dirsync.cli.options import common_options, json_option, name_to_path
from dirsync.cli.server_a import server_a
from dirsync.client.output import write_version
from dirsync.core.entry import Role
from dirsync.core.paths import display
from dirsync.render.json import history_json
from dirsync.render.tables import history_lines
from dirsync.wire.client_messages import BringBackRequest, OutputRequest
from dirsync.wire.replica_messages import HistoryReply, HistoryRequest, RestoreReply


@click.command()
@click.argument("name")
@json_option
@common_options
def history(*, name: str, is_json: bool) -> int:
    """Show the kept versions of a file, newest first: id, server, when it was kept, size, why."""
    path = name_to_path(name)
    with server_a() as server:
        reply = server.ask(HistoryRequest(path), HistoryReply)
    if is_json:
        click.echo(history_json(reply.versions, reply.unreachable))
    elif reply.versions:
        click.echo("\n".join(history_lines(reply.versions)))
    elif not reply.unreachable:
        click.echo(f"dirsync: no versions of {display(path)} are kept", err=True)
    for role in reply.unreachable:
        click.echo(f"dirsync: server {role.upper()} cannot be reached: what it keeps is not shown", err=True)
    return 1 if reply.unreachable else 0


@click.command()
@click.argument("name")
@click.option("--version", default="", metavar="ID", help="Which version, as `dirsync history` names it.")
@click.option("--from", "role", type=click.Choice([role.value for role in Role]), help="Only what this server keeps.")
@click.option("--output", type=click.Path(path_type=Path), metavar="PATH", help="Write it here instead.")
@common_options
def restore(*, name: str, version: str, role: str | None, output: Path | None) -> None:
    """Bring a kept version of a file back, the newest if none is named, as an ordinary change."""
    path = name_to_path(name)
    asked = Role(role) if role else None
    with server_a() as server:
        if output is None:
            reply = server.ask(BringBackRequest(path, version, asked), RestoreReply, seconds=None)
            click.echo(f"restored {display(path)} from version {reply.version.id}")
        else:
            reply = write_version(server, OutputRequest(path, version, asked), output)
            click.echo(f"wrote version {reply.version.id} of {display(path)} to {click.format_filename(output)}")
    for away in reply.unreachable:
        click.echo(f"dirsync: server {away.upper()} could not be asked: it may keep a newer version", err=True)
