//! The index from command id to revision beside the snapshots, so that a retry of an old command is found
//! without a read of its stream.
//!
//! An entry is a hint: the log decides. So entries of another history of the stream do no harm, and entries
//! are never deleted.

use std::{
    fs, io,
    path::Path,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use domain::{CommandId, Revision, StreamName};
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::sqlite::Worker;

const FILE: &str = "commands.db";
/// Raise this when the tables change; an index of another version is made anew.
const VERSION: i64 = 1;
const BUSY_MAX: Duration = Duration::from_secs(5);

const SELECT_IDENTITY: &str = "SELECT index_id, store_id FROM identity";
const INSERT_IDENTITY: &str = "INSERT INTO identity (index_id, store_id) VALUES (?1, ?2)";
const SELECT: &str = "SELECT revision FROM commands WHERE stream = ?1 AND command_id = ?2";
const UPSERT: &str = "INSERT INTO commands (stream, command_id, revision) VALUES (?1, ?2, ?3)
     ON CONFLICT (stream, command_id) DO UPDATE SET revision = excluded.revision";

#[derive(Debug)]
pub(super) struct CommandIndex {
    /// A snapshot names the index that has its commands. A new index has a new id.
    pub id: Uuid,
    reader: Worker<Connection>,
    writer: Mutex<Connection>,
}

impl CommandIndex {
    /// Opens the index in `dir`. Makes a new one if there is none, or if it is damaged, of another version or
    /// of another log.
    pub fn open(dir: &Path, store_id: Uuid) -> io::Result<Self> {
        if let Ok(Some((id, writer))) = Self::try_open(dir, store_id) {
            return Self::with(dir, id, writer);
        }
        for suffix in ["", "-wal", "-shm"] {
            match fs::remove_file(dir.join(format!("{FILE}{suffix}"))) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        let (id, writer) = Self::try_open(dir, store_id).map_err(io::Error::other)?.ok_or_else(|| {
            io::Error::other(format!("another process replaces {FILE} in {}; start again", dir.display()))
        })?;
        Self::with(dir, id, writer)
    }

    fn with(dir: &Path, id: Uuid, writer: Connection) -> io::Result<Self> {
        let reader = Worker::start("command-index", connect(dir).map_err(io::Error::other)?)?;
        Ok(Self { id, reader, writer: Mutex::new(writer) })
    }

    /// The id of the index and its writer. `None` if the index is of another version or of another log.
    fn try_open(dir: &Path, store_id: Uuid) -> rusqlite::Result<Option<(Uuid, Connection)>> {
        let mut writer = connect(dir)?;
        let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(include_str!("commands.sql"))?;
        let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
        let found: Option<(Uuid, Uuid)> = transaction.query_row(SELECT_IDENTITY, [], read).optional()?;
        let id = if let Some((id, of_store)) = found {
            let version: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
            if of_store != store_id || version != VERSION {
                return Ok(None);
            }
            id
        } else {
            let id = Uuid::new_v4();
            transaction.execute(INSERT_IDENTITY, params![id, store_id])?;
            transaction.pragma_update(None, "user_version", VERSION)?;
            id
        };
        transaction.commit()?;
        Ok(Some((id, writer)))
    }

    pub async fn find(&self, stream: &StreamName, id: CommandId) -> io::Result<Option<Revision>> {
        let stream = hash_of(stream);
        let find = move |connection: &mut Connection| -> rusqlite::Result<Option<i64>> {
            let mut select = connection.prepare_cached(SELECT)?;
            select.query_row(params![stream, id.0], |row| row.get(0)).optional()
        };
        let found = self.reader.run(find).await.ok_or_else(|| io::Error::other("the read has panicked"))?;
        Ok(found.map_err(io::Error::other)?.map(i64::cast_unsigned))
    }

    /// Durable when it returns: a snapshot that is written afterwards relies on these entries.
    pub fn add(&self, stream: &StreamName, mut commands: Vec<(CommandId, Revision)>) -> rusqlite::Result<()> {
        // In the order of the keys, so that each page is written once.
        commands.sort_unstable();
        let stream = hash_of(stream);
        let mut connection = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for (id, revision) in commands {
            transaction.prepare_cached(UPSERT)?.execute(params![stream, id.0, revision.cast_signed()])?;
        }
        transaction.commit()
    }
}

fn connect(dir: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(dir.join(FILE))?;
    connection.busy_timeout(BUSY_MAX)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    Ok(connection)
}

fn hash_of(stream: &StreamName) -> i64 {
    let digest = Sha256::digest(stream.to_string().as_bytes());
    digest.iter().take(8).fold(0, |hash, byte| hash << 8 | i64::from(*byte))
}
