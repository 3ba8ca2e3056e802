use std::collections::BTreeSet;

use super::*;

/// <https://prometheus.io/docs/practices/naming/>
#[test]
fn every_name_follows_the_conventions_of_prometheus() {
    for Metric { name, kind, labels, .. } in ALL {
        assert!(name.starts_with("orderly_"), "{name} does not name the platform");
        let is_word = |text: &str| text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'_'));
        assert!(is_word(name) && labels.iter().all(|label| is_word(label)), "{name} {labels:?}");
        assert_eq!(*kind == Kind::Counters, name.ends_with("_total"), "{name}");
        assert!(*kind != Kind::Seconds || name.ends_with("_seconds"), "{name} does not end with its unit");
    }
}

#[test]
fn every_name_is_used_once() {
    let names: BTreeSet<_> = ALL.iter().map(|metric| metric.name).collect();
    assert_eq!(names.len(), ALL.len());
}

#[test]
fn handles_without_a_recorder_count_nothing() {
    let gauge = COMMANDS_UNDER_WAY.with(["order"]);
    drop(UnderWay::begin(&gauge));
    COMMAND_ATTEMPTS.with(["order", "recorded"]).increment(1);
    APPEND_SECONDS.with(["order"]).record(0.5);
}
