"""Every error dirsync raises on purpose, in one tree.

    DirsyncError                 1   it could not be done
    ├── UsageError               2   a wrong argument or configuration
    │   ├── ConfigError          2   the configuration: names file, key and what was expected
    │   └── CredentialError      2   the credential is missing, unreadable by us or readable by others
    ├── InvalidPath              1   not a path below a root
    ├── Refusal                  1   a request was understood and declined, with the reason for people
    ├── Unreachable              1   nobody answers there, or no longer
    ├── ProtocolError            1
    │   ├── LocalProtocolError   1   our fault: we were about to say something the protocol does not allow
    │   └── RemoteProtocolError  1   the far end's fault
    ├── StateError               1   the state directory: in use, damaged, or of a newer dirsync
    ├── DiskError                1   a system call on a synchronised directory failed, with path and reason
    └── RootLost                 1   the synchronised directory is gone or is another one

The number is the exit status. Expected outcomes (a conflict, a refused apply, a problem with one file) are values,
not errors. The text of an error is one line for people that says what to do where there is something to do.
"""


class DirsyncError(Exception):
    """Anything dirsync raises on purpose."""

    exit_code = 1


class UsageError(DirsyncError):
    """A wrong argument or configuration."""

    exit_code = 2


class ConfigError(UsageError):
    """The configuration is unusable; the text names the file, the key and what was expected."""


class CredentialError(UsageError):
    """The pair's credential is missing, damaged, or readable by others."""


class InvalidPath(DirsyncError):
    """Not a normal relative path."""


class Refusal(DirsyncError):
    """A request was declined; the text is for the person who asked."""


class Unreachable(DirsyncError):
    """Nobody answers there, or no longer."""


class ProtocolError(DirsyncError):
    """Somebody broke the protocol."""


class LocalProtocolError(ProtocolError):
    """We did."""


class RemoteProtocolError(ProtocolError):
    """The far end did."""


class StateError(DirsyncError):
    """The state directory cannot be used."""


class DiskError(DirsyncError):
    """A system call on a synchronised directory failed."""


class RootLost(DirsyncError):
    """The synchronised directory is gone, or something else stands in its place."""
