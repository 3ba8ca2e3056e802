//! A bug in an aggregate, represented by an aggregate that panics on one of its commands.

use std::convert::Infallible;

use command_api::executor::{ExecuteError, Executor, Outcome};
use domain::{CommandContext, Decider, DecodeError, EventId, OrderId, decider::StoredEvent};
use futures::future::join_all;

use super::*;

/// Counts, and panics on [`Command::Break`].
#[derive(Debug)]
struct Counter;

#[derive(Debug, Clone)]
enum Command {
    Count,
    Break,
}

#[derive(Debug, Clone, PartialEq)]
struct Counted;

impl StoredEvent for Counted {
    fn type_name(&self) -> &'static str {
        "counter.counted.v1"
    }

    fn to_json(&self) -> Vec<u8> {
        b"{}".to_vec()
    }

    fn from_json(_type_name: &str, _data: &[u8]) -> Result<Self, DecodeError> {
        Ok(Self)
    }

    const TYPE_NAMES: &'static [&'static str] = &["counter.counted.v1"];
}

impl Decider for Counter {
    const NAME: &'static str = "counter";

    type Id = OrderId;
    type State = u32;
    type Command = Command;
    type Event = Counted;
    type Refusal = Infallible;
    type Summary = u32;

    fn evolve(state: &mut u32, _event: &Counted) {
        *state += 1;
    }

    fn decide(_state: &u32, command: Command) -> Result<Vec<Counted>, Infallible> {
        match command {
            Command::Count => Ok(vec![Counted]),
            Command::Break => panic!("a bug"),
        }
    }

    fn summary(state: &u32) -> u32 {
        *state
    }

    fn command_name(_command: &Command) -> &'static str {
        "counter.count"
    }

    fn deduplicated_by_command_id(_command_name: &str) -> bool {
        true
    }

    fn heap_bytes(_state: &u32) -> usize {
        0
    }
}

#[tokio::test]
async fn a_command_that_panics_fails_and_the_others_of_its_batch_are_executed() {
    let files = Files::new();
    let store: Arc<dyn EventStore> = FaultyStore::owned(files.events.clone());
    let counters: Executor<Counter> = Executor::start(
        &store,
        None,
        &UnreadableStreams::reported_to(Health::default()),
        ExecutorOptions::default(),
    );
    let id = OrderId(Uuid::from_u128(1));
    let run = async |number: u128| {
        let command = if number == 3 { Command::Break } else { Command::Count };
        let (cause, stream) = (EventId(Uuid::from_u128(number)), id.into());
        let context = CommandContext::reaction(cause, Uuid::nil(), &stream, "counter.count");
        counters.execute(&id, command, &context).await
    };
    let answers = join_all((0..6).map(run)).await;
    for (number, answer) in answers.iter().enumerate() {
        match answer {
            Err(error) => assert!(number == 3 && matches!(error, ExecuteError::Unreadable(_)), "{error}"),
            Ok(executed) => assert!(matches!(executed.outcome, Outcome::Recorded), "{executed:?}"),
        }
    }
    assert!(answers[3].is_err());
    assert_eq!(counters.read(&id, |count, _| *count).await, Ok(5));
    assert_eq!(files.log().await.of(id).len(), 5);
}
