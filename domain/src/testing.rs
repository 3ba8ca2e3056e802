//! The steps of a domain test: `given` events, `when` a command is decided, `then` events follow or the
//! command is refused.

use crate::Decider;

/// An aggregate with its state after some events.
#[derive(Debug)]
pub(crate) struct Given<A: Decider> {
    state: A::State,
}

/// The answer to a command.
#[derive(Debug)]
pub(crate) struct Outcome<A: Decider> {
    state: A::State,
    decided: Result<Vec<A::Event>, A::Refusal>,
}

pub(crate) fn given<A: Decider>(events: impl IntoIterator<Item = A::Event>) -> Given<A> {
    let mut state = A::State::default();
    for event in events {
        A::evolve(&mut state, &event);
    }
    Given { state }
}

impl<A: Decider> Given<A> {
    pub(crate) fn when(self, command: A::Command) -> Outcome<A> {
        let decided = A::decide(&self.state, command);
        Outcome { state: self.state, decided }
    }
}

impl<A: Decider> Outcome<A> {
    /// Asserts that exactly these events follow, and folds them for the next command.
    #[track_caller]
    pub(crate) fn then(mut self, expected: impl IntoIterator<Item = A::Event>) -> Given<A> {
        let events: Vec<A::Event> = expected.into_iter().collect();
        assert_eq!(self.decided, Ok(events.clone()), "given {:?}", self.state);
        for event in &events {
            A::evolve(&mut self.state, event);
        }
        Given { state: self.state }
    }

    /// Asserts that no event follows: the command is already satisfied.
    #[track_caller]
    pub(crate) fn then_nothing(self) -> Given<A> {
        self.then([])
    }

    #[track_caller]
    pub(crate) fn then_refused(self, refusal: A::Refusal) {
        assert_eq!(self.decided, Err(refusal), "given {:?}", self.state);
    }
}
