"""`lab3 ls`: the composite listing, printed and remembered."""

import click

from dirsync.cli.options import common_options, json_option
from dirsync.cli.server_a import server_a
from dirsync.client.calls import ServerA
from dirsync.client.listing import Listing, ask_listing
from dirsync.client.remembered import remember
from dirsync.errors import StateError
from dirsync.render.answers import listing_complaints, listing_pieces


@click.command()
@json_option
@click.option("--long", "is_long", is_flag=True, help="Show which servers hold a file, and each version that differs.")
@common_options
def ls(*, is_json: bool, is_long: bool) -> int:
    """List the files of both directories: index, size in bytes, time last modified, name.

    A column `locked` appears before the name while something listed is locked; `locked+2` says that two updates wait.
    """
    with server_a() as server:
        reply = listing(server)
    pieces = listing_pieces(reply.rows, reply.unreachable, is_json=is_json, is_long=is_long)
    click.echo("".join(pieces), nl=False)
    for complaint in listing_complaints(reply.unreachable):
        click.echo(f"lab3: {complaint}", err=True)
    return 1 if reply.unreachable else 0


def listing(server: ServerA) -> Listing:
    """Ask for the listing and remember it, since it is about to be shown."""
    reply = ask_listing(server)
    try:
        remember(reply.pair_id.hex(), [row.path for row in reply.rows])
    except StateError as error:
        click.echo(f"lab3: {error}; an index will mean the then current listing", err=True)
    return reply
