-- What an apply gives to a held name, noted before: after a crash the inode of what was staged for it says whether it was
-- done (NULL where nothing was staged, for a deletion or new metadata).
CREATE TABLE given (
    path     BLOB PRIMARY KEY,
    kind     INTEGER,
    digest   BLOB,
    size     INTEGER,
    mtime_ns ANY,
    mode     INTEGER,
    target   BLOB,
    inode    ANY,
    is_done  INTEGER NOT NULL DEFAULT 0 CHECK (is_done IN (0, 1))
) STRICT, WITHOUT ROWID;

-- Of a captured state: whether the other side had it applied here, so that it is no update of our own.
ALTER TABLE captures ADD COLUMN is_given INTEGER NOT NULL DEFAULT 0 CHECK (is_given IN (0, 1));
