-- Kept files whose version was given up: named here before they are removed, so that a crash in between leaves nothing
-- that would be taken for a version nobody recorded.
CREATE TABLE discarded_files (
    file TEXT PRIMARY KEY
) STRICT, WITHOUT ROWID;
