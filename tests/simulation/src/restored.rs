//! A log that goes back: after a crash, an older copy of it takes its place, while rows and positions keep what
//! they have read. The platform must refuse every command and change nothing until an operator repairs it.

use std::{sync::Arc, time::Duration};

use domain::{Sku, StreamName};
use infra::{
    event_source::{Partition, Reached},
    event_store::{EventMark, ReadError},
    log_guard::LogGuard,
    operations::{OperationsError, Positions},
};
use tokio::time;
use uuid::Uuid;

use crate::{
    clients,
    environment::Environment,
    invariants::folded_rows,
    memory::{Calm, MemoryOperations, Tables},
    plan::SKUS,
    platform::Platform,
    request::{Action, Request},
};

/// Virtual time for which the platform must refuse to work.
const REFUSED_FOR: Duration = Duration::from_mins(2);

/// Puts an older copy in place of the log.
pub fn lose_events(env: &Environment) {
    let count = env.log.lock().events().len();
    // The event of the unreadable stream, which is the first, stays.
    let mut kept = count - env.draw(|rng| rng.usize(1..=20)).min(count.saturating_sub(1));
    // A copy has each append whole or not at all. All events of an append have one stream.
    let streams: Vec<StreamName> = env.log.lock().events().iter().map(|event| event.stream.clone()).collect();
    while kept > 1 && streams.get(kept) == Some(&streams[kept - 1]) {
        kept -= 1;
    }
    if kept == count {
        return;
    }
    env.note(format!("the log goes back from {count} to {kept} events"));
    *env.lost_end.lock() = env.log.lock().events().last().map(EventMark::from);
    env.log.lock().go_back_to(kept);
    env.forget_answers();
}

/// Compares everything that the platform has stored with the log, as each process does when it starts. The
/// journal of its data directory knows the end of the lost log.
pub async fn compare(env: &Environment, guard: &LogGuard) -> Result<(), ReadError> {
    let partition = Partition::whole_log();
    let journal = env.lost_end.lock().clone();
    let seen = journal.map(|mark| Reached { position: mark.position, last_event: Some(mark) });
    let rows = env.tables.lock().checkpoint(&partition);
    for (reader, reached) in [("this machine", seen), ("the read models", rows)] {
        if let Some(reached) = reached {
            guard.expect(reader, &partition, &reached).await?;
        }
    }
    let operations = MemoryOperations::open(env.positions.clone(), Arc::new(Calm));
    let saved = operations.saved(guard.store_id()).await;
    for saved in saved.map_err(|error| ReadError::Unavailable(error.to_string().into()))? {
        guard.expect(&saved.reactor, &saved.partition, &saved.reached).await?;
    }
    Ok(())
}

/// Checks that the platform refuses a log that went back, and repairs what the platform has stored.
pub async fn refuse_and_repair(env: &Arc<Environment>, platform: &Platform) {
    let stored = || {
        let rows = env.tables.lock().checkpoint(&Partition::whole_log());
        (env.log.lock().events().len(), rows, env.positions.lock().furthest())
    };
    let before = stored();
    for sku in SKUS.into_iter().filter_map(|name| Sku::new(name).ok()) {
        let request = Request::new("after the loss".to_owned(), Action::Receive { sku, quantity: 1 });
        let answer = clients::send_once(env, platform, &request).await;
        if answer.code() != "log_went_back" {
            env.fail(format!("restored log: a command was answered {answer:?}"));
        }
    }
    time::sleep(REFUSED_FOR).await;
    if platform.health.readiness().is_ok() {
        env.fail("restored log: the platform says that it is ready".to_owned());
    }
    if stored() != before {
        env.fail("restored log: the platform has changed events, rows or positions".to_owned());
    }
    if let Err(error) = repair(env).await {
        env.fail(format!("restored log: {error}"));
    }
}

/// Rebuilds the read models, and lets every reactor read the log again from its beginning: the log may have kept an
/// event and lost the effects of its reaction.
async fn repair(env: &Environment) -> Result<(), OperationsError> {
    env.note("an operator rebuilds the read models and forgets the positions");
    let (store_id, rows, end): (Uuid, _, _) = {
        let log = env.log.lock();
        (log.store_id, folded_rows(&log), log.last_position())
    };
    *env.tables.lock() = Tables::rebuilt(rows, end, env.now());
    let operations = MemoryOperations::open(env.positions.clone(), Arc::new(Calm));
    for saved in operations.saved(store_id).await? {
        operations.forget(&saved.reactor, &saved.partition).await?;
    }
    env.sync();
    *env.lost_end.lock() = None;
    Ok(())
}
