//! Creates, locks and checks the file.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rusqlite::{Connection, OpenFlags};
use uuid::Uuid;

use super::errors::{SqliteOpenError, shortfall};
use crate::sqlite::keep_plans;

const SCHEMA: &str = include_str!("event_store.sql");
/// "Orde": `PRAGMA application_id` of every event store.
const APPLICATION_ID: i32 = 0x4f72_6465;
/// `PRAGMA user_version`. Each change of the schema raises it by one.
const SCHEMA_VERSION: i32 = 2;
const COUNT_INDEXED: &str = "SELECT (SELECT count(*) FROM stream_index WHERE stream_no <= up_to), up_to
     FROM stream_index_progress";
/// A check that takes longer is logged.
const QUICK_CHECK_SLOW: Duration = Duration::from_secs(1);
/// Page cache of each reader, KiB.
const READER_CACHE_KIB: i32 = 8 * 1024;

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

/// Checks that the file is an event store with a supported schema. Returns its id and a connection for
/// reading.
pub(super) fn read_only(path: &Path) -> Result<(Uuid, Connection), SqliteOpenError> {
    if !exists(path)? {
        return Err(SqliteOpenError::Missing { path: path.to_owned() });
    }
    let connection = open_reader(path).map_err(|error| SqliteOpenError::from_sqlite(path, error))?;
    Ok((identify(&connection, path)?, connection))
}

pub(super) fn open_reader(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    keep_plans(&connection)?;
    connection.pragma_update(None, "cache_size", -READER_CACHE_KIB)?;
    Ok(connection)
}

fn identify(connection: &Connection, path: &Path) -> Result<Uuid, SqliteOpenError> {
    let sqlite_error = |error| SqliteOpenError::from_sqlite(path, error);
    let application_id: i32 =
        connection.pragma_query_value(None, "application_id", |row| row.get(0)).map_err(sqlite_error)?;
    if application_id != APPLICATION_ID {
        return Err(SqliteOpenError::Foreign { path: path.to_owned() });
    }
    let found: i32 =
        connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(sqlite_error)?;
    if found != SCHEMA_VERSION {
        return Err(SqliteOpenError::OtherSchema { path: path.to_owned(), found, supported: SCHEMA_VERSION });
    }
    let store_id: String =
        connection.query_row("SELECT store_id FROM meta", [], |row| row.get(0)).map_err(sqlite_error)?;
    Uuid::try_parse(&store_id).map_err(|_| SqliteOpenError::Damaged {
        path: path.to_owned(),
        what: format!("its id {store_id:?} is not a UUID"),
    })
}

/// Reads the whole file to find damage: a missing end, broken pages, missing positions, missing index
/// entries.
pub(super) fn check_integrity(connection: &Connection, path: &Path) -> Result<(), SqliteOpenError> {
    let sqlite_error = |error| SqliteOpenError::from_sqlite(path, error);
    let damaged = |what| Err(SqliteOpenError::Damaged { path: path.to_owned(), what });
    let started = Instant::now();
    let has_log = fs::metadata(beside(path, "-wal")).is_ok_and(|metadata| metadata.len() > 0);
    if !has_log {
        // SQLite does not notice a truncated last page.
        let number = |pragma| connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
        let pages = number("page_count").map_err(sqlite_error)?.unsigned_abs();
        let page_bytes = number("page_size").map_err(sqlite_error)?.unsigned_abs();
        if let Some(what) = shortfall(path, pages * page_bytes) {
            return damaged(what);
        }
    }
    let finding: String =
        connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(sqlite_error)?;
    if finding != "ok" {
        return damaged(finding);
    }
    // The count is cheap: SQLite scans only the smallest index, and quick_check has just read its pages.
    let (count, last): (i64, i64) = connection
        .query_row(
            "SELECT (SELECT count(*) FROM events), (SELECT coalesce(max(position), 0) FROM events)",
            [],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .map_err(sqlite_error)?;
    if count != last {
        return damaged(format!("it has {count} events, but its last position is {last}"));
    }
    // A stream that is missing in the index would count as new.
    let (indexed, expected): (i64, i64) = connection
        .query_row(COUNT_INDEXED, [], |row| Ok((row.get(0)?, row.get(1)?)))
        .map_err(sqlite_error)?;
    if indexed != expected {
        return damaged(format!("its index has {indexed} of {expected} streams"));
    }
    let elapsed = started.elapsed();
    if elapsed > QUICK_CHECK_SLOW {
        tracing::info!(
            duration_ms = elapsed.as_millis(),
            events = count,
            "Checked the event store for damage; it is intact"
        );
    }
    Ok(())
}

/// Opens the connection of the writer.
pub(super) fn writable(path: &Path, page_cache_kib: u32) -> Result<Connection, SqliteOpenError> {
    let open = || {
        let connection = open_writable(path)?;
        connection.pragma_update(None, "cache_size", -i64::from(page_cache_kib))?;
        // The checkpointer does this instead.
        connection.pragma_update(None, "wal_autocheckpoint", 0)?;
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
fn beside(path: &Path, suffix: &str) -> PathBuf {
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
