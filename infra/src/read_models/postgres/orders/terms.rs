//! The payment terms of orders, and the list of overdue orders.

use deadpool_postgres::Object;
use domain::{Timestamp, order::PaymentTerms};
use postgres_types::ToSql;
use tokio_postgres::Row;
use uuid::Uuid;

use super::{PgOrderStatus, summary_row};
use crate::{
    postgres::Timestamptz,
    read_models::{
        OrderFilter, OrderSummaryRow, ReadModelError, RowPage,
        paging::one_more,
        postgres::values::{cell, page},
    },
};

/// Stored: changing a number needs a new schema version.
pub(in crate::read_models::postgres) fn terms_code(terms: PaymentTerms) -> i16 {
    match terms {
        PaymentTerms::Prepaid => 0,
        PaymentTerms::OnShipment => 1,
        PaymentTerms::Net => 2,
    }
}

pub(super) fn stored_terms(row: &Row, column: usize) -> Result<PaymentTerms, ReadModelError> {
    let code: i16 = cell(row, column)?;
    let terms = PaymentTerms::ALL.into_iter().find(|terms| terms_code(*terms) == code);
    terms.ok_or_else(|| ReadModelError::Row(format!("{code} is the number of no payment terms").into()))
}

/// A page of overdue orders. The other filters are applied to them alone.
/// $1: overdue at, $2 and $3: after this time and id, $4: how many, $5 and $6: placed from, placed to, $7 to $9: status,
/// customer and terms, or NULL.
pub(in crate::read_models::postgres) const OVERDUE: &str =
    "SELECT order_id, revision, recorded_at, updated_at, summary FROM orders
     WHERE overdue_from IS NOT NULL AND overdue_from <= $1 AND (overdue_from, order_id) > ($2, $3)
         AND placed_at >= $5 AND placed_at < $6 AND ($7::order_status IS NULL OR status = $7)
         AND ($8::text IS NULL OR customer_id = $8) AND ($9::smallint IS NULL OR terms = $9)
     ORDER BY overdue_from, order_id LIMIT $4";

pub(in crate::read_models::postgres) async fn overdue_page(
    client: &Object,
    filter: &OrderFilter,
    status: Option<PgOrderStatus>,
    now: Timestamp,
    limit: usize,
) -> Result<RowPage<OrderSummaryRow>, ReadModelError> {
    let after = filter.after.map(|(overdue_from, id)| (Timestamptz::from(overdue_from), id.0));
    let (after_time, after_id) = after.unwrap_or((Timestamptz::MIN, Uuid::nil()));
    let (now, fetched) = (Timestamptz::from(now), one_more(limit));
    let from = filter.placed_from.map_or(Timestamptz::MIN, Timestamptz::from);
    let to = filter.placed_to.map_or(Timestamptz::MAX, Timestamptz::from);
    let (customer, terms) = (filter.customer_id.as_deref(), filter.terms.map(terms_code));
    let values: [&(dyn ToSql + Sync); 9] =
        [&now, &after_time, &after_id, &fetched, &from, &to, &status, &customer, &terms];
    page(client, OVERDUE, &values, limit, summary_row).await
}
