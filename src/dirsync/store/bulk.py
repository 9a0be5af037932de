"""Loading big tables without the garbage collector's company.

Rows become long-lived values without cycles; while millions of them are made, each collection walks all of them in
vain and loading takes several times as long.
"""

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.Lock()
_loads = 0
_was_enabled = False


@contextmanager
def collection_paused() -> Iterator[None]:
    """Keep the cyclic collector off; it is as before when the last of those inside has left, in any order."""
    global _loads, _was_enabled  # noqa: PLW0603  the collector is the process's, so is the count
    with _lock:
        if _loads == 0:
            _was_enabled = gc.isenabled()
            gc.disable()
        _loads += 1
    try:
        yield
    finally:
        with _lock:
            _loads -= 1
            if _loads == 0 and _was_enabled:
                gc.enable()
