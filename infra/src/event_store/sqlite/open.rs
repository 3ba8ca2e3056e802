//! Creates, locks, identifies and upgrades the file.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
};

use rusqlite::{Connection, OpenFlags, TransactionBehavior, config::DbConfig};
use uuid::Uuid;

use super::{checkpoint::LOG_BYTES_KEPT, errors::SqliteOpenError, rows::UncheckedUpTo};
use crate::sqlite::keep_plans;

const SCHEMA: &str = include_str!("event_store.sql");
/// "Orde": `PRAGMA application_id` of every event store.
const APPLICATION_ID: i32 = 0x4f72_6465;
/// `PRAGMA user_version`. Each change of the schema raises it by one.
const SCHEMA_VERSION: i32 = 3;
/// The version of files whose events have no checksums.
const SCHEMA_VERSION_UNCHECKED: i32 = 2;
/// Changes the text of the schema, as <https://www.sqlite.org/lang_altertable.html> describes: ALTER TABLE
/// would read every row of a STRICT table. A row without the last column has NULL in it.
const UPGRADE: &str = "PRAGMA writable_schema = ON;
     UPDATE sqlite_schema SET sql = replace(sql, 'UNIQUE (stream_no', 'checksum INTEGER, UNIQUE (stream_no')
     WHERE type = 'table' AND name = 'events';
     PRAGMA writable_schema = RESET;
     ALTER TABLE meta ADD COLUMN unchecked_up_to INTEGER NOT NULL DEFAULT 0;
     UPDATE meta SET unchecked_up_to = (SELECT coalesce(max(position), 0) FROM events);";
/// Page cache of each reader, KiB.
const READER_CACHE_KIB: i32 = 4 * 1024;

/// Takes the lock that makes this process the only writer. The kernel releases it with the file handle, also
/// after `kill -9`.
pub(super) fn lock(path: &Path) -> Result<File, SqliteOpenError> {
    let lock_path = beside(path, ".lock");
    let io_error = |source| SqliteOpenError::Io { path: lock_path.clone(), source };
    let lock = File::options().create(true).truncate(false).write(true).open(&lock_path).map_err(io_error)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(SqliteOpenError::InUse { lock: lock_path }),
        Err(TryLockError::Error(source)) => Err(io_error(source)),
    }
}

/// True if there is a store to open. Creation is atomic, so an empty file is damage. A write-ahead log
/// without its file is damage too. SQLite would silently start an empty database in both cases.
pub(super) fn exists(path: &Path) -> Result<bool, SqliteOpenError> {
    let damaged = |what: &str| SqliteOpenError::Damaged { path: path.to_owned(), what: what.to_owned() };
    match fs::metadata(path) {
        Ok(metadata) if metadata.len() == 0 => Err(damaged("the file is empty")),
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let orphaned_log = fs::metadata(beside(path, "-wal")).is_ok_and(|metadata| metadata.len() > 0);
            if orphaned_log {
                Err(damaged("the file is missing, but its write-ahead log exists"))
            } else {
                Ok(false)
            }
        }
        Err(source) => Err(SqliteOpenError::Io { path: path.to_owned(), source }),
    }
}

/// Creates an empty store, under a temporary name until it is complete. Only its owner can read the file,
/// because orders are personal data.
pub(super) fn create(path: &Path) -> Result<(), SqliteOpenError> {
    let io_error = |source| SqliteOpenError::Io { path: path.to_owned(), source };
    let directory = directory_of(path);
    let new_file = tempfile::Builder::new()
        .prefix(".new-event-store-")
        .tempfile_in(directory)
        .map_err(io_error)?
        .into_temp_path();
    initialise(&new_file).map_err(|error| SqliteOpenError::from_sqlite(path, error))?;
    new_file.persist_noclobber(path).map_err(|error| io_error(error.error))?;
    sync_directory(directory).map_err(io_error)
}

fn initialise(path: &Path) -> rusqlite::Result<()> {
    let mut connection = Connection::open(path)?;
    connection.pragma_update(None, "application_id", APPLICATION_ID)?;
    connection.pragma_update(None, "user_version", SCHEMA_VERSION)?;
    let transaction = connection.transaction()?;
    transaction.execute_batch(SCHEMA)?;
    transaction.execute("INSERT INTO meta (store_id) VALUES (?1)", [Uuid::now_v7().to_string()])?;
    transaction.commit()?;
    connection.close().map_err(|(_, error)| error)
}

/// Gives a copy of a log a new id.
pub(super) fn rename_store(connection: &Connection) -> rusqlite::Result<Uuid> {
    let store_id = Uuid::now_v7();
    connection.execute("UPDATE meta SET store_id = ?1", [store_id.to_string()])?;
    Ok(store_id)
}

/// What a file states about itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct Identity {
    pub store_id: Uuid,
    pub unchecked: UncheckedUpTo,
}

/// Checks that the file is an event store, and upgrades a file of an earlier build. Returns a connection for
/// reading.
pub(super) fn read_only(path: &Path) -> Result<(Identity, Connection), SqliteOpenError> {
    if !exists(path)? {
        return Err(SqliteOpenError::Missing { path: path.to_owned() });
    }
    let connection = open_reader(path).map_err(|error| SqliteOpenError::from_sqlite(path, error))?;
    if version(&connection, path)? == SCHEMA_VERSION_UNCHECKED {
        // An owner has upgraded the file, or is just doing that.
        if let Ok(lock) = lock(path) {
            upgrade(path, &lock)?;
        }
    }
    Ok((identify(&connection, path)?, connection))
}

/// [`read_only`] for the process that has the lock.
pub(super) fn read_only_as_owner(
    path: &Path,
    lock: &File,
) -> Result<(Identity, Connection), SqliteOpenError> {
    let connection = open_reader(path).map_err(|error| SqliteOpenError::from_sqlite(path, error))?;
    if version(&connection, path)? == SCHEMA_VERSION_UNCHECKED {
        upgrade(path, lock)?;
    }
    Ok((identify(&connection, path)?, connection))
}

/// Adds the column of checksums to a file of an earlier build, in constant time. Its events stay without a
/// checksum: a checksum computed now would also certify an event that is damaged already.
fn upgrade(path: &Path, _lock: &File) -> Result<(), SqliteOpenError> {
    let run = || {
        let mut connection = open_writable(path)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, false)?;
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(UPGRADE)?;
        transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
        transaction.commit()?;
        connection.close().map_err(|(_, error)| error)
    };
    run().map_err(|error| SqliteOpenError::from_sqlite(path, error))
}

pub(super) fn open_reader(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    keep_plans(&connection)?;
    connection.pragma_update(None, "cache_size", -READER_CACHE_KIB)?;
    Ok(connection)
}

/// The schema version of an event store.
fn version(connection: &Connection, path: &Path) -> Result<i32, SqliteOpenError> {
    let number = |pragma| connection.pragma_query_value(None, pragma, |row| row.get::<_, i32>(0));
    let sqlite_error = |error| SqliteOpenError::from_sqlite(path, error);
    if number("application_id").map_err(sqlite_error)? != APPLICATION_ID {
        return Err(SqliteOpenError::Foreign { path: path.to_owned() });
    }
    number("user_version").map_err(sqlite_error)
}

fn identify(connection: &Connection, path: &Path) -> Result<Identity, SqliteOpenError> {
    let found = version(connection, path)?;
    if found != SCHEMA_VERSION {
        return Err(SqliteOpenError::OtherSchema { path: path.to_owned(), found, supported: SCHEMA_VERSION });
    }
    let (store_id, unchecked): (String, i64) = connection
        .query_row("SELECT store_id, unchecked_up_to FROM meta", [], |row| Ok((row.get(0)?, row.get(1)?)))
        .map_err(|error| SqliteOpenError::from_sqlite(path, error))?;
    let store_id = Uuid::try_parse(&store_id).map_err(|_| SqliteOpenError::Damaged {
        path: path.to_owned(),
        what: format!("its id {store_id:?} is not a UUID"),
    })?;
    Ok(Identity { store_id, unchecked: UncheckedUpTo(unchecked.cast_unsigned()) })
}

/// Opens the connection of the writer.
pub(super) fn writable(path: &Path, page_cache_kib: u32) -> Result<Connection, SqliteOpenError> {
    let open = || {
        let connection = open_writable(path)?;
        connection.pragma_update(None, "cache_size", -i64::from(page_cache_kib))?;
        // The checkpointer does this instead.
        connection.pragma_update(None, "wal_autocheckpoint", 0)?;
        connection.pragma_update(None, "journal_size_limit", LOG_BYTES_KEPT)?;
        Ok(connection)
    };
    open().map_err(|error| SqliteOpenError::from_sqlite(path, error))
}

/// Opens the connection of the checkpointer.
pub(super) fn checkpointing(path: &Path) -> Result<Connection, SqliteOpenError> {
    open_writable(path).map_err(|error| SqliteOpenError::from_sqlite(path, error))
}

/// Changes the header of the file. Call it only after [`read_only`] has identified the file.
fn open_writable(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    keep_plans(&connection)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    Ok(connection)
}

/// `path` with `suffix` appended to its file name.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

pub(super) fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Flushes a directory, so that a new name in it survives power loss.
pub(super) fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}
