-- Times are microseconds since the Unix epoch, amounts are minor units.
-- Key order and table layout follow from one rule: a batch should dirty few pages, because each
-- dirty page is written to the log and synced before anybody is answered.

-- context: common

CREATE TABLE ids (
    kind    TEXT    NOT NULL PRIMARY KEY,
    last    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO ids (kind, last) VALUES ('booking', 0), ('event', 0), ('user', 0);

-- context: auth

CREATE TABLE users (
    id            INTEGER NOT NULL PRIMARY KEY,
    login         TEXT    NOT NULL UNIQUE,
    email         TEXT    NOT NULL,
    first_name    TEXT    NOT NULL,
    last_name     TEXT    NOT NULL,
    role          INTEGER NOT NULL,
    password_hash TEXT    NOT NULL,
    created_at    INTEGER NOT NULL
) STRICT;

CREATE TABLE sessions (
    token_digest BLOB    NOT NULL PRIMARY KEY,
    user_id      INTEGER NOT NULL,
    created_at   INTEGER NOT NULL,
    expires_at   INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX sessions_by_user ON sessions (user_id);
CREATE INDEX sessions_by_end ON sessions (expires_at);

-- context: events

CREATE TABLE events (
    id                     INTEGER NOT NULL PRIMARY KEY,
    name                   TEXT    NOT NULL,
    description            TEXT    NOT NULL,
    starts_at              INTEGER,
    capacity               INTEGER NOT NULL,
    price_minor            INTEGER NOT NULL,
    payment_window_minutes INTEGER NOT NULL,
    created_at             INTEGER NOT NULL,
    -- The place in the list of events: soonest first, undated ones last.
    place                  INTEGER NOT NULL
        GENERATED ALWAYS AS (ifnull(starts_at, 9223372036854775807)) VIRTUAL
) STRICT;
CREATE INDEX events_by_place ON events (place, id);

-- Apart from the events, because every batch rewrites these rows: a thousand of them fit on few pages.
CREATE TABLE tallies (
    event_id           INTEGER NOT NULL PRIMARY KEY,
    occupied           INTEGER NOT NULL,
    pending_bookings   INTEGER NOT NULL,
    confirmed_bookings INTEGER NOT NULL,
    version            INTEGER NOT NULL,
    -- The number of the event's latest journal entry.
    latest             INTEGER
) STRICT;

-- By booking, not by event: new bookings have the highest numbers, so new slots of all events lie
-- together. An event's slots are found through its journal.
CREATE TABLE slots (
    booking_id INTEGER NOT NULL PRIMARY KEY,
    event_id   INTEGER NOT NULL,
    seats      INTEGER NOT NULL,
    state      INTEGER NOT NULL,
    -- The number of the journal entry that the slot began with. Numbers grow with those of bookings.
    entry      INTEGER NOT NULL
) STRICT;

-- The journals of all events in one, in the order in which things happened, so that it grows at its
-- end only. Each entry knows its predecessor of the same event, and every 64th is indexed, so an
-- event's journal is read by walking back from an indexed entry or from the latest one.
CREATE TABLE journal (
    number     INTEGER NOT NULL PRIMARY KEY,
    event_id   INTEGER NOT NULL,
    version    INTEGER NOT NULL,
    previous   INTEGER,
    kind       INTEGER NOT NULL,
    booking_id INTEGER,
    seats      INTEGER NOT NULL,
    at         INTEGER NOT NULL
) STRICT;
CREATE INDEX journal_milestones ON journal (event_id, version) WHERE version % 64 = 0;

-- context: book

CREATE TABLE bookings (
    id         INTEGER NOT NULL PRIMARY KEY,
    event_id   INTEGER NOT NULL,
    user_id    INTEGER NOT NULL,
    seats      INTEGER NOT NULL,
    amount     INTEGER NOT NULL,
    state      INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT;
-- The deadlines that still count, soonest first: the deadline clock reads its head.
CREATE INDEX bookings_by_deadline ON bookings (expires_at, event_id) WHERE state = 2;
CREATE INDEX bookings_by_user ON bookings (user_id, state, event_id);

-- context: common

-- Answers that were given to commands with an idempotency key.
CREATE TABLE answers (
    number      INTEGER NOT NULL PRIMARY KEY,
    scope       INTEGER NOT NULL,
    key         TEXT    NOT NULL,
    fingerprint BLOB    NOT NULL,
    answer      BLOB    NOT NULL,
    created_at  INTEGER NOT NULL,
    UNIQUE (scope, key)
) STRICT;
