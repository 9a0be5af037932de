"""The SQLite state, on real files."""
