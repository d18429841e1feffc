-- context: common

-- What the last check of the invariants came to, one row for each who checks.
CREATE TABLE checks (
    checker  smallint NOT NULL PRIMARY KEY,
    at       bigint NOT NULL,
    rows     bigint NOT NULL,
    findings bigint NOT NULL,
    first    text NOT NULL
);
