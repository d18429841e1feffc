-- A database may hold only some of the contexts. Those that are older hold all four.

-- context: common

-- The contexts whose tables are here, by the names of their services.
CREATE TABLE contexts (
    name text NOT NULL PRIMARY KEY
);

-- What this database is known by, and what it signs with. Both are drawn when the table is made.
CREATE TABLE installation (
    one    bigint NOT NULL PRIMARY KEY CHECK (one = 1),
    id     bytea  NOT NULL CHECK (length(id) = 16),
    secret bytea  NOT NULL CHECK (length(secret) = 32)
);

-- context: auth

INSERT INTO contexts (name) VALUES ('auth');

-- context: events

INSERT INTO contexts (name) VALUES ('events');

-- context: account

INSERT INTO contexts (name) VALUES ('account');

-- context: book

INSERT INTO contexts (name) VALUES ('book');
