"""One apply of each kind, of `d/f` on a stage; and how to tell what came of it."""

import os

from dirsync.core.entry import Directory, File, Symlink
from dirsync.core.fingerprint import Known
from dirsync.core.paths import RelPath
from dirsync.core.plan import Action
from dirsync.disk.apply import Prepared
from tests.disk.bench import OLD_NS, Bench, file_entry
from tests.disk.intruders import Stage

NEW_CONTENT = b"new!"
NEW = file_entry(NEW_CONTENT, OLD_NS + 1, 0o600)


def _old(stage: Stage) -> Known:
    known = stage.bench.make("d/f", b"old")
    stage.owe(b"old")
    return known


def replace_file(stage: Stage) -> Prepared:
    return stage.bench.prepare("d/f", _old(stage), NEW, NEW_CONTENT)


def delete(stage: Stage) -> Prepared:
    return stage.bench.prepare("d/f", _old(stage), None)


def place(stage: Stage) -> Prepared:
    return stage.bench.prepare("d/f", None, NEW, NEW_CONTENT)


def new_metadata(stage: Stage) -> Prepared:
    known = _old(stage)
    assert isinstance(known.entry, File)
    return stage.bench.prepare("d/f", known, known.entry._replace(mode=0o600, mtime_ns=OLD_NS + 1))


def rename_from(stage: Stage) -> Prepared:
    known = _old(stage)
    assert isinstance(known.entry, File)
    action = Action(
        RelPath(b"d/new name"), None, known.entry, renamed_from=RelPath(b"d/f"), expected_source=known.entry
    )
    return Prepared(action, None, None, known)


def rename_to(stage: Stage) -> Prepared:
    known = stage.bench.make("d/source", b"old")
    stage.owe(b"old")
    assert isinstance(known.entry, File)
    moved = known.entry._replace(mode=0o600)
    action = Action(RelPath(b"d/f"), None, moved, renamed_from=RelPath(b"d/source"), expected_source=known.entry)
    return Prepared(action, None, None, known)


def file_to_directory(stage: Stage) -> Prepared:
    return stage.bench.prepare("d/f", _old(stage), Directory(0o755))


def file_to_link(stage: Stage) -> Prepared:
    return stage.bench.prepare("d/f", _old(stage), Symlink(b"target"), b"")


def link_to_file(stage: Stage) -> Prepared:
    stage.name.symlink_to("old")
    stage.owe(b"old")
    return stage.bench.prepare("d/f", stage.bench.known("d/f"), NEW, NEW_CONTENT)


def new_directory(stage: Stage) -> Prepared:
    return stage.bench.prepare("d/f", None, Directory(0o755))


def directory_bits(stage: Stage) -> Prepared:
    stage.name.mkdir(0o755)
    return stage.bench.prepare("d/f", stage.bench.known("d/f"), Directory(0o700))


def delete_directory(stage: Stage) -> Prepared:
    stage.name.mkdir(0o755)
    return stage.bench.prepare("d/f", stage.bench.known("d/f"), None)


def delete_directory_with_leftovers(stage: Stage) -> Prepared:
    stage.name.mkdir(0o755)
    for name in ("1.ignored", "2.ignored"):
        (stage.name / name).write_text(name)
        stage.owe(name.encode())
    return stage.bench.prepare("d/f", stage.bench.known("d/f"), None)


def directory_to_file(stage: Stage) -> Prepared:
    stage.name.mkdir(0o755)
    return stage.bench.prepare("d/f", stage.bench.known("d/f"), NEW, NEW_CONTENT)


APPLIES = (
    replace_file,
    delete,
    place,
    new_metadata,
    rename_from,
    rename_to,
    file_to_directory,
    file_to_link,
    link_to_file,
    new_directory,
    directory_bits,
    delete_directory,
    delete_directory_with_leftovers,
    directory_to_file,
)


def is_ignored(path: RelPath, _is_directory: bool) -> bool:
    return path.endswith(b".ignored")


def kept_value(bench: Bench, file: str) -> bytes:
    path = bench.state / "versions" / file
    return os.fsencode(os.readlink(path)) if path.is_symlink() else path.read_bytes()
