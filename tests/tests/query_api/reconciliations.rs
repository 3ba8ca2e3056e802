//! `/v1/reconciliations`.

use infra::operations::reconciliations::Reconciliation;
use serde_json::json;

use super::Api;
use crate::reconciliations_contract::comparison;

#[tokio::test]
async fn comparisons_with_the_provider_are_listed_and_shown_by_day() {
    let api = Api::new();
    assert_eq!(api.get("/v1/reconciliations").await.expect(200), json!({"items": []}));
    api.get("/v1/reconciliations/latest").await.problem(404, "not_found");
    let clean = Reconciliation { differences: Vec::new(), differences_count: 0, ..comparison(2, 60) };
    api.queries.change(|rows| rows.reconciliations = vec![clean, comparison(1, 900_000)]);

    let listed = api.get("/v1/reconciliations").await.expect(200);
    let days = listed["items"].as_array().unwrap().iter().map(|item| (&item["day"], &item["differences"]));
    let expected = [(json!("2023-11-16"), json!(1)), (json!("2023-11-17"), json!(0))];
    assert!(days.eq(expected.iter().map(|(day, number)| (day, number))), "{listed}");
    let shown = api.get("/v1/reconciliations/2023-11-16").await.expect(200);
    assert_eq!(shown, api.get("/v1/reconciliations/latest").await.expect(200));
    assert_eq!(
        shown["totals"],
        json!([{"kind": "refund", "currency": "GBP", "count": 1, "ours": 0, "theirs": 70, "difference": 70}])
    );
    let different = &shown["different"][0];
    assert_eq!(
        (&different["why"], &different["difference"]),
        (&json!("only the provider has it"), &json!(70))
    );
    for unknown in ["2023-11-18", "2023-02-30", "yesterday", "LATEST"] {
        api.get(&format!("/v1/reconciliations/{unknown}")).await.problem(404, "not_found");
    }
}
