//! Random command sequences against each aggregate. Its invariants hold after every event.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod order;
mod payment;
mod refunds;
mod stock;
mod terms;

use domain::{Decider, decider::StoredEvent};

/// One aggregate under random commands, with its events so far.
struct Run<A: Decider> {
    state: A::State,
    events: Vec<A::Event>,
}

impl<A: Decider> Run<A> {
    fn new() -> Self {
        Self { state: A::State::default(), events: Vec::new() }
    }

    /// Decides and folds, encodes and decodes each event as the store does, and checks the state after it.
    fn execute(
        &mut self,
        command: A::Command,
        mut check: impl FnMut(&A::State, &A::Event, &A::State),
    ) -> Result<usize, A::Refusal> {
        let mut decided = A::decide(&self.state, command)?;
        for event in &mut decided {
            let before = self.state.clone();
            A::evolve(&mut self.state, event);
            A::complete(event, &self.state);
            let stored = A::Event::from_json(event.type_name(), &event.to_json()).unwrap();
            assert_eq!(&stored, event);
            check(&before, &stored, &self.state);
        }
        let count = decided.len();
        self.events.extend(decided);
        Ok(count)
    }

    /// A snapshot at any revision, decoded and folded further, gives the state of the whole stream.
    fn snapshots_are_faithful(&self)
    where
        A::State: PartialEq,
    {
        assert_eq!(A::fold(&self.events), self.state);
        for cut in 0..=self.events.len() {
            let snapshot = serde_json::to_vec(&A::fold(&self.events[..cut])).unwrap();
            let mut state: A::State = serde_json::from_slice(&snapshot).unwrap();
            for event in &self.events[cut..] {
                A::evolve(&mut state, event);
            }
            assert_eq!(state, self.state, "snapshot after {cut} events");
        }
    }
}
