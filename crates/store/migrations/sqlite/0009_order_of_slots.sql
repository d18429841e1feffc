-- An event's slots are found by its journal, as long as they began in the order of their bookings'
-- numbers. Those that were copied from elsewhere may have begun in any.

-- context: events

-- Slots of bookings up to this number may have begun in any order, or still begin. The same for all
-- events, since bookings are numbered across them.
ALTER TABLE tallies ADD COLUMN unordered_to INTEGER NOT NULL DEFAULT 0;
UPDATE tallies SET unordered_to = (SELECT last FROM ids WHERE kind = 'booking')
WHERE EXISTS (SELECT 1 FROM
    (SELECT booking_id, lag(booking_id) OVER (ORDER BY number) AS before FROM journal WHERE kind = 1)
    WHERE booking_id < before);
