"""Programs that write a value to a name, each in its own way, and what else people do to names.

Every writer raises OSError or CalledProcessError where it did not finish; then nobody claims that its value exists.
"""

import os
import shutil
import subprocess
import time

PROGRAM_SECONDS = 60


def in_place(path, content):
    """Truncate and write, as most programs do."""
    with open(path, "wb") as file:
        file.write(content)


def in_steps(path, content):
    """Truncate and write bit by bit."""
    with open(path, "wb") as file:
        for start in range(0, len(content), len(content) // 4 + 1):
            file.write(content[start : start + len(content) // 4 + 1])
            file.flush()
            time.sleep(0.005)


def by_rename(path, content):
    """Write beside it and rename over it, as careful programs do."""
    aside = f"{path}.new"
    with open(aside, "wb") as file:
        file.write(content)
        os.fsync(file.fileno())
    os.rename(aside, path)


def by_unlink(path, content):
    """Remove and create, as git checks out."""
    if os.path.lexists(path):
        os.unlink(path)
    with open(path, "xb") as file:
        file.write(content)


def old_time(path, content):
    """Rename over it a file from last year, as `mv` of a restored one does."""
    aside = f"{path}.new"
    with open(aside, "wb") as file:
        file.write(content)
    last_year = time.time_ns() - 365 * 86_400 * 10**9
    os.utime(aside, ns=(last_year, last_year))
    os.rename(aside, path)


class Program:
    """A program run on a file that holds the content, outside the directory: `{source}` and `{target}` are replaced.

    One that `takes_source` has not written anything as long as that is there, whatever its exit status says.
    """

    def __init__(self, *words, takes_source=False):
        self._words = words
        self._takes_source = takes_source
        self.__name__ = words[0]

    def __call__(self, path, content):
        source = f"{os.environ['CHAOS_SCRATCH']}/source-{os.getpid()}-{time.monotonic_ns()}"
        with open(source, "wb") as file:
            file.write(content)
        try:
            words = [word.format(source=source, target=path) for word in self._words]
            subprocess.run(words, check=True, capture_output=True, stdin=subprocess.DEVNULL, timeout=PROGRAM_SECONDS)
            if self._takes_source and os.path.exists(source):
                raise OSError(f"{self.__name__} has not written {path}")
        finally:
            if os.path.exists(source):
                os.unlink(source)

    def is_here(self):
        """Return whether the program is installed."""
        return shutil.which(self._words[0]) is not None


_PROGRAMS = (
    Program("cp", "{source}", "{target}"),
    Program("cp", "-p", "{source}", "{target}"),
    Program("mv", "{source}", "{target}"),
    Program("install", "-m", "600", "{source}", "{target}"),
    Program("dd", "if={source}", "of={target}", "bs=3000"),
    Program("sh", "-c", "cat '{source}' > '{target}'"),
    Program("rsync", "--ignore-times", "{source}", "{target}"),
    Program("rsync", "--ignore-times", "--inplace", "{source}", "{target}"),
    # Where somebody else has changed the file since it was read, vim asks, hears nobody, and ends with status 0.
    Program(
        *("vim", "-es", "-u", "NONE", "-i", "NONE", "{target}", "-c", "silent! %d _", "-c", "0r {source}"),
        *("-c", "w!", "-c", "call delete('{source}')", "-c", "q!"),
        takes_source=True,
    ),
)

ATOMIC = (by_rename, old_time)
"""Writers whose half-written states nobody can see under the name."""
ANY = (in_place, in_steps, by_unlink, *ATOMIC)


def programs():
    """Return the programs that are installed here."""
    return [program for program in _PROGRAMS if program.is_here()]
