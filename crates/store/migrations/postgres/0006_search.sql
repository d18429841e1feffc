-- What names are searched in: in one case, whatever the alphabet and the server's locale (`search.rs`).
-- This program writes it with the name. Of names that were there before, the server knows the case of
-- those letters that its locale has.

-- context: events

ALTER TABLE events ADD COLUMN search text NOT NULL DEFAULT '';
UPDATE events SET search = lower(name);
