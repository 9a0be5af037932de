"""The documents and the program name the same things: commands, options, exit statuses, events, keys."""

import re
from pathlib import Path

import click
import pytest

from dirsync import errors
from dirsync.cli.group import INTERRUPTED, CommandGroup
from dirsync.cli.main import dirsync, lab3
from dirsync.core.entry import ChangeKind
from dirsync.core.events import EventName
from dirsync.core.versions import Why
from dirsync.errors import ConfigError
from dirsync.run.settings import load_settings

ROOT = Path(__file__).parent.parent
CLI = (ROOT / "docs" / "cli.md").read_text("utf-8")
EVENTS = (ROOT / "docs" / "events.md").read_text("utf-8")
CONFIGURATION = (ROOT / "docs" / "configuration.md").read_text("utf-8")
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
GROUPS: dict[str, CommandGroup] = {"dirsync": dirsync, "lab3": lab3}
COMMON = {"--config", "--debug", "--help"}
SECTIONS = ("a", "b", "state", "security", "sync", "locks", "versions")
REQUIRED = '[a]\ndirectory = "a"\nlisten = "h:1"\n[b]\ndirectory = "b"\nlisten = "h:2"\n'


def commands() -> list[tuple[str, str, click.Command]]:
    found = []
    for name, group in GROUPS.items():
        context = click.Context(group)
        for word in group.commands_at:
            command = group.get_command(context, word)
            assert command is not None
            found.append((name, word, command))
    return found


COMMANDS = commands()
IDS = [f"{group} {word}" for group, word, _ in COMMANDS]


def options(command: click.Command) -> set[str]:
    return {text for param in command.params if isinstance(param, click.Option) for text in param.opts}


def section(group: str, word: str) -> str:
    """Return what docs/cli.md says below the heading of a command."""
    found = re.search(rf"^### [^\n]*`{group} {word}\b.*?(?=^##)", CLI, re.MULTILINE | re.DOTALL)
    return found[0] if found else ""


def rows(text: str) -> set[str]:
    """Return the first code span of every row of every table."""
    return set(re.findall(r"^\| `([^`]+)`", text, re.MULTILINE))


def keys_of(name: str, folder: Path) -> set[str]:
    """Return the keys that the program knows in a section, from its own complaint about another."""
    file = folder / "config.toml"
    text = REQUIRED if f"[{name}]" in REQUIRED else f"{REQUIRED}[{name}]\n"
    file.write_text(text.replace(f"[{name}]\n", f"[{name}]\nno_such_key = 1\n"))
    with pytest.raises(ConfigError) as caught:
        load_settings(str(file))
    return set(str(caught.value).partition("expected one of: ")[2].split(", "))


@pytest.mark.parametrize(("group", "word", "command"), COMMANDS, ids=IDS)
def test_a_command_and_its_options_are_explained(group: str, word: str, command: click.Command) -> None:
    text = section(group, word)
    assert text, "no heading"
    for option in options(command) - COMMON:
        assert f"`{option}" in text, option
    named = set(re.findall(r"`(--[a-z-]+)", text))
    assert named <= options(command) | COMMON


@pytest.mark.parametrize(("group", "word", "command"), COMMANDS, ids=IDS)
def test_a_command_explains_itself(group: str, word: str, command: click.Command) -> None:
    assert command.help
    assert options(command) >= COMMON - {"--help"}
    for param in command.params:
        assert not isinstance(param, click.Option) or param.help, param.name


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_no_document_names_a_command_or_option_that_is_not_there(document: Path) -> None:
    text = document.read_text("utf-8")
    for group, word in re.findall(r"(?:`|^\$ (?:[./a-z]*/)?)(dirsync|lab3) ([a-z-]+)", text, re.MULTILINE):
        assert word.startswith("--") or word in GROUPS[group].commands_at, f"{group} {word}"
    known = {"--version"}.union(COMMON, *(options(command) for _, _, command in COMMANDS))
    for code in re.findall(r"`((?:dirsync|lab3) [^`]*)`", text):
        assert set(re.findall(r"--[a-z-]+", code)) <= known, code


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text("utf-8")):
        assert (document.parent / target).exists(), target


def test_the_exit_statuses_are_explained() -> None:
    known = {
        kind.exit_code
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.DirsyncError)
    }
    assert set(re.findall(r"^\| (\d+) \|", CLI, re.MULTILINE)) == {str(code) for code in known | {0, INTERRUPTED}}


def test_the_events_are_explained_in_their_order() -> None:
    table = EVENTS.partition("| event |")[2].partition("\n\n")[0]
    assert re.findall(r"^\| `([a-z_]+)`", table, re.MULTILINE) == [name.value for name in EventName]


def test_every_field_of_an_event_is_explained() -> None:
    table, _, explained = EVENTS.partition("| event |")[2].partition("| field |")
    used = set()
    for row in re.findall(r"^\| `[a-z_]+` \|[^|]*\|([^|]*)\|", table, re.MULTILINE):
        used |= set(re.findall(r"`([a-z_]+)`", row))
    known = set(re.findall(r"`([a-z_]+)`", "".join(re.findall(r"^\|([^|]*)\|", explained, re.MULTILINE))))
    plain = {"listen", "directory", "reason", "old_path"}
    assert used - plain == known - {"unlocked"}


def test_the_kinds_of_change_and_of_version_are_explained() -> None:
    for change in ChangeKind:
        assert f"`{change}`" in EVENTS
    for why in Why:
        assert f"`{why}`" in section("dirsync", "history")


@pytest.mark.parametrize("name", SECTIONS)
def test_the_keys_are_explained(tmp_path: Path, name: str) -> None:
    text = re.search(rf"^## [^\n]*`\[{name}\]`.*?(?=^## |\Z)", CONFIGURATION, re.MULTILINE | re.DOTALL)
    assert text is not None
    assert rows(text[0]) == keys_of(name, tmp_path)


def test_the_sections_are_explained() -> None:
    headings = re.findall(r"^## (.*)$", CONFIGURATION, re.MULTILINE)
    assert set(re.findall(r"\[([a-z]+)\]", " ".join(headings))) == set(SECTIONS)


def test_the_configuration_shown_has_the_defaults(tmp_path: Path) -> None:
    shown = re.search(r"```toml\n(.*?)```", CONFIGURATION, re.DOTALL)
    assert shown is not None
    file = tmp_path / "config.toml"
    file.write_text(shown[1])
    full = load_settings(str(file))
    assert load_settings(str(ROOT / "config.toml")).a.listen == full.a.listen
    file.write_text((ROOT / "config.toml").read_text("utf-8"))
    assert load_settings(str(file)) == full


def test_the_files_of_the_shown_configuration_are_there() -> None:
    settings = load_settings(str(ROOT / "config.toml"))
    assert settings.a.directory == ROOT / "directory_a"
    assert settings.b.directory == ROOT / "directory_b"
    for server in (settings.a, settings.b):
        assert any(path.is_file() for path in server.directory.rglob("*"))


def test_the_tests_that_show_what_locks_do_exist() -> None:
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "docs" / "locks.md").read_text("utf-8")))
    assert named
    defined: set[str] = set()
    for file in (ROOT / "tests").rglob("test_*.py"):
        defined.update(re.findall(r"^(?:async )?def (test_\w+)", file.read_text("utf-8"), re.MULTILINE))
    assert named <= defined, named - defined
