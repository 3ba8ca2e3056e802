use super::{ExchangeRefusal, ExchangeRequested};
use crate::{
    ExchangeId,
    credit::{CreditGiven, CreditSource},
    order::{
        EVENT_BYTES_MAX, METADATA_BYTES_MAX, NewReturn, NewTender, Order, PlaceOrder, new_order, returned,
    },
};

/// Checks an exchange against the first order as it is now, and computes its credit. The caller has compared the new
/// order with the stock.
///
/// `place` has the charge of what the credit does not pay, and no other payment. The charge is left out if the credit
/// pays all.
pub fn plan(
    exchange_id: ExchangeId,
    first: &Order,
    new_return: NewReturn,
    place: PlaceOrder,
) -> Result<ExchangeRequested, ExchangeRefusal> {
    let returned = returned(first, new_return.clone(), None).map_err(ExchangeRefusal::Return)?;
    let (Some(order_id), Some(currency)) = (first.order_id(), first.currency()) else {
        return Err(ExchangeRefusal::NotFound);
    };
    if place.currency != currency {
        return Err(ExchangeRefusal::OtherCurrency(currency));
    }
    if !place.terms.is_prepaid() {
        return Err(ExchangeRefusal::NotPrepaid);
    }
    let mut order = new_order(place).map_err(ExchangeRefusal::Order)?;
    let amount = returned.refund_amount.min(order.total);
    if !amount.is_positive() {
        return Err(ExchangeRefusal::NothingToCredit);
    }
    let charge = order.payment.take();
    let credit = Some(CreditSource { exchange_id, order_id });
    order.payments = vec![NewTender { amount, charge: None, credit }];
    let rest = order.total.saturating_sub(amount);
    if rest.is_positive() {
        order.payments.push(NewTender { amount: rest, charge, credit: None });
    }
    let NewReturn { return_id, lines, reason, .. } = new_return;
    let credit = CreditGiven { exchange_id, order_id: order.order_id, amount };
    let order = Box::new(order);
    let requested = ExchangeRequested { order_id, return_id, lines, reason, credit, order };
    check_size(&requested)?;
    Ok(requested)
}

/// The intent contains the new order, so it is larger than every event of it.
fn check_size(requested: &ExchangeRequested) -> Result<(), ExchangeRefusal> {
    let json = serde_json::to_vec(requested).expect("event data has string keys and no failing serializers");
    let bytes = json.len() + METADATA_BYTES_MAX;
    if bytes > EVENT_BYTES_MAX { Err(ExchangeRefusal::TooLarge { bytes }) } else { Ok(()) }
}
