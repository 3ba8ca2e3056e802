//! The commands of one stream: decided one after another, appended at once, answered together.

use std::sync::Arc;

use domain::{CommandContext, Decider, NewEvent, Revision, StreamName, envelope::seal};
use infra::event_store::{Append, Epoch, ExpectedRevision};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::{
    ExecuteError, Executed, Outcome,
    aggregate::{Aggregate, Indexed, Known, catch_panic},
};

/// An append is cut at either bound. An EventStoreDB server accepts 1 MiB.
const APPEND_EVENTS_MAX: usize = 1_000;
const APPEND_BYTES_MAX: usize = 512 * 1024;

/// Work on one aggregate.
pub(super) enum Work<A: Decider> {
    Execute(Request<A>, Reply<A>),
    Read(Box<dyn View<A>>),
}

/// A command with the terms on which it runs.
pub(super) struct Request<A: Decider> {
    pub command: A::Command,
    pub terms: Terms,
}

pub(super) struct Terms {
    pub context: Arc<CommandContext>,
    pub wait: Wait,
    /// The epoch of the flow that the command is a step of.
    pub epoch: Option<Epoch>,
    /// The caller expects an empty stream.
    pub creates: bool,
    pub indexed: Indexed,
    /// Counts an external command as under way until dropped. `None` for a reaction.
    pub place: Option<OwnedSemaphorePermit>,
}

/// When a command is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    /// When its append is submitted, if the store accepts dependent appends.
    Submitted,
    /// When its events, and all events it was decided on, are durable.
    Durable,
}

pub(super) enum Answer<A: Decider> {
    Executed(Executed<A>),
    /// Ask the index about the command, which covers its stream up to this revision, and send it again.
    AskIndex(Request<A>, Revision),
}

pub(super) type Reply<A> = oneshot::Sender<Result<Answer<A>, ExecuteError>>;

/// A caller that reads a state. It computes its view where the state lives, so no state is cloned.
pub(super) trait View<A: Decider>: Send {
    /// Computes the view, again if the state has changed since.
    fn look(&mut self, state: &A::State, revision: Option<Revision>);

    /// Answers with the last view, or with the error.
    fn answer(self: Box<Self>, outcome: Result<(), ExecuteError>);
}

/// The events of one append.
pub(super) struct Events {
    expected: ExpectedRevision,
    events: Vec<NewEvent>,
    bytes: usize,
}

/// What a look at the aggregate makes of a command.
pub(super) enum Decision<A: Decider> {
    Executed(Executed<A>),
    AskIndex(Revision),
    /// The command belongs to a flow of an earlier epoch.
    Superseded,
}

impl Events {
    pub fn after(revision: Option<Revision>) -> Self {
        Self { expected: ExpectedRevision::of(revision), events: Vec::new(), bytes: 0 }
    }

    pub fn len(&self) -> usize {
        self.events.len()
    }

    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    pub fn is_full(&self) -> bool {
        self.events.len() >= APPEND_EVENTS_MAX || self.bytes >= APPEND_BYTES_MAX
    }

    pub fn into_append(self, stream: &StreamName, epoch: Option<Epoch>) -> Append {
        Append { stream: stream.clone(), expected: self.expected, events: self.events, epoch }
    }
}

impl<A: Decider> Work<A> {
    pub fn fail(self, error: &ExecuteError) {
        match self {
            Self::Execute(request, reply) => {
                drop(request);
                drop(reply.send(Err(error.clone())));
            }
            Self::Read(view) => view.answer(Err(error.clone())),
        }
    }
}

/// Fails each piece of work.
pub(super) fn fail_all<A: Decider>(work: impl IntoIterator<Item = Work<A>>, error: &ExecuteError) {
    for item in work {
        item.fail(error);
    }
}

/// What is known of a command without deciding it; `None` if it is to be decided.
pub(super) fn known<A: Decider>(
    aggregate: &Aggregate<A>,
    epoch: Epoch,
    Request { command, terms }: &Request<A>,
) -> Option<Decision<A>> {
    if terms.epoch.is_some_and(|flow| flow != epoch) {
        return Some(Decision::Superseded);
    }
    let outcome = match known_command::<A>(aggregate, command, terms) {
        Known::AskIndex(indexed_to) => return Some(Decision::AskIndex(indexed_to)),
        Known::At(revision) => Outcome::Duplicate { revision },
        Known::No if terms.context.if_revision.is_some_and(|wanted| Some(wanted) != aggregate.revision) => {
            Outcome::PreconditionFailed
        }
        Known::No => return None,
    };
    Some(Decision::Executed(executed(aggregate, outcome)))
}

fn known_command<A: Decider>(aggregate: &Aggregate<A>, command: &A::Command, terms: &Terms) -> Known {
    if A::deduplicated_by_command_id(A::command_name(command)) {
        aggregate.commands.find(terms.context.id, terms.indexed)
    } else {
        Known::No
    }
}

/// Decides a command on the aggregate, and adds its events. After an error the aggregate is invalid.
pub(super) fn decide<A: Decider>(
    stream: &StreamName,
    aggregate: &mut Aggregate<A>,
    events: &mut Events,
    command: A::Command,
    context: &CommandContext,
) -> Result<Executed<A>, ExecuteError> {
    let outcome = catch_panic(stream, || decide_and_evolve(aggregate, events, command, context))?;
    Ok(executed(aggregate, outcome))
}

fn executed<A: Decider>(aggregate: &Aggregate<A>, outcome: Outcome<A>) -> Executed<A> {
    Executed { outcome, revision: aggregate.revision, summary: A::summary(&aggregate.state) }
}

fn decide_and_evolve<A: Decider>(
    aggregate: &mut Aggregate<A>,
    pending: &mut Events,
    command: A::Command,
    context: &CommandContext,
) -> Outcome<A> {
    let name = A::command_name(&command);
    let mut events = match A::decide(&aggregate.state, command) {
        Ok(events) if events.is_empty() => return Outcome::Unchanged,
        Ok(events) => events,
        Err(refusal) => return Outcome::Refused(refusal),
    };
    for event in &mut events {
        aggregate.apply(event, aggregate.next_revision());
        A::complete(event, &aggregate.state);
    }
    let sealed = seal::<A>(context, name, &events);
    pending.bytes += sealed.iter().map(|event| event.data.len() + event.metadata.len()).sum::<usize>();
    aggregate.last_event = sealed.last().map(|event| event.id);
    pending.events.extend(sealed);
    aggregate.remember(context.id, name);
    Outcome::Recorded
}
