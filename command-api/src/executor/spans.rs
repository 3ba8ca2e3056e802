//! The spans of appends: one for each traced command whose events the append has.

use std::fmt::Display;

use domain::{CommandContext, Decider, StreamName};
use infra::traces::{Attribute, Kind, Span, counted};

use super::{Executed, Outcome};

/// The spans of the commands of one append. Empty, and so without memory, unless a command is traced.
#[derive(Default)]
pub(super) struct AppendSpans(Vec<Span>);

impl AppendSpans {
    /// Begins the span of a command that has recorded events.
    pub fn add<A: Decider>(&mut self, executed: &Executed<A>, context: &CommandContext) {
        if context.trace.is_some() && matches!(executed.outcome, Outcome::Recorded) {
            self.0.push(Span::begin("append", Kind::Client, context.trace));
        }
    }

    /// The events are submitted as one append.
    pub fn submitted(&mut self, stream: &StreamName, commands: usize, events: usize) {
        for span in &mut self.0 {
            span.describe(|| {
                [
                    Attribute::new("event.stream", stream.to_string()),
                    counted("append.commands", commands),
                    counted("append.events", events),
                ]
            });
        }
    }

    /// The append has ended: it failed with `error`, or its events are durable.
    pub fn ended(self, error: Option<&dyn Display>) {
        for mut span in self.0 {
            if let Some(error) = error {
                span.fail(|| error.to_string());
            }
        }
    }
}
