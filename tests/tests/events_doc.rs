//! docs/events.md and docs/asyncapi.json show every event as it is in Kafka: written from the golden files and by the
//! code that publishes, so that they cannot tell otherwise. `ORDERLY_WRITE_DOCS=1` writes them anew.

mod asyncapi;
mod examples;
mod page;

use std::{fs, path::PathBuf};

pub use self::examples::examples;
/// The event store that the examples are from.
use crate::projectors::memory_log::STORE_ID;

fn assert_is_current(name: &str, expected: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name);
    if std::env::var_os("ORDERLY_WRITE_DOCS").is_some() {
        fs::write(&path, expected).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    let differs = written.lines().zip(expected.lines()).position(|(is, should)| is != should);
    assert!(
        written == expected,
        "docs/{name} is not current from line {:?} on; write it anew with ORDERLY_WRITE_DOCS=1",
        differs.map(|line| line + 1)
    );
}

#[test]
fn the_page_on_events_shows_them_as_they_are_in_kafka() {
    assert_is_current("events.md", &page::page());
}

#[test]
fn the_asyncapi_document_describes_every_event() {
    assert_is_current("asyncapi.json", &asyncapi::document());
}

/// What docs/events.md says of one message: the lines of the example that a client can compare with what it reads.
pub fn shown(key: &str, headers: &[(&str, String)], value: &str) -> String {
    let headers: Vec<String> =
        headers.iter().map(|(name, value)| format!("header {name}: {value}")).collect();
    format!("key    {key}\n{}\nvalue  {value}\n", headers.join("\n"))
}

/// The page as it is in the repository.
pub fn written_page() -> String {
    fs::read_to_string(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/events.md")).unwrap()
}
