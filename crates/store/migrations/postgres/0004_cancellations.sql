-- Events that don't take place.

-- context: events

ALTER TABLE events ADD COLUMN cancelled_at bigint;
-- Whether a cancelled event still has bookings to release.
ALTER TABLE events ADD COLUMN releasing boolean NOT NULL DEFAULT false;
CREATE INDEX events_releasing ON events (id) WHERE releasing;
