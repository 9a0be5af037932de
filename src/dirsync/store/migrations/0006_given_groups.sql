-- One apply gives a held name a group of updates: a row for each, with the inode of what was staged for it (NULL where
-- nothing was, for a deletion or new metadata: such an update is alone). `held_update` is its id at the other side.
DROP TABLE given;
CREATE TABLE given (
    path        BLOB NOT NULL,
    held_update INTEGER NOT NULL,
    kind        INTEGER,
    digest      BLOB,
    size        INTEGER,
    mtime_ns    ANY,
    mode        INTEGER,
    target      BLOB,
    inode       ANY,
    is_done     INTEGER NOT NULL DEFAULT 0 CHECK (is_done IN (0, 1)),
    PRIMARY KEY (path, held_update)
) STRICT, WITHOUT ROWID;

-- Of a captured state: the last update that was given here when it stood there, 0 where it is an update of our own.
ALTER TABLE captures DROP COLUMN is_given;
ALTER TABLE captures ADD COLUMN given INTEGER NOT NULL DEFAULT 0;
