//! Command ids and fingerprints are stored in every log. If they changed, a retry of a command from before an
//! upgrade would be executed again.

use std::collections::BTreeMap;

use super::*;
use crate::support::TestSandbox;

/// Idempotency key, command id, fingerprint. The values are those of version 0.1.0.
const STORED: [(&str, &str, &str); 20] = [
    (
        "receive",
        "fb64f2ec-32e7-5f3d-8e18-83ccc59a09c3",
        "5aabbbf2df8292ef1fe8da2c23b9597f7f4fc56b9a7177660ec7fc2b6a172158",
    ),
    (
        "receive encoded",
        "3dd8cf31-d1fc-53b5-aef7-4fc0942c3333",
        "8e8f096725af61add61a6806caaa7d90279f83066dba61c2f060a47ae292b79d",
    ),
    (
        "adjust",
        "03f4269c-f660-5f9b-8940-ce713dcb25f6",
        "635838fdf33e4ad26bac9190029b15b4755fa2a9f5abb657b2a03b0a5dab9eb5",
    ),
    (
        "bulk",
        "1ae35aba-355d-5e83-964b-7ed723b1244f",
        "7104eb31c3bf798d73a2282a430df8f23e6c1a726f725ad85af9052c42b3c8bc",
    ),
    (
        "place",
        "61ed4e12-0437-5b8f-9a9d-ac75315162f9",
        "9e802fafca79c966a6ad3aa3e166d922d4858704e7b22a6355617764572fc52f",
    ),
    (
        "place full",
        "8f8b68cf-aee7-5b8d-9f31-c6a8b622e0e3",
        "d0fc48dbdde6a62d6b8d04b93cc3d2840238e574832ee40761f9d19135b9caca",
    ),
    (
        "place third",
        "a4738d57-5a62-549c-8901-1d5d360f78d1",
        "8bcd55796850f65b1e9d90504b7f1074dec5dd849995608a62f24c92f7b4ebca",
    ),
    (
        "authorize",
        "51a9f713-7215-56fe-94a2-2a03fba70d0c",
        "67673b28990e607bb0de1dbcbb273bd3da6880218eca0999609533a9494b98da",
    ),
    (
        "capture",
        "db06503a-6156-59b8-bd98-c23c71b78c16",
        "946a4906935a36a78da06c4246535af315825d21f9450444a5536035997b8054",
    ),
    (
        "ship",
        "5ffdd3af-816e-5788-9162-ecd6ef07d98c",
        "8d262883abf52f65f951f1f9b02b3cb1a60e50dd1ff3e804bfec4d3d79f22a38",
    ),
    (
        "deliver",
        "af853fb0-6ac1-59e7-83eb-49232e152dbd",
        "b9dfc39f62e8fbb30994004110ab14bdc3d68f4c157eff4e93daadd058d9e03e",
    ),
    (
        "return",
        "23870e09-90aa-5aba-8217-18074b65d69f",
        "549c3449c184995c83ffd247d5984759fc0cd3ca2f38b58022f2171b9eea8496",
    ),
    (
        "refund",
        "2f4fb259-b544-512f-98a2-09a4bf6e3491",
        "0b368a4f39b3209627d2dba7d1cb5e5482f49d3a27e95afed9e941cc9751e820",
    ),
    (
        "refund succeeded",
        "d294e974-23a3-5275-baae-0f8ca614a71a",
        "5244454a888dce2354e02974c3f8029f5d1747a79855e0fd720cc47222e460a3",
    ),
    (
        "refund failed",
        "7948d0ce-d025-590b-93bb-52020172089e",
        "a8b839411956564d6a093ae07740cf004c79230805aad98d2848d1c11139e2af",
    ),
    (
        "cancel",
        "c11bc583-bc68-5ad9-be1c-395e24bb48f2",
        "0cd4101d3beb3cdd08a62cb8508f2a2a0942b290a02d6ba252d5fb481d3ce054",
    ),
    (
        "fail",
        "15bbd059-5738-563b-8cda-1dba18f27e60",
        "d1b133d13b2c76f7a04152e5af8ca5b893df6774b95d61ff8f984ffd2680733a",
    ),
    (
        "void",
        "4f5dadc8-2d9c-5f20-b140-23ddd613fbb0",
        "9f1ead608738c33f9659155d913d0ac72ff718003a6813be0925dfc779fdd9b5",
    ),
    (
        "place with a provider",
        "e5771caf-f659-599a-a698-bc05d6a2b792",
        "0ee467848e214215b63b8cc538e3a21f85d68b06ce2126862fb145a21ab21711",
    ),
    (
        "charge",
        "235408f8-de39-5300-b352-c7ddd0222a84",
        "6198ddf21c5f5711f89268c614b8a37024813e7e75d07b6da6f8fd6dcfb97234",
    ),
];

/// The command id and the fingerprint of each key in the log.
async fn stored(shop: &Shop) -> BTreeMap<String, (String, String)> {
    let log = shop.log().await;
    let metadata = log.0.iter().map(|event| event.decode_metadata().unwrap());
    let stored = metadata.filter_map(|metadata| {
        let idempotency = metadata.idempotency?;
        Some((idempotency.key, (metadata.command_id.to_string(), idempotency.fingerprint)))
    });
    stored.collect()
}

fn id_of(answer: &Value, member: &str) -> String {
    answer[member].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn command_ids_and_fingerprints_of_every_route_equal_those_in_existing_logs() {
    let shop = Shop::open().await;
    let post = async |path: &str, key: &str, body: Value| {
        let answer = shop.post(path, key, body).await;
        assert!(answer.status.is_success(), "{path}: {}", answer.text());
        answer.json()
    };
    post("/v1/stock/85123A/receipts", "receive", json!({"quantity": 100, "reference": "po-1"})).await;
    post("/v1/stock/A%2FB%20%C3%BC/receipts", "receive encoded", json!({"quantity": 1})).await;
    post("/v1/stock/85123A/adjustments", "adjust", json!({"delta": -1, "reason": "count"})).await;
    post("/v1/stock/receipts", "bulk", json!({"receipts": [{"sku": "a", "quantity": 2}]})).await;
    let order =
        post("/v1/orders", "place", json!({"currency": "GBP", "lines": [line("85123A", 10, 255)]})).await;
    let postage = json!({"sku": "POST", "quantity": 1, "unit_price": 395, "stocked": false});
    let full = json!({
        "customer_id": "17850", "currency": "EUR", "country": "EIRE",
        "lines": [line("85123A", 1, 100), postage],
        "adjustments": [{"code": "voucher", "amount": -95}], "reference": "web-1",
        "metadata": {"channel": "app", "gift": ""}, "payment_due_at": null, "placed_at": "2010-12-01T08:26:00Z",
    });
    let second = post("/v1/orders", "place full", full).await;
    let third =
        post("/v1/orders", "place third", json!({"currency": "GBP", "lines": [line("85123A", 1, 100)]}))
            .await;

    post(&payment_path(&order, "/authorize"), "authorize", json!({})).await;
    post(&payment_path(&order, "/capture"), "capture", json!({"amount": 2550, "reference": "ch_1"})).await;
    let shipment = json!({"lines": [part(1, 8)], "carrier": "DHL"});
    let shipped = post(&path_of(&order, "/shipments"), "ship", shipment).await;
    post(&path_of(&order, "/deliveries"), "deliver", json!({"shipment_id": shipped["shipment_id"]})).await;
    let returned = post(&path_of(&order, "/returns"), "return", json!({"lines": [part(1, 1)]})).await;
    let refunded = post(&path_of(&order, "/refunds"), "refund", json!({"amount": 5})).await;
    shop.until("both refunds are requested", |log| log.count("payment.refund_requested.v1") == 2).await;
    let succeeded = format!("/refunds/{}/succeed", id_of(&returned, "return_id"));
    post(&payment_path(&order, &succeeded), "refund succeeded", json!({})).await;
    let failed = format!("/refunds/{}/fail", id_of(&refunded, "refund_id"));
    post(&payment_path(&order, &failed), "refund failed", json!({"reason": "closed"})).await;
    // Upper and lower case of an id give the same command id.
    let upper_case = id_of(&order, "order_id").to_uppercase();
    post(&format!("/v1/orders/{upper_case}/cancel"), "cancel", json!({})).await;
    let declined = json!({"reason": "declined", "retryable": true});
    post(&payment_path(&second, "/fail"), "fail", declined).await;
    post(&payment_path(&third, "/void"), "void", json!({})).await;
    let mut stored_here = stored(&shop).await;

    let sandbox = TestSandbox::open("").await;
    let shop = Shop::with(sandbox.options()).await;
    shop.receive("a", 1).await;
    let order = shop.place("place with a provider", &[line("a", 1, 100)]).await.expect(201);
    shop.post(&payment_path(&order, "/charge"), "charge", json!({"method": "ok"})).await.expect(200);
    stored_here.extend(stored(&shop).await);
    stored_here.remove("stock a");

    let expected =
        STORED.map(|(key, id, fingerprint)| (key.to_owned(), (id.to_owned(), fingerprint.to_owned())));
    assert_eq!(stored_here, BTreeMap::from(expected));
}
