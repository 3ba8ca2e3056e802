//! Pages of orders.

use domain::{
    Sku, Timestamp,
    order::{OrderStatus, PaymentTerms},
};
use rusqlite::{Connection, ToSql};

use super::orders::{
    STATUSES, SUMMARY_COLUMNS, status_code, summary_row,
    terms::{overdue_page, terms_code},
};
use crate::read_models::{
    OrderFilter, OrderSummaryRow, ReadModelError, RowPage, orders::OrderList, paging::one_more,
};

pub(super) fn list_page(
    connection: &Connection,
    filter: &OrderFilter,
    limit: usize,
) -> Result<RowPage<OrderSummaryRow>, ReadModelError> {
    if let Some(now) = filter.overdue_at {
        return overdue_page(connection, filter, now, limit);
    }
    let list = OrderList::of(filter);
    let sql = list_sql(list, filter.status, filter.terms);
    // The list runs from the newest to the oldest; it begins before this point.
    let until = filter.placed_to.map(|to| (to.as_microsecond(), [0; 16]));
    let after = filter.after.map(|(placed_at, id)| (placed_at.as_microsecond(), id.0.into_bytes()));
    let (before_time, before_id) = [until, after].into_iter().flatten().min().unwrap_or((i64::MAX, [0; 16]));
    let from = filter.placed_from.map_or(i64::MIN, Timestamp::as_microsecond);
    let fetched = one_more(limit);
    let customer = filter.customer_id.as_deref();
    let sku = filter.sku.as_ref().map(Sku::as_str);
    let mut values: Vec<&dyn ToSql> = vec![&from, &before_time, &before_id, &fetched];
    match list {
        OrderList::Time | OrderList::Terms => {}
        OrderList::Customer => values.push(&customer),
        OrderList::Sku => values.push(&sku),
        OrderList::CustomerAndSku | OrderList::Balance(_) => {
            values.extend([&customer as &dyn ToSql, &sku]);
        }
    }
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map(values.as_slice(), summary_row)?;
    Ok(RowPage::cut(rows.collect::<rusqlite::Result<_>>()?, limit))
}

/// One page of orders. Each branch walks one range of one index, in the order of the page and no further than
/// the page needs, so its cost does not grow with the number of orders.
/// ?1: placed from, ?2 and ?3: before this time and id, ?4: how many, ?5 and ?6: customer, SKU.
pub(super) fn list_sql(list: OrderList, status: Option<OrderStatus>, terms: Option<PaymentTerms>) -> String {
    const RANGE: &str = "placed_at >= ?1 AND (placed_at, order_id) < (?2, ?3)
         ORDER BY placed_at DESC, order_id DESC LIMIT ?4";
    let of_terms = terms.map_or_else(String::new, |terms| format!(" AND terms = {}", terms_code(terms)));
    // One range has the orders of every status.
    let statuses = match (status, list) {
        (Some(status), _) => vec![Some(status)],
        (None, OrderList::Balance(_)) => vec![None],
        (None, _) => STATUSES.map(Some).to_vec(),
    };
    let branch = |status: Option<OrderStatus>| {
        let code = status.map(status_code).unwrap_or_default();
        let rows = match list {
            OrderList::Balance(balance) => {
                let name = balance.as_str();
                let of_status = status.map_or(String::new(), |_| format!("AND status = {code}"));
                format!(
                    "orders INDEXED BY orders_{name} WHERE {name} = 1 {of_status}{of_terms}
                     AND (?5 IS NULL OR customer_id = ?5)
                     AND (?6 IS NULL OR EXISTS (SELECT 1 FROM order_skus AS contained
                         WHERE contained.sku = ?6 AND contained.status = orders.status
                         AND contained.placed_at = orders.placed_at
                         AND contained.order_id = orders.order_id))"
                )
            }
            OrderList::Time => {
                format!("orders INDEXED BY orders_by_status WHERE status = {code}{of_terms}")
            }
            OrderList::Terms => {
                format!("orders INDEXED BY orders_by_terms WHERE terms > 0 AND status = {code}{of_terms}")
            }
            OrderList::Customer => {
                format!(
                    "orders INDEXED BY orders_by_customer WHERE customer_id = ?5 AND status = {code}{of_terms}"
                )
            }
            OrderList::Sku => format!("order_skus WHERE sku = ?5 AND status = {code}"),
            OrderList::CustomerAndSku => format!(
                "orders INDEXED BY orders_by_customer WHERE customer_id = ?5 AND status = {code}
                 AND EXISTS (SELECT 1 FROM order_skus AS contained WHERE contained.sku = ?6
                     AND contained.status = {code} AND contained.placed_at = orders.placed_at
                     AND contained.order_id = orders.order_id)"
            ),
        };
        format!("SELECT * FROM (SELECT placed_at, order_id FROM {rows} AND {RANGE})")
    };
    let branches: Vec<String> = statuses.into_iter().map(branch).collect();
    let union = branches.join(" UNION ALL ");
    // CROSS JOIN keeps SQLite from walking orders and looking each up in the page.
    format!(
        "SELECT {SUMMARY_COLUMNS}
         FROM (SELECT placed_at AS page_time, order_id AS page_id FROM ({union})
               ORDER BY page_time DESC, page_id DESC LIMIT ?4)
         CROSS JOIN orders ON order_id = page_id
         ORDER BY page_time DESC, page_id DESC"
    )
}
