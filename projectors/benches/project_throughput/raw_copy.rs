//! The baseline of a rebuild: copies the rows of the read models as bytes into equal tables, and indexes
//! them.

use std::{
    pin::pin,
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use futures::{SinkExt, TryStreamExt};
use tokio_postgres::{Client, NoTls};

const TABLES: [&str; 7] = ["stock", "reservations", "orders", "order_skus", "payments", "sales", "money"];
const CHUNK_BYTES: usize = 64 << 10;
/// The statements that created the indexes of the read models, for the schema `again`.
const INDEXES: &str = "SELECT replace(indexdef, 'orderly_read_models.', 'again.') FROM pg_indexes
     WHERE schemaname = 'orderly_read_models' AND tablename = ANY($1)";

/// Prints the times of the copy and of the indexes.
pub async fn run(url: &str) {
    let (mut client, connection) = tokio_postgres::connect(url, NoTls).await.expect("a connection");
    tokio::spawn(connection);
    let begin = "SET synchronous_commit = off; SET maintenance_work_mem = '256MB';
        DROP SCHEMA IF EXISTS again CASCADE; CREATE SCHEMA again; SET search_path = again, orderly";
    client.batch_execute(begin).await.expect("a schema");
    let (mut copying, mut bytes) = (Duration::ZERO, 0);
    for table in TABLES {
        let rows = read(&client, table).await;
        bytes += rows.iter().map(Bytes::len).sum::<usize>();
        copying += copy(&mut client, table, rows).await;
    }
    println!("raw COPY of the same rows: {copying:.2?} for {} MiB", bytes >> 20);
    let begun = Instant::now();
    for row in client.query(INDEXES, &[&TABLES.as_slice()]).await.expect("indexes") {
        client.batch_execute(row.get(0)).await.expect("an index");
    }
    println!("their indexes: {:.2?}", begun.elapsed());
    client.batch_execute("DROP SCHEMA again CASCADE").await.expect("dropped");
}

async fn read(client: &Client, table: &str) -> Vec<Bytes> {
    let copy = format!("COPY orderly_read_models.{table} TO STDOUT (FORMAT binary)");
    let mut rows = pin!(client.copy_out(&copy).await.expect("rows"));
    // The server sends the rows one by one.
    let mut bytes = BytesMut::new();
    while let Some(row) = rows.try_next().await.expect("rows") {
        bytes.extend_from_slice(&row);
    }
    bytes.freeze().chunks(CHUNK_BYTES).map(Bytes::copy_from_slice).collect()
}

async fn copy(client: &mut Client, table: &str, rows: Vec<Bytes>) -> Duration {
    let begun = Instant::now();
    let transaction = client.transaction().await.expect("a transaction");
    let create = format!("CREATE TABLE {table} (LIKE orderly_read_models.{table})");
    transaction.batch_execute(&create).await.expect("a table");
    let copy = format!("COPY {table} FROM STDIN (FORMAT binary, FREEZE)");
    let mut sink = pin!(transaction.copy_in(&copy).await.expect("a copy"));
    for chunk in rows {
        sink.send(chunk).await.expect("bytes are taken");
    }
    sink.finish().await.expect("the rows are copied");
    transaction.commit().await.expect("a commit");
    begun.elapsed()
}
