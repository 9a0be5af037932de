"""Commands as real processes, forked from one that has loaded the program already.

What a fork saves is the import of the program, nothing else: the child runs the same command line with its own
environment and descriptors. Some tests start the installed scripts all the same, so those are tried as well.
"""

import multiprocessing
import os
import subprocess
import sys
import tempfile
import time

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(
    [
        __name__,
        "dirsync.cli.start",
        "dirsync.cli.quick",
        "dirsync.cli.main",
        "dirsync.cli.keeping",
        "dirsync.cli.locking",
    ]
)


def run(words, environment, timeout):
    """Run `dirsync …` or `lab3 …` and return what it printed and its status, as `subprocess.run` does."""
    with tempfile.TemporaryFile("w+", errors="surrogateescape") as out, tempfile.TemporaryFile("w+") as err:
        places = [f"/proc/{os.getpid()}/fd/{file.fileno()}" for file in (out, err)]
        child = _context.Process(target=_live, args=(words, environment, places))
        child.start()
        child.join(timeout)
        if child.exitcode is None:
            child.kill()
            child.join()
            raise subprocess.TimeoutExpired(words, timeout)
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(words, child.exitcode, out.read(), err.read())


def _live(words, environment, places):
    """Be the child."""
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, place in enumerate(places, 1):
        os.dup2(os.open(place, os.O_WRONLY), number)
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115  the streams of the parent are not ours
    sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
    sys.argv = [os.fsdecode(word) for word in words]
    from dirsync.cli import start

    getattr(start, sys.argv[0])()
