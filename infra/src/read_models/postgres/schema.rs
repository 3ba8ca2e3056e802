//! The schema of the read models: created if it is missing, refused if it has another version.

use deadpool_postgres::Object;
use tokio_postgres::GenericClient;

use super::{SCHEMA_VERSION, SCHEMAS};
use crate::{
    postgres::{Database, Fault, PostgresOpenError, migrations},
    read_models::ddl,
};

/// The schema in use. Sessions have it in their search path.
pub(super) const IN_USE: &str = "orderly_read_models";

/// Creates empty read models if there are none.
pub(super) async fn ensure(database: &Database) -> Result<(), PostgresOpenError> {
    let found = database.run(async |client| found_version(&***client).await).await?;
    match found {
        Some(found) => supports(found),
        None => Ok(database.run(async |client| create(client).await).await?),
    }
}

/// Refuses a replica without read models.
pub(super) async fn expect(replica: &Database) -> Result<(), PostgresOpenError> {
    let found = replica.run(async |client| found_version(&***client).await).await?;
    supports(found.ok_or(PostgresOpenError::NotAReplica)?)
}

fn supports(found: i32) -> Result<(), PostgresOpenError> {
    if found == SCHEMA_VERSION {
        Ok(())
    } else {
        Err(PostgresOpenError::OtherSchema { found, supported: SCHEMA_VERSION })
    }
}

async fn create(client: &mut Object) -> Result<(), Fault> {
    let transaction = client.transaction().await?;
    migrations::lock(&transaction).await?;
    // Checked again under the lock: another process may have created the schema meanwhile.
    if found_version(&*transaction).await?.is_none() {
        create_tables(&*transaction, IN_USE).await?;
        create_indexes(&*transaction).await?;
    }
    Ok(transaction.commit().await?)
}

/// The version of the schema in use. 0 if the table with the version is missing, `None` if the schema is.
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

/// Creates a schema with empty tables, and sets it as the search path for the rest of the transaction.
pub(super) async fn create_tables(client: &impl GenericClient, schema: &str) -> Result<(), Fault> {
    let begin = format!("CREATE SCHEMA {schema}; SET LOCAL search_path = {schema}, orderly");
    client.batch_execute(&begin).await?;
    for sql in SCHEMAS {
        client.batch_execute(ddl::tables(sql)).await?;
    }
    client.execute("INSERT INTO log (schema_version) VALUES ($1)", &[&SCHEMA_VERSION]).await?;
    Ok(())
}

pub(super) async fn create_indexes(client: &impl GenericClient) -> Result<(), Fault> {
    for sql in SCHEMAS {
        client.batch_execute(ddl::indexes(sql)).await?;
    }
    Ok(())
}
