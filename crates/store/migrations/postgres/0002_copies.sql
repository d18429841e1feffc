-- context: common

-- A row says that a copy of another database isn't finished, and of which. Nobody opens the database
-- meanwhile but to copy.
CREATE TABLE unfinished_copy (
    id     bigint NOT NULL PRIMARY KEY CHECK (id = 1),
    source text   NOT NULL
);
