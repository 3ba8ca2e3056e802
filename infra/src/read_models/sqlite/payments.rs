//! Payments.

use async_trait::async_trait;
use domain::{OrderId, PaymentId, Timestamp, payment::PaymentState};
use rusqlite::{Connection, OptionalExtension, Row, Statement, Transaction, params};
use uuid::Uuid;

use super::{
    SqliteQueries,
    audit::{Sink, Stop, each},
    order_lists::DIALECT,
    orders,
    values::{coded, from_json, optional_time, revision, time},
    walks,
};
use crate::read_models::{
    Count, PaymentFilter, PaymentPage, PaymentQueries, PaymentRow, PaymentSummary, PaymentSummaryRow,
    Projection, ReadModelError, RowKeys, Rows, ScannedPage, StoredRow,
    encoded::{EncodedPayment, EncodedRow, PaymentHead},
    list_sql::{Bound, ListSql},
    payments::ids_of_order,
};

pub(super) const SCHEMA: &str = include_str!("payments.sql");

/// Every state that stored payments can have.
const STATES: [PaymentState; 7] = [
    PaymentState::New,
    PaymentState::Requested,
    PaymentState::Authorized,
    PaymentState::Captured,
    PaymentState::Failed,
    PaymentState::Voided,
    PaymentState::OutcomeUnknown,
];

/// Stored: changing a number needs a new schema version.
fn state_code(state: PaymentState) -> i64 {
    match state {
        PaymentState::New => 0,
        PaymentState::Requested => 1,
        PaymentState::Authorized => 2,
        PaymentState::Captured => 3,
        PaymentState::Failed => 4,
        PaymentState::Voided => 5,
        PaymentState::OutcomeUnknown => 6,
    }
}

/// The condition that a payment has this state.
pub(super) fn has_state(state: PaymentState) -> String {
    format!("state = {}", state_code(state))
}

/// Every column but `row_no`, in the order of [`execute`] and [`encoded`].
const COLUMNS: &str = "payment_id, revision, recorded_at, updated_at, state, order_id, reference, failure,
     declined, awaits_provider_since, authorized_until, times, summary, body";

/// Executes a statement with the values of [`COLUMNS`].
fn execute(statement: &mut Statement<'_>, row: &EncodedPayment) -> Result<(), ReadModelError> {
    let EncodedPayment { head, times, summary, body } = row;
    statement.execute(params![
        head.payment_id.0,
        head.revision.cast_signed(),
        head.recorded_at.as_microsecond(),
        head.updated_at.as_microsecond(),
        state_code(head.state),
        head.order_id.map(|id| id.0),
        head.reference,
        head.failure,
        head.declined,
        head.awaits_provider_since.map(Timestamp::as_microsecond),
        head.authorized_until.map(Timestamp::as_microsecond),
        times,
        summary,
        body,
    ])?;
    Ok(())
}

/// Reads the [`COLUMNS`].
fn encoded(row: &Row<'_>) -> rusqlite::Result<EncodedPayment> {
    let head = PaymentHead {
        payment_id: PaymentId(row.get(0)?),
        revision: revision(row, 1)?,
        recorded_at: time(row, 2)?,
        updated_at: time(row, 3)?,
        state: coded(row, 4, "state", stored_state)?,
        order_id: row.get::<_, Option<Uuid>>(5)?.map(OrderId),
        reference: row.get(6)?,
        failure: row.get(7)?,
        declined: row.get(8)?,
        awaits_provider_since: optional_time(row, 9)?,
        authorized_until: optional_time(row, 10)?,
    };
    Ok(EncodedPayment { head, times: row.get(11)?, summary: row.get(12)?, body: row.get(13)? })
}

const ROW_COLUMNS: &str = "payment_id, revision, recorded_at, updated_at, awaits_provider_since, times, body";

fn payment_row(row: &Row<'_>) -> rusqlite::Result<PaymentRow> {
    Ok(PaymentRow {
        payment_id: PaymentId(row.get(0)?),
        revision: revision(row, 1)?,
        recorded_at: time(row, 2)?,
        updated_at: time(row, 3)?,
        awaits_provider_since: optional_time(row, 4)?,
        refund_times: from_json(row, 5)?,
        payment: from_json(row, 6)?,
    })
}

const SUMMARY_COLUMNS: &str = "payment_id, revision, recorded_at, updated_at, summary";

fn summary_row(row: &Row<'_>) -> rusqlite::Result<PaymentSummaryRow> {
    Ok(PaymentSummaryRow {
        payment_id: PaymentId(row.get(0)?),
        revision: revision(row, 1)?,
        recorded_at: time(row, 2)?,
        updated_at: time(row, 3)?,
        summary: from_json(row, 4)?,
    })
}

pub(super) fn load(connection: &Connection, keys: &RowKeys, rows: &mut Rows) -> Result<(), ReadModelError> {
    for id in &keys.payments {
        rows.payments.extend(payment(connection, *id)?.map(Into::into));
    }
    Ok(())
}

fn payment(connection: &Connection, id: PaymentId) -> Result<Option<PaymentRow>, ReadModelError> {
    let sql = format!("SELECT {ROW_COLUMNS} FROM payments WHERE payment_id = ?1");
    Ok(connection.prepare_cached(&sql)?.query_row([id.0], payment_row).optional()?)
}

fn insert_sql() -> String {
    let values: Vec<String> = (1..=COLUMNS.split(',').count()).map(|number| format!("?{number}")).collect();
    format!("INSERT INTO payments ({COLUMNS}) VALUES ({})", values.join(", "))
}

pub(super) fn write(transaction: &Transaction<'_>, rows: &Rows) -> Result<(), ReadModelError> {
    let changes: Vec<String> =
        COLUMNS.split(',').map(|name| format!("{0} = excluded.{0}", name.trim())).skip(1).collect();
    let sql = format!("{} ON CONFLICT (payment_id) DO UPDATE SET {}", insert_sql(), changes.join(", "));
    let mut upsert = transaction.prepare_cached(&sql)?;
    rows.payments.iter().try_for_each(|row| execute(&mut upsert, &EncodedPayment::of_row(row)?))
}

/// Adds rows of a rebuild.
pub(super) fn copy(connection: &Connection, rows: &[EncodedPayment]) -> Result<(), ReadModelError> {
    let mut insert = connection.prepare_cached(&insert_sql())?;
    rows.iter().try_for_each(|row| execute(&mut insert, row))
}

pub(super) fn scan(connection: &Connection, sink: &mut Sink<StoredRow>) -> Result<(), Stop> {
    let sql = format!("SELECT {COLUMNS} FROM payments ORDER BY row_no");
    let read = |row: &Row<'_>| {
        let summary: PaymentSummary = from_json(row, 12)?;
        let head = encoded(row)?.head;
        let PaymentHead { payment_id, revision, recorded_at, updated_at, awaits_provider_since, .. } = head;
        let (refund_times, payment) = (from_json(row, 11)?, from_json(row, 13)?);
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
    };
    each(connection, sink, &sql, Projection::Payments, read, |sink, (head, summary, row)| {
        let expected = PaymentSummary::of(&row.payment);
        if summary != expected || head != PaymentHead::of(&row, &expected) {
            let fault = "a search column or the summary differs from the payment";
            sink.push(StoredRow::broken(Projection::Payments, row.payment_id.to_string(), fault))?;
        }
        sink.push(StoredRow::Payment(Box::new(row)))
    })
}

/// Sends every payment as it is stored.
pub(super) fn scan_encoded(connection: &Connection, sink: &mut Sink<EncodedRow>) -> Result<(), Stop> {
    let sql = format!("SELECT {COLUMNS} FROM payments ORDER BY row_no");
    each(connection, sink, &sql, Projection::Payments, encoded, |sink, row| {
        sink.push(EncodedRow::Payment(row))
    })
}

fn stored_state(code: i64) -> Option<PaymentState> {
    STATES.into_iter().find(|state| state_code(*state) == code)
}

#[async_trait]
impl PaymentQueries for SqliteQueries {
    async fn payment(&self, id: PaymentId) -> Result<Option<PaymentRow>, ReadModelError> {
        self.run(move |connection| payment(connection, id)).await
    }

    async fn payments(&self, filter: &PaymentFilter, limit: usize) -> Result<PaymentPage, ReadModelError> {
        let filter = filter.clone();
        self.run(move |connection| page(connection, &filter, limit)).await
    }

    async fn payment_count(&self, filter: &PaymentFilter) -> Result<Count, ReadModelError> {
        let filter = filter.clone();
        self.run(move |connection| {
            let mut counting = ListSql::new(&DIALECT);
            let sql = counting.payment_count(&filter);
            walks::count(connection, &sql, &counting.values)
        })
        .await
    }
}

fn page(
    connection: &Connection,
    filter: &PaymentFilter,
    limit: usize,
) -> Result<PaymentPage, ReadModelError> {
    if let Some(order_id) = filter.order_id {
        let sql = format!("SELECT {SUMMARY_COLUMNS} FROM payments WHERE payment_id = ?1");
        let mut statement = connection.prepare_cached(&sql)?;
        let mut rows = Vec::new();
        for id in ids_of_order(order_id, orders::summary(connection, order_id)?.as_ref()) {
            rows.extend(statement.query_row([id.0], summary_row).optional()?);
        }
        return Ok(filter.page_of_order(order_id, rows, limit));
    }
    let mut walked = ListSql::new(&DIALECT);
    let keys = walked.payment_keys(filter, limit.saturating_add(1));
    let mut look_up = ListSql::new(&DIALECT);
    let id = look_up.bind(Bound::Id(Uuid::nil()));
    let mut conditions = vec![format!("payment_id = {id}")];
    conditions.extend(look_up.payment_conditions_left(filter));
    let sql = format!("SELECT {SUMMARY_COLUMNS} FROM payments WHERE {}", conditions.join(" AND "));
    let (rows, looked_up_to) =
        walks::page(connection, (&keys, &walked.values), (&sql, &look_up.values), limit, summary_row)?;
    let last = looked_up_to.map(|(_, id)| PaymentId(id));
    Ok(ScannedPage::cut(rows, limit, |row| row.payment_id, last))
}
