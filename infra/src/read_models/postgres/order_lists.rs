//! Pages of orders.

use deadpool_postgres::Object;
use domain::{Sku, order::PaymentTerms};
use postgres_types::ToSql;
use uuid::Uuid;

use super::{
    orders::{
        PgOrderStatus, SUMMARY_COLUMNS, summary_row,
        terms::{overdue_page, terms_code},
    },
    values::page,
};
use crate::{
    postgres::Timestamptz,
    read_models::{
        OrderFilter, OrderSummaryRow, ReadModelError, RowPage, orders::OrderList, paging::one_more,
    },
};

pub(super) async fn list_page(
    client: &Object,
    filter: &OrderFilter,
    limit: usize,
) -> Result<RowPage<OrderSummaryRow>, ReadModelError> {
    let status = match filter.status.map(PgOrderStatus::of) {
        // Orders that were never placed have no rows.
        Some(None) => return Ok(RowPage::empty()),
        Some(Some(status)) => Some(status),
        None => None,
    };
    if let Some(now) = filter.overdue_at {
        return overdue_page(client, filter, status, now, limit).await;
    }
    let list = OrderList::of(filter);
    // The list runs from the newest to the oldest; it begins before this point.
    let until = filter.placed_to.map(|to| (Timestamptz::from(to), Uuid::nil()));
    let after = filter.after.map(|(placed_at, id)| (Timestamptz::from(placed_at), id.0));
    let end = (Timestamptz::MAX, Uuid::nil());
    let (before_time, before_id) = [until, after].into_iter().flatten().min().unwrap_or(end);
    let from = filter.placed_from.map_or(Timestamptz::MIN, Timestamptz::from);
    let fetched = one_more(limit);
    let customer = filter.customer_id.as_deref();
    let sku = filter.sku.as_ref().map(Sku::as_str);
    let mut values: Vec<&(dyn ToSql + Sync)> = vec![&from, &before_time, &before_id, &fetched];
    match list {
        OrderList::Time | OrderList::Terms => {}
        OrderList::Customer => values.push(&customer),
        OrderList::Sku => values.push(&sku),
        OrderList::CustomerAndSku | OrderList::Balance(_) => {
            values.extend([&customer as &(dyn ToSql + Sync), &sku]);
        }
    }
    page(client, &list_sql(list, status, filter.terms), &values, limit, summary_row).await
}

/// One page of orders. Each branch walks one range of one index, in the order of the page and no further than
/// the page needs, so its cost does not grow with the number of orders. OFFSET 0 keeps the look-up from
/// becoming a join, which Postgres could walk from the other side.
/// $1: placed from, $2 and $3: before this time and id, $4: how many, $5 and $6: customer, SKU.
pub(super) fn list_sql(
    list: OrderList,
    status: Option<PgOrderStatus>,
    terms: Option<PaymentTerms>,
) -> String {
    const RANGE: &str = "placed_at >= $1 AND (placed_at, order_id) < ($2, $3)
         ORDER BY placed_at DESC, order_id DESC LIMIT $4";
    let of_terms = terms.map_or_else(String::new, |terms| format!(" AND terms = {}", terms_code(terms)));
    let branch = |status: PgOrderStatus| {
        let name = status.name();
        let rows = match list {
            OrderList::Balance(balance) => format!(
                "orders WHERE {} AND status = '{name}'{of_terms} AND ($5::text IS NULL OR customer_id = $5)
                 AND ($6::text IS NULL OR EXISTS (SELECT FROM order_skus AS contained
                     WHERE contained.sku = $6 AND contained.status = '{name}'
                     AND contained.placed_at = orders.placed_at
                     AND contained.order_id = orders.order_id OFFSET 0))",
                balance.as_str()
            ),
            OrderList::Time => format!("orders WHERE status = '{name}'{of_terms}"),
            OrderList::Terms => format!("orders WHERE terms > 0 AND status = '{name}'{of_terms}"),
            OrderList::Customer => {
                format!("orders WHERE customer_id = $5 AND status = '{name}'{of_terms}")
            }
            OrderList::Sku => format!("order_skus WHERE sku = $5 AND status = '{name}'"),
            OrderList::CustomerAndSku => format!(
                "orders WHERE customer_id = $5 AND status = '{name}'
                 AND EXISTS (SELECT FROM order_skus AS contained WHERE contained.sku = $6
                     AND contained.status = '{name}' AND contained.placed_at = orders.placed_at
                     AND contained.order_id = orders.order_id OFFSET 0)"
            ),
        };
        format!("(SELECT placed_at, order_id FROM {rows} AND {RANGE})")
    };
    let branches: Vec<String> =
        status.map_or(PgOrderStatus::ALL.into(), |status| vec![status]).into_iter().map(branch).collect();
    let union = branches.join(" UNION ALL ");
    format!(
        "SELECT {SUMMARY_COLUMNS}
         FROM (SELECT placed_at AS page_time, order_id AS page_id FROM ({union}) AS branches
               ORDER BY page_time DESC, page_id DESC LIMIT $4) AS page
         JOIN orders ON order_id = page_id
         ORDER BY page_time DESC, page_id DESC"
    )
}
