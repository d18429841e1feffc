-- Spreads the tables over the machines of a Citus cluster. To be run once, on the coordinator, as soon as
-- the tables are there and before there is anything in them:
--
--     eventbooker migrate --database postgres://…
--     psql --set ON_ERROR_STOP=1 --single-transaction --file deploy/citus/distribute.sql …
--
-- Replicas connect to the coordinator. The database has to hold everything, not only what some services
-- have.
--
-- What has been tested: that this file names each table once, and by a column that all of its unique
-- keys contain, with functions in the place of Citus's that only note what they are told. No Citus server
-- has run it, nor has the service been run on one. `make test` runs it, and after it the tests of the
-- store and of the engine, on a Citus server that EVENTBOOKER_TEST_POSTGRES_URL names, if
-- EVENTBOOKER_TEST_POSTGRES_SCRIPT is the whole path of this file.
--
-- What to know before:
--
-- - A booking that is paid changes rows of an event and of an account, which lie on different machines.
--   Citus commits that in two phases.
-- - The numbers of bookings come from the coordinator in blocks. Its log isn't the one that bookings are
--   written to, so the service syncs each block there before it uses it.
-- - Citus has no snapshot across machines. A recount beside the running service may see one side of a
--   payment before the other; `eventbooker check` is certain while nothing is changed.

-- The same on every machine. A user is unique by number and by login, so neither can spread them. Errands
-- are few, and are locked several at a time, which Citus does within one shard only.
SELECT create_reference_table('users');
SELECT create_reference_table('errands');

-- Everything about an event lies in one place: its commands lock one row and touch no other machine.
SELECT create_distributed_table('events', 'id', colocate_with => 'none');
SELECT create_distributed_table('tallies', 'event_id', colocate_with => 'events');
SELECT create_distributed_table('slots', 'event_id', colocate_with => 'events');
SELECT create_distributed_table('journal', 'event_id', colocate_with => 'events');
SELECT create_distributed_table('bookings', 'event_id', colocate_with => 'events');

-- And everything about an account.
SELECT create_distributed_table('accounts', 'account_id', colocate_with => 'none');
SELECT create_distributed_table('postings', 'account_id', colocate_with => 'accounts');

-- Answers that are remembered are asked for by their user, sessions by their token.
SELECT create_distributed_table('answers', 'scope', colocate_with => 'none');
SELECT create_distributed_table('sessions', 'token_digest', colocate_with => 'none');

-- Sagas with participants elsewhere.
SELECT create_distributed_table('memories', 'booking_id', colocate_with => 'none');
SELECT create_distributed_table('saga_steps', 'booking_id', colocate_with => 'memories');

-- `checks`, `contexts`, `ids`, `installation`, `neighbours`, `progress`, `schema_version`, `turns` and `unfinished_copy` stay on the coordinator: a handful of
-- rows, which only it is asked for.
