-- context: common

-- Rows that are only locked: whoever holds a lane's may save what the lanes of that number have taken, in
-- this replica or another. Nothing depends on it but how long a batch waits.
CREATE TABLE turns (
    lane bigint NOT NULL PRIMARY KEY
);
INSERT INTO turns (lane) SELECT generate_series(0, 63);
