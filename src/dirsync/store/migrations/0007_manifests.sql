-- The chunks of large contents that both servers have had, so that a small edit of one costs the edit. A cache: what is
-- missing is cut again. The lowest id is the oldest.
CREATE TABLE manifests (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    digest  BLOB NOT NULL UNIQUE,
    average INTEGER NOT NULL,
    rows    BLOB NOT NULL
) STRICT;
