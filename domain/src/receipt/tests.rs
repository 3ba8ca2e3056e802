use super::*;
use crate::{
    Sku,
    checkout::{Step, react_to_receipt},
    stock::{StockCommand, UNITS_MAX},
    testing,
    text::InvalidText,
};

fn given(events: impl IntoIterator<Item = ReceiptEvent>) -> testing::Given<ReceiptDecider> {
    testing::given(events)
}

fn item(sku: &str, quantity: u32) -> ReceiptItem {
    ReceiptItem { sku: Sku::new(sku).unwrap(), quantity, reference: None }
}

fn with_reference(sku: &str, reference: &str) -> ReceiptItem {
    ReceiptItem { reference: Some(reference.to_owned()), ..item(sku, 1) }
}

fn accept(items: Vec<ReceiptItem>) -> ReceiptCommand {
    ReceiptCommand::Accept { items }
}

#[test]
fn a_receipt_is_accepted_once() {
    let items = vec![item("A", 1), with_reference("B", "po-1"), item("C", UNITS_MAX)];
    let accepted = ReceiptAccepted { items: items.clone() };
    given([]).when(accept(items.clone())).then([accepted.into()]).when(accept(items)).then_nothing();
}

#[test]
fn a_refused_receipt_names_every_reason() {
    let items = vec![item("A", 0), item("B", 1), item("B", UNITS_MAX + 1), with_reference("C", "a\nb")];
    let refused = |index: usize, why| {
        let sku = items[index].sku.clone();
        ReceiptRefusal::Item { index, sku, why }
    };
    let refusals = vec![
        refused(0, ItemRefusal::Quantity),
        refused(2, ItemRefusal::Repeated),
        refused(2, ItemRefusal::Quantity),
        refused(3, ItemRefusal::Reference(InvalidText { chars_max: 500 })),
    ];
    given([]).when(accept(items.clone())).then_refused(ReceiptRefusals(refusals));
}

#[test]
fn a_receipt_has_1_to_1_000_items() {
    let many = |count: usize| (0..count).map(|number| item(&format!("S{number}"), 1)).collect::<Vec<_>>();
    for count in [0, ITEMS_MAX + 1] {
        given([]).when(accept(many(count))).then_refused(ReceiptRefusals(vec![ReceiptRefusal::ItemCount]));
    }
    let most = many(ITEMS_MAX);
    given([]).when(accept(most.clone())).then([ReceiptAccepted { items: most }.into()]);
}

/// The references are bounded together, so the largest receipt can be appended to every event store.
#[test]
fn the_largest_receipt_has_less_than_1_mib() {
    let (worst_sku, worst_reference) = ("🎁".repeat(59), "\"".repeat(500));
    let items: Vec<_> = (0..ITEMS_MAX)
        .map(|number| {
            let fits = (number + 1) * worst_reference.len() <= REFERENCES_BYTES_MAX;
            let reference = fits.then(|| worst_reference.clone());
            ReceiptItem { reference, ..item(&format!("{worst_sku}{number:05}"), UNITS_MAX) }
        })
        .collect();
    let event: ReceiptEvent = ReceiptAccepted { items: items.clone() }.into();
    assert!(crate::decider::StoredEvent::to_json(&event).len() < 1_000_000);
    given([]).when(accept(items.clone())).then([event]);

    let one_more =
        items.into_iter().map(|item| ReceiptItem { reference: Some(worst_reference.clone()), ..item });
    let refused = ReceiptRefusals(vec![ReceiptRefusal::ReferencesTooLong]);
    given([]).when(accept(one_more.collect())).then_refused(refused);
}

#[test]
fn the_stock_of_each_sku_follows_an_accepted_receipt() {
    let accepted = ReceiptAccepted { items: vec![item("A", 3), with_reference("B", "po-1")] };
    let receive = |sku: &str, quantity, reference: Option<&str>| {
        let reference = reference.map(str::to_owned);
        Step::Stock(Sku::new(sku).unwrap(), StockCommand::ReceiveAccepted { quantity, reference })
    };
    assert_eq!(react_to_receipt(&accepted.into()), [receive("A", 3, None), receive("B", 1, Some("po-1"))]);
}
