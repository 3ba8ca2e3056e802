//! Marks the open reservations of orders that have ended.
//!
//! Partitions of stock and of orders have different owners, so neither owner sees a reservation and the end of its order in
//! one transaction for sure. Each owner looks for new pairs after its own commit. Of two commits, the later owner finds both.
//! If a process ends between its commit and its marks, the next owner of the partition looks at all reservations at its
//! first commit. The sweep does so too, rarely, for a partition without further commits.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use deadpool_postgres::Object;
use tokio::time::Instant;
use tokio_postgres::Client;
use uuid::Uuid;

use crate::{
    postgres::Database,
    read_models::{ReadModelError, Rows, orders::skus_of},
};

/// The reservations of these pairs. A row that another transaction has locked is skipped: that one looks after its commit.
pub(super) const MARK: &str = "UPDATE reservations SET order_ended = true
     FROM (SELECT sku, order_id FROM (SELECT * FROM unnest($1::text[], $2::uuid[]) AS changed (sku, order_id)
               WHERE EXISTS (SELECT FROM orders WHERE orders.order_id = changed.order_id
                   AND status IN ('rejected', 'cancelled', 'expired') OFFSET 0) OFFSET 0) AS of_ended
           JOIN reservations AS held USING (sku, order_id)
           WHERE NOT held.order_ended FOR UPDATE OF held SKIP LOCKED) AS ended
     WHERE reservations.sku = ended.sku AND reservations.order_id = ended.order_id";
const MARK_ALL: &str = "UPDATE reservations SET order_ended = true
     FROM (SELECT sku, order_id FROM reservations AS held
           WHERE NOT order_ended AND EXISTS (SELECT FROM orders WHERE orders.order_id = held.order_id
               AND status IN ('rejected', 'cancelled', 'expired') OFFSET 0)
           FOR UPDATE OF held SKIP LOCKED) AS ended
     WHERE reservations.sku = ended.sku AND reservations.order_id = ended.order_id";

/// How often the sweep looks at all reservations.
const LOOK_AT_ALL_EVERY: Duration = Duration::from_mins(10);

/// The last look at all reservations. `None` if marks may be missing: at the start, because the process before this one
/// may have ended before its marks. Shared by all clones of a writer, or of a reader.
#[derive(Debug, Clone, Default)]
pub(super) struct Marks(Arc<Mutex<Option<Look>>>);

#[derive(Debug, Clone, Copy)]
struct Look {
    begun: Instant,
    /// The losses of connections before it: a server that stopped later may have kept a commit and lost its marks.
    losses: u64,
}

impl Marks {
    /// Another process may have owned the partition.
    pub fn may_be_missing(&self) {
        self.set(None);
    }

    /// Marks what a commit has changed. The commit stands if this fails: the next one looks at all reservations.
    pub async fn follow(&self, database: &Database, client: &Object, rows: &Rows) {
        if self.last_look(database).is_none() {
            return self.look_at_all(database).await;
        }
        if let Err(error) = mark(client, rows).await {
            self.failed(&error);
        }
    }

    /// Looks at all reservations if that was long ago.
    pub async fn look_again(&self, database: &Database) {
        if self.last_look(database).is_none_or(|look| look.begun.elapsed() >= LOOK_AT_ALL_EVERY) {
            self.look_at_all(database).await;
        }
    }

    async fn look_at_all(&self, database: &Database) {
        self.set(Some(Look { begun: Instant::now(), losses: database.losses() }));
        if let Err(error) = mark_missing(database).await {
            self.failed(&error);
        }
    }

    fn failed(&self, error: &ReadModelError) {
        self.may_be_missing();
        tracing::warn!(%error, "Cannot mark reservations of ended orders; all of them are looked at later");
    }

    fn last_look(&self, database: &Database) -> Option<Look> {
        let look = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        look.filter(|look| look.losses == database.losses())
    }

    fn set(&self, look: Option<Look>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = look;
    }
}

async fn mark(client: &Object, rows: &Rows) -> Result<(), ReadModelError> {
    let reserved = rows.reservations.iter().map(|row| (row.sku.as_str(), row.order_id.0));
    let ended = rows.orders.iter().filter(|row| row.order.status().is_final());
    let of_ended =
        ended.flat_map(|row| skus_of(&row.order).into_iter().map(|sku| (sku.as_str(), row.order_id.0)));
    let (skus, orders): (Vec<&str>, Vec<Uuid>) = reserved.chain(of_ended).unzip();
    if skus.is_empty() {
        return Ok(());
    }
    let statement = client.prepare_cached(MARK).await?;
    client.execute(&statement, &[&skus, &orders]).await?;
    Ok(())
}

/// Looks at all reservations, in a session for long work.
async fn mark_missing(database: &Database) -> Result<(), ReadModelError> {
    mark_all(&database.session().await?).await
}

/// Marks all reservations of the schema of a session.
pub(super) async fn mark_all(client: &Client) -> Result<(), ReadModelError> {
    client.execute(MARK_ALL, &[]).await?;
    Ok(())
}
