import re
from pathlib import Path

import platformdirs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dirsync.core.entry import Role
from dirsync.errors import ConfigError, Unreachable
from dirsync.run.config_table import Address, parse_address, parse_size
from dirsync.run.settings import Compression, Settings, load_settings

SHORT = """
[a]
directory = "directory_a"
listen = "127.0.0.1:7401"
[b]
directory = "directory_b"
listen = "127.0.0.1:7402"
"""


def loaded(folder: Path, text: str) -> Settings:
    file = folder / "config.toml"
    file.write_text(text)
    return load_settings(str(file))


def test_the_required_keys_are_enough(tmp_path: Path) -> None:
    settings = loaded(tmp_path, SHORT)
    assert settings.path == tmp_path / "config.toml"
    assert settings.a.directory == tmp_path / "directory_a"
    assert settings.b.listen == Address("127.0.0.1", 7402)
    assert settings.b.connect is None
    assert settings.state == tmp_path / ".dirsync"
    assert settings.state_of(Role.B) == tmp_path / ".dirsync" / "b"
    assert settings.key == tmp_path / ".dirsync" / "dirsync.pem"
    assert settings.ignore == (".DS_Store", "Thumbs.db", "desktop.ini")
    assert settings.bandwidth_limit == 0
    assert settings.compression is Compression.AUTO
    assert settings.locks_max_bytes == settings.versions_max_bytes == 10 * 2**30
    assert settings.versions_keep_days == 30


def test_every_key_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    settings = loaded(
        tmp_path,
        """
        [a]
        directory = "~/files"
        listen = "0.0.0.0:7401"
        connect = "a.example.org:17401"
        [b]
        directory = "/srv/files"
        listen = "[::1]:7402"
        [state]
        directory = "../state"
        [security]
        key = "/etc/dirsync.pem"
        [sync]
        ignore = ["*.tmp"]
        bandwidth_limit = "10 MiB"
        compression = "off"
        [locks]
        max_size = "1.5 MB"
        [versions]
        keep_days = 0.5
        max_size = 4096
        """,
    )
    assert settings.a.directory == Path("/home/ada/files")
    assert settings.a.connect == Address("a.example.org", 17401)
    assert settings.reach(Role.A) == ("a.example.org", 17401)
    assert settings.reach(Role.B) == ("::1", 7402)
    assert settings.state == tmp_path / "../state"
    assert settings.key == Path("/etc/dirsync.pem")
    assert settings.ignore == ("*.tmp",)
    assert settings.bandwidth_limit == 10 * 2**20
    assert settings.compression is Compression.OFF
    assert (settings.locks_max_bytes, settings.versions_keep_days, settings.versions_max_bytes) == (1500000, 0.5, 4096)


@pytest.mark.parametrize(
    ("old", "new", "names"),
    [
        ("[b]", "[c]", "[a], [b]"),
        ("[a]", "x = 1\n[a]", "x: unknown section or key"),
        ('listen = "127.0.0.1:7401"', "", "[a] listen: missing"),
        ('directory = "directory_b"', "", "[b] directory: missing"),
        ('listen = "127.0.0.1:7401"', 'listen = "127.0.0.1"', "[a] listen: expected"),
        ('listen = "127.0.0.1:7401"', 'listen = "127.0.0.1:70000"', "[a] listen: expected"),
        ('listen = "127.0.0.1:7401"', 'listen = "::1:7401"', "[a] listen: expected"),
        ('listen = "127.0.0.1:7401"', 'listen = ":7401"', "[a] listen: expected"),
        ('listen = "127.0.0.1:7401"', "listen = 7401", "[a] listen: expected"),
        ('listen = "127.0.0.1:7401"', 'listen = "h:1"\nconnect = "h:0"', "[a] connect: expected a port from 1"),
        ('directory = "directory_a"', "directory = 1", "[a] directory: expected a path"),
        ('directory = "directory_a"', 'directory = ""', "[a] directory: expected a path"),
        ('directory = "directory_a"', 'directory = "a\\u0000b"', "[a] directory: expected a path"),
        ("[b]", 'colour = "red"\n[b]', "[a] colour: unknown key; expected one of: directory, listen, connect"),
        ("[a]", '[sync]\nignore = "x"\n[a]', "[sync] ignore: expected a list"),
        ("[a]", "[sync]\ncompression = true\n[a]", '[sync] compression: expected one of "auto", "on", "off"'),
        ("[a]", "[sync]\nignore = [1]\n[a]", "[sync] ignore: expected a list"),
        ("[a]", '[locks]\nmax_size = "lots"\n[a]', "[locks] max_size: expected a size"),
        ("[a]", "[locks]\nmax_size = true\n[a]", "[locks] max_size: expected a size"),
        ("[a]", "[locks]\nmax_size = -1\n[a]", "[locks] max_size: expected a size"),
        ("[a]", "[locks]\nmax_size = 1.5\n[a]", "[locks] max_size: expected a size"),
        ("[a]", '[versions]\nkeep_days = "30"\n[a]', "[versions] keep_days: expected a number of days"),
        ("[a]", "[versions]\nkeep_days = nan\n[a]", "[versions] keep_days: expected a number of days"),
        ("[a]", "[versions]\nkeep_days = true\n[a]", "[versions] keep_days: expected a number of days"),
        ("[a]", "state = 1\n[a]", "state: expected a section"),
        ("[a]", "[a", "not TOML"),
    ],
)
def test_a_mistake_names_file_key_and_what_was_expected(tmp_path: Path, old: str, new: str, names: str) -> None:
    assert old in SHORT
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, SHORT.replace(old, new, 1))
    assert str(caught.value).startswith(f"{tmp_path / 'config.toml'}: ")
    assert names in str(caught.value)
    assert caught.value.exit_code == 2


def test_text_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="UTF-8"):
        load_settings(str(tmp_path / "config.toml"))


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("10 GiB", 10 * 2**30),
        ("500 MB", 500_000_000),
        ("1kb", 1000),
        (" 2.5 KiB ", 2560),
        ("1 TiB", 2**40),
        ("9 tb", 9 * 10**12),
        ("", None),
        ("GiB", None),
        ("-1", None),
        ("1 XB", None),
        ("1 2", None),
        ("1e3", None),
        ("٣", None),
        ("99999999 TiB", None),
    ],
)
def test_sizes(text: str, size: int | None) -> None:
    assert parse_size(text) == size


@given(st.sampled_from(["host", "10.0.0.1", "::1", "fe80::1%eth0", "b.example.org"]), st.integers(0, 65535))
def test_an_address_reads_as_it_is_written(host: str, port: int) -> None:
    assert parse_address(str(Address(host, port))) == Address(host, port)


@given(st.text())
def test_no_text_breaks_the_readers_of_sizes_and_addresses(text: str) -> None:
    parse_size(text)
    parse_address(text)


def test_the_search_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("given", "variable", "here", "user"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.toml").write_text(SHORT)
    monkeypatch.setattr(platformdirs, "user_config_path", lambda _: tmp_path / "user")
    monkeypatch.setenv("DIRSYNC_CONFIG", str(tmp_path / "variable" / "config.toml"))
    monkeypatch.chdir(tmp_path / "here")

    def found(given: str | None = None) -> str:
        return load_settings(given).path.parent.name

    assert found("../given/config.toml") == "given"
    assert found() == "variable"
    monkeypatch.delenv("DIRSYNC_CONFIG")
    assert found() == "here"
    monkeypatch.chdir(tmp_path)
    assert found() == "user"
    (tmp_path / "user" / "config.toml").unlink()
    with pytest.raises(ConfigError, match="--config"):
        found()


def test_a_named_file_that_is_missing_is_not_replaced_by_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.toml").write_text(SHORT)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=re.escape("other.toml")):
        load_settings("other.toml")


def test_a_chosen_port_is_read_where_the_server_wrote_it(tmp_path: Path) -> None:
    settings = loaded(tmp_path, SHORT.replace("127.0.0.1:7401", "0.0.0.0:0"))
    with pytest.raises(Unreachable, match="server A"):
        settings.reach(Role.A)
    settings.state_of(Role.A).mkdir(parents=True)
    (settings.state_of(Role.A) / "address").write_text("0.0.0.0:40123\n")
    assert settings.reach(Role.A) == ("127.0.0.1", 40123)
    (settings.state_of(Role.A) / "address").write_bytes(b"\xff")
    with pytest.raises(Unreachable):
        settings.reach(Role.A)
