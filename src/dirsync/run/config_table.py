"""Reads one table of the configuration file, key by key, and complains in the file's own words.

Every complaint names the file, the key and what was expected. What the keys mean is not known here.
"""

import re
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple, TypeVar

from dirsync.errors import ConfigError

BYTES_MAX = 2**63 - 1
DAYS_MAX = 36_500.0

C = TypeVar("C", bound=StrEnum)

_UNITS = {
    "": 1,
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "tb": 10**12,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
    "tib": 2**40,
}
_SIZE = re.compile(r"\s*([0-9]{1,18}(?:\.[0-9]{1,9})?)\s*([a-z]*)\s*", re.IGNORECASE)
_ADDRESS = re.compile(r"(?:\[([^\[\]\s]+)\]|([^\[\]:\s]+)):([0-9]{1,5})")


class Address(NamedTuple):
    """Where a server listens or is reached. `host` has no brackets; port 0 lets the system choose."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str) -> Address | None:
    """Return the address that `host:port` or `[host]:port` names, or None where it names none."""
    found = _ADDRESS.fullmatch(text)
    if found is None or int(found[3]) > 65535:
        return None
    return Address(found[1] or found[2], int(found[3]))


def parse_size(text: str) -> int | None:
    """Return the bytes in `10 GiB`, `500 MB` or `4096`, or None where it is not a size."""
    found = _SIZE.fullmatch(text)
    unit = _UNITS.get(found[2].lower()) if found else None
    if found is None or unit is None:
        return None
    whole, _, fraction = found[1].partition(".")
    size = int(whole) * unit + (int(fraction) * unit // 10 ** len(fraction) if fraction else 0)
    return size if size <= BYTES_MAX else None


class ConfigTable:
    """The keys of one `[section]`. Take what is known, then `finish`, which refuses the rest."""

    def __init__(self, file: Path, section: str, values: Mapping[str, object]) -> None:
        self._file = file
        self._section = section
        self._values = dict(values)
        self._known: list[str] = []

    def path(self, key: str, default: str | None = None) -> Path:
        """Return a path, relative ones from the folder of the file, `~` expanded. Raises ConfigError."""
        text = self._text(key, 'a path, such as "directory_a"', default)
        if not text or "\0" in text:
            raise self._error(key, "a path that is not empty and has no NUL", text)
        try:
            return self._file.parent / Path(text).expanduser()
        except RuntimeError:
            raise self._error(key, "a path whose `~` names a home directory", text) from None

    def address(self, key: str) -> Address:
        """Return an address. Raises ConfigError."""
        expected = '"host:port", such as "127.0.0.1:7401" or "[::1]:7401"'
        text = self._text(key, expected, None)
        address = parse_address(text)
        if address is None:
            raise self._error(key, expected, text)
        return address

    def optional_address(self, key: str) -> Address | None:
        """Return an address that others dial, so not port 0; None where the key is missing. Raises ConfigError."""
        if key not in self._values:
            self._known.append(key)
            return None
        address = self.address(key)
        if address.port == 0:
            raise self._error(key, "a port from 1 to 65535", str(address))
        return address

    def texts(self, key: str, default: tuple[str, ...]) -> tuple[str, ...]:
        """Return a list of texts. Raises ConfigError."""
        value = self._take(key, list(default))
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            raise self._error(key, 'a list of texts, such as ["*.tmp"]', value)
        return tuple(value)

    def size(self, key: str, default: int) -> int:
        """Return a number of bytes. Raises ConfigError."""
        value = self._take(key, default)
        size = parse_size(value) if isinstance(value, str) else value
        if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= BYTES_MAX:
            raise self._error(key, 'a size, such as "10 GiB", "500 MB" or a number of bytes', value)
        return size

    def choice(self, key: str, default: C) -> C:
        """Return one of the values that the default is one of. Raises ConfigError."""
        value = self._take(key, default.value)
        for one in type(default):
            if one.value == value:
                return one
        raise self._error(key, "one of " + ", ".join(f'"{one.value}"' for one in type(default)), value)

    def days(self, key: str, default: float) -> float:
        """Return a number of days. Raises ConfigError."""
        value = self._take(key, default)
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= DAYS_MAX:
            raise self._error(key, f"a number of days from 0 to {DAYS_MAX:.0f}", value)
        return float(value)

    def finish(self) -> None:
        """Refuse every key that nobody took. Raises ConfigError."""
        for key in self._values:
            if key not in self._known:
                known = ", ".join(self._known)
                raise ConfigError(f"{self._file}: [{self._section}] {key}: unknown key; expected one of: {known}")

    def _take(self, key: str, default: object) -> object:
        self._known.append(key)
        return self._values.get(key, default)

    def _text(self, key: str, expected: str, default: str | None) -> str:
        value = self._take(key, default)
        if value is None:
            raise ConfigError(f"{self._file}: [{self._section}] {key}: missing; expected {expected}")
        if not isinstance(value, str):
            raise self._error(key, expected, value)
        return value

    def _error(self, key: str, expected: str, value: object) -> ConfigError:
        return ConfigError(f"{self._file}: [{self._section}] {key}: expected {expected}, not {value!r}")
