-- What tells a database that was restored from a back-up from the one that it was.

-- context: common

-- How often it has been changed while other services relied on it. It only rises.
CREATE TABLE progress (
    slot   INTEGER NOT NULL PRIMARY KEY,
    number INTEGER NOT NULL
) STRICT;
INSERT INTO progress (slot, number) VALUES (0, 0);

-- What has been seen of other services' databases.
CREATE TABLE neighbours (
    service  TEXT    NOT NULL PRIMARY KEY,
    database BLOB    NOT NULL CHECK (length(database) = 16),
    -- How far it has come.
    number   INTEGER NOT NULL,
    -- How far it says that it has seen this database come.
    heard    INTEGER NOT NULL,
    -- Another database, which was met in its place.
    found    BLOB CHECK (length(found) = 16),
    -- Set if this database has lost something: how far the neighbour had seen it come, and the highest
    -- numbers that it has met.
    saw         INTEGER,
    met_booking INTEGER,
    met_event   INTEGER,
    met_user    INTEGER
) STRICT, WITHOUT ROWID;

-- When the booking began that is remembered: another one may come under its number, from whoever has lost
-- that one.
ALTER TABLE memories ADD COLUMN begun INTEGER;
