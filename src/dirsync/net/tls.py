"""Owns the pair's credential: one PEM file with a private key and its self-signed certificate, held by both ends.

Each end proves that it has the key and trusts that certificate alone, over TLS 1.3. The certificate is valid for as
long as certificates can be: the pin decides, not the clock. Free of asyncio, so that a blocking client can use it too.
"""

import datetime
import hashlib
import hmac
import os
import re
import secrets
import ssl
import stat
from dataclasses import dataclass, field
from pathlib import Path

from dirsync.errors import CredentialError
from dirsync.wire.shortway import proof_key

CREDENTIAL_BYTES_MAX = 64 * 1024
_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----\n.*?-----END CERTIFICATE-----", re.DOTALL)


def make_credential(path: Path) -> bool:
    """Make a credential at `path`, mode 0600, and return True; False where one stands there already.

    Appears complete or not at all, and never replaces one: of two programs that start at once both find the same
    file afterwards. Raises CredentialError where the file system says no.
    """
    if path.exists():
        return False
    pem = _new_pem()
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            _write_new(temporary, pem)
            return _publish(temporary, path, pem)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise CredentialError(f"cannot make the credential {path}: {error.strerror or error}") from error


def _new_pem() -> bytes:
    """Return a fresh key and certificate."""
    # Slow to import, and needed once in the life of a pair.
    from cryptography import x509  # noqa: PLC0415
    from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415
    from cryptography.x509.oid import NameOID  # noqa: PLC0415

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "dirsync pair")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC))
        .not_valid_after(datetime.datetime(9999, 12, 31, 23, 59, 59, tzinfo=datetime.UTC))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return private + certificate.public_bytes(serialization.Encoding.PEM)


def _write_new(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _publish(temporary: Path, path: Path, content: bytes) -> bool:
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    except OSError:
        # A file system without hard links. RACE: a reader that comes within this write finds the file incomplete,
        # and says so; starting once more cures it.
        try:
            _write_new(path, content)
        except FileExistsError:
            return False
    return True


@dataclass(frozen=True, slots=True)
class Credential:
    """A credential that was read and found good. `fingerprint` is the SHA-256 of the certificate.

    `proof_key` proves it where there is no TLS (`dirsync.wire.shortway`).
    """

    path: Path
    certificate: bytes
    fingerprint: bytes
    proof_key: bytes = field(repr=False)

    @classmethod
    def load(cls, path: Path) -> "Credential":
        """Read the credential at `path`.

        Raises CredentialError where it is missing, unreadable, malformed, or readable by others.
        """
        content = _read_private(path)
        found = _CERTIFICATE.findall(content.decode("ascii", "replace").replace("\r\n", "\n"))
        if len(found) != 1:
            raise CredentialError(f"{path} is not a credential: expected one certificate, found {len(found)}")
        try:
            certificate = ssl.PEM_cert_to_DER_cert(found[0])
        except ValueError as error:
            raise CredentialError(f"{path} is not a credential: {error}") from error
        secret = proof_key(content)
        if secret is None:
            raise CredentialError(f"{path} is not a credential: it holds no private key")
        credential = cls(path, certificate, hashlib.sha256(certificate).digest(), secret)
        credential.client_context()
        return credential

    def server_context(self) -> ssl.SSLContext:
        """Return what a listener uses. Raises CredentialError where key and certificate are no pair any more."""
        context = self._context(ssl.PROTOCOL_TLS_SERVER)
        # A ticket would let a session be resumed; with none every connection is proven anew.
        context.num_tickets = 0
        return context

    def client_context(self) -> ssl.SSLContext:
        """Return what a dialler uses. Raises CredentialError as `server_context`."""
        return self._context(ssl.PROTOCOL_TLS_CLIENT)

    def is_held_by(self, peer: ssl.SSLObject | ssl.SSLSocket) -> bool:
        """Return whether the far end of an established connection proved this very credential."""
        certificate = peer.getpeercert(binary_form=True) or b""
        return hmac.compare_digest(hashlib.sha256(certificate).digest(), self.fingerprint)

    def _context(self, protocol: "ssl._SSLMethod") -> ssl.SSLContext:
        context = ssl.SSLContext(protocol)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.check_hostname = False  # the pin says who it is; names and addresses may change
        context.verify_mode = ssl.CERT_REQUIRED
        try:
            context.load_verify_locations(cadata=self.certificate)
            # An encrypted key would make OpenSSL ask on the terminal; with an empty answer it fails instead.
            context.load_cert_chain(self.path, password="")
        except ssl.SSLError as error:
            raise CredentialError(f"{self.path} is not a credential: its key and certificate do not fit") from error
        except (OSError, ValueError) as error:
            raise CredentialError(f"cannot use the credential {self.path}: {error}") from error
        return context


def _read_private(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            content = file.read(CREDENTIAL_BYTES_MAX)
    except FileNotFoundError:
        raise CredentialError(f"there is no credential at {path}; `dirsync keygen` makes one") from None
    except OSError as error:
        raise CredentialError(f"cannot read the credential {path}: {error.strerror or error}") from error
    if os.name == "posix" and stat.S_IMODE(status.st_mode) & 0o077:
        raise CredentialError(f"the credential {path} can be read by others; run: chmod 600 {path}")
    return content
