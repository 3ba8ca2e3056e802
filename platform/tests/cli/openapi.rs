use serde_json::Value;

use super::support::DataDir;

#[tokio::test]
async fn the_document_of_each_api_and_of_both_is_printed_without_a_server() {
    let data = DataDir::new();
    let mut paths = Vec::new();
    for api in ["all", "command", "query"] {
        let printed = data.run_well(&["openapi", "--api", api]).await;
        let document: Value = serde_json::from_str(&printed).unwrap();
        assert_eq!(document["openapi"], "3.1.0", "{api}");
        paths.push(document["paths"].as_object().unwrap().len());
    }
    let [all, command, query] = paths[..] else { panic!("{paths:?}") };
    assert!(all < command + query && all > command.max(query), "{paths:?}");
}

#[tokio::test]
async fn both_apis_serve_the_combined_document() {
    let data = DataDir::new();
    let server = data.serve().await;
    let combined = server.get("/openapi/combined.json").await;
    assert_eq!(combined, server.get_from_command_api("/openapi/combined.json").await);
    assert_eq!(combined["paths"]["/v1/orders"]["post"]["operationId"], "placeOrder");
    assert_eq!(combined["paths"]["/v1/orders"]["get"]["operationId"], "listOrders");
    server.terminate().await;
}
