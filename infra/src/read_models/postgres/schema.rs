//! The schema that holds the read models: made where there is none, and refused where it is another program's.

use deadpool_postgres::Object;
use tokio_postgres::{GenericClient, Transaction};

use crate::postgres::{Database, Fault, OpenError, migrations};

const TABLES: &str = include_str!("../../sql/postgres/read_models.sql");
const INDEXES: &str = include_str!("../../sql/postgres/read_models_indexes.sql");

/// In `log.schema_version`; raised by one with each change of the schema, or of what a column holds.
pub(super) const SCHEMA_VERSION: i32 = 3;

/// The schema in use; sessions find it by their search path.
pub(super) const IN_USE: &str = "orderly_read_models";

/// Makes empty read models where there are none.
pub(super) async fn ensure(database: &Database) -> Result<(), OpenError> {
    let found = database.run(async |client| found_version(&***client).await).await?;
    let Some(found) = found else {
        return Ok(database.run(async |client| make(client).await).await?);
    };
    if found == SCHEMA_VERSION {
        Ok(())
    } else {
        Err(OpenError::OtherSchema { found, supported: SCHEMA_VERSION })
    }
}

async fn make(client: &mut Object) -> Result<(), Fault> {
    let transaction = client.transaction().await?;
    migrations::lock(&transaction).await?;
    // Asked again under the lock: another process may have been faster.
    if found_version(&*transaction).await?.is_none() {
        create_tables(&transaction, IN_USE).await?;
        create_indexes(&transaction).await?;
    }
    Ok(transaction.commit().await?)
}

/// 0: a schema without the table that tells.
async fn found_version(client: &impl GenericClient) -> Result<Option<i32>, Fault> {
    const EXISTS: &str = "SELECT to_regnamespace($1) IS NOT NULL, to_regclass($1 || '.log') IS NOT NULL";
    let row = client.query_one(EXISTS, &[&IN_USE]).await?;
    match (row.try_get(0)?, row.try_get(1)?) {
        (false, _) => Ok(None),
        (true, false) => Ok(Some(0)),
        (true, true) => {
            let row = client.query_one("SELECT schema_version FROM log", &[]).await?;
            Ok(Some(row.try_get(0)?))
        }
    }
}

/// Makes a schema with empty tables, and has the rest of the transaction work in it.
pub(super) async fn create_tables(transaction: &Transaction<'_>, schema: &str) -> Result<(), Fault> {
    let begin = format!("CREATE SCHEMA {schema}; SET LOCAL search_path = {schema}, orderly");
    transaction.batch_execute(&begin).await?;
    transaction.batch_execute(TABLES).await?;
    transaction.execute("INSERT INTO log (schema_version) VALUES ($1)", &[&SCHEMA_VERSION]).await?;
    Ok(())
}

pub(super) async fn create_indexes(transaction: &Transaction<'_>) -> Result<(), Fault> {
    Ok(transaction.batch_execute(INDEXES).await?)
}
