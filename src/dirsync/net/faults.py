"""Owns how an error crosses a connection: by the name of its class, with its text for people."""

from dirsync.errors import DirsyncError, Refusal
from dirsync.wire.messages import Fault


def _names(cls: type[DirsyncError]) -> dict[str, type[DirsyncError]]:
    found = {cls.__name__: cls}
    for below in cls.__subclasses__():
        found |= _names(below)
    return found


_CLASSES = _names(DirsyncError)


def fault_of(number: int, error: DirsyncError) -> Fault:
    """Return what says that the request with this id ended with `error`."""
    return Fault(number, type(error).__name__, str(error))


def error_of(fault: Fault) -> DirsyncError:
    """Return the error that a fault stands for; one of an unknown class is a Refusal with its text."""
    return _CLASSES.get(fault.code, Refusal)(fault.text)
