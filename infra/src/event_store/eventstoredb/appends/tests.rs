use std::sync::Mutex;

use domain::{EventId, OrderId};
use uuid::Uuid;

use super::*;

type Outcomes = Arc<Mutex<Vec<Result<Appended, AppendError>>>>;

fn pending(data_bytes: usize, outcomes: &Outcomes) -> PendingAppend {
    let event = NewEvent {
        id: EventId(Uuid::new_v4()),
        type_name: "order.delivered.v1",
        data: vec![b' '; data_bytes],
        metadata: Arc::from(*b"{}"),
    };
    let stream = OrderId(Uuid::new_v4()).into();
    let append = Append { stream, expected: ExpectedRevision::NoStream, events: vec![event], epoch: None };
    let outcomes = Arc::clone(outcomes);
    PendingAppend::new(append, Box::new(move |outcome| outcomes.lock().unwrap().push(outcome)), true)
}

#[test]
fn appends_above_the_bound_on_bytes_are_refused_until_others_are_answered() {
    let outcomes = Outcomes::default();
    let (submissions, mut submitted) = Submissions::new(20_000);
    for _ in 0..3 {
        submissions.submit(pending(8_000, &outcomes));
    }
    let refused = outcomes.lock().unwrap().pop();
    assert!(matches!(refused, Some(Err(AppendError::Unavailable(_)))), "{refused:?}");
    assert!(outcomes.lock().unwrap().is_empty());

    // As after an answer.
    drop(submitted.try_recv().unwrap());
    outcomes.lock().unwrap().clear();
    submissions.submit(pending(8_000, &outcomes));
    assert!(outcomes.lock().unwrap().is_empty());
    assert!(submitted.try_recv().is_ok() && submitted.try_recv().is_ok());
}
