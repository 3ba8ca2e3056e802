//! Shipments that never left.

use super::*;

async fn undo(shop: &Shop, placed: &Placed, key: &str, shipment: &Value) -> Answer {
    let path = format!("shipments/{}/undo", shipment["shipment_id"].as_str().unwrap());
    placed.post(shop, &path, key, json!({"reason": "not handed over"})).await
}

#[tokio::test]
async fn the_units_of_an_undone_shipment_are_shipped_again() {
    let shop = Shop::open().await;
    let placed = Placed::paid(&shop, "mug").await;
    let first = placed.post(&shop, "shipments", "first", mugs(1)).await.expect(201);
    let rest = placed.post(&shop, "shipments", "rest", json!({})).await.expect(201);
    let levels = async || {
        let levels = shop.until_all_reacted().await.stock("mug").levels();
        (levels.on_hand, levels.reserved)
    };
    assert_eq!(levels().await, (6, 0));
    let answer = undo(&shop, &placed, "undo", &rest).await.expect(200);
    assert_eq!(answer["fulfilment_status"], "partially_shipped");
    assert_eq!(undo(&shop, &placed, "undo", &rest).await.expect(200), answer);
    assert_eq!(undo(&shop, &placed, "again", &rest).await.expect(200)["revision"], answer["revision"]);
    assert_eq!(levels().await, (9, 3));

    let body = json!({"shipment_id": rest["shipment_id"]});
    placed.post(&shop, "deliveries", "d", body).await.problem(409, "shipment_undone");
    placed.post(&shop, "shipments", "second", json!({})).await.expect(201);
    assert_eq!(levels().await, (6, 0));
    undo(&shop, &placed, "undo first", &first).await.expect(200);
    assert_eq!(levels().await, (7, 1));
    let answer = placed.post(&shop, "cancel", "c", json!({})).await.expect(200);
    assert_eq!(answer["refunds"][0]["amount"], 100);
    assert_eq!(levels().await, (7, 0));
    assert_eq!(shop.log().await.loose_reservations(), []);
}

#[tokio::test]
async fn a_shipment_that_arrived_or_that_does_not_exist_cannot_be_undone() {
    let shop = Shop::open().await;
    let placed = Placed::paid(&shop, "mug").await;
    let delivered = placed.post(&shop, "shipments", "first", mugs(1)).await.expect(201);
    let body = json!({"shipment_id": delivered["shipment_id"]});
    placed.post(&shop, "deliveries", "d", body).await.expect(200);
    undo(&shop, &placed, "delivered", &delivered).await.problem(409, "shipment_arrived");
    let returned = placed.post(&shop, "shipments", "second", mugs(2)).await.expect(201);
    placed.post(&shop, "returns", "r", mugs(2)).await.expect(201);
    undo(&shop, &placed, "returned", &returned).await.problem(409, "shipment_arrived");
    let unknown = json!({"shipment_id": "00000000-0000-0000-0000-000000000000"});
    undo(&shop, &placed, "unknown", &unknown).await.problem(404, "not_found");
    placed.post(&shop, "cancel", "c", json!({})).await.expect(200);
    undo(&shop, &placed, "ended", &returned).await.problem(409, "order_status");
}

#[tokio::test]
async fn a_delayed_command_of_an_earlier_shipment_does_not_reduce_a_reservation_that_was_opened_again() {
    let mut shop = Shop::open().await;
    let placed = Placed::paid(&shop, "mug").await;
    placed.post(&shop, "shipments", "first", mugs(1)).await.expect(201);
    let rest = placed.post(&shop, "shipments", "rest", json!({})).await.expect(201);
    undo(&shop, &placed, "undo", &rest).await.expect(200);
    let log = shop.until_all_reacted().await;
    // Every reaction runs again.
    shop.stop_process_manager().await;
    shop.save_reacted_up_to(log.0[0].position).await;
    shop.start_process_manager();
    let levels = shop.until_all_reacted().await.stock("mug").levels();
    assert_eq!((levels.on_hand, levels.reserved), (9, 3));
}
