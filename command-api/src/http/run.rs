//! Runs a command and turns its outcome into the state that the answer shows.

use domain::{CommandContext, Decider, DecodeError, RecordedEvent, Revision, StreamName};
use http::header;
use infra::http::{Code, Problem, etag};

use super::CommandApi;
use crate::{
    error::Refusal,
    executor::{Executed, Executor, Outcome},
    pages::Pages,
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
            let summary = summary_at::<A>(api, &id.clone().into(), revision).await?;
            AfterCommand { summary, revision, replayed: true }
        }
    })
}

/// The summary of an aggregate as it was at `revision`: from that event alone if it tells the summary.
async fn summary_at<A: Decider>(
    api: &CommandApi,
    stream: &StreamName,
    revision: Revision,
) -> Result<A::Summary, Problem> {
    let log = api.checkout.store().log();
    let page = Pages::of(&*log, stream, revision..=revision).next().await?.unwrap_or_default();
    let recorded = page.first().map(decoded::<A>).transpose()?;
    match recorded.as_ref().and_then(A::recorded_summary) {
        Some(summary) => Ok(summary),
        None => Ok(A::summary(&state_at::<A>(api, stream, revision).await?)),
    }
}

fn decoded<A: Decider>(recorded: &RecordedEvent) -> Result<A::Event, Problem> {
    recorded.decode_as::<A::Event>().map_err(undecodable(recorded))
}

fn undecodable(recorded: &RecordedEvent) -> impl FnOnce(DecodeError) -> Problem {
    let RecordedEvent { stream, revision, .. } = recorded;
    move |error| {
        tracing::error!(%stream, revision, %error, "Cannot decode an event; the request fails");
        Problem::new(Code::StreamUnreadable)
    }
}

/// The revision of the last event that the command of this event recorded in its stream: an order that costs nothing is
/// allocated and paid by one command.
pub(super) async fn last_of_command(api: &CommandApi, event: &RecordedEvent) -> Result<Revision, Problem> {
    let command_of = |event: &RecordedEvent| {
        event.decode_metadata().map(|metadata| metadata.command_id).map_err(undecodable(event))
    };
    let command_id = command_of(event)?;
    let log = api.checkout.store().log();
    let mut pages = Pages::of(&*log, &event.stream, event.revision + 1..=Revision::MAX);
    let mut last = event.revision;
    while let Some(page) = pages.next().await? {
        for later in &page {
            if command_of(later)? != command_id {
                return Ok(last);
            }
            last = later.revision;
        }
    }
    Ok(last)
}

/// An aggregate as it was at `revision`, from the event store.
pub(super) async fn state_at<A: Decider>(
    api: &CommandApi,
    stream: &StreamName,
    revision: Revision,
) -> Result<A::State, Problem> {
    let log = api.checkout.store().log();
    let mut pages = Pages::of(&*log, stream, 0..=revision);
    let mut state = A::State::default();
    while let Some(page) = pages.next().await? {
        for event in &page {
            A::evolve(&mut state, &decoded::<A>(event)?);
        }
    }
    Ok(state)
}
