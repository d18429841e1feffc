BEGIN;
SELECT free_seats FROM events WHERE id = :event FOR UPDATE;
INSERT INTO bookings (event_id, user_id, seats, created_at, expires_at)
    VALUES (:event, :user, 1, now(), now() + interval '30 minutes');
UPDATE events SET free_seats = free_seats - 1 WHERE id = :event;
COMMIT;
