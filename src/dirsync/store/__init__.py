"""The SQLite state of one server; decides nothing."""
