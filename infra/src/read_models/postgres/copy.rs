//! Writes the rows of a whole table by COPY, in its binary format.

use std::pin::Pin;

use postgres_types::{ToSql, Type};
use tokio_postgres::{Client, binary_copy::BinaryCopyInWriter};

use crate::read_models::ReadModelError;

/// A running COPY.
pub(super) struct Copy {
    writer: Pin<Box<BinaryCopyInWriter>>,
    rows: u64,
}

impl Copy {
    /// The table must be created in the same transaction.
    pub(super) async fn begin(client: &Client, table: &str, columns: &str) -> Result<Self, ReadModelError> {
        // Gives the types of the columns. Those of enums have numbers that differ in each database.
        let described = client.prepare(&format!("SELECT {columns} FROM {table}")).await?;
        let types: Vec<Type> = described.columns().iter().map(|column| column.type_().clone()).collect();
        // FREEZE marks rows as visible to all while they are written. Otherwise a vacuum writes each page
        // again.
        let copy = format!("COPY {table} ({columns}) FROM STDIN WITH (FORMAT binary, FREEZE)");
        let sink = client.copy_in(&copy).await?;
        Ok(Self { writer: Box::pin(BinaryCopyInWriter::new(sink, &types)), rows: 0 })
    }

    pub(super) async fn row(&mut self, values: &[&(dyn ToSql + Sync)]) -> Result<(), ReadModelError> {
        self.rows += 1;
        Ok(self.writer.as_mut().write(values).await?)
    }

    pub(super) async fn finish(mut self) -> Result<(), ReadModelError> {
        let written = self.writer.as_mut().finish().await?;
        assert_eq!(written, self.rows, "COPY wrote fewer rows than it was given");
        Ok(())
    }
}
