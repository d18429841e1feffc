-- Events that don't take place.

-- context: events

ALTER TABLE events ADD COLUMN cancelled_at INTEGER;
-- Whether a cancelled event still has bookings to release.
ALTER TABLE events ADD COLUMN releasing INTEGER NOT NULL DEFAULT 0;
CREATE INDEX events_releasing ON events (id) WHERE releasing = 1;
