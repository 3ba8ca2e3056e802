//! docs/events.md and docs/asyncapi.json show every event as it is in Kafka. They are made from the golden
//! files by the publishing code, so they cannot differ from it. `ORDERLY_WRITE_DOCS=1` writes both files.

mod asyncapi;
mod examples;
mod page;
mod schema;

use std::{fs, path::PathBuf};

pub use self::examples::examples;
/// The id of the event store in the examples.
use crate::projectors::memory_log::STORE_ID;

/// Compares a page of docs/ with what it is made from, and writes it if the environment asks for that.
pub fn assert_is_current(name: &str, expected: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name);
    if std::env::var_os("ORDERLY_WRITE_DOCS").is_some() {
        fs::write(&path, expected).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    let differs = written.lines().zip(expected.lines()).position(|(is, should)| is != should);
    assert!(
        written == expected,
        "docs/{name} is outdated from line {:?}; run this test with ORDERLY_WRITE_DOCS=1 to write it",
        differs.map(|line| line + 1)
    );
}

#[test]
fn the_events_page_shows_every_event_as_it_is_in_kafka() {
    assert_is_current("events.md", &page::page());
}

#[test]
fn the_asyncapi_document_describes_every_event() {
    assert_is_current("asyncapi.json", &asyncapi::document());
}

/// The example of a message in docs/events.md, line by line as a client reads the message.
pub fn shown(key: &str, headers: &[(&str, String)], value: &str) -> String {
    let headers: Vec<String> =
        headers.iter().map(|(name, value)| format!("header {name}: {value}")).collect();
    format!("key    {key}\n{}\nvalue  {value}\n", headers.join("\n"))
}

/// The page as committed in the repository.
pub fn written_page() -> String {
    fs::read_to_string(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/events.md")).unwrap()
}
