-- context: book

-- The trace of whatever has made a saga go on, as `traceparent` has it.

ALTER TABLE errands ADD COLUMN trace text;
