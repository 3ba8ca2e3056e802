//! Payments.

use async_trait::async_trait;
use domain::{
    PaymentId, Timestamp,
    payment::{Payment, PaymentState},
};
use rusqlite::{Connection, OptionalExtension, Row, Statement, Transaction, params};

use super::{
    SqliteQueries,
    audit::{Sink, Stop, each},
    orders,
    values::{from_json, optional_time, revision, time, to_json, unreadable},
};
use crate::read_models::{
    PaymentFilter, PaymentQueries, PaymentRow, PaymentSummary, PaymentSummaryRow, Projection, ReadModelError,
    RowKeys, RowPage, Rows, StoredRow,
    encoded::{Encoded, EncodedPayment, EncodedRow, PaymentHead},
    paging::one_more,
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

const COLUMNS: &str = "payment_id, revision, recorded_at, updated_at, body, awaits_provider_since";

fn payment_row(row: &Row<'_>) -> rusqlite::Result<PaymentRow> {
    Ok(PaymentRow {
        payment_id: PaymentId(row.get(0)?),
        revision: revision(row, 1)?,
        recorded_at: time(row, 2)?,
        updated_at: time(row, 3)?,
        awaits_provider_since: optional_time(row, 5)?,
        payment: from_json(row, 4)?,
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

/// The JSON columns of a payment.
struct Json {
    summary: String,
    body: String,
}

impl Json {
    fn of(payment: &Payment) -> Result<Self, ReadModelError> {
        Ok(Self { summary: to_json(&PaymentSummary::of(payment))?, body: to_json(payment)? })
    }
}

pub(super) fn load(connection: &Connection, keys: &RowKeys, rows: &mut Rows) -> Result<(), ReadModelError> {
    for id in &keys.payments {
        rows.payments.extend(payment(connection, *id)?.map(Into::into));
    }
    Ok(())
}

fn payment(connection: &Connection, id: PaymentId) -> Result<Option<PaymentRow>, ReadModelError> {
    let sql = format!("SELECT {COLUMNS} FROM payments WHERE payment_id = ?1");
    Ok(connection.prepare_cached(&sql)?.query_row([id.0], payment_row).optional()?)
}

const INSERT: &str = "INSERT INTO payments
     (payment_id, revision, recorded_at, updated_at, state, awaits_provider_since, authorized_until, summary,
      body)
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";

pub(super) fn write(transaction: &Transaction<'_>, rows: &Rows) -> Result<(), ReadModelError> {
    let sql = format!(
        "{INSERT} ON CONFLICT (payment_id) DO UPDATE
         SET revision = ?2, recorded_at = ?3, updated_at = ?4, state = ?5, awaits_provider_since = ?6,
             authorized_until = ?7, summary = ?8, body = ?9"
    );
    let mut upsert = transaction.prepare_cached(&sql)?;
    rows.payments.iter().try_for_each(|row| execute(&mut upsert, row, &Json::of(&row.payment)?))
}

/// Adds rows of a rebuild.
pub(super) fn copy(connection: &Connection, rows: &[EncodedPayment]) -> Result<(), ReadModelError> {
    let mut insert = connection.prepare_cached(INSERT)?;
    for Encoded { head, summary, body } in rows {
        insert.execute(params![
            head.payment_id.0,
            head.revision.cast_signed(),
            head.recorded_at.as_microsecond(),
            head.updated_at.as_microsecond(),
            state_code(head.state),
            head.awaits_provider_since.map(Timestamp::as_microsecond),
            head.authorized_until.map(Timestamp::as_microsecond),
            summary,
            body,
        ])?;
    }
    Ok(())
}

fn execute(statement: &mut Statement<'_>, row: &PaymentRow, json: &Json) -> Result<(), ReadModelError> {
    statement.execute(params![
        row.payment_id.0,
        row.revision.cast_signed(),
        row.recorded_at.as_microsecond(),
        row.updated_at.as_microsecond(),
        state_code(row.payment.state()),
        row.awaits_provider_since.map(Timestamp::as_microsecond),
        row.payment.authorized_until().map(Timestamp::as_microsecond),
        json.summary,
        json.body,
    ])?;
    Ok(())
}

pub(super) fn scan(connection: &Connection, sink: &mut Sink<StoredRow>) -> Result<(), Stop> {
    let sql = format!("SELECT {COLUMNS}, state, authorized_until, summary FROM payments ORDER BY row_no");
    let read = |row: &Row<'_>| {
        let stored = (row.get::<_, i64>(6)?, row.get::<_, Option<i64>>(7)?, from_json(row, 8)?);
        Ok((payment_row(row)?, stored))
    };
    each(connection, sink, &sql, Projection::Payments, read, |sink, (row, stored)| {
        let until = row.payment.authorized_until().map(Timestamp::as_microsecond);
        let expected = (state_code(row.payment.state()), until, PaymentSummary::of(&row.payment));
        if stored != expected {
            let fault = "state, end of the authorisation or summary differs from the payment";
            sink.push(StoredRow::broken(Projection::Payments, row.payment_id.to_string(), fault))?;
        }
        sink.push(StoredRow::Payment(Box::new(row)))
    })
}

/// Sends every payment as it is stored.
pub(super) fn scan_encoded(connection: &Connection, sink: &mut Sink<EncodedRow>) -> Result<(), Stop> {
    let sql =
        "SELECT payment_id, revision, recorded_at, updated_at, state, awaits_provider_since, authorized_until,
             summary, body
         FROM payments ORDER BY row_no";
    let payment = |row: &Row<'_>| {
        let head = PaymentHead {
            payment_id: PaymentId(row.get(0)?),
            revision: revision(row, 1)?,
            recorded_at: time(row, 2)?,
            updated_at: time(row, 3)?,
            state: stored_state(row, 4)?,
            awaits_provider_since: optional_time(row, 5)?,
            authorized_until: optional_time(row, 6)?,
        };
        Ok(EncodedPayment { head, summary: row.get(7)?, body: row.get(8)? })
    };
    each(connection, sink, sql, Projection::Payments, payment, |sink, row| {
        sink.push(EncodedRow::Payment(row))
    })
}

fn stored_state(row: &Row<'_>, column: usize) -> rusqlite::Result<PaymentState> {
    let code: i64 = row.get(column)?;
    let state = STATES.into_iter().find(|state| state_code(*state) == code);
    state.ok_or_else(|| unreadable("state", &code.to_string()))
}

#[async_trait]
impl PaymentQueries for SqliteQueries {
    async fn payment(&self, id: PaymentId) -> Result<Option<PaymentRow>, ReadModelError> {
        self.run(move |connection| payment(connection, id)).await
    }

    async fn payments(
        &self,
        filter: &PaymentFilter,
        limit: usize,
    ) -> Result<RowPage<PaymentSummaryRow>, ReadModelError> {
        let filter = filter.clone();
        self.run(move |connection| page(connection, &filter, limit)).await
    }
}

fn page(
    connection: &Connection,
    filter: &PaymentFilter,
    limit: usize,
) -> Result<RowPage<PaymentSummaryRow>, ReadModelError> {
    if let Some(order_id) = filter.order_id {
        let sql = format!("SELECT {SUMMARY_COLUMNS} FROM payments WHERE payment_id = ?1");
        let mut statement = connection.prepare_cached(&sql)?;
        let mut rows = Vec::new();
        for id in ids_of_order(order_id, orders::summary(connection, order_id)?.as_ref()) {
            rows.extend(statement.query_row([id.0], summary_row).optional()?);
        }
        return Ok(filter.page_of_order(order_id, rows, limit));
    }
    let after = match filter.after {
        None => 0,
        Some(id) => row_no(connection, id)?,
    };
    let state = filter.state.map(state_code);
    let table = match state {
        None => "payments WHERE ?3 IS NULL",
        Some(_) => "payments INDEXED BY payments_by_state WHERE state = ?3",
    };
    let sql = format!("SELECT {SUMMARY_COLUMNS} FROM {table} AND row_no > ?1 ORDER BY row_no LIMIT ?2");
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map(params![after, one_more(limit), state], summary_row)?;
    Ok(RowPage::cut(rows.collect::<rusqlite::Result<_>>()?, limit))
}

/// 0, before the first row, if there is no such payment.
fn row_no(connection: &Connection, id: PaymentId) -> Result<i64, ReadModelError> {
    const SELECT: &str = "SELECT row_no FROM payments WHERE payment_id = ?1";
    Ok(connection.prepare_cached(SELECT)?.query_row([id.0], |row| row.get(0)).optional()?.unwrap_or(0))
}
