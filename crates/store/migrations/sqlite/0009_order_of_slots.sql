-- An event's slots are found by its journal as long as they began in the order of their bookings'
-- numbers. Slots that were copied from elsewhere may have begun in any.

-- context: events

-- Slots of bookings up to this number may have begun in any order. The same for all events, since
-- bookings are numbered across them.
ALTER TABLE tallies ADD COLUMN unordered_to INTEGER NOT NULL DEFAULT 0;
UPDATE tallies SET unordered_to = (SELECT max(booking_id) FROM slots)
WHERE EXISTS (SELECT 1 FROM
    (SELECT entry, lag(entry) OVER (ORDER BY booking_id) AS before FROM slots) WHERE entry < before);
