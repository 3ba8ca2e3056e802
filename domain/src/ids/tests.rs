use super::*;

#[test]
fn a_stream_name_parses_back_to_itself() {
    let names = [
        StreamName::Stock(Sku::new("BANK CHARGES").unwrap()),
        StreamName::Stock(Sku::new("gift_0001-40").unwrap()),
        StreamName::Order(OrderId(Uuid::from_u128(7))),
        StreamName::Payment(PaymentId(Uuid::from_u128(8))),
        StreamName::Receipt(ReceiptId(Uuid::from_u128(9))),
        StreamName::Exchange(ExchangeId(Uuid::from_u128(10))),
    ];
    for name in names {
        assert_eq!(name.to_string().parse(), Ok(name));
    }
}

#[test]
fn a_text_that_is_not_a_stream_name_is_refused() {
    for text in ["", "stock", "stock-", "order-1", "payment-x", "cart-1", "stock- padded"] {
        assert_eq!(text.parse::<StreamName>(), Err(InvalidStreamName(text.to_owned())));
    }
}

#[test]
fn a_sku_keeps_its_case_and_refuses_outer_spaces_control_characters_and_excess_length() {
    assert_ne!(Sku::new("85123A").unwrap(), Sku::new("85123a").unwrap());
    for text in ["", " 1", "1 ", "a\nb", "a\0", &"x".repeat(65)] {
        assert_eq!(Sku::new(text), Err(InvalidSku));
    }
    assert!(Sku::new(&"ß".repeat(64)).is_ok());
}

#[test]
fn moving_a_character_between_the_parts_of_a_name_gives_another_id() {
    assert_ne!(CommandId::of_request("a", "POST", "/x", "1"), CommandId::of_request("a", "POST", "/x1", ""));
}
