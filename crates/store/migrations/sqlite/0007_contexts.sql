-- A database may hold only some of the contexts. Those that are older hold all four.

-- context: common

-- The contexts whose tables are here, by the names of their services.
CREATE TABLE contexts (
    name TEXT NOT NULL PRIMARY KEY
) STRICT, WITHOUT ROWID;

-- What this database is known by, and what it signs with. Both are drawn when the table is made.
CREATE TABLE installation (
    one    INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    id     BLOB NOT NULL CHECK (length(id) = 16),
    secret BLOB NOT NULL CHECK (length(secret) = 32)
) STRICT;

-- A row says that a copy of another database isn't finished, and of which. Nobody opens the database
-- meanwhile but to copy.
CREATE TABLE unfinished_copy (
    id     INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    source TEXT NOT NULL
) STRICT;

-- context: auth

INSERT INTO contexts (name) VALUES ('auth');

-- context: events

INSERT INTO contexts (name) VALUES ('events');

-- context: account

INSERT INTO contexts (name) VALUES ('account');

-- context: book

INSERT INTO contexts (name) VALUES ('book');
