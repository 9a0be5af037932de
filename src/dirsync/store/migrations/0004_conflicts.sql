-- Conflicts that nobody has looked at. Only Server A has rows here. A row is there before the loser is replaced; its
-- version, the id under which the loser is kept, is empty until that is known. The columns of the entry are the loser's.
CREATE TABLE conflicts (
    number   INTEGER PRIMARY KEY AUTOINCREMENT,
    path     BLOB NOT NULL,
    winner   TEXT NOT NULL,
    version  TEXT NOT NULL DEFAULT '',
    since_ns INTEGER NOT NULL,
    kind     INTEGER NOT NULL,
    digest   BLOB,
    size     INTEGER,
    mtime_ns ANY,
    mode     INTEGER,
    target   BLOB
) STRICT;
CREATE INDEX conflicts_by_path ON conflicts (path);
