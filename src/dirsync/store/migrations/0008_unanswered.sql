-- What a replica is told to hold, as the other one holds it: noted before it is told, in one batch for each telling, and
-- forgotten together with the advance of the base that its answer brings. Only Server A has rows here.
CREATE TABLE unanswered (
    batch    INTEGER NOT NULL,
    path     BLOB NOT NULL,
    role     TEXT NOT NULL,
    kind     INTEGER,
    digest   BLOB,
    size     INTEGER,
    mtime_ns ANY,
    mode     INTEGER,
    target   BLOB,
    PRIMARY KEY (batch, path)
) STRICT, WITHOUT ROWID;
