//! Stored events: the name of a type, a line feed, and the data.
//!
//! An event that decodes has the same content after it was encoded and decoded again. Metadata too.

use std::{fs, path::Path};

use domain::{
    EventMetadata, decider::StoredEvent, exchange::ExchangeEvent, order::OrderEvent, payment::PaymentEvent,
    receipt::ReceiptEvent, stock::StockEvent,
};

const METADATA: &str = "metadata";

pub fn check(input: &[u8]) {
    let Some(end) = input.iter().position(|byte| *byte == b'\n') else { return };
    let (Ok(type_name), data) = (str::from_utf8(&input[..end]), &input[end + 1..]) else { return };
    if type_name == METADATA {
        check_metadata(data);
    }
    check_event::<StockEvent>(type_name, data);
    check_event::<OrderEvent>(type_name, data);
    check_event::<PaymentEvent>(type_name, data);
    check_event::<ReceiptEvent>(type_name, data);
    check_event::<ExchangeEvent>(type_name, data);
}

fn check_event<E: StoredEvent>(type_name: &str, data: &[u8]) {
    let Ok(event) = E::from_json(type_name, data) else { return };
    let again = E::from_json(event.type_name(), &event.to_json()).expect("what was encoded decodes");
    assert_eq!(again, event, "the event after encoding");
}

fn check_metadata(data: &[u8]) {
    let Ok(metadata) = serde_json::from_slice::<EventMetadata>(data) else { return };
    let json = serde_json::to_vec(&metadata).expect("metadata has string keys");
    let again: EventMetadata = serde_json::from_slice(&json).expect("what was encoded decodes");
    assert_eq!(again, metadata, "the metadata after encoding");
}

/// The golden files of all events.
pub fn seeds() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../domain/golden");
    let entries = fs::read_dir(folder).expect("the golden files are beside this package");
    let paths = entries.map(|entry| entry.expect("the folder can be read").path());
    let mut paths: Vec<_> = paths.filter(|path| path.extension().is_some_and(|end| end == "json")).collect();
    paths.sort();
    let seed = |path: &std::path::PathBuf| {
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        // A name has three parts: aggregate, event and version. A fourth one tells the form.
        let type_name: Vec<&str> = name.splitn(4, '.').take(3).collect();
        let data = fs::read(path).expect("a golden file can be read");
        [type_name.join(".").as_bytes(), b"\n", &data].concat()
    };
    let metadata = br#"metadata
{"command_id":"0d3c8f6e-7a41-5c0b-9f0e-1a2b3c4d5e6f","command":"place","correlation_id":"0d3c8f6e-7a41-5c0b-9f0e-1a2b3c4d5e6f","actor":{"principal":"shop","person":"ada"}}"#;
    paths.iter().map(seed).chain([metadata.to_vec()]).collect()
}
