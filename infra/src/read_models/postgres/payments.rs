//! Payments.

use std::sync::Arc;

use async_trait::async_trait;
use deadpool_postgres::{Object, Transaction};
use domain::{OrderId, PaymentId, payment::PaymentState};
use postgres_types::{FromSql, Json, ToSql};
use tokio_postgres::{Client, Row, Statement};
use uuid::Uuid;

use super::{
    PostgresQueries,
    audit::{Scan, Stop},
    copy::Copy,
    order_lists::DIALECT,
    orders,
    values::{JsonText, all, cell, json_text, one, optional_time, revision, time},
    walks::{self, Walked},
};
use crate::{
    postgres::Timestamptz,
    read_models::{
        Count, PaymentFilter, PaymentPage, PaymentQueries, PaymentRow, PaymentSummary, PaymentSummaryRow,
        Projection, ReadModelError, RowKeys, Rows, ScannedPage, StoredRow,
        encoded::{EncodedPayment, EncodedRow, PaymentHead},
        list_sql::ListSql,
        payments::ids_of_order,
    },
};

pub(super) const SCHEMA: &str = include_str!("payments.sql");

/// The states of payments that were requested.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ToSql, FromSql)]
#[postgres(name = "payment_state", rename_all = "snake_case")]
enum PgPaymentState {
    Requested,
    Authorized,
    Captured,
    Failed,
    Voided,
    OutcomeUnknown,
}

impl PgPaymentState {
    /// `None` if the order ended before the payment was requested.
    fn of(state: PaymentState) -> Option<Self> {
        match state {
            PaymentState::New => None,
            PaymentState::Requested => Some(Self::Requested),
            PaymentState::Authorized => Some(Self::Authorized),
            PaymentState::Captured => Some(Self::Captured),
            PaymentState::Failed => Some(Self::Failed),
            PaymentState::Voided => Some(Self::Voided),
            PaymentState::OutcomeUnknown => Some(Self::OutcomeUnknown),
        }
    }

    fn state(self) -> PaymentState {
        match self {
            Self::Requested => PaymentState::Requested,
            Self::Authorized => PaymentState::Authorized,
            Self::Captured => PaymentState::Captured,
            Self::Failed => PaymentState::Failed,
            Self::Voided => PaymentState::Voided,
            Self::OutcomeUnknown => PaymentState::OutcomeUnknown,
        }
    }
}

/// The condition that a payment has this state.
pub(super) fn has_state(state: PaymentState) -> String {
    match PgPaymentState::of(state) {
        Some(_) => format!("state = '{}'", state.as_str()),
        None => "state IS NULL".to_owned(),
    }
}

/// Every column but `row_no`, in the order of [`encoded`].
const COLUMNS: &str = "payment_id, revision, recorded_at, updated_at, state, order_id, reference, failure,
     declined, awaits_provider_since, authorized_until, times, summary, body";

/// Reads the [`COLUMNS`].
fn encoded(row: &Row) -> Result<EncodedPayment, ReadModelError> {
    let head = PaymentHead {
        payment_id: PaymentId(cell(row, 0)?),
        revision: revision(row, 1)?,
        recorded_at: time(row, 2)?,
        updated_at: time(row, 3)?,
        state: cell::<Option<PgPaymentState>>(row, 4)?.map_or(PaymentState::New, PgPaymentState::state),
        order_id: cell::<Option<Uuid>>(row, 5)?.map(OrderId),
        reference: cell(row, 6)?,
        failure: cell(row, 7)?,
        declined: cell(row, 8)?,
        awaits_provider_since: optional_time(row, 9)?,
        authorized_until: optional_time(row, 10)?,
    };
    Ok(EncodedPayment {
        head,
        times: json_text(row, 11)?,
        summary: json_text(row, 12)?,
        body: json_text(row, 13)?,
    })
}

const ROW_COLUMNS: &str = "payment_id, revision, recorded_at, updated_at, awaits_provider_since, times, body";

fn payment_row(row: &Row) -> Result<PaymentRow, ReadModelError> {
    let (Json(refund_times), Json(payment)) = (cell(row, 5)?, cell(row, 6)?);
    Ok(PaymentRow {
        payment_id: PaymentId(cell(row, 0)?),
        revision: revision(row, 1)?,
        recorded_at: time(row, 2)?,
        updated_at: time(row, 3)?,
        awaits_provider_since: optional_time(row, 4)?,
        refund_times,
        payment,
    })
}

const SUMMARY_COLUMNS: &str = "payment_id, revision, recorded_at, updated_at, summary";

fn summary_row(row: &Row) -> Result<PaymentSummaryRow, ReadModelError> {
    let Json(summary): Json<PaymentSummary> = cell(row, 4)?;
    Ok(PaymentSummaryRow {
        payment_id: PaymentId(cell(row, 0)?),
        revision: revision(row, 1)?,
        recorded_at: time(row, 2)?,
        updated_at: time(row, 3)?,
        summary,
    })
}

pub(super) async fn load(client: &Object, keys: &RowKeys) -> Result<Vec<Arc<PaymentRow>>, ReadModelError> {
    if keys.payments.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<Uuid> = keys.payments.iter().map(|id| id.0).collect();
    let sql = format!("SELECT {ROW_COLUMNS} FROM payments WHERE payment_id = ANY($1)");
    all(client, &sql, &[&ids], |row| payment_row(row).map(Arc::new)).await
}

const UPSERT: &str = "INSERT INTO payments
         (payment_id, revision, recorded_at, updated_at, state, order_id, reference, failure, declined,
          awaits_provider_since, authorized_until, times, summary, body)
     SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::timestamptz[], $4::timestamptz[],
         $5::payment_state[], $6::uuid[], $7::text[], $8::text[], $9::boolean[], $10::timestamptz[],
         $11::timestamptz[], $12::json[], $13::json[], $14::json[])
     ON CONFLICT (payment_id) DO UPDATE SET revision = excluded.revision,
         recorded_at = excluded.recorded_at, updated_at = excluded.updated_at, state = excluded.state,
         order_id = excluded.order_id, reference = excluded.reference, failure = excluded.failure,
         declined = excluded.declined, awaits_provider_since = excluded.awaits_provider_since,
         authorized_until = excluded.authorized_until, times = excluded.times, summary = excluded.summary,
         body = excluded.body";

/// Writes the rows of a batch. See [`super::write`] for why statements are prepared first.
pub(super) struct Writer<'t> {
    transaction: &'t Transaction<'t>,
    upsert: Statement,
}

impl<'t> Writer<'t> {
    pub(super) async fn prepare(transaction: &'t Transaction<'t>) -> Result<Self, ReadModelError> {
        Ok(Self { transaction, upsert: transaction.prepare_cached(UPSERT).await? })
    }

    pub(super) async fn write(&self, rows: &Rows) -> Result<(), ReadModelError> {
        let rows = &rows.payments;
        if rows.is_empty() {
            return Ok(());
        }
        let encoded = rows.iter().map(|row| EncodedPayment::of_row(row)).collect::<Result<Vec<_>, _>>()?;
        let heads = || encoded.iter().map(|row| &row.head);
        let ids: Vec<Uuid> = heads().map(|head| head.payment_id.0).collect();
        let revisions: Vec<i64> = heads().map(|head| head.revision.cast_signed()).collect();
        let recorded: Vec<Timestamptz> = heads().map(|head| head.recorded_at.into()).collect();
        let updated: Vec<Timestamptz> = heads().map(|head| head.updated_at.into()).collect();
        let states: Vec<_> = heads().map(|head| PgPaymentState::of(head.state)).collect();
        let orders: Vec<Option<Uuid>> = heads().map(|head| head.order_id.map(|id| id.0)).collect();
        let references: Vec<Option<&str>> = heads().map(|head| head.reference.as_deref()).collect();
        let failures: Vec<Option<&str>> = heads().map(|head| head.failure.as_deref()).collect();
        let declined: Vec<bool> = heads().map(|head| head.declined).collect();
        let waiting: Vec<Option<Timestamptz>> =
            heads().map(|head| head.awaits_provider_since.map(Timestamptz::from)).collect();
        let until: Vec<Option<Timestamptz>> =
            heads().map(|head| head.authorized_until.map(Timestamptz::from)).collect();
        let times: Vec<_> = encoded.iter().map(|row| JsonText(&row.times)).collect();
        let summaries: Vec<_> = encoded.iter().map(|row| JsonText(&row.summary)).collect();
        let bodies: Vec<_> = encoded.iter().map(|row| JsonText(&row.body)).collect();
        let values: [&(dyn ToSql + Sync); 14] = [
            &ids,
            &revisions,
            &recorded,
            &updated,
            &states,
            &orders,
            &references,
            &failures,
            &declined,
            &waiting,
            &until,
            &times,
            &summaries,
            &bodies,
        ];
        self.transaction.execute(&self.upsert, &values).await?;
        Ok(())
    }
}

/// Adds rows of a rebuild.
pub(super) async fn copy(client: &Client, rows: &[EncodedPayment]) -> Result<(), ReadModelError> {
    let mut payments = Copy::begin(client, "payments", COLUMNS).await?;
    for EncodedPayment { head, times, summary, body } in rows {
        payments
            .row(&[
                &head.payment_id.0,
                &head.revision.cast_signed(),
                &Timestamptz::from(head.recorded_at),
                &Timestamptz::from(head.updated_at),
                &PgPaymentState::of(head.state),
                &head.order_id.map(|id| id.0),
                &head.reference,
                &head.failure,
                &head.declined,
                &head.awaits_provider_since.map(Timestamptz::from),
                &head.authorized_until.map(Timestamptz::from),
                &JsonText(times),
                &JsonText(summary),
                &JsonText(body),
            ])
            .await?;
    }
    payments.finish().await
}

/// Sends every payment as it is stored.
pub(super) async fn scan_encoded(scan: &Scan<'_, EncodedRow>) -> Result<(), Stop> {
    let sql = format!("SELECT {COLUMNS} FROM payments");
    scan.each(&sql, Projection::Payments, encoded, |row, chunk| chunk.push(EncodedRow::Payment(row))).await
}

pub(super) async fn scan(scan: &Scan<'_, StoredRow>) -> Result<(), Stop> {
    let sql = format!("SELECT {COLUMNS} FROM payments");
    scan.each(&sql, Projection::Payments, stored_payment, |(head, summary, row), chunk| {
        let expected = PaymentSummary::of(&row.payment);
        if summary != expected || head != PaymentHead::of(&row, &expected) {
            let fault = "a search column or the summary differs from the payment";
            chunk.push(StoredRow::broken(Projection::Payments, row.payment_id.to_string(), fault));
        }
        chunk.push(StoredRow::Payment(Box::new(row)));
    })
    .await
}

fn stored_payment(row: &Row) -> Result<(PaymentHead, PaymentSummary, PaymentRow), ReadModelError> {
    let head = encoded(row)?.head;
    let (Json(refund_times), Json(summary), Json(payment)) = (cell(row, 11)?, cell(row, 12)?, cell(row, 13)?);
    let PaymentHead { payment_id, revision, recorded_at, updated_at, awaits_provider_since, .. } = head;
    let row = PaymentRow {
        payment_id,
        revision,
        recorded_at,
        updated_at,
        awaits_provider_since,
        refund_times,
        payment,
    };
    Ok((head, summary, row))
}

#[async_trait]
impl PaymentQueries for PostgresQueries {
    async fn payment(&self, id: PaymentId) -> Result<Option<PaymentRow>, ReadModelError> {
        let sql = format!("SELECT {ROW_COLUMNS} FROM payments WHERE payment_id = $1");
        self.database.run(async |client| one(client, &sql, &[&id.0], payment_row).await).await
    }

    async fn payments(&self, filter: &PaymentFilter, limit: usize) -> Result<PaymentPage, ReadModelError> {
        self.database.run(async |client| list_page(client, filter, limit).await).await
    }

    async fn payment_count(&self, filter: &PaymentFilter) -> Result<Count, ReadModelError> {
        let mut counting = ListSql::new(&DIALECT);
        let sql = counting.payment_count(filter);
        self.database.run(async |client| walks::count(client, &sql, &counting.values).await).await
    }
}

async fn list_page(
    client: &mut Object,
    filter: &PaymentFilter,
    limit: usize,
) -> Result<PaymentPage, ReadModelError> {
    if let Some(order_id) = filter.order_id {
        let ids = ids_of_order(order_id, orders::summary(client, order_id).await?.as_ref());
        let keys: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
        let sql = format!("SELECT {SUMMARY_COLUMNS} FROM payments WHERE payment_id = ANY($1)");
        let mut rows = all(client, &sql, &[&keys], summary_row).await?;
        rows.sort_by_key(|row| ids.iter().position(|id| *id == row.payment_id));
        return Ok(filter.page_of_order(order_id, rows, limit));
    }
    let place = |row: &Row| Ok(PaymentId(cell(row, 1)?));
    let (rows, looked_up_to) = walks::page(client, &walked(filter, limit), limit, summary_row, place).await?;
    Ok(ScannedPage::cut(rows, limit, |row| row.payment_id, looked_up_to))
}

/// The statements of a page.
pub(super) fn walked(filter: &PaymentFilter, limit: usize) -> Walked {
    let mut sql = ListSql::new(&DIALECT);
    let keys = sql.payment_keys(filter, limit.saturating_add(1));
    let key_values = sql.values.len();
    let left = sql.payment_conditions_left(filter);
    let limit = sql.bind_limit(limit.saturating_add(1));
    let conditions = if left.is_empty() { "true".to_owned() } else { left.join(" AND ") };
    let page = format!(
        "SELECT {SUMMARY_COLUMNS} FROM ({}) AS page JOIN payments ON payment_id = page_id WHERE {conditions}
         ORDER BY page_key {} LIMIT {limit}",
        keys.sql,
        filter.direction.as_str()
    );
    Walked { page, keys, values: sql.values, key_values, is_kept: filter.state.len() <= 1 }
}
