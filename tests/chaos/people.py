"""What people and programs do to one side, one thing after the other, at random from a seed."""

import os
import random
import shutil
import subprocess
import threading
from contextlib import suppress

from tests.chaos import writers
from tests.chaos.values import content_of

FLAT = [f"file{i}" for i in range(8)]
NESTED = [f"dir{i}/file{j}" for i in range(3) for j in range(3)]
CAREFUL = [f"careful{i}" for i in range(4)]
"""Names that are only ever replaced whole, and never deleted: an observer must always find a whole value there."""
_SIZES = (0, 100, 5_000, 5_000, 60_000, 400_000)


class Person(threading.Thread):
    """Works at one side until told to end; every value that was written whole is in the ledger.

    One at each side: two would destroy each other's values between a look and a write, which is no fault of ours.
    """

    def __init__(self, root, ledger, seed):
        super().__init__(name=f"person {seed}", daemon=True)
        self._root = os.fspath(root)
        self._ledger = ledger
        self._random = random.Random(seed)
        self._ends = threading.Event()
        self._any = [*writers.ANY] * 3 + writers.programs()
        self.operations = 0
        self.failed = None

    def end(self):
        """Finish the operation under way, and no more."""
        self._ends.set()
        self.join()

    def run(self):
        kinds = (
            [self._write] * 12 + [self._write_careful] * 3 + [self._unlink, self._unlink, self._rename, self._rename]
        )
        kinds += [self._metadata, self._metadata, self._make_directory, self._delete_tree, self._link]
        try:
            while not self._ends.is_set():
                # What fails did not happen: the disk may be full, a directory gone, a name something else by now.
                with suppress(OSError, subprocess.SubprocessError, shutil.Error):
                    self._random.choice(kinds)()
                    self.operations += 1
                self._ends.wait(self._random.choice((0, 0, 0.001, 0.01, 0.1)))
        except BaseException as error:
            self.failed = error
            raise

    def _path(self, names):
        return os.path.join(self._root, self._random.choice(names))

    def _put(self, path, write):
        number = self._ledger.next_number()
        content = content_of(number, self._random.choice(_SIZES))
        self._ledger.destroys(path)
        write(path, content)
        self._ledger.finished(number, f"{path} by {write.__name__}")

    def _write(self):
        path = self._path(FLAT + NESTED)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if not os.path.isdir(path):
            self._put(path, self._random.choice(self._any))

    def _write_careful(self):
        self._put(self._path(CAREFUL), self._random.choice(writers.ATOMIC))

    def _unlink(self):
        path = self._path(FLAT + NESTED)
        self._ledger.destroys(path)
        os.unlink(path)

    def _rename(self):
        source, target = self._path(FLAT + NESTED), self._path(FLAT + NESTED)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        self._ledger.destroys(target)
        self._ledger.tell("renames", f"{source} to {target}")
        os.rename(source, target)

    def _metadata(self):
        path = self._path(FLAT + NESTED)
        if self._random.random() < 0.5:
            os.chmod(path, self._random.choice((0o600, 0o640, 0o755)))
        else:
            os.utime(path)

    def _make_directory(self):
        os.makedirs(os.path.join(self._root, "dir0", "below", f"empty{self._random.randrange(3)}"), exist_ok=True)

    def _delete_tree(self):
        path = os.path.join(self._root, f"dir{self._random.randrange(3)}")
        self._ledger.destroys(path)
        shutil.rmtree(path)

    def _link(self):
        path = os.path.join(self._root, f"link{self._random.randrange(3)}")
        aside = f"{path}.{threading.get_ident()}"
        os.symlink(self._random.choice(FLAT), aside)
        os.rename(aside, path)


class Database(threading.Thread):
    """A program with a database of its own at one side; it must be whole at both, once all is quiet."""

    NAME = "rows.db"

    def __init__(self, root):
        super().__init__(name="database", daemon=True)
        self._path = os.path.join(root, self.NAME)
        self._ends = threading.Event()
        self.rows = 0

    def end(self):
        """Finish the insert under way, and no more."""
        self._ends.set()
        self.join()

    def run(self):
        if shutil.which("sqlite3") is None:
            return
        while not self._ends.wait(0.3):
            insert = "create table if not exists t (x); insert into t values (hex(randomblob(200)));"
            done = subprocess.run(["sqlite3", self._path, insert], check=False, capture_output=True)
            self.rows += done.returncode == 0

    @classmethod
    def complaint(cls, root):
        """Return what is wrong with it at a side, nothing where all is well."""
        path = os.path.join(root, cls.NAME)
        if shutil.which("sqlite3") is None or not os.path.exists(path):
            return ""
        check = subprocess.run(["sqlite3", path, "pragma integrity_check"], check=False, capture_output=True, text=True)
        return "" if check.stdout.strip() == "ok" else f"{path}: {check.stdout}{check.stderr}"
