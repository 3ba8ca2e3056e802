//! Lists of orders and payments: every row is looked at, and none by an index.

use domain::{OrderId, Timestamp, order::Order};
use infra::read_models::{
    Count, OrderFilter, OrderPage, OrderPlace, OrderRow, OrderSummaryRow, OrderWork, PaymentFilter,
    PaymentPage, PaymentRow, PaymentSummary, PaymentSummaryRow, ScannedPage, StockFilter, StockPage,
    StockRow,
};

/// The rows that lists are taken from.
#[derive(Debug)]
pub struct ListedRows<'a> {
    pub orders: Vec<&'a OrderRow>,
    /// In order of arrival.
    pub payments: Vec<&'a PaymentRow>,
}

impl ListedRows<'_> {
    pub fn orders(&self, filter: &OrderFilter, limit: usize) -> OrderPage {
        let mut found = self.matching(filter);
        let place = |row: &OrderSummaryRow| filter.sort.place(row);
        let is_next = |at: &OrderPlace| {
            filter.after.is_none_or(|after| filter.direction.compare(&after, at) == std::cmp::Ordering::Less)
        };
        found.retain(|row| is_next(&place(row)));
        found.sort_by(|a, b| filter.direction.compare(&place(a), &place(b)));
        ScannedPage::cut(found, limit, place, None)
    }

    pub fn order_count(&self, filter: &OrderFilter) -> Count {
        let found = self.matching(filter).len();
        Count::of(found, found)
    }

    pub fn work_counts(&self, now: Timestamp) -> Vec<(OrderWork, Count)> {
        let filter = |work| OrderFilter { work: Some(work), now, ..OrderFilter::default() };
        OrderWork::ALL.into_iter().map(|work| (work, self.order_count(&filter(work)))).collect()
    }

    pub fn payments(&self, filter: &PaymentFilter, limit: usize) -> PaymentPage {
        let mut rows = self.payments.clone();
        if filter.direction == infra::read_models::Direction::Desc {
            rows.reverse();
        }
        let after = rows.iter().position(|row| Some(row.payment_id) == filter.after);
        let rows = rows.into_iter().skip(after.map_or(0, |place| place + 1)).filter(|row| {
            filter.order_id.is_none_or(|order| row.payment.order_id() == Some(order))
                && filter.is_met_by(&PaymentSummary::of(&row.payment))
        });
        let found: Vec<PaymentSummaryRow> = rows.take(limit.saturating_add(1)).map(Into::into).collect();
        ScannedPage::cut(found, limit, |row| row.payment_id, None)
    }

    pub fn payment_count(&self, filter: &PaymentFilter) -> Count {
        let passes = |row: &&&PaymentRow| filter.is_met_by(&PaymentSummary::of(&row.payment));
        let found = self.payments.iter().filter(passes).count();
        Count::of(found, found)
    }

    fn matching(&self, filter: &OrderFilter) -> Vec<OrderSummaryRow> {
        self.orders
            .iter()
            .filter(|row| self.passes(filter, row))
            .map(|row| OrderSummaryRow::from(*row))
            .collect()
    }

    fn passes(&self, filter: &OrderFilter, row: &OrderRow) -> bool {
        fn any<T: PartialEq>(wanted: &[T], value: &T) -> bool {
            wanted.is_empty() || wanted.contains(value)
        }
        fn is(wanted: Option<&String>, value: Option<&str>) -> bool {
            wanted.is_none_or(|wanted| value == Some(wanted))
        }
        let order = &row.order;
        let placed_at = order.placed_at().unwrap_or(Timestamp::MIN);
        let work = |work: OrderWork| work.is_of(order, filter.now, self.is_declined(row.order_id));
        any(&filter.status, &order.status())
            && any(&filter.payment_status, &order.payment_status())
            && any(&filter.fulfilment_status, &order.fulfilment_status())
            && is(filter.customer_id.as_ref(), order.customer_id())
            && is(filter.reference.as_ref(), order.reference())
            && is(filter.country.as_ref(), order.country())
            && filter.currency.is_none_or(|currency| order.currency() == Some(currency))
            && filter.sku.as_ref().is_none_or(|sku| order.lines().iter().any(|line| line.sku == *sku))
            && filter.work.is_none_or(work)
            && filter.placed_from.is_none_or(|from| placed_at >= from)
            && filter.placed_to.is_none_or(|to| placed_at < to)
            && filter.updated_since.is_none_or(|since| row.updated_at >= since)
            && filter.terms.is_none_or(|terms| order.terms() == terms)
            && filter.payment_reference.as_ref().is_none_or(|wanted| {
                self.payments_of(row.order_id).any(|payment| payment.payment.reference() == Some(wanted))
            })
            && filter.text.as_ref().is_none_or(|text| self.begins(row.order_id, order, text))
    }

    fn payments_of(&self, id: OrderId) -> impl Iterator<Item = &PaymentRow> {
        self.payments.iter().copied().filter(move |row| row.payment.order_id() == Some(id))
    }

    fn is_declined(&self, id: OrderId) -> bool {
        self.payments_of(id).any(|row| PaymentSummary::of(&row.payment).is_declined())
    }

    fn begins(&self, id: OrderId, order: &Order, text: &str) -> bool {
        let digits = text.replace('-', "").to_lowercase();
        let begins_id = |id: uuid::Uuid| !digits.is_empty() && id.simple().to_string().starts_with(&digits);
        let begins = |value: Option<&str>| value.is_some_and(|value| value.starts_with(text));
        begins_id(id.0)
            || begins(order.reference())
            || begins(order.customer_id())
            || self.payments_of(id).any(|row| begins_id(row.payment_id.0) || begins(row.payment.reference()))
    }
}

/// A page of stock.
pub fn stock_page<'a>(
    rows: impl IntoIterator<Item = &'a StockRow>,
    filter: &StockFilter,
    limit: usize,
) -> StockPage {
    let is_next = |row: &&StockRow| filter.after.as_ref().is_none_or(|after| filter.place(row) > *after);
    let rows = rows.into_iter().filter(|row| filter.is_met_by(row)).filter(is_next);
    let mut found: Vec<StockRow> = rows.cloned().collect();
    found.sort_by_key(|row| filter.place(row));
    ScannedPage::cut(found, limit, |row| filter.place(row), None)
}
