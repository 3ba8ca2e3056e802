//! Runs a command and turns its outcome into the state that the answer shows.

use domain::{CommandContext, Decider, Revision, StreamName};
use http::header;
use infra::http::{Code, Problem, etag};

use super::CommandApi;
use crate::{
    error::Refusal,
    executor::{Executed, Executor, Outcome},
};

/// The codes of [`accepted`] besides those of refusals.
pub(super) const REJECTIONS: &[Code] = &[Code::IdempotencyKeyReused, Code::PreconditionFailed];

/// A command that was not refused.
#[derive(Debug)]
pub(super) enum Accepted<S> {
    /// It recorded events now, the last at `revision`.
    Recorded { summary: S, revision: Revision },
    /// The aggregate already satisfied it.
    Unchanged { summary: S, revision: Revision },
    /// An earlier request with this key recorded it, its last event at `revision`.
    Repeated { revision: Revision },
}

pub(super) fn accepted<A: Decider>(executed: Executed<A>) -> Result<Accepted<A::Summary>, Problem>
where
    A::Refusal: Refusal,
{
    let Executed { outcome, revision, summary } = executed;
    match outcome {
        Outcome::Recorded => Ok(Accepted::Recorded { summary, revision: revision.unwrap_or_default() }),
        Outcome::Unchanged => Ok(Accepted::Unchanged { summary, revision: revision.unwrap_or_default() }),
        Outcome::Duplicate { revision } => Ok(Accepted::Repeated { revision }),
        Outcome::KeyReused => Err(Problem::new(Code::IdempotencyKeyReused)),
        Outcome::PreconditionFailed => {
            let problem = Problem::new(Code::PreconditionFailed);
            Err(match revision {
                Some(revision) => problem.header(header::ETAG, etag(revision)),
                None => problem,
            })
        }
        Outcome::Refused(refusal) => Err(refusal.problem()),
    }
}

/// An aggregate right after a command.
#[derive(Debug)]
pub(super) struct AfterCommand<S> {
    pub summary: S,
    pub revision: Revision,
    /// An earlier request with this key recorded the command.
    pub replayed: bool,
}

/// Runs a command. A repeated command gets the state right after its first execution, without later events.
pub(super) async fn run<A: Decider>(
    api: &CommandApi,
    executor: &Executor<A>,
    id: &A::Id,
    command: A::Command,
    context: &CommandContext,
) -> Result<AfterCommand<A::Summary>, Problem>
where
    A::Refusal: Refusal,
{
    let executed = executor.execute(id, command, context).await?;
    after_command(api, id, executed).await
}

/// The aggregate right after a command, or right after its first execution if it was repeated.
pub(super) async fn after_command<A: Decider>(
    api: &CommandApi,
    id: &A::Id,
    executed: Executed<A>,
) -> Result<AfterCommand<A::Summary>, Problem>
where
    A::Refusal: Refusal,
{
    Ok(match accepted(executed)? {
        Accepted::Recorded { summary, revision } | Accepted::Unchanged { summary, revision } => {
            AfterCommand { summary, revision, replayed: false }
        }
        Accepted::Repeated { revision } => {
            let then = state_at::<A>(api, &id.clone().into(), revision).await?;
            AfterCommand { summary: A::summary(&then), revision, replayed: true }
        }
    })
}

/// An aggregate as it was at `revision`, from the event store.
pub(super) async fn state_at<A: Decider>(
    api: &CommandApi,
    stream: &StreamName,
    revision: Revision,
) -> Result<A::State, Problem> {
    let mut state = A::State::default();
    let mut next = 0;
    while next <= revision {
        let limit = usize::try_from(revision - next + 1).unwrap_or(usize::MAX).min(1_000);
        let events = api.checkout.store().log().read_stream(stream, next, limit).await?;
        let Some(last) = events.last() else { break };
        next = last.revision + 1;
        for event in &events {
            match event.decode_as::<A::Event>() {
                Ok(event) => A::evolve(&mut state, &event),
                Err(error) => {
                    let revision = event.revision;
                    tracing::error!(%stream, revision, %error, "Cannot decode an event; the request fails");
                    return Err(Problem::new(Code::Internal));
                }
            }
        }
    }
    Ok(state)
}
