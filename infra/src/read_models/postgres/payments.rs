//! Payments.

use std::sync::Arc;

use async_trait::async_trait;
use deadpool_postgres::{Object, Transaction};
use domain::{
    PaymentId,
    payment::{Payment, PaymentState},
};
use postgres_types::{FromSql, Json, ToSql};
use tokio_postgres::{Client, Row, Statement};
use uuid::Uuid;

use super::{
    PostgresQueries,
    audit::{Scan, Stop},
    copy::Copy,
    orders,
    values::{JsonText, all, cell, json_text, one, optional_time, page, revision, time},
};
use crate::{
    postgres::Timestamptz,
    read_models::{
        PaymentFilter, PaymentQueries, PaymentRow, PaymentSummary, PaymentSummaryRow, Projection,
        ReadModelError, RowKeys, RowPage, Rows, StoredRow,
        encoded::{Encoded, EncodedPayment, EncodedRow, PaymentHead},
        paging::one_more,
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

const COLUMNS: &str = "payment_id, revision, recorded_at, updated_at, body, awaits_provider_since";

fn payment_row(row: &Row) -> Result<PaymentRow, ReadModelError> {
    let Json(payment): Json<Payment> = cell(row, 4)?;
    Ok(PaymentRow {
        payment_id: PaymentId(cell(row, 0)?),
        revision: revision(row, 1)?,
        recorded_at: time(row, 2)?,
        updated_at: time(row, 3)?,
        awaits_provider_since: optional_time(row, 5)?,
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
    let sql = format!("SELECT {COLUMNS} FROM payments WHERE payment_id = ANY($1)");
    all(client, &sql, &[&ids], |row| payment_row(row).map(Arc::new)).await
}

const UPSERT: &str = "INSERT INTO payments
         (payment_id, revision, recorded_at, updated_at, state, awaits_provider_since, authorized_until, summary,
          body)
     SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::timestamptz[], $4::timestamptz[],
         $5::payment_state[], $6::timestamptz[], $7::timestamptz[], $8::json[], $9::json[])
     ON CONFLICT (payment_id) DO UPDATE SET revision = excluded.revision,
         recorded_at = excluded.recorded_at, updated_at = excluded.updated_at,
         state = excluded.state, awaits_provider_since = excluded.awaits_provider_since,
         authorized_until = excluded.authorized_until, summary = excluded.summary, body = excluded.body";

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
        let ids: Vec<Uuid> = rows.iter().map(|row| row.payment_id.0).collect();
        let revisions: Vec<i64> = rows.iter().map(|row| row.revision.cast_signed()).collect();
        let recorded: Vec<Timestamptz> = rows.iter().map(|row| row.recorded_at.into()).collect();
        let updated: Vec<Timestamptz> = rows.iter().map(|row| row.updated_at.into()).collect();
        let states: Vec<_> = rows.iter().map(|row| PgPaymentState::of(row.payment.state())).collect();
        let waiting: Vec<Option<Timestamptz>> =
            rows.iter().map(|row| row.awaits_provider_since.map(Timestamptz::from)).collect();
        let until: Vec<Option<Timestamptz>> =
            rows.iter().map(|row| row.payment.authorized_until().map(Timestamptz::from)).collect();
        let bodies: Vec<_> = rows.iter().map(|row| Json(&row.payment)).collect();
        let summaries: Vec<_> = rows.iter().map(|row| Json(PaymentSummary::of(&row.payment))).collect();
        let values: [&(dyn ToSql + Sync); 9] =
            [&ids, &revisions, &recorded, &updated, &states, &waiting, &until, &summaries, &bodies];
        self.transaction.execute(&self.upsert, &values).await?;
        Ok(())
    }
}

/// Adds rows of a rebuild.
pub(super) async fn copy(client: &Client, rows: &[EncodedPayment]) -> Result<(), ReadModelError> {
    let payment_columns = "payment_id, revision, recorded_at, updated_at, state, awaits_provider_since, \
                           authorized_until, summary, body";
    let mut payments = Copy::begin(client, "payments", payment_columns).await?;
    for Encoded { head, summary, body } in rows {
        payments
            .row(&[
                &head.payment_id.0,
                &head.revision.cast_signed(),
                &Timestamptz::from(head.recorded_at),
                &Timestamptz::from(head.updated_at),
                &PgPaymentState::of(head.state),
                &head.awaits_provider_since.map(Timestamptz::from),
                &head.authorized_until.map(Timestamptz::from),
                &JsonText(summary),
                &JsonText(body),
            ])
            .await?;
    }
    payments.finish().await
}

/// Sends every payment as it is stored.
pub(super) async fn scan_encoded(scan: &Scan<'_, EncodedRow>) -> Result<(), Stop> {
    let sql =
        "SELECT payment_id, revision, recorded_at, updated_at, state, awaits_provider_since, authorized_until,
             summary, body
         FROM payments";
    let payment = |row: &Row| {
        let head = PaymentHead {
            payment_id: PaymentId(cell(row, 0)?),
            revision: revision(row, 1)?,
            recorded_at: time(row, 2)?,
            updated_at: time(row, 3)?,
            state: cell::<Option<PgPaymentState>>(row, 4)?.map_or(PaymentState::New, PgPaymentState::state),
            awaits_provider_since: optional_time(row, 5)?,
            authorized_until: optional_time(row, 6)?,
        };
        Ok(EncodedPayment { head, summary: json_text(row, 7)?, body: json_text(row, 8)? })
    };
    scan.each(sql, Projection::Payments, payment, |row, chunk| chunk.push(EncodedRow::Payment(row))).await
}

pub(super) async fn scan(scan: &Scan<'_, StoredRow>) -> Result<(), Stop> {
    let sql = format!("SELECT {COLUMNS}, state, authorized_until, summary FROM payments");
    let read = |row: &Row| {
        let state: Option<PgPaymentState> = cell(row, 6)?;
        let until: Option<Timestamptz> = cell(row, 7)?;
        let Json(summary): Json<PaymentSummary> = cell(row, 8)?;
        Ok((payment_row(row)?, (state, until, summary)))
    };
    scan.each(&sql, Projection::Payments, read, |(row, stored), chunk| {
        let payment = &row.payment;
        let until = payment.authorized_until().map(Timestamptz::from);
        if stored != (PgPaymentState::of(payment.state()), until, PaymentSummary::of(payment)) {
            let fault = "state, end of the authorisation or summary differs from the payment";
            chunk.push(StoredRow::broken(Projection::Payments, row.payment_id.to_string(), fault));
        }
        chunk.push(StoredRow::Payment(Box::new(row)));
    })
    .await
}

#[async_trait]
impl PaymentQueries for PostgresQueries {
    async fn payment(&self, id: PaymentId) -> Result<Option<PaymentRow>, ReadModelError> {
        let sql = format!("SELECT {COLUMNS} FROM payments WHERE payment_id = $1");
        self.database.run(async |client| one(client, &sql, &[&id.0], payment_row).await).await
    }

    async fn payments(
        &self,
        filter: &PaymentFilter,
        limit: usize,
    ) -> Result<RowPage<PaymentSummaryRow>, ReadModelError> {
        self.database.run(async |client| list_page(client, filter, limit).await).await
    }
}

async fn list_page(
    client: &Object,
    filter: &PaymentFilter,
    limit: usize,
) -> Result<RowPage<PaymentSummaryRow>, ReadModelError> {
    // The list begins at the first payment if there is no payment $1.
    const AFTER: &str = "row_no > coalesce((SELECT row_no FROM payments WHERE payment_id = $1), 0)";
    if let Some(order_id) = filter.order_id {
        let ids = ids_of_order(order_id, orders::summary(client, order_id).await?.as_ref());
        let keys: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
        let sql = format!("SELECT {SUMMARY_COLUMNS} FROM payments WHERE payment_id = ANY($1)");
        let mut rows = all(client, &sql, &[&keys], summary_row).await?;
        rows.sort_by_key(|row| ids.iter().position(|id| *id == row.payment_id));
        return Ok(filter.page_of_order(order_id, rows, limit));
    }
    let (after, fetched) = (filter.after.map(|id| id.0), one_more(limit));
    let state = filter.state.map(PgPaymentState::of);
    let mut values: Vec<&(dyn ToSql + Sync)> = vec![&after, &fetched];
    let wanted = match &state {
        None => "true",
        Some(None) => "state IS NULL",
        Some(Some(state)) => {
            values.push(state);
            "state = $3"
        }
    };
    let sql =
        format!("SELECT {SUMMARY_COLUMNS} FROM payments WHERE {wanted} AND {AFTER} ORDER BY row_no LIMIT $2");
    page(client, &sql, &values, limit, summary_row).await
}
