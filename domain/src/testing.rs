//! Given these events, when this command comes, then these events follow, or it is refused.

use crate::Decider;

/// An aggregate to which this has happened.
#[derive(Debug)]
pub(crate) struct Given<A: Decider> {
    state: A::State,
}

/// What a command was answered with.
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
    /// Exactly these events follow. They are folded, so that another command may come.
    #[track_caller]
    pub(crate) fn then(mut self, expected: impl IntoIterator<Item = A::Event>) -> Given<A> {
        let expected: Vec<A::Event> = expected.into_iter().collect();
        assert_eq!(self.decided, Ok(expected.clone()), "given {:?}", self.state);
        for event in &expected {
            A::evolve(&mut self.state, event);
        }
        Given { state: self.state }
    }

    /// The command is satisfied already.
    #[track_caller]
    pub(crate) fn then_nothing(self) -> Given<A> {
        self.then([])
    }

    #[track_caller]
    pub(crate) fn then_refused(self, refusal: A::Refusal) {
        assert_eq!(self.decided, Err(refusal), "given {:?}", self.state);
    }
}
