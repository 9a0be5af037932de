"""`dirsync keygen`: makes the credential of a pair."""

import click

from dirsync.cli.options import Invocation, common_options
from dirsync.errors import Refusal
from dirsync.net.tls import make_credential


@click.command()
@common_options
@click.pass_obj
def keygen(invocation: Invocation) -> None:
    """Make the credential that both servers and their clients share; an existing one is left alone."""
    settings = invocation.settings()
    if not make_credential(settings.key):
        raise Refusal(f"{settings.key} is there already; remove it first if the pair shall get a new credential")
    click.echo(f"made {settings.key}: copy it to the other server and to each client, readable by its user alone")
