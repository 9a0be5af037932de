from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dirsync.client.remembered import recall, remember
from dirsync.core.paths import RelPath
from dirsync.errors import StateError

PAIR = "0102"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


NAME = st.binary(min_size=1, max_size=20).filter(lambda b: not {0, 47} & set(b) and b not in {b".", b".."})


@given(st.lists(NAME))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
def test_what_was_remembered_is_recalled(names: list[bytes]) -> None:
    remember(PAIR, [RelPath(name) for name in names])
    assert recall(PAIR) == names


def test_nothing_is_recalled_of_another_pair() -> None:
    remember(PAIR, [RelPath(b"a")])
    assert recall("03") is None


def test_the_latest_listing_replaces_the_one_before(cache: Path) -> None:
    remember(PAIR, [RelPath(b"a"), RelPath(b"b")])
    remember(PAIR, [])
    assert recall(PAIR) == []
    assert len(list((cache / "dirsync").iterdir())) == 1


@pytest.mark.parametrize("content", [b"", b"something else\0a", b"dirsync listing 1\0../a", b"dirsync listing 1\0"])
def test_a_damaged_listing_counts_as_none(cache: Path, content: bytes) -> None:
    remember(PAIR, [])
    (file,) = (cache / "dirsync").iterdir()
    file.write_bytes(content)
    assert recall(PAIR) is None


def test_a_listing_that_cannot_be_kept_leaves_no_older_one(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    remember(PAIR, [RelPath(b"a")])

    def refuse(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("dirsync.client.cache.os.replace", refuse)
    with pytest.raises(StateError, match="No space left"):
        remember(PAIR, [RelPath(b"b")])
    assert recall(PAIR) is None
    assert list((cache / "dirsync").iterdir()) == []
