//! Orders compete fairly for stock: one that cannot be filled takes nothing from others, and of those that
//! compete for the last units one wins.

use std::sync::Arc;

use domain::{CommandContext, NewEvent, Sku, envelope::seal, stock::StockAdjusted, stock::StockDecider};
use futures::future::join_all;
use infra::event_store::{Append, ExpectedRevision};
use serde_json::{Value, json};

use crate::support::{Fault, Log, Shop, ShopOptions, line, metadata};

#[tokio::test]
async fn an_order_that_cannot_be_filled_reserves_nothing_and_names_every_shortage() {
    for shared_store in [false, true] {
        let shop = Shop::with(ShopOptions { shared_store, ..ShopOptions::default() }).await;
        shop.receive("a", 10).await;
        let lines = [line("a", 10, 100), line("y", 2, 100), line("z", 1, 100)];
        let rejected = shop.place("doomed", &lines).await.problem(409, "insufficient_stock");
        assert_eq!(
            rejected["shortages"],
            json!([
                {"sku": "y", "requested": 2, "available": 0},
                {"sku": "z", "requested": 1, "available": 0},
            ])
        );
        shop.place("served", &[line("a", 10, 100)]).await.expect(201);
        assert_eq!(shop.until_all_reacted().await.count("stock.reserved.v1"), 1);
    }
}

/// Each buyer asks for one unit of every SKU, with the lines in random order.
async fn assert_one_buyer_wins(shop: Arc<Shop>, round: usize, buyers: usize) {
    let skus: Vec<String> = (0..10).map(|number| format!("R{round}-{number}")).collect();
    let items: Vec<Value> = skus.iter().map(|sku| json!({"sku": sku, "quantity": 1})).collect();
    let path = "/v1/stock/receipts";
    shop.post(path, &format!("stock {round}"), json!({"receipts": items})).await.expect(200);
    let buying = (0..buyers).map(|buyer| {
        let (shop, mut skus) = (Arc::clone(&shop), skus.clone());
        fastrand::shuffle(&mut skus);
        // A task for each buyer, so that the buyers run on several threads.
        tokio::spawn(async move {
            let lines: Vec<Value> = skus.iter().map(|sku| line(sku, 1, 100)).collect();
            shop.place(&format!("round {round} buyer {buyer}"), &lines).await.status.as_u16()
        })
    });
    let statuses: Vec<u16> = join_all(buying).await.into_iter().map(Result::unwrap).collect();
    let winners = statuses.iter().filter(|status| **status == 201).count();
    assert_eq!(winners, 1, "round {round}: {statuses:?}");
    assert!(statuses.iter().all(|status| [201, 409].contains(status)), "{statuses:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_64_buyers_of_the_last_bundle_wins_in_every_round() {
    let shop = Arc::new(Shop::open().await);
    for round in 0..20 {
        assert_one_buyer_wins(Arc::clone(&shop), round, 64).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_the_buyers_of_the_last_bundle_wins_in_a_store_that_several_processes_write() {
    let options = ShopOptions { shared_store: true, ..ShopOptions::default() };
    let shop = Arc::new(Shop::with(options).await);
    for round in 0..5 {
        assert_one_buyer_wins(Arc::clone(&shop), round, 16).await;
    }
}

/// The adjustment of another process takes all five units of a SKU that was received once.
fn takes_all(sku: &str) -> Append {
    let stream = Sku::new(sku).unwrap().into();
    let context = CommandContext::notice("test", sku);
    let taken = StockAdjusted { delta: -5, reason: None, levels: None };
    let events: Vec<NewEvent> = seal::<StockDecider>(&context, "stock.adjust", &[taken.into()]);
    Append { stream, expected: ExpectedRevision::Exact(0), events, epoch: None }
}

/// A shop in which `b` sells out right after an order has looked at its level and reserved `a`.
pub async fn shop_in_which_b_sells_out(options: ShopOptions) -> Shop {
    let shop = Shop::with(ShopOptions { shared_store: true, ..options }).await;
    shop.receive("a", 5).await;
    shop.receive("b", 5).await;
    let reserves_b = |append: &Append| {
        append.stream.to_string() == "stock-b" && append.events[0].type_name == "stock.reserved.v1"
    };
    shop.store.fail_next(Box::new(reserves_b), Fault::Overtake(takes_all("b")));
    shop
}

/// The types of the events after the receipts.
fn types(log: &Log) -> Vec<&str> {
    log.0[2..].iter().map(|event| &*event.type_name).collect()
}

#[tokio::test]
async fn a_shortage_after_the_first_reservations_is_rejected_and_releases_them_in_the_same_request() {
    let options = ShopOptions { process_manager: false, ..ShopOptions::default() };
    let shop = shop_in_which_b_sells_out(options).await;
    let lines = [line("a", 2, 100), line("b", 3, 100)];
    let rejected = shop.place("checkout", &lines).await.problem(409, "insufficient_stock");
    assert_eq!(rejected["shortages"], json!([{"sku": "b", "requested": 3, "available": 0}]));
    let log = shop.log().await;
    assert_eq!(
        types(&log),
        [
            "order.placed.v2",
            "stock.reserved.v1",
            "stock.adjusted.v1",
            "order.rejected.v1",
            "stock.released.v1"
        ]
    );
    let released = metadata(log.first("stock.released.v1"));
    assert_eq!(released.causation_id, Some(log.first("order.rejected.v1").id));

    // The process manager derives the same command ids, so it releases nothing again.
    let mut shop = shop.crash().await;
    shop.start_process_manager();
    assert_eq!(shop.until_all_reacted().await.0.len(), log.0.len());
}
