//! All rows anew: written in order into a file of their own, indexed last, then put in the place of the old ones.

use std::{
    collections::HashSet,
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use domain::{OrderId, Position, Timestamp};
use rusqlite::{
    Connection, Transaction,
    backup::{Backup, StepResult},
    params,
};

use super::{
    audit,
    columns::signed_position,
    connections::{OpenError, create_indexes, create_tables, expect_read_models, open_writer},
    write::{
        INSERT_ORDER, INSERT_ORDER_SKU, INSERT_PAYMENT, INSERT_RESERVATION, columns_of, insert_order,
        insert_payment, json, write_parked, write_sales, write_stock, write_stock_events,
    },
};
use crate::{
    event_source::Partition,
    read_models::{
        OrderRow, Projection, ReadModelError, ReservationRow,
        audit::{AllRows, Audit, Rebuild, Staged, Stored},
        skus_of,
    },
    sqlite::keep_plans,
};

const PAGE_CACHE_KIB: i32 = 256 * 1024;
const ROWS_PER_CHUNK: usize = 256;
const CHUNKS_AHEAD: usize = 8;
/// How long publishing waits for a commit, or a checkpoint of the write-ahead log, of the process in charge.
const PUBLISH_PATIENCE: Duration = Duration::from_mins(1);
const BUSY_PAUSE: Duration = Duration::from_millis(5);

/// Makes the file of read models anew, whether or not what is there now can be opened.
#[derive(Debug)]
pub struct SqliteRebuild {
    path: PathBuf,
}

impl SqliteRebuild {
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }
}

#[async_trait]
impl Rebuild for SqliteRebuild {
    async fn stage(
        &self,
        positions: &[(Partition, Option<Position>)],
        rows: Arc<AllRows>,
    ) -> Result<Box<dyn Staged>, ReadModelError> {
        let path = self.path.clone();
        let positions = positions.to_vec();
        blocking(move || {
            let staged = StagedFile::reserve(&path)?;
            write_file(&staged.file, &positions, &rows)?;
            Ok(Box::new(staged) as Box<dyn Staged>)
        })
        .await
    }
}

/// A finished file beside the one in use.
#[derive(Debug)]
struct StagedFile {
    target: PathBuf,
    file: PathBuf,
    /// Keeps a second rebuild away; it ends with the handle, also by `kill -9`.
    _lock: File,
}

impl StagedFile {
    fn reserve(target: &Path) -> Result<Self, ReadModelError> {
        let lock_path = beside(target, ".rebuild.lock");
        let lock = File::options().create(true).truncate(false).write(true).open(&lock_path)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(ReadModelError::Unavailable(
                    "another rebuild of these read models is under way".into(),
                ));
            }
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        let file = beside(target, ".rebuild");
        // Left over by a rebuild that was killed.
        remove_if_there(&file)?;
        Ok(Self { target: target.to_owned(), file, _lock: lock })
    }

    fn publish(&self) -> Result<(), ReadModelError> {
        if !fs::exists(&self.target)? {
            return self.rename();
        }
        let mut target = Connection::open(&self.target)?;
        match expect_read_models(&target, &self.target) {
            Ok(()) => {}
            // Nothing of what is there can be read, so nobody can be at work on it.
            Err(OpenError::Damaged { .. }) => return self.rename(),
            Err(error) => return Err(ReadModelError::Unavailable(error.to_string().into())),
        }
        match self.restore(&mut target) {
            Err(ReadModelError::Corrupt(_)) => self.rename(),
            outcome => outcome,
        }
    }

    /// Copies the pages over the old ones in one SQLite transaction. A rename would leave every process that has
    /// the file open with one that is gone, and its write-ahead log lying beside a file that it does not belong to.
    fn restore(&self, target: &mut Connection) -> Result<(), ReadModelError> {
        let staged = Connection::open(&self.file)?;
        target.busy_timeout(PUBLISH_PATIENCE)?;
        let give_up = Instant::now() + PUBLISH_PATIENCE;
        let copy = Backup::new(&staged, target)?;
        loop {
            match copy.step(-1)? {
                StepResult::Done => break,
                StepResult::More => {}
                _ if Instant::now() < give_up => thread::sleep(BUSY_PAUSE),
                _ => {
                    return Err(ReadModelError::Unavailable(
                        "another process keeps the read models busy".into(),
                    ));
                }
            }
        }
        drop(copy);
        // As large as the file itself; truncating may have to wait for readers, and is then left to a later commit.
        let _ = target.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        Ok(())
    }

    /// What was there is kept under another name.
    fn rename(&self) -> Result<(), ReadModelError> {
        if fs::exists(&self.target)? {
            fs::rename(&self.target, beside(&self.target, ".damaged"))?;
        }
        for suffix in ["-wal", "-shm", "-journal"] {
            remove_if_there(&beside(&self.target, suffix))?;
        }
        File::open(&self.file).and_then(|file| file.sync_all())?;
        fs::rename(&self.file, &self.target)?;
        Ok(open_writer(&self.target).map(drop)?)
    }
}

impl Drop for StagedFile {
    fn drop(&mut self) {
        if let Err(error) = remove_if_there(&self.file) {
            tracing::warn!(%error, file = %self.file.display(), "A staged file of read models is left behind");
        }
    }
}

#[async_trait]
impl Audit for StagedFile {
    async fn stored(&self) -> Result<Stored, ReadModelError> {
        audit::stored(&self.file).await
    }
}

#[async_trait]
impl Staged for StagedFile {
    async fn publish(self: Box<Self>) -> Result<(), ReadModelError> {
        blocking(move || StagedFile::publish(&self)).await
    }
}

fn write_file(
    file: &Path,
    positions: &[(Partition, Option<Position>)],
    rows: &AllRows,
) -> Result<(), ReadModelError> {
    let mut connection = Connection::open(file)?;
    keep_plans(&connection)?;
    // A file that is of no use until it is complete needs no journal.
    connection.pragma_update(None, "journal_mode", "OFF")?;
    connection.pragma_update(None, "synchronous", "OFF")?;
    connection.pragma_update(None, "cache_size", -PAGE_CACHE_KIB)?;
    connection.pragma_update(None, "threads", 2)?;
    let transaction = connection.transaction()?;
    create_tables(&transaction)?;
    write_rows(&transaction, positions, rows)?;
    create_indexes(&transaction)?;
    transaction.commit()?;
    Ok(connection.close().map_err(|(_, error)| error)?)
}

fn write_rows(
    transaction: &Transaction<'_>,
    positions: &[(Partition, Option<Position>)],
    rows: &AllRows,
) -> Result<(), ReadModelError> {
    const CHECKPOINT: &str =
        "INSERT INTO checkpoints (projection, partition, position, log_position, updated_at)
         VALUES (?1, ?2, ?3, ?4, ?5)";
    transaction.execute("UPDATE log SET store_id = ?1", [rows.store_id])?;
    let now = Timestamp::now().as_microsecond();
    let log_position = signed_position(rows.position);
    for (partition, position) in positions {
        let position = signed_position(*position);
        for projection in Projection::fed_by(partition) {
            let values = params![projection.as_str(), partition.0, position, log_position, now];
            transaction.execute(CHECKPOINT, values)?;
        }
    }
    write_parked(transaction, &rows.parked)?;
    write_stock(transaction, &rows.stock)?;
    write_orders(transaction, &rows.orders)?;
    write_order_skus(transaction, &rows.orders)?;
    write_reservations(transaction, rows)?;
    write_stock_events(transaction, &rows.order_stock_events)?;
    let mut insert = transaction.prepare(INSERT_PAYMENT)?;
    with_json(&rows.payments, |row| json(&row.payment), |row, body| insert_payment(&mut insert, row, body))?;
    rows.sales.iter().try_for_each(|(partition, sums)| write_sales(transaction, partition, sums))
}

fn write_orders(transaction: &Transaction<'_>, rows: &[Arc<OrderRow>]) -> Result<(), ReadModelError> {
    let mut insert = transaction.prepare(INSERT_ORDER)?;
    with_json(rows, |row| json(&row.order), |row, body| insert_order(&mut insert, row, body))
}

/// Hands each row to `write` with its JSON, which another thread makes meanwhile.
fn with_json<R: Send + Sync>(
    rows: &[Arc<R>],
    to_json: impl Fn(&R) -> Result<String, ReadModelError> + Send,
    mut write: impl FnMut(&R, &str) -> Result<(), ReadModelError>,
) -> Result<(), ReadModelError> {
    thread::scope(|scope| {
        let (sender, bodies) = mpsc::sync_channel::<Vec<Result<String, ReadModelError>>>(CHUNKS_AHEAD);
        scope.spawn(move || {
            for chunk in rows.chunks(ROWS_PER_CHUNK) {
                let bodies = chunk.iter().map(|row| to_json(row)).collect();
                if sender.send(bodies).is_err() {
                    // The writer has failed, and says so.
                    return;
                }
            }
        });
        let bodies = bodies.into_iter().flatten();
        for (row, body) in rows.iter().zip(bodies) {
            write(row, &body?)?;
        }
        Ok(())
    })
}

fn write_order_skus(transaction: &Transaction<'_>, rows: &[Arc<OrderRow>]) -> Result<(), ReadModelError> {
    let mut entries = Vec::new();
    for row in rows {
        let columns = columns_of(row)?;
        let of_sku = |sku| (sku, columns.status, columns.placed_at, row.order_id);
        entries.extend(skus_of(&row.order).into_iter().map(of_sku));
    }
    entries.sort_unstable();
    let mut insert = transaction.prepare(INSERT_ORDER_SKU)?;
    for (sku, status, placed_at, order_id) in entries {
        insert.execute(params![sku.as_str(), status, placed_at, order_id.0])?;
    }
    Ok(())
}

fn write_reservations(transaction: &Transaction<'_>, rows: &AllRows) -> Result<(), ReadModelError> {
    let ended_orders = rows.orders.iter().filter(|row| row.order.status().is_final());
    let ended: HashSet<OrderId> = ended_orders.map(|row| row.order_id).collect();
    let mut insert = transaction.prepare(INSERT_RESERVATION)?;
    for ReservationRow { sku, order_id, quantity } in &rows.reservations {
        insert.execute(params![sku.as_str(), order_id.0, quantity, ended.contains(order_id)])?;
    }
    Ok(())
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ReadModelError> + Send + 'static,
) -> Result<T, ReadModelError> {
    let running = tokio::task::spawn_blocking(work);
    running.await.unwrap_or_else(|error| Err(ReadModelError::Unavailable(error.to_string().into())))
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn remove_if_there(file: &Path) -> Result<(), ReadModelError> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

impl From<io::Error> for ReadModelError {
    fn from(error: io::Error) -> Self {
        Self::Unavailable(error.to_string().into())
    }
}
