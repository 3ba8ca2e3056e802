//! The ledger of the sandbox, in a SQLite file of its own. Each change is on disk before its request is
//! answered.

mod outbox;
mod reports;

use std::{
    fmt,
    fs::{File, TryLockError},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use domain::{PaymentId, RefundId, Timestamp};
use infra::private_files;
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};
use tokio::sync::Notify;

pub use self::outbox::{DueNotice, NoticeOutcome};
use super::{
    account::{Account, ChargeRefusal},
    resource::ChargeStatus,
    script::{DrawKey, SandboxScript},
};
use infra::clock::Clock;

const SCHEMA: &str = include_str!("ledger.sql");
/// The most charges that one round settles.
const SETTLED_MAX: i64 = 100;

/// The ledger; see the module. Clones share one connection, so their writes are serialised.
#[derive(Clone)]
pub struct Ledger {
    connection: Arc<Mutex<Connection>>,
    _lock: Arc<File>,
    clock: Clock,
    /// True if notices are queued. False if there is no receiver.
    queues_notices: bool,
    /// Wakes the tasks that wait for the next due row.
    pub due: Arc<DueSignals>,
}

/// Signals that a settlement, or a notice, may be due.
#[derive(Debug, Default)]
pub struct DueSignals {
    pub settlement: Notify,
    pub notice: Notify,
}

/// The id of a charge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ChargeKey {
    pub payment_id: PaymentId,
    pub number: u32,
}

/// The ledger cannot be opened.
#[derive(Debug, Clone, thiserror::Error)]
#[error("cannot open the ledger of the sandbox, {}: {problem}", path.display())]
pub struct LedgerOpenError {
    path: PathBuf,
    problem: String,
}

/// Why a request did not change the ledger.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    #[error(transparent)]
    Refused(#[from] ChargeRefusal),
    #[error("cannot use the ledger of the sandbox: {0}")]
    Unusable(String),
}

impl From<rusqlite::Error> for LedgerError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Unusable(error.to_string())
    }
}

impl From<serde_json::Error> for LedgerError {
    fn from(error: serde_json::Error) -> Self {
        Self::Unusable(error.to_string())
    }
}

/// What a change can read besides its account.
pub struct LedgerView<'a> {
    transaction: &'a Transaction<'a>,
    pub now: Timestamp,
}

impl LedgerView<'_> {
    /// True if a charge of the payment with the same method has failed.
    pub fn has_failed_before(&self, payment_id: PaymentId, method: &str) -> Result<bool, LedgerError> {
        const SELECT: &str = "SELECT account FROM charges WHERE payment_id = ?1";
        let mut select = self.transaction.prepare_cached(SELECT)?;
        let accounts = select.query_map([payment_id.0], |row| row.get::<_, String>(0))?;
        for account in accounts {
            let charge = serde_json::from_str::<Account>(&account?)?.charge;
            let same_method = charge.terms.is_some_and(|terms| terms.method == method);
            if same_method && charge.status == ChargeStatus::Failed {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Records that the refund belongs to the charge. Refused if it belongs to another charge.
    pub fn claim_refund(&self, refund_id: RefundId, key: ChargeKey) -> Result<(), LedgerError> {
        const INSERT: &str =
            "INSERT INTO refunds (refund_id, payment_id, number) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING";
        const SELECT: &str = "SELECT payment_id = ?2 AND number = ?3 FROM refunds WHERE refund_id = ?1";
        let names = params![refund_id.0, key.payment_id.0, key.number];
        self.transaction.prepare_cached(INSERT)?.execute(names)?;
        let ours: bool = self.transaction.prepare_cached(SELECT)?.query_row(names, |row| row.get(0))?;
        if ours { Ok(()) } else { Err(ChargeRefusal::OtherTerms.into()) }
    }
}

impl Ledger {
    /// Opens the file. Creates it if it does not exist. Fails while another process has it open.
    pub fn open(path: &Path, clock: Clock, queues_notices: bool) -> Result<Self, LedgerOpenError> {
        let failed = |problem: String| LedgerOpenError { path: path.to_owned(), problem };
        let describe = |error: rusqlite::Error| failed(error.to_string());
        private_files::restrict_database(path);
        let lock = lock(path).map_err(failed)?;
        let connection = Connection::open(path).map_err(describe)?;
        connection.pragma_update(None, "journal_mode", "WAL").map_err(describe)?;
        connection.pragma_update(None, "synchronous", "FULL").map_err(describe)?;
        connection.execute_batch(SCHEMA).map_err(describe)?;
        let due = Arc::default();
        let connection = Arc::new(Mutex::new(connection));
        Ok(Self { connection, _lock: Arc::new(lock), clock, queues_notices, due })
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub async fn charge(&self, key: ChargeKey) -> Result<Option<Account>, LedgerError> {
        self.with(move |transaction| load(transaction, key)).await
    }

    /// Counts the attempts of an operation, from 1. Faults of one attempt are drawn by this number.
    pub async fn count_attempt(&self, key: ChargeKey, operation: &str) -> Result<u64, LedgerError> {
        const UPSERT: &str = "INSERT INTO attempts (payment_id, number, what, count) VALUES (?1, ?2, ?3, 1)
             ON CONFLICT DO UPDATE SET count = count + 1 RETURNING count";
        let what = operation.to_owned();
        let count = self.with(move |transaction| {
            let names = params![key.payment_id.0, key.number, what];
            Ok(transaction.prepare_cached(UPSERT)?.query_row(names, |row| row.get::<_, i64>(0))?)
        });
        Ok(u64::try_from(count.await?).unwrap_or_default())
    }

    /// Replaces an account by the result of `change` and queues notices of its new events. Returns the
    /// account, and true if it existed before.
    pub async fn change(
        &self,
        key: ChargeKey,
        script: SandboxScript,
        change: impl FnOnce(&LedgerView<'_>, Option<Account>) -> Result<Account, LedgerError> + Send + 'static,
    ) -> Result<(Account, bool), LedgerError> {
        let (now, queues_notices) = (self.now(), self.queues_notices);
        let changing = self.with(move |transaction| {
            let known = load(transaction, key)?;
            let existed = known.is_some();
            let account = change(&LedgerView { transaction, now }, known.clone())?;
            if known.as_ref() != Some(&account) {
                store(transaction, key, known.as_ref(), &account)?;
                if queues_notices {
                    outbox::queue(transaction, key, &script, &account.new_events)?;
                }
            }
            Ok((account, existed))
        });
        let changed = changing.await?;
        self.due.settlement.notify_one();
        self.due.notice.notify_one();
        Ok(changed)
    }

    /// Settles due charges and refunds. Returns the time at which the next one is due.
    pub async fn settle_due(&self, script: SandboxScript) -> Result<Option<Timestamp>, LedgerError> {
        const DUE: &str =
            "SELECT payment_id, number FROM charges WHERE due_at <= ?1 ORDER BY due_at LIMIT ?2";
        const NEXT: &str = "SELECT min(due_at) FROM charges WHERE due_at IS NOT NULL";
        let now = self.now();
        let due: Vec<ChargeKey> = self
            .with(move |transaction| {
                let mut select = transaction.prepare_cached(DUE)?;
                let keys = select.query_map(params![now.as_microsecond(), SETTLED_MAX], |row| {
                    Ok(ChargeKey { payment_id: PaymentId(row.get(0)?), number: row.get(1)? })
                })?;
                Ok(keys.collect::<rusqlite::Result<_>>()?)
            })
            .await?;
        for key in due {
            let settling = self.change(key, script, |view, account| {
                let mut account = account.ok_or(ChargeRefusal::Unknown)?;
                account.settle_due(view.now)?;
                Ok(account)
            });
            settling.await?;
        }
        self.with(|transaction| {
            let next = transaction.prepare_cached(NEXT)?.query_row([], |row| row.get::<_, Option<i64>>(0))?;
            Ok(next.and_then(|at| Timestamp::from_microsecond(at).ok()))
        })
        .await
    }

    /// Runs a transaction on a thread that may block.
    async fn with<T: Send + 'static>(
        &self,
        run: impl FnOnce(&Transaction<'_>) -> Result<T, LedgerError> + Send + 'static,
    ) -> Result<T, LedgerError> {
        let shared = Arc::clone(&self.connection);
        let running = tokio::task::spawn_blocking(move || {
            let mut connection = shared.lock().unwrap_or_else(PoisonError::into_inner);
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let outcome = run(&transaction)?;
            transaction.commit()?;
            Ok(outcome)
        });
        running.await.unwrap_or_else(|error| Err(LedgerError::Unusable(error.to_string())))
    }
}

/// Keeps other sandboxes from the file. A lock of SQLite would keep backups from it too. The kernel releases the lock
/// with the returned file, also after `kill -9`.
fn lock(path: &Path) -> Result<File, String> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let lock = File::options().create(true).truncate(false).write(true).open(Path::new(&name));
    let lock = lock.map_err(|error| format!("its lock cannot be opened: {error}"))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err("another process has it open".to_owned()),
        Err(TryLockError::Error(error)) => Err(format!("it cannot be locked: {error}")),
    }
}

fn load(transaction: &Transaction<'_>, key: ChargeKey) -> Result<Option<Account>, LedgerError> {
    const SELECT: &str = "SELECT account FROM charges WHERE payment_id = ?1 AND number = ?2";
    let mut select = transaction.prepare_cached(SELECT)?;
    let names = params![key.payment_id.0, key.number];
    let account: Option<String> = select.query_row(names, |row| row.get(0)).optional()?;
    Ok(account.as_deref().map(serde_json::from_str).transpose()?)
}

fn store(
    transaction: &Transaction<'_>,
    key: ChargeKey,
    known: Option<&Account>,
    account: &Account,
) -> Result<(), LedgerError> {
    const UPSERT: &str = "INSERT INTO charges (payment_id, number, due_at, account) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (payment_id, number) DO UPDATE SET due_at = ?3, account = ?4";
    const INSERT: &str = "INSERT INTO movements (payment_id, number, kind, currency, amount, at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    let due_at = account.due_at().map(Timestamp::as_microsecond);
    let body = serde_json::to_string(account)?;
    let row = params![key.payment_id.0, key.number, due_at, body];
    transaction.prepare_cached(UPSERT)?.execute(row)?;

    let Some(terms) = &account.charge.terms else { return Ok(()) };
    let known_movements = known.map_or(0, |known| known.charge.movements.len());
    let mut insert = transaction.prepare_cached(INSERT)?;
    for movement in account.charge.movements.iter().skip(known_movements) {
        let (kind, currency) = (movement.kind.as_str(), terms.currency.as_str());
        let (amount, at) = (movement.amount.minor_units(), movement.at.as_microsecond());
        insert.execute(params![key.payment_id.0, key.number, kind, currency, amount, at])?;
    }
    Ok(())
}

impl ChargeKey {
    /// The key of a random draw for this charge.
    pub fn draw_key(self, operation: &str, attempt: u64) -> DrawKey<'_> {
        DrawKey { payment: self.payment_id, charge: self.number, operation, attempt }
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger").field("queues_notices", &self.queues_notices).finish_non_exhaustive()
    }
}

impl fmt::Debug for LedgerView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LedgerView").field("now", &self.now).finish_non_exhaustive()
    }
}
