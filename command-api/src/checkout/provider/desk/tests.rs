use uuid::Uuid;

use super::*;

const PAYMENT: PaymentId = PaymentId(Uuid::from_u128(1));

const DONE: Outcome = Ok(ProviderStatus { is_open: false, next_action: None });

#[tokio::test]
async fn requests_share_the_outcome_of_the_task_that_attends_the_payment() {
    let desk = Desk::default();
    let (first, seat) = desk.join(PAYMENT, true).unwrap();
    let others: Vec<Expected> = (0..70)
        .map(|_| {
            let (joined, none) = desk.join(PAYMENT, false).unwrap();
            assert!(none.is_none());
            joined
        })
        .collect();
    let seat = seat.unwrap().leave(DONE).expect("the task reads the payment again for those who joined");
    assert!(seat.leave(DONE).is_none());
    assert_eq!(first.outcome().await, DONE);
    for other in others {
        assert_eq!(other.outcome().await, DONE);
    }
    assert!(desk.lock().is_empty());
    assert!(desk.join(PAYMENT, true).unwrap().1.is_some(), "the next request attends it anew");
}

#[tokio::test]
async fn a_failed_task_leaves_with_its_error() {
    let desk = Desk::default();
    let (first, seat) = desk.join(PAYMENT, true).unwrap();
    let (joined, _) = desk.join(PAYMENT, true).unwrap();
    assert!(seat.unwrap().leave(Err(ExecuteError::Conflict)).is_none());
    assert_eq!(first.outcome().await, Err(ExecuteError::Conflict));
    assert_eq!(joined.outcome().await, Err(ExecuteError::Conflict));
}

#[tokio::test]
async fn a_task_that_ends_without_an_outcome_leaves_the_work_open() {
    let desk = Desk::default();
    let (expected, seat) = desk.join(PAYMENT, true).unwrap();
    drop(seat);
    assert!(expected.outcome().await.unwrap().is_open);
    assert!(desk.lock().is_empty());
}

#[test]
fn attended_payments_are_bounded() {
    let desk = Desk::default();
    let join = |number: usize| desk.join(PaymentId(Uuid::from_u128(number as u128)), true);
    let seats: Vec<_> = (0..ATTENDED_MAX).map(|number| join(number).unwrap()).collect();
    assert!(join(ATTENDED_MAX).is_none());
    assert!(join(0).unwrap().1.is_none(), "a request still joins");
    drop(seats);
    assert!(desk.join(PAYMENT, false).is_none(), "may_begin is false");
    assert!(desk.join(PAYMENT, true).is_some());
}
