use domain::OrderId;
use uuid::Uuid;

use super::*;

const LONG: Duration = Duration::from_secs(30);

#[tokio::test]
async fn the_second_holder_waits_and_the_last_one_removes_the_lock() {
    let locks = Locks::default();
    let id = OrderId(Uuid::from_u128(1));
    let first = locks.lock(id, LONG).await.unwrap();
    let mut second = Box::pin(locks.lock(id, LONG));
    assert!(futures::poll!(&mut second).is_pending());
    let other = locks.lock(OrderId(Uuid::from_u128(2)), LONG).await.unwrap();
    drop(first);
    drop(second.await.unwrap());
    drop(other);
    assert!(locks.map().is_empty());
}

#[tokio::test]
async fn a_waiter_that_gives_up_leaves_no_lock_behind() {
    let locks = Locks::default();
    let id = OrderId(Uuid::from_u128(1));
    let first = locks.lock(id, LONG).await.unwrap();
    let mut second = Box::pin(locks.lock(id, LONG));
    assert!(futures::poll!(&mut second).is_pending());
    drop(second);
    drop(first);
    assert!(locks.map().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_waiter_gives_up_at_its_limit_and_leaves_no_lock_behind() {
    let locks = Locks::default();
    let id = OrderId(Uuid::from_u128(1));
    let first = locks.lock(id, LONG).await.unwrap();
    assert_eq!(locks.lock(id, LONG).await.unwrap_err(), LockBusy);
    assert_eq!(locks.try_lock(id).unwrap_err(), LockBusy);
    drop(first);
    assert!(locks.map().is_empty());
    drop(locks.try_lock(id).unwrap());
    assert!(locks.map().is_empty());
}
