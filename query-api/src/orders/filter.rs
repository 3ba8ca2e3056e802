//! The filters and the order of the list of orders.

use domain::{
    Currency, Sku, Timestamp,
    order::{FulfilmentStatus, OrderStatus, PaymentStatus, PaymentTerms},
    text,
};
use infra::{
    auth::Caller,
    http::{
        paging::{InvalidCursor, TablePaging},
        parameters::{FromParameters, Parameters, check_range, instant, one_of, several_of},
        path::NoSuch,
        vocabulary::{
            CurrencyValue, DirectionWord, FulfilmentStatusWord, OrderSortWord, OrderStatusWord,
            OrderWorkWord, PaymentStatusWord, PaymentTermsWord, SkuValue, TextValue,
        },
    },
    read_models::{Direction, OrderFilter, OrderSort, OrderWork},
};
use utoipa::IntoParams;

/// The orders to list. An order must match all filters. Several words are separated by commas: the order must match one
/// of them.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct OrdersParams {
    #[param(value_type = Option<Vec<OrderStatusWord>>, style = Form, explode = false)]
    status: Vec<OrderStatus>,
    #[param(value_type = Option<Vec<PaymentStatusWord>>, style = Form, explode = false)]
    payment_status: Vec<PaymentStatus>,
    #[param(value_type = Option<Vec<FulfilmentStatusWord>>, style = Form, explode = false)]
    fulfilment_status: Vec<FulfilmentStatus>,
    #[param(value_type = Option<TextValue>)]
    customer_id: Option<String>,
    /// Orders with this SKU on a line.
    #[param(value_type = Option<SkuValue>)]
    sku: Option<Sku>,
    #[param(value_type = Option<TextValue>)]
    reference: Option<String>,
    #[param(value_type = Option<TextValue>)]
    country: Option<String>,
    #[param(value_type = Option<CurrencyValue>)]
    currency: Option<Currency>,
    /// The provider's reference of a payment of the order.
    #[param(value_type = Option<TextValue>)]
    payment_reference: Option<String>,
    /// The beginning of the order's id, reference or customer, or of a payment's id or reference. Case matters. At most 500
    /// orders are found by each of the five.
    #[param(value_type = Option<TextValue>)]
    q: Option<String>,
    /// Orders that wait for this work of people.
    #[param(value_type = Option<OrderWorkWord>)]
    work: Option<OrderWork>,
    /// Placed at this instant or later. A date means its midnight in UTC.
    #[param(value_type = Option<String>, example = "2010-12-01T08:26:00Z")]
    placed_from: Option<Timestamp>,
    /// Placed before this instant. A date means its midnight in UTC.
    #[param(value_type = Option<String>, example = "2011-01-01")]
    placed_to: Option<Timestamp>,
    /// Changed at this instant or later. With `sort=updated` and `direction=asc`: what has changed since, for systems that
    /// follow the orders.
    #[param(value_type = Option<String>, example = "2011-01-01")]
    updated_since: Option<Timestamp>,
    #[param(value_type = Option<PaymentTermsWord>)]
    terms: Option<PaymentTerms>,
    /// `total` needs a `currency`. `overdue`, by the time from which money is overdue, needs `work=overdue` and is then
    /// the default; otherwise `placed` is.
    #[param(value_type = Option<OrderSortWord>)]
    sort: OrderSort,
    /// If omitted: `desc`; for `sort=overdue`, `asc`.
    #[param(value_type = Option<DirectionWord>)]
    direction: Direction,
    /// `true`: the answer has the number of orders, exact up to 10,000.
    #[param(value_type = Option<bool>)]
    pub(super) count: bool,
    #[param(ignore)]
    pub(super) paging: TablePaging,
}

impl OrdersParams {
    /// The orders of the customer that the caller acts for, if it acts for one. It may not ask for those of another.
    pub(super) fn of_caller(mut self, caller: &Caller) -> Result<Self, NoSuch> {
        if let Some(own) = caller.customer()
            && self.customer_id.get_or_insert_with(|| own.to_owned()) != own
        {
            return Err(NoSuch("customer"));
        }
        Ok(self)
    }

    pub(super) fn filter(&self, now: Timestamp) -> Result<OrderFilter, InvalidCursor> {
        Ok(OrderFilter {
            status: self.status.clone(),
            payment_status: self.payment_status.clone(),
            fulfilment_status: self.fulfilment_status.clone(),
            customer_id: self.customer_id.clone(),
            sku: self.sku.clone(),
            reference: self.reference.clone(),
            country: self.country.clone(),
            currency: self.currency,
            payment_reference: self.payment_reference.clone(),
            text: self.q.clone(),
            work: self.work,
            placed_from: self.placed_from,
            placed_to: self.placed_to,
            updated_since: self.updated_since,
            terms: self.terms,
            now,
            sort: self.sort,
            direction: self.direction,
            after: self.paging.after()?,
        })
    }
}

impl FromParameters for OrdersParams {
    fn read(parameters: &mut Parameters) -> Option<Self> {
        let status = |text: &str| several_of(text, OrderStatusWord::ALL, OrderStatus::as_str);
        let payment_status = |text: &str| several_of(text, PaymentStatusWord::ALL, PaymentStatus::as_str);
        let fulfilment = |text: &str| several_of(text, FulfilmentStatusWord::ALL, FulfilmentStatus::as_str);
        let terms = |text: &str| one_of(text, PaymentTermsWord::ALL, PaymentTerms::as_str);
        let work = |text: &str| one_of(text, OrderWorkWord::ALL, OrderWork::as_str);
        let sort = |text: &str| one_of(text, OrderSortWord::ALL, OrderSort::as_str);
        let direction = |text: &str| one_of(text, DirectionWord::ALL, Direction::as_str);
        let checked = |value: &str| text::check(value).map(|()| value.to_owned());
        let status = parameters.optional("status", status).unwrap_or_default();
        let payment_status = parameters.optional("payment_status", payment_status).unwrap_or_default();
        let fulfilment_status = parameters.optional("fulfilment_status", fulfilment).unwrap_or_default();
        let customer_id = parameters.optional("customer_id", checked);
        let sku = parameters.optional("sku", Sku::new);
        let [reference, country, payment_reference, q] =
            ["reference", "country", "payment_reference", "q"].map(|name| parameters.optional(name, checked));
        let currency = parameters.optional("currency", str::parse::<Currency>);
        let work = parameters.optional("work", work);
        let placed_from = parameters.optional("placed_from", instant);
        let placed_to = parameters.optional("placed_to", instant);
        let updated_since = parameters.optional("updated_since", instant);
        let terms = parameters.optional("terms", terms);
        let by_default = work.map(OrderWork::sort).unwrap_or_default();
        let sort = parameters.optional("sort", sort).unwrap_or(by_default);
        let direction = parameters.optional("direction", direction).unwrap_or(sort.direction());
        let count = parameters.optional("count", |text| one_of(text, &[true, false], bool_name));
        let paging = TablePaging::read(parameters)?;
        check_range(parameters, placed_from, ("placed_to", placed_to));
        if sort == OrderSort::Total && currency.is_none() {
            parameters
                .refuse("sort", "total needs a currency: amounts of different currencies are not compared");
        }
        if sort == OrderSort::Overdue && work != Some(OrderWork::Overdue) {
            parameters.refuse("sort", "overdue needs work=overdue");
        }
        Some(Self {
            status,
            payment_status,
            fulfilment_status,
            customer_id,
            sku,
            reference,
            country,
            currency,
            payment_reference,
            q,
            work,
            placed_from,
            placed_to,
            updated_since,
            terms,
            sort,
            direction,
            count: count.unwrap_or_default(),
            paging,
        })
    }
}

fn bool_name(value: bool) -> &'static str {
    if value { "true" } else { "false" }
}
