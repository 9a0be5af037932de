"""What a planned action touches, and what it needs."""

from typing import assert_never

from dirsync.core.entry import Directory, Entry, File, Symlink, same_content
from dirsync.core.paths import RelPath
from dirsync.core.plan import Action


def paths_of(action: Action) -> list[RelPath]:
    """Return the names that an action changes, the one it is about first."""
    return [action.path] if action.renamed_from is None else [action.path, action.renamed_from]


def shall_be(action: Action) -> dict[RelPath, Entry | None]:
    """Return what stands at each of these names when it is done."""
    return dict.fromkeys(paths_of(action)) | {action.path: action.intended}


def is_independent(action: Action) -> bool:
    """Return whether the order among such actions is of no consequence: a file or link in a directory that is there."""
    is_directory = isinstance(action.expected, Directory) or isinstance(action.intended, Directory)
    return action.intended is not None and action.renamed_from is None and not is_directory


def is_content_needed(action: Action) -> bool:
    """Return whether the target is to get a content that it does not have at that name."""
    match action.intended:
        case File():
            return action.renamed_from is None and not same_content(action.expected, action.intended)
        case Directory() | Symlink() | None:
            return False
        case _:
            assert_never(action.intended)
