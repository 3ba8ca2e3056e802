use domain::OrderId;
use uuid::Uuid;

use super::*;

#[tokio::test]
async fn the_second_holder_waits_and_the_last_one_removes_the_lock() {
    let locks = Locks::default();
    let id = OrderId(Uuid::from_u128(1));
    let first = locks.lock(id).await;
    let mut second = Box::pin(locks.lock(id));
    assert!(futures::poll!(&mut second).is_pending());
    let other = locks.lock(OrderId(Uuid::from_u128(2))).await;
    drop(first);
    drop(second.await);
    drop(other);
    assert!(locks.map().is_empty());
}

#[tokio::test]
async fn a_waiter_that_gives_up_leaves_no_lock_behind() {
    let locks = Locks::default();
    let id = OrderId(Uuid::from_u128(1));
    let first = locks.lock(id).await;
    let mut second = Box::pin(locks.lock(id));
    assert!(futures::poll!(&mut second).is_pending());
    drop(second);
    drop(first);
    assert!(locks.map().is_empty());
}
