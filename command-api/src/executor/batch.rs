//! The commands of one stream in a batch: decided one after another, appended at once, answered together.

use domain::{CommandContext, Decider, NewEvent, Revision, StreamName, decider::Versioned, envelope::seal};
use infra::event_store::{EventLog, ExpectedRevision};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::{
    ExecuteError, Executed, Mode, Outcome, Wait,
    aggregate::{Aggregate, Known, catch_panic},
};

/// An append is cut at either bound. An EventStoreDB server accepts 1 MiB.
const APPEND_EVENTS_MAX: usize = 1_000;
const APPEND_BYTES_MAX: usize = 512 * 1024;

pub(super) type Reply<T> = oneshot::Sender<Result<T, ExecuteError>>;

/// The callers that wait for a `T`, each with its answer.
type Waiting<T> = Vec<(Reply<T>, T)>;

pub(super) enum Work<A: Decider> {
    Execute(A::Id, Request<A>),
    Read(A::Id, Read<A>),
}

pub(super) struct Request<A: Decider> {
    pub command: A::Command,
    pub context: CommandContext,
    pub mode: Mode,
    pub reply: Reply<Executed<A>>,
    /// Counts an external command as under way until dropped. `None` for a reaction.
    pub place: Option<OwnedSemaphorePermit>,
}

pub(super) struct Read<A: Decider> {
    pub reply: Reply<Versioned<A::State>>,
}

/// The events and answers of one stream in a batch, on their way to one append.
pub(super) struct Pending<A: Decider> {
    pub expected: ExpectedRevision,
    pub events: Vec<NewEvent>,
    bytes: usize,
    /// Answered once submitted.
    pub submitted: Waiting<Executed<A>>,
    /// Answered once durable.
    pub durable: Waiting<Executed<A>>,
    pub reads: Waiting<Versioned<A::State>>,
    /// Freed once durable, also for commands that are answered earlier. So the number of commands under way
    /// stays bounded while the disk stalls.
    places: Vec<OwnedSemaphorePermit>,
}

impl<A: Decider> Pending<A> {
    pub fn after(revision: Option<Revision>) -> Self {
        Self {
            expected: ExpectedRevision::of(revision),
            events: Vec::new(),
            bytes: 0,
            submitted: Vec::new(),
            durable: Vec::new(),
            reads: Vec::new(),
            places: Vec::new(),
        }
    }

    pub fn is_full(&self) -> bool {
        self.events.len() >= APPEND_EVENTS_MAX || self.bytes >= APPEND_BYTES_MAX
    }

    pub fn answer(self) {
        // Before the answers: a caller may send its next command at once and needs a place.
        drop(self.places);
        for (reply, executed) in self.submitted.into_iter().chain(self.durable) {
            drop(reply.send(Ok(executed)));
        }
        for (reply, state) in self.reads {
            drop(reply.send(Ok(state)));
        }
    }

    pub fn fail(self, error: &ExecuteError) {
        drop(self.places);
        for (reply, _) in self.submitted.into_iter().chain(self.durable) {
            drop(reply.send(Err(error.clone())));
        }
        for (reply, _) in self.reads {
            drop(reply.send(Err(error.clone())));
        }
    }
}

impl<A: Decider> Work<A> {
    pub fn id(&self) -> &A::Id {
        match self {
            Self::Execute(id, _) | Self::Read(id, _) => id,
        }
    }

    pub fn is_for_new_stream(&self) -> bool {
        matches!(self, Self::Execute(_, request) if request.mode.new_stream)
    }

    /// Looks up the command in memory. A read has no command, so it is [`Known::No`].
    pub fn known_to(&self, aggregate: &Aggregate<A>) -> Known {
        match self {
            Self::Execute(_, request) if A::deduplicated_by_command_id(A::command_name(&request.command)) => {
                aggregate.commands.find(&request.context)
            }
            Self::Execute(..) | Self::Read(..) => Known::No,
        }
    }

    pub fn fail(self, error: &ExecuteError) {
        match self {
            Self::Execute(_, request) => drop(request.reply.send(Err(error.clone()))),
            Self::Read(_, read) => drop(read.reply.send(Err(error.clone()))),
        }
    }
}

/// Fails each piece of work.
pub(super) fn fail_all<A: Decider>(work: impl IntoIterator<Item = Work<A>>, error: &ExecuteError) {
    for item in work {
        item.fail(error);
    }
}

/// Fails a batch in which one command broke the state in memory. The callers send the other commands again.
pub(super) fn fail_with_conflict<A: Decider>(pending: Pending<A>, rest: impl Iterator<Item = Work<A>>) {
    pending.fail(&ExecuteError::Conflict);
    fail_all(rest, &ExecuteError::Conflict);
}

/// Decides one piece of work on the aggregate, and adds its events and its answer to `pending`. After an
/// error the aggregate in memory is invalid.
pub(super) async fn decide_into<A: Decider>(
    log: &dyn EventLog,
    stream: &StreamName,
    aggregate: &mut Aggregate<A>,
    pending: &mut Pending<A>,
    work: Work<A>,
) -> Result<(), ExecuteError> {
    let known = match (work.known_to(aggregate), &work) {
        (Known::Uncertain, Work::Execute(_, request)) => {
            match Aggregate::<A>::find_in_stream(log, stream, &request.context).await {
                Ok(known) => known,
                Err(error) => {
                    work.fail(&error);
                    return Ok(());
                }
            }
        }
        (known, _) => known,
    };
    decide_known(stream, aggregate, pending, work, known)
}

/// [`decide_into`] after the lookup of the command in the stream.
pub(super) fn decide_known<A: Decider>(
    stream: &StreamName,
    aggregate: &mut Aggregate<A>,
    pending: &mut Pending<A>,
    work: Work<A>,
    known: Known,
) -> Result<(), ExecuteError> {
    let request = match work {
        Work::Execute(_, request) => request,
        Work::Read(_, read) => {
            pending.reads.push((read.reply, aggregate.versioned()));
            return Ok(());
        }
    };
    let Request { command, context, mode, reply, place } = request;
    if mode.epoch.is_some_and(|epoch| epoch != aggregate.epoch) {
        drop(reply.send(Err(ExecuteError::Superseded)));
        return Ok(());
    }
    let expected = context.if_revision;
    let outcome = match known {
        Known::Yes { revision, same_content: true } => Outcome::Duplicate { revision },
        Known::Yes { same_content: false, .. } => Outcome::KeyReused,
        Known::No | Known::Uncertain if expected.is_some() && expected != aggregate.revision => {
            Outcome::PreconditionFailed
        }
        Known::No | Known::Uncertain => {
            match catch_panic(stream, || decide_and_evolve(aggregate, pending, command, &context)) {
                Ok(outcome) => outcome,
                Err(error) => {
                    drop(reply.send(Err(error.clone())));
                    return Err(error);
                }
            }
        }
    };
    let summary = A::summary(&aggregate.state);
    let executed = Executed { outcome, revision: aggregate.revision, summary };
    match mode.wait {
        Wait::Submitted => pending.submitted.push((reply, executed)),
        Wait::Durable => pending.durable.push((reply, executed)),
    }
    pending.places.extend(place);
    Ok(())
}

fn decide_and_evolve<A: Decider>(
    aggregate: &mut Aggregate<A>,
    pending: &mut Pending<A>,
    command: A::Command,
    context: &CommandContext,
) -> Outcome<A> {
    let name = A::command_name(&command);
    let events = match A::decide(&aggregate.state, command) {
        Ok(events) if events.is_empty() => return Outcome::Unchanged,
        Ok(events) => events,
        Err(refusal) => return Outcome::Refused(refusal),
    };
    let sealed = seal::<A>(context, name, &events);
    for (event, stored) in events.iter().zip(&sealed) {
        let revision = aggregate.revision.map_or(0, |revision| revision + 1);
        aggregate.apply(event, revision, stored.id);
        pending.bytes += stored.data.len() + stored.metadata.len();
    }
    pending.events.extend(sealed);
    let fingerprint = context.idempotency.as_ref().map(|idempotency| idempotency.fingerprint.clone());
    aggregate.remember(context.id, name, fingerprint);
    Outcome::Recorded
}
