//! A flash sale over an EventStoreDB that loses connections and answers, and restarts.

use std::{sync::Arc, time::Duration};

use domain::{Sku, order::OrderStatus};
use futures::future::join_all;
use infra::event_store::eventstoredb::{EventStoreDb, EventStoreDbOptions};
use tests::eventstoredb::FixtureOptions;
use tokio::time;

use crate::support::{EventStoreDbServer, PATIENCE, Shop, line};

const CLIENTS: usize = 16;
const ORDERS_PER_CLIENT: usize = 10;
const UNITS: u32 = 100;
const FAULTS: usize = 30;

/// Repeats one order under its key until the answer is final. True if the unit was bought.
async fn buy(shop: &Shop, key: &str) -> bool {
    let buying = async {
        loop {
            let answer = shop.place(key, &[line("hot", 1, 1_000)]).await;
            match answer.status.as_u16() {
                201 => return true,
                409 if answer.text().contains("insufficient_stock") => return false,
                409 | 503 => time::sleep(Duration::from_millis(20)).await,
                other => panic!("{other}: {}", answer.text()),
            }
        }
    };
    time::timeout(2 * PATIENCE, buying).await.unwrap_or_else(|_| panic!("{key} got no final answer"))
}

/// Applies one fault after another.
async fn disturb(server: &EventStoreDbServer) {
    for fault in 0..FAULTS {
        // The sleeps are the durations of the faults and of the time between them; no condition is awaited.
        time::sleep(Duration::from_millis(100)).await;
        match (fault % 3, server) {
            (0, EventStoreDbServer::Fixture(server)) => server.faults().lose_answers(3),
            (1, EventStoreDbServer::Fixture(server)) => server.faults().cut_connections(),
            (2, server) => server.restart(Duration::from_millis(200)).await,
            // A real server has only restarts.
            _ => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_unit_is_sold_once_over_an_eventstoredb_with_faults() {
    let server = EventStoreDbServer::start(FixtureOptions::default()).await;
    let options =
        EventStoreDbOptions { call_time_max: Duration::from_secs(2), ..EventStoreDbOptions::default() };
    let store = EventStoreDb::open(server.url().parse().unwrap(), options).await.unwrap();
    let shop = Shop::over(Arc::new(store)).await;
    shop.receive("hot", UNITS).await;

    let client = async |client: usize| {
        let mut bought = 0;
        for order in 0..ORDERS_PER_CLIENT {
            bought += usize::from(buy(&shop, &format!("client {client} order {order}")).await);
        }
        bought
    };
    let (bought, ()) = tokio::join!(join_all((0..CLIENTS).map(client)), disturb(&server));
    assert_eq!(bought.into_iter().sum::<usize>(), UNITS as usize);

    let log = shop.until("rejected orders hold no stock", |log| log.loose_reservations().is_empty()).await;
    let stock = &log.walk_stock(|_, _, _| {})[&Sku::new("hot").unwrap()];
    assert_eq!((stock.levels().on_hand, stock.levels().reserved), (UNITS, UNITS));
    assert!(stock.open_reservations().keys().all(|id| log.order(*id).status() == OrderStatus::Allocated));
    let mut ids: Vec<_> = log.0.iter().map(|event| event.id).collect();
    let events = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), events, "an event was recorded twice");
}
