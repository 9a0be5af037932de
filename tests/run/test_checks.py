from pathlib import Path

import pytest

from dirsync.core.entry import Role
from dirsync.errors import ConfigError, CredentialError
from dirsync.net.tls import Credential
from dirsync.run.checks import check_role, is_this_machine
from dirsync.run.config_table import Address
from dirsync.run.credential import ensure_credential
from dirsync.run.settings import ServerSettings, Settings, load_settings

FAR = "192.0.2.1:7402"
"""Reserved for documentation, so never an address of this machine."""


def pair(folder: Path, *, a: str = "a", b: str = "b", b_listen: str = "127.0.0.1:7402", more: str = "") -> Settings:
    (folder / "config.toml").write_text(
        f'[a]\ndirectory = "{a}"\nlisten = "127.0.0.1:7401"\n[b]\ndirectory = "{b}"\nlisten = "{b_listen}"\n{more}'
    )
    return load_settings(str(folder / "config.toml"))


@pytest.fixture(autouse=True)
def directories(tmp_path: Path) -> None:
    for name in ("a/in", "b"):
        (tmp_path / name).mkdir(parents=True)


def test_a_pair_of_directories_is_good(tmp_path: Path) -> None:
    settings = pair(tmp_path)
    check_role(settings, Role.A)
    check_role(settings, Role.B)


def test_each_role_looks_at_its_own_directory_only(tmp_path: Path) -> None:
    settings = pair(tmp_path, b="missing")
    check_role(settings, Role.A)
    with pytest.raises(ConfigError, match=r"\[b\] directory: expected an existing directory"):
        check_role(settings, Role.B)


def test_a_file_is_not_a_directory(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"\[b\] directory: expected a directory"):
        check_role(pair(tmp_path, b="file"), Role.B)


@pytest.mark.parametrize(("a", "b"), [("a", "a"), ("a", "a/in"), ("a/in", "a"), ("a", "link/in"), ("a", "b/../a")])
def test_the_same_or_nested_directories_are_refused_on_one_machine(tmp_path: Path, a: str, b: str) -> None:
    (tmp_path / "link").symlink_to("a")
    for role in Role:
        with pytest.raises(ConfigError, match="neither inside the other"):
            check_role(pair(tmp_path, a=a, b=b), role)


@pytest.mark.parametrize("listen", [FAR, f'0.0.0.0:7402"\nconnect = "{FAR}', "no-such-host.invalid:7402"])
def test_the_same_directory_is_good_on_two_machines(tmp_path: Path, listen: str) -> None:
    check_role(pair(tmp_path, b="a", b_listen=listen), Role.A)


@pytest.mark.parametrize(
    ("host", "connect", "here"),
    [
        ("127.0.0.1", None, True),
        ("localhost", None, True),
        ("0.0.0.0", None, True),
        ("0.0.0.0", Address("192.0.2.1", 1), False),
        ("192.0.2.1", None, False),
        ("192.0.2.1", Address("127.0.0.1", 1), False),
    ],
)
def test_which_addresses_are_this_machine(host: str, connect: Address | None, here: bool) -> None:
    assert is_this_machine(ServerSettings(Path("x"), Address(host, 1), connect)) is here


@pytest.mark.parametrize("state", ["a", "a/in", "b/state", "b"])
def test_the_state_is_never_inside_a_synchronised_directory(tmp_path: Path, state: str) -> None:
    with pytest.raises(ConfigError, match=r"\[state\] directory: expected a place outside"):
        check_role(pair(tmp_path, more=f'[state]\ndirectory = "{state}"\n'), Role.A)


def test_a_synchronised_directory_is_never_inside_the_state(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"\[a\] directory: expected a place outside the state"):
        check_role(pair(tmp_path, more='[state]\ndirectory = "."\n'), Role.A)


@pytest.mark.parametrize("pattern", ["!", "[z-a]"])
def test_a_pattern_that_means_nothing_is_refused(tmp_path: Path, pattern: str) -> None:
    with pytest.raises(ConfigError, match=r"\[sync\] ignore: expected gitignore patterns"):
        check_role(pair(tmp_path, more=f'[sync]\nignore = ["*.tmp", "{pattern}"]\n'), Role.A)


def test_on_one_machine_the_credential_is_made_once(tmp_path: Path) -> None:
    settings = pair(tmp_path)
    key = ensure_credential(settings)
    made = key.read_bytes()
    Credential.load(key)
    assert ensure_credential(settings).read_bytes() == made


@pytest.mark.parametrize("listen", [FAR, "0.0.0.0:7402", "b.example.org:7402"])
def test_over_a_network_the_credential_has_to_be_brought(tmp_path: Path, listen: str) -> None:
    settings = pair(tmp_path, b_listen=listen)
    with pytest.raises(CredentialError, match="dirsync keygen"):
        ensure_credential(settings)
    assert not settings.key.exists()
