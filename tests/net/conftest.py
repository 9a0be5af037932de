"""Credentials are slow to make, so each module makes its two once."""

import pytest

from dirsync.net.tls import Credential, make_credential


def _credential(directory, name):
    path = directory / name
    make_credential(path)
    return Credential.load(path)


@pytest.fixture(scope="module")
def credential(tmp_path_factory):
    return _credential(tmp_path_factory.mktemp("ours"), "key.pem")


@pytest.fixture(scope="module")
def stranger(tmp_path_factory):
    return _credential(tmp_path_factory.mktemp("theirs"), "key.pem")
