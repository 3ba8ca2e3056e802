//! Messages of Kafka: header lines `name: value`, an empty line, and the value.
//!
//! A message that decodes becomes the same event after it was encoded and decoded again.

use infra::kafka::message;

pub fn check(input: &[u8]) {
    let (head, value) = crate::split_at_empty_line(input);
    let lines = head.split(|byte| *byte == b'\n').filter_map(|line| {
        let colon = line.windows(2).position(|pair| pair == b": ")?;
        Some((str::from_utf8(&line[..colon]).ok()?, Some(&line[colon + 2..])))
    });
    let Ok((store_id, event)) = message::decode(lines, Some(value)) else { return };
    let headers = message::headers(&event, store_id);
    let headers = headers.iter().map(|(name, value)| (*name, Some(value.as_slice())));
    let again = message::decode(headers, Some(&event.data)).expect("what was encoded decodes");
    assert_eq!(again, (store_id, event), "the event after encoding");
}

pub fn seeds() -> Vec<Vec<u8>> {
    let message = |subject: &str, type_name: &str, data: &str| {
        format!(
            "ce_specversion: 1.0\nce_id: 0d3c8f6e-7a41-5c0b-9f0e-1a2b3c4d5e6f\nce_type: {type_name}\n\
             ce_source: urn:uuid:7b1e8f6e-7a41-5c0b-9f0e-1a2b3c4d5e6f\nce_subject: {subject}\n\
             ce_time: 2026-01-01T00:00:00.000001Z\nce_revision: 3\nce_position: 17\n\
             orderly_metadata: {{\"command\":\"receive\",\"correlation_id\":\
             \"0d3c8f6e-7a41-5c0b-9f0e-1a2b3c4d5e6f\"}}\n\n{data}"
        )
    };
    let order = "order-0d3c8f6e-7a41-5c0b-9f0e-1a2b3c4d5e6f";
    let texts = [
        message("stock-85123A", "stock.received.v1", r#"{"quantity":100}"#),
        message(order, "order.paid.v1", "{}"),
    ];
    texts.map(String::into_bytes).to_vec()
}
