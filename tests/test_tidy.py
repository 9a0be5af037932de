"""Style as a test: what the project cares about fails here, with the place and the reason.

Each check is a function from a source to findings; below each stands its proof that a bad sample is found.
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
SRC = TESTS.parent / "src" / "dirsync"

FILE_LINES_MAX = 350
FUNCTION_LINES_MAX = 70
EMPTY_NAMES = {"util", "helper", "misc", "manager", "handler", "engine", "service", "data", "info", "common", "stuff"}
LEFTOVER = re.compile(r"\b(TODO|FIXME|XXX)\b")
BROAD = {"Exception", "BaseException"}
TASK_BOUNDARY = "run/"
"""The only place that may catch everything: where a task's unexpected end is reported."""
TEST_ROOMS = {"support", "sim", "e2e", "chaos", "faults", "torture", "benchmarks"}
"""Directories of tests/ that are not the tests of one package."""


@dataclass(frozen=True, slots=True)
class Source:
    """A file of the package. `name` is its path inside the package."""

    name: str
    text: str

    @property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)


SOURCES = [Source(path.relative_to(SRC).as_posix(), path.read_text("utf-8")) for path in sorted(SRC.rglob("*.py"))]


def _functions(source: Source) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(source.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def long_files(source: Source) -> list[str]:
    count = len(source.text.splitlines())
    return (
        [f"{count} lines, at most {FILE_LINES_MAX}: it has more than one responsibility"]
        if count > FILE_LINES_MAX
        else []
    )


def long_functions(source: Source) -> list[str]:
    found = []
    for function in _functions(source):
        assert function.end_lineno is not None
        count = function.end_lineno - function.lineno + 1
        if count > FUNCTION_LINES_MAX:
            found.append(f"{function.name} has {count} lines, at most {FUNCTION_LINES_MAX}")
    return found


def empty_names(source: Source) -> list[str]:
    modules = re.split(r"[/_.]", source.name.removesuffix(".py"))
    classes = [node.name for node in ast.walk(source.tree) if isinstance(node, ast.ClassDef)]
    last_words = [re.findall(r"[A-Z]?[a-z0-9]+|[A-Z]+", name)[-1] for name in classes]
    return [
        f"{name!r} says nothing about what it does"
        for name in [*modules, *last_words]
        if name.lower().removesuffix("s") in EMPTY_NAMES or name.lower() in EMPTY_NAMES
    ]


def leftovers(source: Source) -> list[str]:
    return [
        f"line {number}: {line.strip()}"
        for number, line in enumerate(source.text.splitlines(), 1)
        if LEFTOVER.search(line)
    ]


def broad_catches(source: Source) -> list[str]:
    """Find what catches everything and does not pass it on."""
    if source.name.startswith(TASK_BOUNDARY):
        return []
    found = []
    for node in ast.walk(source.tree):
        match node:
            case ast.ExceptHandler(type=ast.Tuple(elts=kinds)) if not _is_passed_on(node):
                is_broad = any(map(_is_broad, kinds))
            case ast.ExceptHandler() if not _is_passed_on(node):
                is_broad = node.type is None or _is_broad(node.type)
            case ast.Call(func=ast.Attribute(attr="suppress") | ast.Name(id="suppress")):
                is_broad = any(map(_is_broad, node.args))
            case _:
                continue
        if is_broad:
            found.append(f"line {node.lineno}: catches everything")
    return found


def _is_broad(kind: ast.expr) -> bool:
    return isinstance(kind, ast.Name) and kind.id in BROAD


def _is_passed_on(handler: ast.ExceptHandler) -> bool:
    last = handler.body[-1]
    return isinstance(last, ast.Raise) and last.exc is None


def missing_docstrings(source: Source) -> list[str]:
    return [] if ast.get_docstring(source.tree) else ["no module docstring: what does it own, what must it not do?"]


def stubs(source: Source) -> list[str]:
    return [
        f"line {node.lineno}: not implemented"
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Name) and node.id == "NotImplementedError"
    ]


CHECKS = [long_files, long_functions, empty_names, leftovers, broad_catches, missing_docstrings, stubs]


@pytest.mark.parametrize("check", CHECKS)
def test_sources_are_tidy(check) -> None:
    assert [f"{source.name}: {finding}" for source in SOURCES for finding in check(source)] == []


def test_there_are_sources() -> None:
    assert {"core/reconcile.py", "limits.py"} <= {source.name for source in SOURCES}


GOOD = '"""Owns a thing."""\n\n\ndef thing() -> int:\n    """Return it."""\n    return 1\n'


@pytest.mark.parametrize("check", CHECKS)
def test_good_sample(check) -> None:
    assert check(Source("core/thing.py", GOOD)) == []


def test_long_file_is_found() -> None:
    assert long_files(Source("a.py", "x = 1\n" * FILE_LINES_MAX)) == []
    assert long_files(Source("a.py", "x = 1\n" * (FILE_LINES_MAX + 1)))


@pytest.mark.parametrize("head", ["def f():\n", "async def f():\n", "class C:\n    def f(self):\n    "])
def test_long_function_is_found(head: str) -> None:
    indent = "        " if head.startswith("class") else "    "
    head = head.rstrip(" ")
    assert long_functions(Source("a.py", head + f"{indent}x = 1\n" * (FUNCTION_LINES_MAX - 1))) == []
    assert long_functions(Source("a.py", head + f"{indent}x = 1\n" * FUNCTION_LINES_MAX))


@pytest.mark.parametrize("name", ["core/utils.py", "helpers/a.py", "disk/file_manager.py", "info.py", "net/data.py"])
def test_empty_module_name_is_found(name: str) -> None:
    assert empty_names(Source(name, ""))


@pytest.mark.parametrize("name", ["LockManager", "Handler", "SyncEngine", "PeerInfo", "Helpers"])
def test_empty_class_name_is_found(name: str) -> None:
    assert empty_names(Source("core/a.py", f"class {name}:\n    x = 1\n"))


@pytest.mark.parametrize("name", ["Hold", "DatabaseError", "_Phase", "HTTPServer", "V2"])
def test_telling_class_name_is_not(name: str) -> None:
    assert empty_names(Source("store/database.py", f"class {name}:\n    x = 1\n")) == []


@pytest.mark.parametrize("word", ["TODO", "FIXME", "XXX"])
def test_leftover_is_found(word: str) -> None:
    assert leftovers(Source("a.py", f"x = 1  # {word}: later\n")) == [f"line 1: x = 1  # {word}: later"]


@pytest.mark.parametrize(
    "text",
    [
        "try:\n    f()\nexcept:\n    g()\n",
        "try:\n    f()\nexcept Exception:\n    g()\n",
        "try:\n    f()\nexcept BaseException as error:\n    g()\n",
        "try:\n    f()\nexcept (OSError, Exception):\n    g()\n",
        "try:\n    f()\nexcept* Exception:\n    g()\n",
        "try:\n    f()\nexcept Exception:\n    raise Mine from None\n",
        "with contextlib.suppress(Exception):\n    f()\n",
        "with suppress(BaseException):\n    f()\n",
    ],
)
def test_broad_catch_is_found(text: str) -> None:
    assert broad_catches(Source("core/a.py", text))
    assert not broad_catches(Source("run/tasks.py", text))


def test_narrow_catch_is_not() -> None:
    assert not broad_catches(Source("core/a.py", "try:\n    f()\nexcept (OSError, ValueError):\n    g()\n"))


def test_cleaning_up_and_passing_on_is_not_catching() -> None:
    assert not broad_catches(Source("core/a.py", "try:\n    f()\nexcept BaseException:\n    g()\n    raise\n"))


def test_missing_docstring_is_found() -> None:
    assert missing_docstrings(Source("a.py", "x = 1\n"))


@pytest.mark.parametrize("raised", ["NotImplementedError", "NotImplementedError('x')"])
def test_stub_is_found(raised: str) -> None:
    assert stubs(Source("a.py", f"def f():\n    raise {raised}\n"))


def strangers(rooms: set[str], packages: set[str]) -> set[str]:
    """Return the directories of tests that are the tests of nothing."""
    return rooms - packages - TEST_ROOMS


def test_every_test_directory_mirrors_a_package() -> None:
    rooms = {path.parent.relative_to(TESTS).parts[0] for path in TESTS.rglob("*.py") if path.parent != TESTS}
    assert strangers(rooms, {path.parent.name for path in SRC.glob("*/__init__.py")}) == set()


def test_stranger_among_the_test_directories_is_found() -> None:
    assert strangers({"core", "support", "kernel"}, {"core", "wire"}) == {"kernel"}


def test_every_test_directory_is_a_package() -> None:
    rooms = {path.parent for path in TESTS.rglob("*.py")}
    assert [room for room in sorted(rooms) if not (room / "__init__.py").exists()] == []


def untested(sources: list[Source], tests: set[str]) -> list[str]:
    """Return the modules of the core that decide something and have no test file of their own."""
    return [
        source.name
        for source in sources
        if source.name.startswith("core/") and any(_functions(source)) and f"test_{Path(source.name).name}" not in tests
    ]


def test_every_rule_of_the_core_has_its_test_file() -> None:
    assert untested(SOURCES, {path.name for path in (TESTS / "core").glob("test_*.py")}) == []


def test_core_module_without_test_file_is_found() -> None:
    sources = [Source("core/one.py", GOOD), Source("core/two.py", GOOD), Source("core/values.py", '"""Values."""\n')]
    assert untested(sources, {"test_one.py"}) == ["core/two.py"]
