"""dirsync keeps two directories on two servers identical, live."""

__version__ = "0.1.0"
