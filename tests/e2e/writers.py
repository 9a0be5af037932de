"""Programs as they really save a file, and replays of the system calls of those that are not here.

Each leaves a text in which every line is the same word, so whoever reads a mixture of two saves can tell. What else a
program leaves beside its file on purpose (a backup) is said with it.
"""

import ctypes
import mmap
import os
import shutil
import subprocess
import tarfile
import threading
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.files import LONG_AGO_NS, moment

LINES = 400
Save = Callable[[Path, str], None]


@dataclass(frozen=True)
class Writer:
    """A way to save.

    `leaves`: suffixes of the names it leaves behind. `removes`: the name is gone for a moment. `is_stepwise`: done by
    several programs that each close the file, so that each step leaves a state of its own.
    """

    name: str
    save: Save
    leaves: tuple[str, ...] = ()
    removes: bool = False
    is_stepwise: bool = False


def text(word: str) -> str:
    """Return a content that shows where it was torn: its first line says what all the others must say."""
    return f"{word}\n" * LINES


def is_whole(content: bytes) -> bool:
    """Return whether this is one of those texts."""
    lines = content.split(b"\n")
    return len(lines) == LINES + 1 and len(set(lines[:-1])) == 1 and not lines[-1]


def needs(program: str) -> None:
    """Skip the test where the program is not here."""
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not here")


def run(*words: str | Path, **options: object) -> None:
    """Run a program that has to succeed."""
    subprocess.run(words, check=True, capture_output=True, timeout=60, **options)  # type: ignore[call-overload]


def _source(path: Path, word: str) -> Path:
    """Make the new content beside the directory, with an old time."""
    source = path.parent.parent / f"{path.name}-source"
    source.write_text(text(word))
    os.utime(source, ns=(LONG_AGO_NS, LONG_AGO_NS))
    return source


def _pause() -> None:
    threading.Event().wait(0.05)


def _vim(path: Path, word: str, *settings: str) -> None:
    needs("vim")
    # Below the system's temporary directory vim makes no backup, and saves in another way than elsewhere.
    commands = ["set nocompatible backupskip=", *settings, f"%s/.*/{word}/", "wq"]
    run("vim", "-u", "NONE", "-i", "NONE", "-n", "-es", *(w for c in commands for w in ("-c", c)), path)


def _vim_renames(path: Path, word: str) -> None:
    _vim(path, word, "set writebackup backupcopy=no")


def _vim_copies(path: Path, word: str) -> None:
    _vim(path, word, "set writebackup backupcopy=yes")


def _sed(path: Path, word: str) -> None:
    needs("sed")
    run("sed", "-i", f"s/.*/{word}/", path)


def _perl(path: Path, word: str) -> None:
    needs("perl")
    run("perl", "-i", "-pe", f"s/.*/{word}/", path)


def _truncate(path: Path, word: str) -> None:
    path.write_text(text(word))


def _truncate_with_a_gap(path: Path, word: str) -> None:
    with path.open("w") as file:
        file.flush()
        threading.Event().wait(0.3)
        for _ in range(LINES):
            file.write(f"{word}\n")
            if _ == LINES // 2:
                file.flush()
                threading.Event().wait(0.3)


def _in_place(path: Path, word: str) -> None:
    with path.open("r+") as file:
        file.write(text(word))
        file.truncate()


def _rename_over(path: Path, word: str) -> None:
    fresh = path.with_name(f".{path.name}.part")
    fresh.write_text(text(word))
    fresh.replace(path)


def _rename_away_and_create(path: Path, word: str) -> None:
    backup = path.with_name(f"{path.name}~")
    path.rename(backup)
    path.write_text(text(word))
    backup.unlink()


def _rsync(path: Path, word: str, *options: str) -> None:
    needs("rsync")
    source = path.parent.parent / "rsync-source"
    source.write_text(text(word))
    os.utime(source, ns=(moment(1), moment(1)))
    run("rsync", "-a", "--ignore-times", *options, source, path)


def _rsync_in_place(path: Path, word: str) -> None:
    _rsync(path, word, "--inplace")


def _slow_dd(path: Path, word: str) -> None:
    needs("dd")
    command = f'for i in 1 2 3 4 5; do yes {word} | head -n {LINES // 5}; sleep 0.1; done | dd of="$0" bs=64 2>&1'
    run("sh", "-c", command, path)


def _mmap(path: Path, word: str) -> None:
    content = text(word).encode()
    with path.open("r+b") as file:
        file.truncate(len(content))
        with mmap.mmap(file.fileno(), len(content)) as mapped:
            for start in range(0, len(content), 100):
                mapped[start : start + 100] = content[start : start + 100]
            mapped.flush()


def _unlink_and_create(path: Path, word: str) -> None:
    path.unlink()
    path.write_text(text(word))


def _cp(path: Path, word: str) -> None:
    source = path.parent.parent / "cp-source"
    source.write_text(text(word))
    os.utime(source, ns=(LONG_AGO_NS, LONG_AGO_NS))
    run("cp", "-p", source, path)


def _unnamed_and_linked(path: Path, word: str) -> None:
    if not hasattr(os, "O_TMPFILE"):
        pytest.skip("this system has no O_TMPFILE")
    path.unlink()
    fd = os.open(path.parent, os.O_TMPFILE | os.O_RDWR, 0o644)
    try:
        os.write(fd, text(word).encode())
        libc = ctypes.CDLL(None, use_errno=True)
        at_fdcwd, follow = -100, 0x400
        result = libc.linkat(at_fdcwd, b"/proc/self/fd/%d" % fd, at_fdcwd, os.fsencode(path), follow)
        assert result == 0, os.strerror(ctypes.get_errno())
    finally:
        os.close(fd)


def _vim_as_on_debian(path: Path, word: str) -> None:
    needs("vim")
    if not Path("/etc/vim/vimrc").exists():
        pytest.skip("there is no vimrc of this system")
    run("vim", "-u", "/etc/vim/vimrc", "-i", "NONE", "-es", "-c", f"%s/.*/{word}/", "-c", "wq", path)


def _emacs(path: Path, word: str) -> None:
    needs("emacs")
    edit = f'(progn (erase-buffer) (dotimes (_ {LINES}) (insert "{word}\\n")) (save-buffer))'
    run("emacs", "-Q", "--batch", path, "--eval", edit)


def _perl_with_backup(path: Path, word: str) -> None:
    needs("perl")
    run("perl", "-i.bak", "-pe", f"s/.*/{word}/", path)


def _gio_save(path: Path, word: str) -> None:
    needs("gio")
    run("gio", "save", path, input=text(word).encode())


def _gio_copy(path: Path, word: str) -> None:
    needs("gio")
    run("gio", "copy", _source(path, word), path)


def _rsync_delayed(path: Path, word: str) -> None:
    _rsync(path, word, "--delay-updates")


def _git_checkout(path: Path, word: str) -> None:
    needs("git")
    git = ("git", f"--git-dir={path.parent.parent / 'git'}", f"--work-tree={path.parent}")
    run(*git, "init", "-q")
    found = subprocess.run(
        [*git, "hash-object", "-w", "--stdin"], input=text(word).encode(), check=True, capture_output=True, timeout=60
    )
    run(*git, "update-index", "--add", "--cacheinfo", f"100644,{found.stdout.decode().strip()},{path.name}")
    run(*git, "checkout-index", "-f", path.name, cwd=path.parent)


def _cp_plain(path: Path, word: str) -> None:
    run("cp", _source(path, word), path)


def _mv(path: Path, word: str) -> None:
    run("mv", _source(path, word), path)


def _install(path: Path, word: str) -> None:
    needs("install")
    run("install", "-m", "644", _source(path, word), path)


def _dd_in_place(path: Path, word: str) -> None:
    run("dd", f"if={_source(path, word)}", f"of={path}", "conv=notrunc", "bs=100")


def _shrink_and_grow(path: Path, word: str) -> None:
    needs("truncate")
    run("sh", "-c", 'truncate -s 0 "$0"; truncate -s 4096 "$0"; truncate -s 0 "$0"; cat "$1" >>"$0"', path,
        _source(path, word))  # fmt: skip


def _tar(path: Path, word: str) -> None:
    source = _source(path, word)
    archive = source.with_suffix(".tar")
    with tarfile.open(archive, "w") as file:
        file.add(source, path.name)
    needs("tar")
    run("tar", "-C", path.parent, "-xf", archive)


def _unzip(path: Path, word: str) -> None:
    needs("unzip")
    archive = path.parent.parent / "archive.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr(path.name, text(word))
    run("unzip", "-q", "-o", archive, "-d", path.parent)


def _vs_code(path: Path, word: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    try:
        os.write(fd, text(word).encode())
        os.fdatasync(fd)
    finally:
        os.close(fd)


def _libre_office(path: Path, word: str) -> None:
    lock, fresh = path.with_name(f".~lock.{path.name}#"), path.with_name("lu4711.tmp")
    lock.write_text(",x,y;")
    with fresh.open("w") as file:
        file.write(text(word))
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    lock.unlink()


def _libre_office_first_time(path: Path, word: str) -> None:
    path.unlink()
    fresh = path.with_name("lu4712.tmp")
    fresh.write_text(text(word))
    shutil.copyfile(fresh, path)
    fresh.unlink()


def _browser(path: Path, word: str) -> None:
    part = path.with_name(f"{path.name}.part")
    with part.open("w") as file:
        for _ in range(4):
            file.write(f"{word}\n" * (LINES // 4))
            file.flush()
            _pause()
    part.replace(path)


def _finder_or_explorer(path: Path, word: str) -> None:
    """Take the name at full size, bring the data later and the times last; open all the while."""
    content = text(word).encode()
    path.unlink()
    with path.open("wb", buffering=0) as file:
        file.truncate(len(content))
        for start in range(0, len(content), len(content) // 4):
            _pause()
            file.write(content[start : start + len(content) // 4])
        os.utime(file.fileno(), ns=(moment(2), moment(2)))


def _paste(path: Path, word: str) -> None:
    path.unlink()
    shutil.copyfile(_source(path, word), path)
    os.utime(path, ns=(moment(3), moment(3)))


def _punched(path: Path, word: str) -> None:
    """Punch a hole into the file and fill it again, at the same size."""
    needs("fallocate")
    source = _source(path, word)
    run("sh", "-c", 'fallocate -p -o 0 -l 100 "$0"; dd if="$1" of="$0" conv=notrunc bs=64 2>&1', path, source)


def _exchanged(path: Path, word: str) -> None:
    other = path.with_name("other")
    other.write_text(text(word))
    between = path.with_name("between")
    path.rename(between)
    other.rename(path)
    between.unlink()


WRITERS = (
    Writer("vim renames", _vim_renames, removes=True),
    Writer("vim copies", _vim_copies),
    Writer("sed -i", _sed),
    Writer("perl -i", _perl, removes=True),
    Writer("truncates", _truncate),
    Writer("truncates, and pauses", _truncate_with_a_gap),
    Writer("writes in place", _in_place),
    Writer("renames over", _rename_over),
    Writer("renames away and creates", _rename_away_and_create, removes=True),
    Writer("rsync", _rsync),
    Writer("rsync --inplace", _rsync_in_place),
    Writer("slow dd", _slow_dd),
    Writer("mmap", _mmap),
    Writer("unlinks and creates", _unlink_and_create, removes=True),
    Writer("cp -p", _cp),
    Writer("O_TMPFILE and linkat", _unnamed_and_linked, removes=True),
)
"""A selection of every kind."""

MORE_WRITERS = (
    Writer("vim as on Debian", _vim_as_on_debian, removes=True),
    Writer("emacs", _emacs, leaves=("~",), removes=True),
    Writer("perl -i.bak", _perl_with_backup, leaves=(".bak",), removes=True),
    Writer("gio save", _gio_save),
    Writer("gio copy", _gio_copy),
    Writer("rsync --delay-updates", _rsync_delayed),
    Writer("git checkout", _git_checkout, removes=True),
    Writer("cp", _cp_plain),
    Writer("mv", _mv),
    Writer("install", _install, removes=True),
    Writer("dd conv=notrunc", _dd_in_place),
    Writer("truncate, and append", _shrink_and_grow, is_stepwise=True),
    Writer("tar", _tar, removes=True),
    Writer("unzip", _unzip, removes=True),
    Writer("VS Code", _vs_code),
    Writer("LibreOffice", _libre_office),
    Writer("LibreOffice, first time", _libre_office_first_time, removes=True),
    Writer("browser", _browser),
    Writer("Finder or Explorer", _finder_or_explorer, removes=True),
    Writer("paste", _paste, removes=True),
    Writer("punches a hole", _punched, is_stepwise=True),
    Writer("exchanges", _exchanged, removes=True),
)
"""The rest of the table."""
