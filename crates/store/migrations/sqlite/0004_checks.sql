-- context: common

-- What the last check of the invariants came to, one row for each who checks.
CREATE TABLE checks (
    checker  INTEGER NOT NULL PRIMARY KEY,
    at       INTEGER NOT NULL,
    rows     INTEGER NOT NULL,
    findings INTEGER NOT NULL,
    first    TEXT NOT NULL
) STRICT;
