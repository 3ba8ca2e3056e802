//! The filter of a client that reads the whole log.

use fancy_regex::Regex;
use tonic::Status;

use super::{
    log::Stored,
    messages::{FilterOn, FilterOptions, FilterWindow, ReadFilter},
};

/// Events between two checkpoints, by default.
const WINDOW: u32 = 32;

#[derive(Debug)]
pub struct Filter {
    rule: Option<(Subject, Pattern)>,
    /// A subscription gets a checkpoint after this many events, filtered ones included.
    pub checkpoint_interval: Option<usize>,
}

#[derive(Debug)]
enum Subject {
    StreamName,
    EventType,
}

#[derive(Debug)]
enum Pattern {
    /// From `fancy_regex`, because clients exclude names with look-ahead.
    Regex(Box<Regex>),
    Prefixes(Vec<String>),
}

impl Filter {
    /// True if the client asked for some events only.
    pub fn is_rule(&self) -> bool {
        self.rule.is_some()
    }

    pub fn new(filter: Option<&ReadFilter>) -> Result<Self, Status> {
        let Some(ReadFilter::Only(FilterOptions { on, window, checkpoint_interval_multiplier })) = filter
        else {
            return Ok(Self { rule: None, checkpoint_interval: None });
        };
        let (subject, expression) = match on.as_ref().ok_or_else(|| super::errors::missing("filter"))? {
            FilterOn::StreamName(expression) => (Subject::StreamName, expression),
            FilterOn::EventType(expression) => (Subject::EventType, expression),
        };
        let pattern = if expression.regex.is_empty() {
            Pattern::Prefixes(expression.prefixes.clone())
        } else {
            let regex = Regex::new(&expression.regex);
            Pattern::Regex(Box::new(regex.map_err(|error| Status::invalid_argument(error.to_string()))?))
        };
        let window = match window {
            Some(FilterWindow::Max(window)) => *window,
            _ => WINDOW,
        };
        let interval = window.saturating_mul(*checkpoint_interval_multiplier).max(1);
        Ok(Self { rule: Some((subject, pattern)), checkpoint_interval: Some(interval as usize) })
    }

    pub fn takes(&self, event: &Stored) -> bool {
        let Some((subject, pattern)) = &self.rule else { return true };
        let text = match subject {
            Subject::StreamName => &event.stream,
            Subject::EventType => &event.type_name,
        };
        match pattern {
            Pattern::Regex(regex) => regex.is_match(text).unwrap_or(false),
            Pattern::Prefixes(prefixes) => prefixes.iter().any(|prefix| text.starts_with(prefix)),
        }
    }
}
