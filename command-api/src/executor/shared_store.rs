//! Runs commands on a store that several processes write.

use std::time::Duration;

use domain::{Decider, StreamName};
use infra::event_store::{Append, AppendError, EventLog, EventStore};
use tokio::time;

use super::{
    ExecuteError,
    aggregate::Aggregate,
    batch::{Pending, Work, decide_into, fail_all, fail_with_conflict},
};

/// An append without a known outcome is sent again for 30 s. Then the caller gets an unknown outcome.
const OUTCOME_RETRY_MAX: Duration = Duration::from_secs(30);
const RETRY_PAUSE_MIN: Duration = Duration::from_millis(20);
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(2);

/// Runs the work of one stream. A successful append proves that its batch was decided on the latest state.
/// Outcomes without events are decided right after a read of the tail, so they need no append.
pub(super) async fn run_shared<A: Decider>(
    store: &dyn EventStore,
    log: &dyn EventLog,
    stream: &StreamName,
    aggregate: &mut Aggregate<A>,
    work: Vec<Work<A>>,
) -> Result<(), ExecuteError> {
    let mut work = work.into_iter().peekable();
    while work.peek().is_some() {
        if let Err(error) = aggregate.catch_up(log, stream).await {
            fail_all(work, &error);
            return Err(error);
        }
        let mut pending = Pending::after(aggregate.revision);
        while !pending.is_full()
            && let Some(next) = work.next()
        {
            if let Err(error) = decide_into(log, stream, aggregate, &mut pending, next).await {
                fail_with_conflict(pending, work);
                return Err(error);
            }
        }
        pending.durable.append(&mut pending.submitted);
        let outcome = if pending.events.is_empty() {
            Ok(())
        } else {
            let events = std::mem::take(&mut pending.events);
            let append = Append { stream: stream.clone(), expected: pending.expected, events, epoch: None };
            append_until_known(store, append).await
        };
        if let Err(error) = outcome {
            pending.fail(&error);
            fail_all(work, &error);
            return Err(error);
        }
        pending.answer();
    }
    Ok(())
}

/// Sends the identical append again while its outcome is unknown; the store recognises it by its event ids.
/// After an unknown outcome, `Unavailable` does not end the retries: an earlier attempt may have been
/// written.
async fn append_until_known(store: &dyn EventStore, append: Append) -> Result<(), ExecuteError> {
    let started = time::Instant::now();
    let mut pause = RETRY_PAUSE_MIN;
    let mut is_unknown = false;
    loop {
        let why = match store.append(append.clone()).await {
            Err(AppendError::OutcomeUnknown(why)) => why,
            Err(AppendError::Unavailable(why)) if is_unknown => why,
            outcome => return outcome.map(drop).map_err(Into::into),
        };
        if started.elapsed() >= OUTCOME_RETRY_MAX {
            return Err(ExecuteError::OutcomeUnknown(why));
        }
        tracing::warn!(stream = %append.stream, %why, "The outcome of an append is unknown; sending it again");
        is_unknown = true;
        time::sleep(pause).await;
        pause = (pause * 2).min(RETRY_PAUSE_MAX);
    }
}
