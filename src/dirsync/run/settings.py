"""Owns the configuration: where the file is found, what it may say, and what it means.

One file serves both roles and the client, so nothing here looks at a synchronised directory: `run.checks` does, for
one role. Every complaint is a ConfigError that names the file, the key and what was expected.
"""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import platformdirs

from dirsync.core.entry import Role
from dirsync.errors import ConfigError, Unreachable
from dirsync.run.config_table import Address, ConfigTable, parse_address
from dirsync.wire.framing import PACKING

CONFIG_NAME = "config.toml"
CONFIG_VARIABLE = "DIRSYNC_CONFIG"
ADDRESS_NAME = "address"
"""The file in a role's state directory that holds the address it listens at, as `host:port`."""

_SECTIONS = ("a", "b", "state", "security", "sync", "locks", "versions")
_IGNORE = (".DS_Store", "Thumbs.db", "desktop.ini")
WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  (the address to dial for each: nothing is bound here)
_GIB = 2**30


class Compression(StrEnum):
    """What a server does about packing what it sends: where that pays, always, or never."""

    AUTO = "auto"
    ON = "on"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """One server: the directory it synchronises, where it listens, and where others reach it if not there."""

    directory: Path
    listen: Address
    connect: Address | None


@dataclass(frozen=True, slots=True)
class Settings:
    """The whole configuration. `path` is the file it came from; sizes in bytes; `bandwidth_limit` a second, 0: none."""

    path: Path
    a: ServerSettings
    b: ServerSettings
    state: Path
    key: Path
    ignore: tuple[str, ...]
    bandwidth_limit: int
    compression: Compression
    locks_max_bytes: int
    versions_keep_days: float
    versions_max_bytes: int

    @property
    def capabilities(self) -> tuple[str, ...]:
        """What a server with this configuration says that it can do, to servers that can do without."""
        return () if self.compression is Compression.OFF else (PACKING,)

    def server(self, role: Role) -> ServerSettings:
        """Return the section of the role."""
        return self.a if role is Role.A else self.b

    def state_of(self, role: Role) -> Path:
        """Return the role's own state directory."""
        return self.state / role.value

    def reach(self, role: Role) -> Address:
        """Return where to dial the role, as of now: a chosen port is read from the role's state directory.

        Raises Unreachable where the port was left to the system and the server has not said yet which it got.
        """
        section = self.server(role)
        address = section.connect or section.listen
        if address.port == 0:
            address = self._chosen_address(role)
        return Address(WILDCARDS.get(address.host, address.host), address.port)

    def _chosen_address(self, role: Role) -> Address:
        file = self.state_of(role) / ADDRESS_NAME
        try:
            address = parse_address(file.read_text("utf-8").strip())
        except (OSError, UnicodeDecodeError):
            address = None
        if address is None:
            raise Unreachable(f"server {role.upper()} has not said in {file} at which port it listens")
        return address


def find_config(given: str | None) -> Path:
    """Return the configuration file: `given`, else the variable, else here, else the user's.

    Raises ConfigError where there is none.
    """
    named = given or os.environ.get(CONFIG_VARIABLE)
    if named:
        return Path(named).expanduser().absolute()
    places = (Path(CONFIG_NAME).absolute(), platformdirs.user_config_path("dirsync") / CONFIG_NAME)
    for place in places:
        if place.exists():
            return place
    looked = " nor ".join(str(place) for place in places)
    raise ConfigError(f"no configuration: neither {looked} is there; name one with --config PATH or ${CONFIG_VARIABLE}")


def load_settings(given: str | None = None) -> Settings:
    """Find and read the configuration. Raises ConfigError."""
    path = find_config(given)
    return _settings(path, _read(path))


def _read(path: Path) -> dict[str, object]:
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}; expected a configuration file") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: expected text in UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not TOML: {error}") from None


def _settings(path: Path, tables: Mapping[str, object]) -> Settings:
    for name in tables:
        if name not in _SECTIONS:
            known = ", ".join(f"[{section}]" for section in _SECTIONS)
            raise ConfigError(f"{path}: {name}: unknown section or key; expected one of: {known}")
    a = _server(path, tables, "a")
    b = _server(path, tables, "b")
    state, security = _table(path, tables, "state"), _table(path, tables, "security")
    sync, locks, versions = (_table(path, tables, name) for name in ("sync", "locks", "versions"))
    result = Settings(
        path,
        a,
        b,
        state.path("directory", ".dirsync"),
        security.path("key", ".dirsync/dirsync.pem"),
        sync.texts("ignore", _IGNORE),
        sync.size("bandwidth_limit", 0),
        sync.choice("compression", Compression.AUTO),
        locks.size("max_size", 10 * _GIB),
        versions.days("keep_days", 30.0),
        versions.size("max_size", 10 * _GIB),
    )
    for table in (state, security, sync, locks, versions):
        table.finish()
    return result


def _server(path: Path, tables: Mapping[str, object], name: str) -> ServerSettings:
    if name not in tables:
        raise ConfigError(f"{path}: [{name}]: missing; expected this section with `directory` and `listen`")
    table = _table(path, tables, name)
    result = ServerSettings(table.path("directory"), table.address("listen"), table.optional_address("connect"))
    table.finish()
    return result


def _table(path: Path, tables: Mapping[str, object], name: str) -> ConfigTable:
    values = tables.get(name, {})
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: {name}: expected a section [{name}], not {values!r}")
    return ConfigTable(path, name, values)
