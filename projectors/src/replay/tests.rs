use super::*;

#[test]
fn progress_counts_events_also_where_positions_count_bytes() {
    let in_bytes = ReadProgress { events: 250, position: 100_000 };
    assert_eq!(in_bytes.events_until(400_000), 1_000);
    assert_eq!(in_bytes.events_until(100_000), 250);
    let in_events = ReadProgress { events: 250, position: 250 };
    assert_eq!(in_events.events_until(1_000), 1_000);
    assert_eq!(ReadProgress { events: 0, position: 0 }.events_until(7), 0);
    let far = ReadProgress { events: u64::MAX, position: 1 };
    assert_eq!(far.events_until(u64::MAX), u64::MAX);
}
