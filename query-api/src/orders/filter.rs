//! The filters of the list of orders.

use domain::{
    Sku, Timestamp,
    order::{OrderStatus, PaymentTerms},
    text,
};
use infra::{
    auth::Caller,
    http::{
        paging::Paging,
        parameters::{FromParameters, Parameters, check_range, instant, one_of},
        path::NoSuch,
    },
    read_models::OrderBalance,
};
use utoipa::IntoParams;

use infra::http::vocabulary::{OrderBalanceWord, OrderStatusWord, PaymentTermsWord, SkuValue, TextValue};

/// The orders to list. An order must match all filters.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct OrdersParams {
    #[param(value_type = Option<OrderStatusWord>)]
    pub(super) status: Option<OrderStatus>,
    #[param(value_type = Option<TextValue>)]
    pub(super) customer_id: Option<String>,
    /// Orders with this SKU on a line.
    #[param(value_type = Option<SkuValue>)]
    pub(super) sku: Option<Sku>,
    /// `overpaid`: more is paid than is owed. `refund_due`: a refund is not paid out yet.
    #[param(value_type = Option<OrderBalanceWord>)]
    pub(super) balance: Option<OrderBalance>,
    /// Placed at this instant or later. A date means its midnight in UTC.
    #[param(value_type = Option<String>, example = "2010-12-01T08:26:00Z")]
    pub(super) placed_from: Option<Timestamp>,
    /// Placed before this instant. A date means its midnight in UTC.
    #[param(value_type = Option<String>, example = "2011-01-01")]
    pub(super) placed_to: Option<Timestamp>,
    /// Not together with `sku`.
    #[param(value_type = Option<PaymentTermsWord>)]
    pub(super) terms: Option<PaymentTerms>,
    /// `true`: orders whose money is overdue now, the longest overdue first. Not together with `sku` or `balance`.
    #[param(value_type = Option<bool>)]
    pub(super) overdue: bool,
    #[param(ignore)]
    pub(super) paging: Paging,
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
}

impl FromParameters for OrdersParams {
    fn read(parameters: &mut Parameters) -> Option<Self> {
        let status = |text: &str| one_of(text, OrderStatusWord::ALL, OrderStatus::as_str);
        let terms = |text: &str| one_of(text, PaymentTermsWord::ALL, PaymentTerms::as_str);
        let customer_id = |id: &str| text::check(id).map(|()| id.to_owned());
        let wanted = Self {
            status: parameters.optional("status", status),
            customer_id: parameters.optional("customer_id", customer_id),
            sku: parameters.optional("sku", Sku::new),
            balance: parameters
                .optional("balance", |text: &str| one_of(text, OrderBalanceWord::ALL, OrderBalance::as_str)),
            placed_from: parameters.optional("placed_from", instant),
            placed_to: parameters.optional("placed_to", instant),
            terms: parameters.optional("terms", terms),
            overdue: parameters.optional("overdue", |text| one_of(text, &[true], |_| "true")).is_some(),
            paging: Paging::read(parameters)?,
        };
        check_range(parameters, wanted.placed_from, ("placed_to", wanted.placed_to));
        // No index has both.
        let excluded = [("terms", wanted.terms.is_some()), ("overdue", wanted.overdue)];
        for (name, _) in excluded.into_iter().filter(|(_, given)| *given && wanted.sku.is_some()) {
            parameters.refuse(name, "cannot be given together with sku");
        }
        if wanted.overdue && wanted.balance.is_some() {
            parameters.refuse("overdue", "cannot be given together with balance");
        }
        Some(wanted)
    }
}
