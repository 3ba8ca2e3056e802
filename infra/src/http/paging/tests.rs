use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};

use super::*;

fn paging(uri: &str) -> Paging {
    let mut parameters = Parameters::parse(&uri.parse().unwrap());
    Paging::read(&mut parameters).unwrap()
}

#[test]
fn a_cursor_continues_after_the_last_row_of_its_page() {
    let listing = paging("/v1/things?limit=2").listing_of_one_more(&[3_u64, 5, 8], |row| *row, |row| *row);
    assert_eq!(listing.items, [3, 5]);
    let cursor = listing.next_cursor.unwrap();
    let next = paging(&format!("/v1/things?limit=9&cursor={cursor}"));
    assert_eq!(next.after::<u64>().unwrap(), Some(5));
    assert_eq!(next.listing_of_one_more(&[8_u64], |row| *row, |row| *row).next_cursor, None);
}

#[test]
fn a_cursor_of_another_list_another_filter_or_an_earlier_format_is_refused() {
    let listing = paging("/v1/things?limit=1").listing_of_one_more(&[3_u64, 5], |row| *row, |row| *row);
    let cursor = listing.next_cursor.unwrap();
    let earlier = BASE64_URL_SAFE_NO_PAD.encode("webhook-subscriptions#3");
    for uri in [
        format!("/v1/others?cursor={cursor}"),
        format!("/v1/things?status=a&cursor={cursor}"),
        format!("/v1/things?cursor={earlier}"),
        "/v1/things?cursor=3".to_owned(),
        "/v1/things?cursor=".to_owned(),
    ] {
        assert_eq!(paging(&uri).after::<u64>().unwrap_err(), InvalidCursor, "{uri}");
    }
}
