-- Times are microseconds since the Unix epoch, amounts are minor units, codes are those of SQLite.
-- The shard key leads every key: event_id, or account_id where no event is meant; so the same schema
-- can be distributed (see deploy/citus).

-- context: common

-- Numbers are taken in blocks, each in a transaction of its own, so that no batch waits for another
-- one's commit.
CREATE TABLE ids (
    kind    text    NOT NULL PRIMARY KEY,
    last    bigint  NOT NULL
);
INSERT INTO ids (kind, last) VALUES ('booking', 0), ('event', 0), ('user', 0);

-- context: auth

CREATE TABLE users (
    id            bigint   NOT NULL PRIMARY KEY,
    login         text     NOT NULL UNIQUE,
    email         text     NOT NULL,
    first_name    text     NOT NULL,
    last_name     text     NOT NULL,
    role          smallint NOT NULL,
    password_hash text     NOT NULL,
    created_at    bigint   NOT NULL
);

CREATE TABLE sessions (
    token_digest bytea  NOT NULL PRIMARY KEY,
    user_id      bigint NOT NULL,
    created_at   bigint NOT NULL,
    expires_at   bigint NOT NULL
);
CREATE INDEX sessions_by_user ON sessions (user_id, created_at);
CREATE INDEX sessions_by_end ON sessions (expires_at);

-- context: events

CREATE TABLE events (
    id                     bigint NOT NULL PRIMARY KEY,
    name                   text   NOT NULL,
    description            text   NOT NULL,
    starts_at              bigint,
    capacity               bigint NOT NULL,
    price_minor            bigint NOT NULL,
    payment_window_minutes bigint NOT NULL,
    created_at             bigint NOT NULL,
    -- The place in the list of events: soonest first, undated ones last.
    place                  bigint NOT NULL
        GENERATED ALWAYS AS (coalesce(starts_at, 9223372036854775807)) STORED
);
CREATE INDEX events_by_place ON events (place, id);

-- Apart from the events, because every batch rewrites these rows. They are what an event's commands
-- lock. A page keeps room for the next version of its rows, so that an update touches no index.
CREATE TABLE tallies (
    event_id           bigint NOT NULL PRIMARY KEY,
    occupied           bigint NOT NULL,
    pending_bookings   bigint NOT NULL,
    confirmed_bookings bigint NOT NULL,
    version            bigint NOT NULL
) WITH (fillfactor = 20);

CREATE TABLE slots (
    event_id   bigint   NOT NULL,
    booking_id bigint   NOT NULL,
    seats      bigint   NOT NULL,
    state      smallint NOT NULL,
    PRIMARY KEY (event_id, booking_id)
);

CREATE TABLE journal (
    event_id   bigint   NOT NULL,
    version    bigint   NOT NULL,
    kind       smallint NOT NULL,
    booking_id bigint,
    seats      bigint   NOT NULL,
    at         bigint   NOT NULL,
    PRIMARY KEY (event_id, version)
);

-- context: account

-- An account is its user's; whoever has no row has nothing, and nothing has been posted.
CREATE TABLE accounts (
    account_id bigint NOT NULL PRIMARY KEY,
    balance    bigint NOT NULL CHECK (balance >= 0),
    entries    bigint NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE postings (
    account_id bigint   NOT NULL,
    entry      bigint   NOT NULL,
    kind       smallint NOT NULL,
    amount     bigint   NOT NULL,
    balance    bigint   NOT NULL,
    event_id   bigint,
    booking_id bigint,
    at         bigint   NOT NULL,
    PRIMARY KEY (account_id, entry)
);
-- A booking is charged once and refunded once, whoever asks however often.
CREATE UNIQUE INDEX postings_by_booking ON postings (booking_id, kind, account_id)
    WHERE booking_id IS NOT NULL;

-- context: book

CREATE TABLE bookings (
    event_id   bigint   NOT NULL,
    id         bigint   NOT NULL,
    user_id    bigint   NOT NULL,
    seats      bigint   NOT NULL,
    payment    smallint NOT NULL,
    amount     bigint   NOT NULL,
    attempt    bigint   NOT NULL,
    state      smallint NOT NULL,
    created_at bigint   NOT NULL,
    expires_at bigint   NOT NULL,
    -- By number first, which rises: what is added at the same time lies side by side, whatever event it
    -- is for, and a number alone finds its booking.
    PRIMARY KEY (id, event_id)
);
-- A user's live bookings, and what they hold on an event or have cancelled before its deadline. One
-- index for both, because each costs a booking a place of its own.
CREATE INDEX bookings_by_user ON bookings (user_id, event_id, state, expires_at);
-- The deadlines that still count, soonest first: the deadline clock reads its head.
CREATE INDEX bookings_by_deadline ON bookings (expires_at, event_id, id) WHERE state = 2;

-- Sagas with a participant outside of this database.
CREATE TABLE errands (
    booking_id bigint  NOT NULL PRIMARY KEY,
    event_id   bigint  NOT NULL,
    user_id    bigint  NOT NULL,
    token      bigint  NOT NULL,
    due_at     bigint  NOT NULL,
    tries      bigint  NOT NULL,
    trouble    text,
    parked     boolean NOT NULL
);
CREATE INDEX errands_by_time ON errands (due_at, booking_id) WHERE NOT parked;
CREATE INDEX errands_parked ON errands (booking_id) WHERE parked;

-- What such participants have answered, for whoever asks what became of a booking.
CREATE TABLE saga_steps (
    booking_id bigint  NOT NULL,
    number     bigint  NOT NULL GENERATED ALWAYS AS IDENTITY,
    asked      text    NOT NULL,
    answered   text    NOT NULL,
    at         bigint  NOT NULL,
    PRIMARY KEY (booking_id, number)
);

-- context: common

-- What this database's participants have answered to sagas elsewhere.
CREATE TABLE memories (
    booking_id     bigint   NOT NULL,
    participant    smallint NOT NULL,
    attempt        bigint   NOT NULL,
    memory         smallint NOT NULL,
    amount         bigint,
    window_minutes bigint,
    at             bigint   NOT NULL,
    PRIMARY KEY (booking_id, participant, attempt)
);

-- Answers that were given to commands with an idempotency key.
CREATE TABLE answers (
    scope       bigint NOT NULL,
    key         text   NOT NULL,
    fingerprint bytea  NOT NULL,
    answer      bytea  NOT NULL,
    created_at  bigint NOT NULL,
    PRIMARY KEY (scope, key)
);
CREATE INDEX answers_by_age ON answers (created_at);
