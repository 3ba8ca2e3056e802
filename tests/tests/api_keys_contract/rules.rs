//! The rules of the contract.

use infra::operations::api_keys::{API_KEYS_MAX, AddKeyOutcome, ApiKey};

use super::{Fixture, at, key};

pub async fn keys_read_back_unchanged_in_another_process_the_oldest_first(fixture: impl Fixture) {
    let (later, earlier) = (key(2, None), key(1, Some(100)));
    for new in [&later, &earlier] {
        assert_eq!(fixture.store().add(new).await.unwrap(), AddKeyOutcome::Added);
    }
    assert_eq!(fixture.store_elsewhere().await.keys(None).await.unwrap(), [earlier, later]);
}

pub async fn only_valid_keys_are_read_for_a_time(fixture: impl Fixture) {
    let store = fixture.store();
    let (forever, until_ten, revoked) = (key(1, None), key(2, Some(10)), key(3, None));
    for new in [&forever, &until_ten, &revoked] {
        store.add(new).await.unwrap();
    }
    assert!(store.revoke(&revoked.id, at(4)).await.unwrap());
    assert_eq!(store.keys(Some(at(9))).await.unwrap(), [forever.clone(), until_ten]);
    assert_eq!(store.keys(Some(at(10))).await.unwrap(), [forever]);
    assert_eq!(store.keys(None).await.unwrap().len(), 3);
}

pub async fn a_replaced_key_ends_after_its_grace_time_and_never_later_than_before(fixture: impl Fixture) {
    let store = fixture.store();
    for (expires, ends) in [(None, 60), (Some(50), 50), (Some(70), 60)] {
        let (replaced, successor) = (key(1, expires), key(20, None));
        store.add(&replaced).await.unwrap();
        let outcome = store.replace(&replaced.id, at(60), &successor).await.unwrap();
        assert_eq!(outcome, AddKeyOutcome::Added);
        let keys = store.keys(None).await.unwrap();
        let expected = ApiKey { expires_at: Some(at(ends)), ..replaced };
        assert!(keys.contains(&expected) && keys.contains(&successor), "{expires:?}: {keys:?}");
    }
}

pub async fn a_key_that_has_ended_is_not_replaced(fixture: impl Fixture) {
    let store = fixture.store();
    let (expired, revoked, unknown) = (key(1, Some(10)), key(1, None), key(1, None));
    for new in [&expired, &revoked] {
        store.add(new).await.unwrap();
    }
    store.revoke(&revoked.id, at(5)).await.unwrap();
    let before = store.keys(None).await.unwrap();
    for ended in [&expired, &revoked, &unknown] {
        let outcome = store.replace(&ended.id, at(60), &key(20, None)).await.unwrap();
        assert_eq!(outcome, AddKeyOutcome::NoSuchKey);
    }
    assert_eq!(store.keys(None).await.unwrap(), before);
}

pub async fn a_key_is_revoked_once(fixture: impl Fixture) {
    let (store, new) = (fixture.store(), key(1, None));
    store.add(&new).await.unwrap();
    assert!(store.revoke(&new.id, at(5)).await.unwrap());
    assert!(!store.revoke(&new.id, at(6)).await.unwrap());
    assert!(!store.revoke(&key(1, None).id, at(6)).await.unwrap());
    assert_eq!(store.keys(None).await.unwrap()[0].revoked_at, Some(at(5)));
}

pub async fn the_use_of_a_key_is_written_at_most_once_a_minute(fixture: impl Fixture) {
    let (store, new) = (fixture.store(), key(1, None));
    store.add(&new).await.unwrap();
    for (used, written) in [(10, 10), (69, 10), (70, 70), (65, 70)] {
        store.note_use(&new.id, at(used)).await.unwrap();
        assert_eq!(store.keys(None).await.unwrap()[0].last_used_at, Some(at(written)), "{used}");
    }
    store.note_use(&key(1, None).id, at(1)).await.unwrap();
}

pub async fn at_most_a_thousand_keys_are_valid(fixture: impl Fixture) {
    let store = fixture.store();
    for _ in 1..API_KEYS_MAX {
        assert_eq!(store.add(&key(1, None)).await.unwrap(), AddKeyOutcome::Added);
    }
    let last = key(1, Some(50));
    assert_eq!(store.add(&last).await.unwrap(), AddKeyOutcome::Added);
    assert_eq!(store.add(&key(49, None)).await.unwrap(), AddKeyOutcome::TooMany);
    assert_eq!(store.replace(&last.id, at(60), &key(49, None)).await.unwrap(), AddKeyOutcome::TooMany);
    assert_eq!(store.keys(Some(at(49))).await.unwrap().len(), API_KEYS_MAX);
    assert_eq!(store.add(&key(50, None)).await.unwrap(), AddKeyOutcome::Added);
}
