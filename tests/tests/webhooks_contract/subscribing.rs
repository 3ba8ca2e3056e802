//! Subscriptions: repeated requests, changes, deletion and lists.

use futures::future::join_all;
use infra::{operations::webhooks::SubscriptionStatus, sealing::UnreadableSecret};

use super::*;

pub(super) async fn a_new_subscription_reads_back_unchanged(fixture: impl Fixture) {
    let store = fixture.store();
    let asked_for = request(1);
    let SubscribeOutcome::Created(made) = store.subscribe(asked_for.clone(), MAX).await.unwrap() else {
        panic!("the subscription was not created")
    };
    assert_eq!((made.id, &made.url, made.after), (asked_for.id, &asked_for.url, Some(7)));
    assert_eq!((&made.event_types, &made.description), (&asked_for.event_types, &asked_for.description));
    assert_eq!((made.status, made.secret.as_ref()), (SubscriptionStatus::Enabled, Ok(&asked_for.secret)));
    assert_eq!((made.failing_since, made.behind), (None, None));
    assert_eq!((made.previous_secret.clone(), made.rotated_by), (None, None));
    assert_eq!((made.created_at, made.updated_at), (at(0), at(0)));
    let elsewhere = fixture.store_elsewhere().await;
    assert_eq!(elsewhere.subscription(made.id).await.unwrap(), Some(made));
    assert_eq!(elsewhere.subscription(request(2).id).await.unwrap(), None);
}

pub(super) async fn a_repeated_request_finds_the_first_subscription_and_another_request_under_its_key_is_refused(
    fixture: impl Fixture,
) {
    let store = fixture.store();
    let made = subscribe(&*store, 1).await;
    // The retry has another secret, which is ignored.
    match store.subscribe(request(1), MAX).await.unwrap() {
        SubscribeOutcome::Repeated(found) => assert_eq!(found, made),
        other => panic!("{other:?}"),
    }
    let other = NewSubscription { fingerprint: "another".to_owned(), ..request(1) };
    let refused = store.subscribe(other, MAX).await.unwrap();
    assert!(matches!(refused, SubscribeOutcome::KeyReused), "{refused:?}");
    assert_eq!(store.subscriptions(None, MAX).await.unwrap(), [made]);
}

pub(super) async fn concurrent_duplicates_of_a_request_make_one_subscription(fixture: impl Fixture) {
    let stores = [fixture.store(), fixture.store_elsewhere().await];
    let duplicates = (0..8).map(|number| stores[number % 2].subscribe(request(1), MAX));
    let created =
        join_all(duplicates).await.into_iter().filter(|one| matches!(one, Ok(SubscribeOutcome::Created(_))));
    assert_eq!(created.count(), 1);
    assert_eq!(stores[0].subscriptions(None, MAX).await.unwrap().len(), 1);
}

pub(super) async fn a_late_retry_does_not_restore_a_deleted_subscription(fixture: impl Fixture) {
    let store = fixture.store();
    let made = subscribe(&*store, 1).await;
    assert!(store.unsubscribe(made.id, at(1)).await.unwrap());
    assert!(!store.unsubscribe(made.id, at(2)).await.unwrap());
    assert_eq!(store.subscription(made.id).await.unwrap(), None);
    assert!(
        store
            .change(made.id, Box::new(|_| panic!("a deleted subscription was changed")))
            .await
            .unwrap()
            .is_none()
    );
    let repeated = store.subscribe(request(1), MAX).await.unwrap();
    assert!(matches!(repeated, SubscribeOutcome::Deleted), "{repeated:?}");
    assert_eq!(store.subscriptions(None, MAX).await.unwrap(), []);
}

pub(super) async fn concurrent_requests_make_no_more_subscriptions_than_allowed(fixture: impl Fixture) {
    let stores = [fixture.store(), fixture.store_elsewhere().await];
    let many = (1..=8_u32).map(|number| stores[number as usize % 2].subscribe(request(number.into()), 3));
    let outcomes: Vec<_> = join_all(many).await.into_iter().map(Result::unwrap).collect();
    let count = |which: fn(&SubscribeOutcome) -> bool| outcomes.iter().filter(|one| which(one)).count();
    assert_eq!(count(|one| matches!(one, SubscribeOutcome::Created(_))), 3);
    assert_eq!(count(|one| matches!(one, SubscribeOutcome::TooMany)), 5);
    let first = stores[0].subscriptions(None, MAX).await.unwrap()[0].id;
    assert!(stores[0].unsubscribe(first, at(1)).await.unwrap());
    let after = stores[0].subscribe(request(99), 3).await.unwrap();
    assert!(matches!(after, SubscribeOutcome::Created(_)), "{after:?}");
}

pub(super) async fn changes_are_stored_and_concurrent_changes_are_not_lost(fixture: impl Fixture) {
    let stores = [fixture.store(), fixture.store_elsewhere().await];
    let made = subscribe(&*stores[0], 1).await;
    let new = SigningSecret::generate().unwrap();
    let (secret, event_types) = (new.clone(), EventTypes::all());
    let changed = stores[0].change(
        made.id,
        Box::new(move |one| {
            let previous = std::mem::replace(&mut one.secret, Ok(secret));
            one.previous_secret = previous.ok().map(|previous| (previous, at(60)));
            one.rotated_by = Some(Uuid::from_u128(9));
            "https://elsewhere.example".clone_into(&mut one.url);
            one.event_types = event_types;
            one.description = None;
            one.status = SubscriptionStatus::Failing;
            one.failing_since = Some(at(3));
            one.updated_at = at(5);
        }),
    );
    let changed = changed.await.unwrap().unwrap();
    assert_eq!(changed.secret, Ok(new));
    assert_eq!(changed.previous_secret, made.secret.ok().map(|previous| (previous, at(60))));
    assert_eq!((changed.status, changed.failing_since), (SubscriptionStatus::Failing, Some(at(3))));
    assert_eq!(stores[1].subscription(made.id).await.unwrap(), Some(changed));

    stores[0].change(made.id, Box::new(|one| one.url = String::new())).await.unwrap();
    let longer = (0..10).map(|number| stores[number % 2].change(made.id, Box::new(|one| one.url.push('x'))));
    join_all(longer).await.into_iter().for_each(|changed| assert!(changed.unwrap().is_some()));
    assert_eq!(stores[0].subscription(made.id).await.unwrap().unwrap().url, "x".repeat(10));
}

pub(super) async fn subscriptions_are_listed_in_the_order_of_creation(fixture: impl Fixture) {
    let store = fixture.store();
    let mut made = Vec::new();
    // Not in the order of their ids.
    for number in [5, 3, 9, 1, 7] {
        made.push(subscribe(&*store, number).await);
    }
    store.unsubscribe(made.remove(2).id, at(1)).await.unwrap();
    let mut listed = store.subscriptions(None, 2).await.unwrap();
    assert_eq!(listed.len(), 2);
    let rest = store.subscriptions(listed.last().map(|one| one.number), 10).await.unwrap();
    listed.extend(rest);
    assert_eq!(listed, made);
}

pub(super) async fn a_malformed_secret_hides_no_subscription_and_can_be_replaced(fixture: impl Fixture) {
    let store = fixture.store();
    let (first, second) = (subscribe(&*store, 1).await, subscribe(&*store, 2).await);
    fixture.execute("UPDATE webhook_subscriptions SET secret = 'whsec_?' WHERE number = 1").await;
    let listed = store.subscriptions(None, MAX).await.unwrap();
    assert_eq!(listed, [Subscription { secret: Err(UnreadableSecret::Damaged), ..first.clone() }, second]);
    // A change of something else keeps the stored text.
    store.change(first.id, Box::new(|one| one.url.push('x'))).await.unwrap();
    fixture.execute("UPDATE webhook_subscriptions SET url = secret WHERE number = 1").await;
    let kept = store.subscription(first.id).await.unwrap().unwrap();
    assert_eq!((&*kept.url, kept.secret), ("whsec_?", Err(UnreadableSecret::Damaged)));
    let new = SigningSecret::generate().unwrap();
    let replaced = new.clone();
    store.change(first.id, Box::new(move |one| one.secret = Ok(replaced))).await.unwrap();
    assert_eq!(store.subscription(first.id).await.unwrap().unwrap().secret, Ok(new));
}
