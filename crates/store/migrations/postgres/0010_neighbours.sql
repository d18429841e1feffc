-- What tells a database that was restored from a back-up from the one that it was.

-- context: common

-- How often it has been changed while other services relied on it: the sum of these rows, which only
-- rises. There are many, so that writers don't wait for each other.
CREATE TABLE progress (
    slot   bigint NOT NULL PRIMARY KEY,
    number bigint NOT NULL
);
INSERT INTO progress (slot, number) SELECT generate_series(0, 63), 0;

-- What has been seen of other services' databases.
CREATE TABLE neighbours (
    service  text   NOT NULL PRIMARY KEY,
    database bytea  NOT NULL CHECK (length(database) = 16),
    -- How far it has come.
    number   bigint NOT NULL,
    -- How far it says that it has seen this database come.
    heard    bigint NOT NULL,
    -- Another database, which was met in its place.
    found    bytea CHECK (length(found) = 16),
    -- Set if this database has lost something: how far the neighbour had seen it come, and the highest
    -- numbers that it has met.
    saw         bigint,
    met_booking bigint,
    met_event   bigint,
    met_user    bigint
);

-- When the booking began that is remembered: another one may come under its number, from whoever has lost
-- that one.
ALTER TABLE memories ADD COLUMN begun bigint;
