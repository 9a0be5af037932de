import sys

import pytest

from dirsync.core.emptied import give_back_if_empty


@pytest.mark.parametrize("kind", [dict, set])
def test_what_has_become_empty_keeps_no_room(kind):
    filled = kind.fromkeys(range(1000)) if kind is dict else kind(range(1000))
    for key in range(1000):
        filled.pop(key) if kind is dict else filled.discard(key)
    assert sys.getsizeof(filled) > 10 * sys.getsizeof(kind())
    give_back_if_empty(filled)
    assert sys.getsizeof(filled) <= sys.getsizeof({1: 1})


def test_what_holds_something_stays_as_it_is():
    filled, empty = {1: "one"}, set()
    give_back_if_empty(filled, empty)
    assert (filled, empty) == ({1: "one"}, set())
