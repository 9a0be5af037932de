-- Names on their way from the directory to the kept files that no index row names, because they are ignored: after a
-- crash they say what such a file was called.
CREATE TABLE leaving_names (
    path BLOB PRIMARY KEY
) STRICT, WITHOUT ROWID;
