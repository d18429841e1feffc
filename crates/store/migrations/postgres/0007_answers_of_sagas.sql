-- What sagas with a participant elsewhere say to those who wait for them. Nobody could have such a
-- participant before, so there are no rows that lack what is added here.

-- context: book

-- Why the step was refused: what it is, what there was, and what was needed.
ALTER TABLE saga_steps ADD COLUMN why    smallint;
ALTER TABLE saga_steps ADD COLUMN had    bigint;
ALTER TABLE saga_steps ADD COLUMN needed bigint;
-- The answer that waits, and what it is an answer to.
ALTER TABLE errands ADD COLUMN answer_scope bigint;
ALTER TABLE errands ADD COLUMN answer_key   text;
ALTER TABLE errands ADD COLUMN act          smallint;

-- context: common

ALTER TABLE memories   ADD COLUMN why    smallint;
ALTER TABLE memories   ADD COLUMN had    bigint;
ALTER TABLE memories   ADD COLUMN needed bigint;
-- Memories go when they have outlived their use.
CREATE INDEX memories_by_time ON memories (at);
-- Whose saga an answer waits for; the answer itself is empty as long.
ALTER TABLE answers ADD COLUMN booking_id bigint;
