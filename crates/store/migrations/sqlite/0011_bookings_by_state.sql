-- A booking whose saga goes through other databases changes its state with each step. By user first, each
-- step moved an entry from one page to another of some user's, whose pages are spread over all of the
-- index. By state first, bookings on their way share a few pages, and only those at rest are spread.

-- context: book

DROP INDEX bookings_by_user;
CREATE INDEX bookings_by_state ON bookings (state, user_id, event_id);
