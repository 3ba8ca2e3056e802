//! Secrets under the keys of a file: which key seals, and what the store does with a secret that it cannot open.

use std::io::Write;

use infra::sealing::UnreadableSecret;

use super::*;

const FIRST: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const SECOND: &str = "ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8=";

/// The keys of a file with these lines.
fn keys(lines: &[&str]) -> SecretKeys {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(lines.join("\n").as_bytes()).unwrap();
    SecretKeys::read(file.path()).unwrap()
}

/// A secret as the files contain it if it is plain.
fn text(secret: &Result<SigningSecret, UnreadableSecret>) -> String {
    secret.as_ref().unwrap().reveal()
}

/// Makes a new secret, beside which the current one still signs.
async fn rotate(store: &dyn WebhookStore, id: SubscriptionId) -> Subscription {
    let secret = SigningSecret::generate().unwrap();
    let rotate = Box::new(move |one: &mut Subscription| {
        let previous = std::mem::replace(&mut one.secret, Ok(secret));
        one.previous_secret = previous.ok().map(|previous| (previous, at(60)));
    });
    store.change(id, rotate).await.unwrap().unwrap()
}

async fn read(store: &dyn WebhookStore, id: SubscriptionId) -> Subscription {
    store.subscription(id).await.unwrap().unwrap()
}

pub(super) async fn new_and_rotated_secrets_are_sealed_and_read_back(fixture: impl Fixture) {
    let store = fixture.store_with_keys(keys(&[FIRST])).await;
    let made = subscribe(&*store, 1).await;
    assert_eq!(read(&*store, made.id).await, made);
    let rotated = rotate(&*store, made.id).await;
    assert_eq!(rotated.previous_secret, Some((made.secret.clone().unwrap(), at(60))));
    let elsewhere = fixture.store_with_keys(keys(&[SECOND, FIRST])).await;
    assert_eq!(elsewhere.subscriptions(None, MAX).await.unwrap(), std::slice::from_ref(&rotated));
    let secrets = [text(&made.secret), text(&rotated.secret)];
    assert_eq!(fixture.found_in_files(&secrets).await, 0);
    assert_eq!(fixture.found_in_files(&["sealed:v1:".to_owned()]).await, 1);
}

pub(super) async fn plain_secrets_are_sealed_and_leave_nothing_in_the_files(fixture: impl Fixture) {
    let plain = fixture.store();
    let mut secrets = Vec::new();
    // So many rows that old copies of them stay in several pages.
    for number in 1..=20 {
        let made = subscribe(&*plain, number).await;
        secrets.push(text(&made.secret));
        for _ in 0..3 {
            secrets.push(text(&rotate(&*plain, made.id).await.secret));
        }
    }
    for number in 1..=5 {
        assert!(plain.unsubscribe(request(number).id, at(1)).await.unwrap());
    }
    assert_eq!(plain.seal_secrets().await.unwrap(), 0, "there is no key");
    assert!(fixture.found_in_files(&secrets).await >= 30, "the current and the previous ones");
    let sealed = fixture.store_with_keys(keys(&[FIRST])).await;
    let before = sealed.subscriptions(None, MAX).await.unwrap();
    assert_eq!(before, plain.subscriptions(None, MAX).await.unwrap());

    assert_eq!(sealed.seal_secrets().await.unwrap(), 15);
    assert_eq!(fixture.found_in_files(&secrets).await, 0);
    assert_eq!(sealed.subscriptions(None, MAX).await.unwrap(), before);
    assert_eq!(sealed.seal_secrets().await.unwrap(), 0);
}

pub(super) async fn secrets_under_an_old_key_are_sealed_under_the_first_one(fixture: impl Fixture) {
    let old = fixture.store_with_keys(keys(&[FIRST])).await;
    let id = subscribe(&*old, 1).await.id;
    let made = rotate(&*old, id).await;
    let both = fixture.store_with_keys(keys(&[SECOND, FIRST])).await;
    assert_eq!(both.seal_secrets().await.unwrap(), 1);
    assert_eq!(both.seal_secrets().await.unwrap(), 0);
    let new = fixture.store_with_keys(keys(&[SECOND])).await;
    assert_eq!(read(&*new, id).await, made);
    assert!(matches!(read(&*old, id).await.secret, Err(UnreadableSecret::NoKey(_))));
}

pub(super) async fn a_secret_under_an_unknown_key_hides_no_subscription_and_is_kept_or_replaced(
    fixture: impl Fixture,
) {
    let owner = fixture.store_with_keys(keys(&[FIRST])).await;
    let (first, second) = (subscribe(&*owner, 1).await, subscribe(&*owner, 2).await);
    let (first, second) = (rotate(&*owner, first.id).await, rotate(&*owner, second.id).await);
    for other in [fixture.store_elsewhere().await, fixture.store_with_keys(keys(&[SECOND])).await] {
        let listed = other.subscriptions(None, MAX).await.unwrap();
        assert_eq!(listed.len(), 2);
        for one in listed {
            assert!(matches!(one.secret, Err(UnreadableSecret::NoKey(_))), "{:?}", one.secret);
            assert_eq!(one.previous_secret, None);
        }
        assert_eq!(other.seal_secrets().await.unwrap(), 0);
        // A change of something else keeps both stored texts.
        other.change(first.id, Box::new(|one| one.url.push('x'))).await.unwrap();
        let kept = read(&*owner, first.id).await;
        assert_eq!(
            (kept.secret, kept.previous_secret),
            (first.secret.clone(), first.previous_secret.clone())
        );
    }
    let other = fixture.store_with_keys(keys(&[SECOND])).await;
    let replaced = rotate(&*other, first.id).await;
    assert_eq!((replaced.secret.is_ok(), &replaced.previous_secret), (true, &None));
    let both = fixture.store_with_keys(keys(&[FIRST, SECOND])).await;
    assert_eq!(both.subscriptions(None, MAX).await.unwrap(), [replaced, second]);
}

pub(super) async fn a_secret_that_was_moved_to_another_subscription_is_not_used(fixture: impl Fixture) {
    let store = fixture.store_with_keys(keys(&[FIRST])).await;
    let (first, second) = (subscribe(&*store, 1).await, subscribe(&*store, 2).await);
    let sql = "UPDATE webhook_subscriptions
         SET secret = (SELECT secret FROM webhook_subscriptions WHERE number = 1) WHERE number = 2";
    fixture.execute(sql).await;
    assert_eq!(read(&*store, first.id).await, first);
    assert_eq!(read(&*store, second.id).await.secret, Err(UnreadableSecret::Damaged));
}
