"""`python -m dirsync.cli` is `dirsync`, for where the script is not on the path."""

from dirsync.cli.main import dirsync

dirsync()
