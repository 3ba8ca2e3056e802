//! Lists as CSV, their entity tags, and compression.

use std::collections::BTreeSet;

use axum::{
    body::Body,
    http::{Request, header},
};
use domain::order::OrderPlaced;

use super::{
    Api, documentation,
    rows::{order_row, placed},
};
use crate::support::Answer;

async fn csv(api: &Api, uri: &str) -> Answer {
    api.send(Request::get(uri).header(header::ACCEPT, "text/csv").body(Body::empty()).unwrap()).await
}

fn with(url: &str, parameter: &str) -> String {
    let separator = if url.contains('?') { '&' } else { '?' };
    format!("{url}{separator}{parameter}")
}

#[tokio::test]
async fn every_list_is_a_table_with_the_members_of_its_items() {
    let api = documentation::api_with_rows();
    let mut tables = Vec::new();
    for url in documentation::table_urls() {
        let list = api.get(&url).await.expect(200);
        let item = list["items"].as_array().or(list["groups"].as_array()).unwrap()[0].clone();
        let members: BTreeSet<String> = item.as_object().unwrap().keys().cloned().collect();
        let answer = api.get(&with(&url, "format=csv")).await;
        assert_eq!(
            answer.header(header::CONTENT_TYPE),
            Some("text/csv; charset=utf-8; header=present"),
            "{url}"
        );
        let text = answer.text();
        let (header_row, rows) = text.split_once("\r\n").unwrap();
        let columns: BTreeSet<String> = header_row.split(',').map(str::to_owned).collect();
        assert_eq!(columns, members, "{url}");
        assert!(rows.ends_with("\r\n"), "{url} has rows");
        tables.push(url);
    }
    assert!(tables.len() >= 9, "{tables:?}");
}

#[tokio::test]
async fn a_table_has_the_next_page_in_a_link_and_no_text_that_is_a_formula() {
    let api = Api::new();
    api.queries.change(|rows| {
        let named = |number, name: &str| {
            order_row(&[OrderPlaced { reference: Some(name.to_owned()), ..placed(number) }.into()])
        };
        rows.orders = vec![named(1, "=1+1"), named(2, "a,b")];
    });
    let uri = "/v1/orders?customer_id=17850&country=United+Kingdom&limit=1";
    let first = csv(&api, uri).await;
    assert!(first.text().contains(",\"a,b\","), "{}", first.text());
    let link = first.header(header::LINK).unwrap();
    let next = link.strip_prefix('<').unwrap().strip_suffix(">; rel=\"next\"").unwrap();
    let second = csv(&api, next).await;
    assert!(second.text().contains(",'=1+1,"), "{}", second.text());
    assert_eq!(second.header(header::LINK), None);
    // The same link leads to the same page as JSON.
    assert_eq!(api.get(next).await.expect(200)["items"][0]["reference"], "=1+1");
    assert_eq!(api.get("/v1/orders?format=xml").await.invalid_fields(), ["format"]);
}

#[tokio::test]
async fn a_list_that_has_not_changed_is_not_sent_again() {
    let api = Api::new();
    api.queries.change(|rows| rows.orders.push(order_row(&[placed(1).into()])));
    let first = api.get("/v1/orders").await;
    let tag = first.header(header::ETAG).unwrap().to_owned();
    assert!(tag.starts_with("W/\""), "{tag}");
    let unchanged = api.get_if_none_match("/v1/orders", &format!("\"other\", {tag}")).await;
    assert_eq!((unchanged.status.as_u16(), unchanged.body.len()), (304, 0));
    assert_eq!(unchanged.header(header::ETAG), Some(tag.as_str()));
    assert_ne!(csv(&api, "/v1/orders").await.header(header::ETAG), Some(tag.as_str()));
    api.queries.change(|rows| rows.orders.push(order_row(&[placed(2).into()])));
    assert_eq!(api.get_if_none_match("/v1/orders", &tag).await.status, 200);
}

#[tokio::test]
async fn answers_are_compressed_for_callers_that_accept_it() {
    let api = Api::new();
    api.queries.change(|rows| rows.orders = (1..=50).map(|n| order_row(&[placed(n).into()])).collect());
    let plain = api.get("/v1/orders").await;
    let request = Request::get("/v1/orders").header(header::ACCEPT_ENCODING, "gzip").body(Body::empty());
    let response = tower::ServiceExt::oneshot(api.router.clone(), request.unwrap()).await.unwrap();
    assert_eq!(response.headers()[header::CONTENT_ENCODING], "gzip");
    let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
    assert!(body.len() * 5 < plain.body.len(), "{} of {} bytes", body.len(), plain.body.len());
}
