"""Owns how a refused system call is told to people: the one place that turns an OSError into a reason."""

import errno
import os

_TEXTS = {
    errno.ENOSPC: "no space left on the disk",
    errno.EDQUOT: "the disk quota is exceeded",
    errno.EIO: "the disk reported an input/output error",
    errno.EROFS: "the file system is read-only",
    errno.EPERM: "not permitted: the file is immutable or belongs to another user",
    errno.EACCES: "permission denied",
    errno.EXDEV: "it lies on another file system mounted inside the directory",
    errno.ENODEV: "the file system that was mounted there is gone; mount it again, or remove its directory",
    errno.ENAMETOOLONG: "the name is too long for this file system",
    errno.EFBIG: "the file is larger than this file system or the process limit allows",
    errno.EMFILE: "too many open files; raise the limit (ulimit -n)",
    errno.ENFILE: "too many open files on this machine",
    errno.ENOTDIR: "something that is not a directory stands in its path",
    errno.ELOOP: "a symbolic link stands in its path",
    errno.ENOENT: "its directory does not exist",
    errno.ETXTBSY: "the program is running",
    errno.EBUSY: "it is in use by the system",
    errno.ENOTEMPTY: "the directory is not empty",
    errno.ENOTCONN: "the file system does not answer any more",
    errno.EINVAL: "the file system does not accept this name or this change",
}


def reason_of(error: OSError) -> str:
    """Return why the call failed, for people."""
    if error.errno is None:
        return str(error)
    return _TEXTS.get(error.errno, os.strerror(error.errno))
