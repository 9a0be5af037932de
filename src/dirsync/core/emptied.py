"""What a dict or a set has held at its fullest it keeps room for, also when it is empty: here that is given back.

After a first synchronisation of 100,000 files that is up to five megabytes for each collection of their paths.
"""

from typing import Any


def give_back_if_empty(*collections: dict[Any, Any] | set[Any]) -> None:
    """Give back the room of those that hold nothing now."""
    for collection in collections:
        if not collection:
            collection.clear()
