//! `deploy/citus/distribute.sql`, looked at without Citus: with functions in the place of Citus's that
//! note what they are told.

#![allow(missing_docs, reason = "a test")]

use eventbooker_store::postgres::{PostgresStore, PostgresUrl};
use eventbooker_testkit::postgres::{Schema, numbers};

const SCRIPT: &str = include_str!("../../../deploy/citus/distribute.sql");

/// Before Citus's own, on a server that has it.
const OURS_FIRST: &str =
    "SELECT set_config('search_path', current_schema() || ', pg_catalog', false);";

/// With the names, and the order, of Citus's parameters. Fails if a table is named twice, has no such
/// column, or is to lie beside one that isn't spread.
const CITUS: &str = "
    CREATE TABLE named (name regclass PRIMARY KEY, spread_by text, beside regclass);
    CREATE FUNCTION create_distributed_table(
      table_name regclass, distribution_column text, distribution_type text DEFAULT 'hash',
      colocate_with text DEFAULT 'default', shard_count int DEFAULT NULL
    ) RETURNS void LANGUAGE plpgsql AS $$ BEGIN
      ASSERT EXISTS (SELECT FROM pg_attribute
                     WHERE attrelid = table_name AND attname = distribution_column AND attnum > 0),
        format('%s has no column %s', table_name, distribution_column);
      ASSERT colocate_with = 'none'
        OR EXISTS (SELECT FROM named WHERE name = colocate_with::regclass AND spread_by IS NOT NULL),
        format('%s is not spread yet', colocate_with);
      INSERT INTO named VALUES (table_name, distribution_column, nullif(colocate_with, 'none')::regclass);
    END $$;
    CREATE FUNCTION create_reference_table(table_name regclass) RETURNS void LANGUAGE sql AS $$
      INSERT INTO named VALUES (table_name, NULL, NULL) $$;";

/// What isn't named.
const ON_THE_COORDINATOR: &str = "('ids', 'schema_version', 'turns', 'checks', 'contexts', 'installation', 'neighbours', 'progress', 'unfinished_copy')";

#[tokio::test]
async fn every_table_has_its_place() {
    let schema = Schema::new();
    let url = PostgresUrl::parse(schema.url(), None).expect("the URL is right");
    let migrated = PostgresStore::migrate(&url).await.expect("an empty schema");
    assert_eq!(migrated.from, 0);
    schema.execute(CITUS);
    schema.execute(&format!("{OURS_FIRST} {SCRIPT}"));
    let count = |query: &str| {
        let numbers = numbers(schema.url(), query);
        assert_eq!(numbers.len(), 1, "{query}");
        numbers[0]
    };
    assert!(count("SELECT count(*) FROM named") > 0);
    // A failure is shown as the number of tables, of which there are few.
    let tables = format!(
        "FROM pg_class t WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r'
         AND relname NOT IN ('named')
         AND (relname IN {ON_THE_COORDINATOR}) = (t.oid IN (SELECT name FROM named))"
    );
    assert_eq!(
        count(&format!("SELECT count(*) {tables}")),
        0,
        "tables without a place, or with two"
    );

    // Citus refuses a unique key over several machines.
    let torn = "SELECT count(*) FROM named JOIN pg_index ON indrelid = name
                JOIN pg_attribute ON attrelid = name AND attname = spread_by
                WHERE indisunique AND attnum <> ALL (indkey::int2[])";
    assert_eq!(count(torn), 0, "unique keys without the column that their table is spread by");
    let apart = "SELECT count(*) FROM named a JOIN named b ON a.beside = b.name
                 JOIN pg_attribute x ON x.attrelid = a.name AND x.attname = a.spread_by
                 JOIN pg_attribute y ON y.attrelid = b.name AND y.attname = b.spread_by
                 WHERE x.atttypid <> y.atttypid";
    assert_eq!(count(apart), 0, "tables beside each other by columns of different types");
}
