use domain::Sku;

use super::*;

const EVENT: EventId = EventId(Uuid::from_u128(9));

fn stream() -> StreamName {
    Sku::new("a/b c").unwrap().into()
}

fn store_with_snapshot(dir: &Path) -> SnapshotStore {
    let store = SnapshotStore::open(dir, Uuid::from_u128(1)).unwrap();
    store.save(&stream(), 1, 41, EVENT, &vec![1, 2, 3]).unwrap();
    store
}

#[test]
fn a_loaded_snapshot_equals_the_saved_one() {
    let dir = tempfile::tempdir().unwrap();
    let store = store_with_snapshot(dir.path());
    let expected = Snapshot { revision: 41, event_id: EVENT, state: vec![1, 2, 3] };
    assert_eq!(store.load::<Vec<i32>>(&stream(), 1), Some(expected));
}

#[test]
fn a_snapshot_of_another_format_log_or_stream_is_ignored() {
    let dir = tempfile::tempdir().unwrap();
    let store = store_with_snapshot(dir.path());
    assert_eq!(store.load::<Vec<i32>>(&stream(), 2), None);
    assert_eq!(store.load::<Vec<i32>>(&Sku::new("other").unwrap().into(), 1), None);
    let other_log = SnapshotStore::open(dir.path(), Uuid::from_u128(2)).unwrap();
    assert_eq!(other_log.load::<Vec<i32>>(&stream(), 1), None);
}

#[test]
fn a_snapshot_with_a_changed_byte_or_truncated_is_ignored() {
    let dir = tempfile::tempdir().unwrap();
    let store = store_with_snapshot(dir.path());
    let path = store.path(&stream());
    let whole = fs::read(&path).unwrap();
    let header_bytes = whole.iter().position(|byte| *byte == b'\n').unwrap();
    for cut in 0..whole.len() {
        fs::write(&path, &whole[..cut]).unwrap();
        assert_eq!(store.load::<Vec<i32>>(&stream(), 1), None, "truncated to {cut} bytes");
    }
    for index in header_bytes + 1..whole.len() {
        let mut changed = whole.clone();
        changed[index] ^= 1;
        fs::write(&path, &changed).unwrap();
        assert_eq!(store.load::<Vec<i32>>(&stream(), 1), None, "byte {index} changed");
    }
}
