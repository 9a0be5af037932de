-- The state of one server. Paths are bytes in normal form. An entry is six columns:
--   kind      1 file, 2 directory, 3 symbolic link; NULL where the entry is absence
--   digest    BLAKE3 of a file's content, 32 bytes
--   size      bytes of a file's content
--   mtime_ns  of a file or link, nanoseconds since 1970; as a big-endian signed blob where 64 bits are too few
--   mode      permission bits of a file or directory
--   target    text of a link
-- What an entry does not have is NULL. Other numbers from a file system (inodes, devices, times) may be blobs too.

CREATE TABLE meta (
    key   TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- The entry on which both replicas last agreed, for each path. Only Server A has rows here.
CREATE TABLE archive (
    path     BLOB PRIMARY KEY,
    kind     INTEGER NOT NULL,
    digest   BLOB,
    size     INTEGER,
    mtime_ns ANY,
    mode     INTEGER,
    target   BLOB
) STRICT, WITHOUT ROWID;

-- What this server's own directory held when it was last read, with the stat of then.
CREATE TABLE index_entries (
    path          BLOB PRIMARY KEY,
    kind          INTEGER NOT NULL,
    digest        BLOB,
    size          INTEGER,
    mtime_ns      ANY,
    mode          INTEGER,
    target        BLOB,
    stat_inode    ANY NOT NULL,
    stat_size     INTEGER NOT NULL,
    stat_mtime_ns ANY NOT NULL,
    stat_ctime_ns ANY NOT NULL,
    stat_mode     INTEGER NOT NULL,
    looked_ns     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Kept versions. A number is never given twice: people use it to name a version.
CREATE TABLE versions (
    number   INTEGER PRIMARY KEY AUTOINCREMENT,
    path     BLOB NOT NULL,
    kind     INTEGER NOT NULL,
    digest   BLOB,
    size     INTEGER,
    mtime_ns ANY,
    mode     INTEGER,
    target   BLOB,
    kept_ns  INTEGER NOT NULL,
    why      TEXT NOT NULL,
    file     TEXT NOT NULL
) STRICT;
CREATE INDEX versions_by_path ON versions (path);
CREATE INDEX versions_by_digest ON versions (digest) WHERE digest IS NOT NULL;

-- Captured states of held names, until the other server has them. A number is never given twice: it travels.
CREATE TABLE captures (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    path     BLOB NOT NULL,
    kind     INTEGER,
    digest   BLOB,
    size     INTEGER,
    mtime_ns ANY,
    mode     INTEGER,
    target   BLOB,
    file     TEXT
) STRICT;
CREATE INDEX captures_by_path ON captures (path);

-- The names this replica was told to capture, with the last state recorded of each.
CREATE TABLE held_names (
    path     BLOB PRIMARY KEY,
    kind     INTEGER,
    digest   BLOB,
    size     INTEGER,
    mtime_ns ANY,
    mode     INTEGER,
    target   BLOB
) STRICT, WITHOUT ROWID;

-- The locks, with the last recorded state of the name in each replica. Only Server A has rows here.
CREATE TABLE locks (
    path        BLOB PRIMARY KEY,
    since_ns    INTEGER NOT NULL,
    is_draining INTEGER NOT NULL DEFAULT 0 CHECK (is_draining IN (0, 1)),
    reason      TEXT NOT NULL DEFAULT '',
    a_kind      INTEGER,
    a_digest    BLOB,
    a_size      INTEGER,
    a_mtime_ns  ANY,
    a_mode      INTEGER,
    a_target    BLOB,
    b_kind      INTEGER,
    b_digest    BLOB,
    b_size      INTEGER,
    b_mtime_ns  ANY,
    b_mode      INTEGER,
    b_target    BLOB
) STRICT, WITHOUT ROWID;

-- The held updates, in order of arrival. The reference to locks makes it impossible to drop a lock with its updates.
CREATE TABLE updates (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    path        BLOB NOT NULL REFERENCES locks (path),
    origin      TEXT NOT NULL,
    kind        INTEGER,
    digest      BLOB,
    size        INTEGER,
    mtime_ns    ANY,
    mode        INTEGER,
    target      BLOB,
    change      TEXT NOT NULL,
    file        TEXT,
    spool_size  INTEGER NOT NULL,
    received_ns INTEGER NOT NULL
) STRICT;
CREATE INDEX updates_by_path ON updates (path);
