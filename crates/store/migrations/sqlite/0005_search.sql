-- What names are searched in: in one case, whatever the alphabet (`search.rs`). This program writes it
-- with the name. Of names that were there before, SQLite knows the case of ASCII letters only; the others
-- are found as they are written, until their events are edited.

-- context: events

ALTER TABLE events ADD COLUMN search TEXT NOT NULL DEFAULT '';
UPDATE events SET search = lower(name);
