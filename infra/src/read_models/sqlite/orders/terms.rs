//! The payment terms of orders, and the list of overdue orders.

use domain::{Timestamp, order::PaymentTerms};
use rusqlite::{Connection, Row, params};

use super::{status_code, summary_row};
use crate::read_models::{
    OrderFilter, OrderSummaryRow, ReadModelError, RowPage, paging::one_more, sqlite::values::unreadable,
};

/// Stored: changing a number needs a new schema version.
pub(in crate::read_models::sqlite) fn terms_code(terms: PaymentTerms) -> i64 {
    match terms {
        PaymentTerms::Prepaid => 0,
        PaymentTerms::OnShipment => 1,
        PaymentTerms::Net => 2,
    }
}

pub(super) fn stored_terms(row: &Row<'_>, column: usize) -> rusqlite::Result<PaymentTerms> {
    let code: i64 = row.get(column)?;
    let terms = PaymentTerms::ALL.into_iter().find(|terms| terms_code(*terms) == code);
    terms.ok_or_else(|| unreadable("terms", &code.to_string()))
}

/// A page of overdue orders. The other filters are applied to them alone.
/// ?1: overdue at, ?2 and ?3: after this time and id, ?4: how many, ?5 and ?6: placed from, placed to, ?7 to ?9: status,
/// customer and terms, or NULL.
pub(in crate::read_models::sqlite) const OVERDUE: &str =
    "SELECT order_id, revision, recorded_at, updated_at, summary
     FROM orders INDEXED BY orders_overdue
     WHERE overdue_from IS NOT NULL AND overdue_from <= ?1 AND (overdue_from, order_id) > (?2, ?3)
         AND placed_at >= ?5 AND placed_at < ?6 AND (?7 IS NULL OR status = ?7)
         AND (?8 IS NULL OR customer_id = ?8) AND (?9 IS NULL OR terms = ?9)
     ORDER BY overdue_from, order_id LIMIT ?4";

pub(in crate::read_models::sqlite) fn overdue_page(
    connection: &Connection,
    filter: &OrderFilter,
    now: Timestamp,
    limit: usize,
) -> Result<RowPage<OrderSummaryRow>, ReadModelError> {
    let after = filter.after.map(|(overdue_from, id)| (overdue_from.as_microsecond(), id.0.into_bytes()));
    let (after_time, after_id) = after.unwrap_or((i64::MIN, [0; 16]));
    let mut statement = connection.prepare_cached(OVERDUE)?;
    let values = params![
        now.as_microsecond(),
        after_time,
        after_id,
        one_more(limit),
        filter.placed_from.map_or(i64::MIN, Timestamp::as_microsecond),
        filter.placed_to.map_or(i64::MAX, Timestamp::as_microsecond),
        filter.status.map(status_code),
        filter.customer_id,
        filter.terms.map(terms_code),
    ];
    let rows = statement.query_map(values, summary_row)?;
    Ok(RowPage::cut(rows.collect::<rusqlite::Result<_>>()?, limit))
}
