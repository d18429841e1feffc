-- What sagas with a participant elsewhere say to those who wait for them. Nobody could have such a
-- participant before, so there are no rows that lack what is added here.

-- context: book

-- Why the step was refused: what it is, what there was, and what was needed.
ALTER TABLE saga_steps ADD COLUMN why    INTEGER;
ALTER TABLE saga_steps ADD COLUMN had    INTEGER;
ALTER TABLE saga_steps ADD COLUMN needed INTEGER;
-- The answer that waits, and what it is an answer to.
ALTER TABLE errands ADD COLUMN answer_scope INTEGER;
ALTER TABLE errands ADD COLUMN answer_key   TEXT;
ALTER TABLE errands ADD COLUMN act          INTEGER;

-- context: common

ALTER TABLE memories   ADD COLUMN why    INTEGER;
ALTER TABLE memories   ADD COLUMN had    INTEGER;
ALTER TABLE memories   ADD COLUMN needed INTEGER;
-- Memories go when they have outlived their use.
CREATE INDEX memories_by_time ON memories (at);
-- Whose saga an answer waits for; the answer itself is empty as long.
ALTER TABLE answers ADD COLUMN booking_id INTEGER;
