-- Accounts, and the saga that pays bookings from them.

-- context: account

-- An account is its user's; whoever has no row has nothing, and nothing has been posted.
CREATE TABLE accounts (
    account_id INTEGER NOT NULL PRIMARY KEY,
    balance INTEGER NOT NULL CHECK (balance >= 0),
    entries INTEGER NOT NULL,
    -- The number of the account's latest posting.
    latest  INTEGER NOT NULL
) STRICT;

-- All accounts' postings in one, linked as the journal is and for the same reason.
CREATE TABLE postings (
    number     INTEGER NOT NULL PRIMARY KEY,
    account_id INTEGER NOT NULL,
    entry      INTEGER NOT NULL,
    previous   INTEGER,
    kind       INTEGER NOT NULL,
    amount     INTEGER NOT NULL,
    balance    INTEGER NOT NULL,
    event_id   INTEGER,
    booking_id INTEGER,
    at         INTEGER NOT NULL
) STRICT;
CREATE INDEX posting_milestones ON postings (account_id, entry) WHERE entry % 64 = 0;
-- A booking is charged once and refunded once, whoever asks however often.
CREATE UNIQUE INDEX postings_by_booking ON postings (booking_id, kind) WHERE booking_id IS NOT NULL;

-- context: book

-- Everything so far is paid later, if at all, and nobody has tried: nothing had a price that could be
-- paid.
ALTER TABLE bookings ADD COLUMN payment INTEGER NOT NULL DEFAULT 0;
ALTER TABLE bookings ADD COLUMN attempt INTEGER NOT NULL DEFAULT 0;

-- Sagas with a participant outside of this database.
CREATE TABLE errands (
    booking_id INTEGER NOT NULL PRIMARY KEY,
    event_id   INTEGER NOT NULL,
    user_id    INTEGER NOT NULL,
    token      INTEGER NOT NULL,
    due_at     INTEGER NOT NULL,
    tries      INTEGER NOT NULL,
    trouble    TEXT,
    parked     INTEGER NOT NULL
) STRICT;
CREATE INDEX errands_by_time ON errands (due_at) WHERE parked = 0;
CREATE INDEX errands_parked ON errands (booking_id) WHERE parked = 1;

-- What such participants have answered, for whoever asks what became of a booking.
CREATE TABLE saga_steps (
    number     INTEGER NOT NULL PRIMARY KEY,
    booking_id INTEGER NOT NULL,
    asked      TEXT    NOT NULL,
    answered   TEXT    NOT NULL,
    at         INTEGER NOT NULL
) STRICT;
CREATE INDEX saga_steps_by_booking ON saga_steps (booking_id);

-- context: common

-- What this database's participants have answered to sagas elsewhere.
CREATE TABLE memories (
    booking_id     INTEGER NOT NULL,
    participant    INTEGER NOT NULL,
    attempt        INTEGER NOT NULL,
    memory         INTEGER NOT NULL,
    amount         INTEGER,
    window_minutes INTEGER,
    at             INTEGER NOT NULL,
    PRIMARY KEY (booking_id, participant, attempt)
) STRICT, WITHOUT ROWID;
