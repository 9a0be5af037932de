"""The credential: made once, read only by its owner, and the only thing that either end trusts."""

import os
import ssl
import subprocess
import sys
import threading

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from dirsync.errors import CredentialError
from dirsync.net import tls
from dirsync.net.tls import Credential, make_credential


def handshake(server_context, client_context):
    """Shake hands in memory and return both ends."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = server_context.wrap_bio(to_server, to_client, server_side=True)
    client = client_context.wrap_bio(to_client, to_server)
    pending = [client, server]
    for _ in range(10):
        for end in list(pending):
            try:
                end.do_handshake()
                pending.remove(end)
            except ssl.SSLWantReadError:
                continue
    assert not pending
    return server, client


def test_a_credential_is_private_and_alone_in_its_directory(tmp_path):
    path = tmp_path / "state" / "dirsync.pem"
    assert make_credential(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["dirsync.pem"]
    assert len(Credential.load(path).fingerprint) == 32


def test_one_that_stands_there_is_left_alone(tmp_path):
    path = tmp_path / "dirsync.pem"
    make_credential(path)
    before = path.read_bytes()
    assert not make_credential(path)
    assert path.read_bytes() == before


def test_two_that_start_at_once_end_with_the_same_file(tmp_path, monkeypatch):
    path = tmp_path / "dirsync.pem"
    both_have_one = threading.Barrier(2)
    make = tls._new_pem

    def make_and_meet():
        pem = make()
        both_have_one.wait(timeout=10)
        return pem

    monkeypatch.setattr(tls, "_new_pem", make_and_meet)
    made, loaded = [], []

    def start():
        made.append(make_credential(path))
        loaded.append(Credential.load(path).fingerprint)

    threads = [threading.Thread(target=start) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(made) == [False, True]
    assert len(loaded) == 2
    assert loaded[0] == loaded[1]
    assert [entry.name for entry in tmp_path.iterdir()] == ["dirsync.pem"]


def test_a_file_system_without_hard_links_will_do(tmp_path, monkeypatch):
    def no_links(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    path = tmp_path / "dirsync.pem"
    assert make_credential(path)
    Credential.load(path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["dirsync.pem"]


def test_where_none_can_be_made_the_reason_is_said(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(CredentialError, match="cannot make"):
        make_credential(tmp_path / "file" / "dirsync.pem")


def test_it_is_valid_at_any_time(credential):
    certificate = x509.load_der_x509_certificate(credential.certificate)
    assert certificate.not_valid_before_utc.year == 1970
    assert certificate.not_valid_after_utc.year == 9999


@pytest.mark.parametrize("time", ["1975-01-01 00:00:00", "2061-01-01 00:00:00"])
def test_a_clock_that_is_wrong_does_not_matter(credential, time):
    # OpenSSL's own check of the dates, made at another time.
    contexts = credential.server_context(), credential.client_context()
    for context in contexts:
        context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_STRICT
    server, client = handshake(*contexts)
    assert credential.is_held_by(server)
    certificate = x509.load_der_x509_certificate(credential.certificate)
    year = int(time[:4])
    assert certificate.not_valid_before_utc.year < year < certificate.not_valid_after_utc.year
    assert client.version() == "TLSv1.3"


def key_of(path):
    return serialization.load_pem_private_key(path.read_bytes(), None)


def encrypted(path, other):
    return key_of(path).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"secret")
    ) + certificate_of(path)


def certificate_of(path):
    text = path.read_bytes()
    return text[text.index(b"-----BEGIN CERTIFICATE") :]


def key_text_of(path):
    text = path.read_bytes()
    return text[: text.index(b"-----BEGIN CERTIFICATE")]


DAMAGED = {
    "empty": lambda path, other: b"",
    "not text": lambda path, other: bytes(range(256)),
    "cut": lambda path, other: path.read_bytes()[:-40],
    "no key": lambda path, other: certificate_of(path),
    "no certificate": lambda path, other: key_text_of(path),
    "another's key": lambda path, other: key_text_of(other) + certificate_of(path),
    "two certificates": lambda path, other: path.read_bytes() + certificate_of(other),
    "garbage inside": lambda path, other: key_text_of(path) + certificate_of(path).replace(b"M", b"N"),
    "not base64": lambda path, other: key_text_of(path) + certificate_of(path).replace(b"M", b"\xff"),
    "encrypted": encrypted,
}


@pytest.mark.parametrize("damage", DAMAGED.values(), ids=DAMAGED.keys())
def test_a_damaged_one_is_refused(damage, credential, stranger, tmp_path):
    path = tmp_path / "dirsync.pem"
    path.write_bytes(damage(credential.path, stranger.path))
    path.chmod(0o600)
    with pytest.raises(CredentialError, match="is not a credential") as refused:
        Credential.load(path)
    assert str(path) in str(refused.value)
    assert refused.value.exit_code == 2


def test_line_ends_of_another_system_do_not_matter(credential, tmp_path):
    path = tmp_path / "dirsync.pem"
    path.write_bytes(credential.path.read_bytes().replace(b"\n", b"\r\n"))
    path.chmod(0o600)
    assert Credential.load(path).fingerprint == credential.fingerprint


def test_a_missing_one_is_refused_and_says_what_to_do(tmp_path):
    with pytest.raises(CredentialError, match="keygen"):
        Credential.load(tmp_path / "none.pem")


def test_an_unreadable_one_is_refused(tmp_path):
    with pytest.raises(CredentialError, match="cannot read"):
        Credential.load(tmp_path)


@pytest.mark.skipif(os.name != "posix", reason="permission bits")
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601])
def test_one_that_others_can_read_is_refused(credential, tmp_path, mode):
    path = tmp_path / "dirsync.pem"
    path.write_bytes(credential.path.read_bytes())
    path.chmod(mode)
    with pytest.raises(CredentialError, match="chmod 600"):
        Credential.load(path)


def test_both_ends_prove_the_same_credential(credential, stranger):
    server, client = handshake(credential.server_context(), credential.client_context())
    assert client.version() == server.version() == "TLSv1.3"
    assert credential.is_held_by(server)
    assert credential.is_held_by(client)
    assert not stranger.is_held_by(server)


def test_a_strange_server_is_refused(credential, stranger):
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(stranger.server_context(), credential.client_context())


def test_a_strange_client_is_refused(credential, stranger):
    trusting = stranger.client_context()
    trusting.verify_mode = ssl.CERT_NONE
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(credential.server_context(), trusting)


def test_a_client_without_a_credential_is_refused(credential):
    bare = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    bare.check_hostname = False
    bare.verify_mode = ssl.CERT_NONE
    with pytest.raises(ssl.SSLError):
        handshake(credential.server_context(), bare)


def test_an_older_tls_is_refused(credential):
    old = credential.client_context()
    old.minimum_version = ssl.TLSVersion.TLSv1_2
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError):
        handshake(credential.server_context(), old)


def test_a_blocking_client_loads_neither_asyncio_nor_cryptography():
    code = (
        "import sys; import dirsync.net.tls, dirsync.net.reasons, dirsync.net.faults;"
        "sys.exit(any(m in sys.modules for m in ('asyncio', 'cryptography')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
