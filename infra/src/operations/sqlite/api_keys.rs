//! API keys in the SQLite file of the operational state.

use async_trait::async_trait;
use domain::Timestamp;
use rusqlite::{Row, Transaction, params};

use super::{
    SqliteOperations,
    webhooks::columns::{optional_time, time, unreadable},
};
use crate::{
    auth::{
        Principal,
        api_key::{KeyId, SecretHash},
    },
    operations::{
        OperationsError,
        api_keys::{API_KEYS_MAX, AddKeyOutcome, ApiKey, ApiKeys, USE_WRITTEN_EVERY},
    },
};

const COLUMNS: &str = "id, principal, scopes, secret_hash, created_at, expires_at, revoked_at, last_used_at";

#[async_trait]
impl ApiKeys for SqliteOperations {
    async fn add(&self, key: &ApiKey) -> Result<AddKeyOutcome, OperationsError> {
        let key = key.clone();
        self.durably(move |transaction| insert(transaction, &key)).await
    }

    async fn replace(
        &self,
        id: &KeyId,
        until: Timestamp,
        successor: &ApiKey,
    ) -> Result<AddKeyOutcome, OperationsError> {
        const END: &str = "UPDATE api_keys SET expires_at = min(ifnull(expires_at, ?2), ?2)
             WHERE id = ?1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > ?3)";
        let (id, successor) = (id.to_string(), successor.clone());
        self.durably(move |transaction| {
            let outcome = insert(transaction, &successor)?;
            if outcome != AddKeyOutcome::Added {
                return Ok(outcome);
            }
            let values = params![id, until.as_microsecond(), successor.created_at.as_microsecond()];
            if transaction.execute(END, values)? == 1 {
                return Ok(outcome);
            }
            transaction.execute("DELETE FROM api_keys WHERE id = ?1", [successor.id.to_string()])?;
            Ok(AddKeyOutcome::NoSuchKey)
        })
        .await
    }

    async fn revoke(&self, id: &KeyId, now: Timestamp) -> Result<bool, OperationsError> {
        const REVOKE: &str = "UPDATE api_keys SET revoked_at = ?2 WHERE id = ?1 AND revoked_at IS NULL";
        let id = id.to_string();
        self.durably(move |transaction| {
            Ok(transaction.execute(REVOKE, params![id, now.as_microsecond()])? == 1)
        })
        .await
    }

    async fn keys(&self, valid_at: Option<Timestamp>) -> Result<Vec<ApiKey>, OperationsError> {
        let select = format!(
            "SELECT {COLUMNS} FROM api_keys
             WHERE ?1 IS NULL OR (revoked_at IS NULL AND (expires_at IS NULL OR expires_at > ?1))
             ORDER BY created_at, id"
        );
        let valid_at = valid_at.map(Timestamp::as_microsecond);
        self.with(move |connection| connection.prepare_cached(&select)?.query_map([valid_at], key)?.collect())
            .await
    }

    async fn note_use(&self, id: &KeyId, now: Timestamp) -> Result<(), OperationsError> {
        const UPDATE: &str = "UPDATE api_keys SET last_used_at = ?2
             WHERE id = ?1 AND (last_used_at IS NULL OR last_used_at <= ?3)";
        let (id, written_before) = (id.to_string(), now - USE_WRITTEN_EVERY);
        let values = (now.as_microsecond(), written_before.as_microsecond());
        self.with(move |connection| {
            connection.prepare_cached(UPDATE)?.execute(params![id, values.0, values.1])
        })
        .await
        .map(drop)
    }
}

fn insert(transaction: &Transaction<'_>, key: &ApiKey) -> rusqlite::Result<AddKeyOutcome> {
    const COUNT: &str = "SELECT count(*) FROM api_keys
         WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > ?1)";
    let created_at = key.created_at.as_microsecond();
    let valid: i64 = transaction.query_row(COUNT, [created_at], |row| row.get(0))?;
    if usize::try_from(valid).is_ok_and(|valid| valid >= API_KEYS_MAX) {
        return Ok(AddKeyOutcome::TooMany);
    }
    let insert = format!("INSERT INTO api_keys ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)");
    transaction.execute(
        &insert,
        params![
            key.id.to_string(),
            key.principal.as_str(),
            serde_json::to_string(&key.scopes).expect("scopes are texts"),
            key.secret_hash.as_bytes(),
            created_at,
            key.expires_at.map(Timestamp::as_microsecond),
            key.revoked_at.map(Timestamp::as_microsecond),
            key.last_used_at.map(Timestamp::as_microsecond),
        ],
    )?;
    Ok(AddKeyOutcome::Added)
}

fn key(row: &Row<'_>) -> rusqlite::Result<ApiKey> {
    let text = |column| row.get::<_, String>(column);
    Ok(ApiKey {
        id: text(0)?.parse().map_err(|error| unreadable(0, error))?,
        principal: Principal::of_keys(&text(1)?).map_err(|error| unreadable(1, error))?,
        scopes: serde_json::from_str(&text(2)?).map_err(|error| unreadable(2, error))?,
        secret_hash: SecretHash::of_bytes(row.get(3)?),
        created_at: time(row, 4)?,
        expires_at: optional_time(row, 5)?,
        revoked_at: optional_time(row, 6)?,
        last_used_at: optional_time(row, 7)?,
    })
}
