"""Owns the rule by which a pair comes to its credential.

On one machine the first server makes it; over a network nobody but the user can carry it, so nobody else makes it.
"""

import ipaddress
from pathlib import Path

from dirsync.errors import CredentialError
from dirsync.net.tls import make_credential
from dirsync.run.settings import Settings


def ensure_credential(settings: Settings) -> Path:
    """Return the path of the key file, made now if both servers listen at loopback and it is missing.

    Raises CredentialError where it is missing and has to be brought.
    """
    if settings.key.exists():
        return settings.key
    if not (_is_loopback(settings.a.listen.host) and _is_loopback(settings.b.listen.host)):
        raise CredentialError(
            f"no credential in {settings.key}: run `dirsync keygen` on one machine, then copy that file to the other"
        )
    make_credential(settings.key)
    return settings.key


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
