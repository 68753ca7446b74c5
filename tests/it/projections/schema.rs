//! What the tables of the read models look like.

use hub_projections::QUERIES;
use hub_projections::all;
use hub_tests::kit::Database;
use std::collections::BTreeSet;

#[tokio::test]
async fn every_query_fits_the_migrated_schema() {
    let database = Database::new().await;
    let projections = all();
    let of_tables = projections.iter().flat_map(|projection| {
        projection.queries().into_iter().chain(projection.live().map_or_else(Vec::new, |live| live.queries()))
    });
    for (n, query) in QUERIES.iter().map(|query| (*query).to_owned()).chain(of_tables).enumerate() {
        let prepare = format!("PREPARE query_{n} AS {query}");
        sqlx::raw_sql(&prepare).execute(&database.pool).await.unwrap_or_else(|error| panic!("{query}: {error}"));
    }
}

#[tokio::test]
async fn every_table_has_the_fields_of_its_rows_and_their_key() {
    let database = Database::new().await;
    for projection in all() {
        let columns: Vec<String> = sqlx::query_scalar(
            "SELECT attname::text FROM pg_attribute \
             WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = '' ORDER BY attname::text COLLATE \"C\"",
        )
        .bind(projection.table())
        .fetch_all(&database.pool)
        .await
        .unwrap();
        assert_eq!(columns, projection.columns(), "{}", projection.table());
        let key: Vec<String> = sqlx::query_scalar(
            "SELECT a.attname::text FROM pg_index i, unnest(i.indkey) WITH ORDINALITY AS k (column_number, place) \
             JOIN pg_attribute a ON a.attnum = k.column_number \
             WHERE i.indrelid = $1::regclass AND i.indisprimary AND a.attrelid = i.indrelid ORDER BY k.place",
        )
        .bind(projection.table())
        .fetch_all(&database.pool)
        .await
        .unwrap();
        assert_eq!(key, projection.key(), "{}", projection.table());
        assert_eq!(key[0], "tenant_id", "{}: the tenant leads the key", projection.table());
    }
}

#[test]
fn no_two_projections_have_one_name_or_table() {
    let names: BTreeSet<_> = all().iter().map(|projection| projection.name()).collect();
    let tables: BTreeSet<_> = all().iter().map(|projection| projection.table()).collect();
    assert_eq!((names.len(), tables.len()), (all().len(), all().len()));
}
