//! Orders, payments and stock as they were at earlier instants, folded from the log alone.
//!
//! [`visit`] folds one stream after another. [`Totals`] adds them up at any number of instants in one pass.

mod totals;

use std::io;

use domain::{
    Decider, RecordedEvent, Revision, StreamName, Timestamp,
    order::{Order, OrderDecider},
    payment::{Payment, PaymentDecider},
    stock::{Stock, StockDecider},
};

pub use self::totals::{CurrencyTotals, Totals, totals_at};
use crate::{
    by_stream::EventsByStream,
    event::{Poison, guarded},
};

/// Faults that are described; the others are counted.
const DESCRIBED_MAX: usize = 100;

/// A stream, folded up to an event.
#[derive(Debug)]
pub struct FoldedStream {
    pub name: StreamName,
    pub state: StreamState,
    pub revision: Revision,
    /// When its first event was recorded.
    pub recorded_at: Timestamp,
    /// When its last event was recorded.
    pub updated_at: Timestamp,
}

/// The state of a stream. Receipts and exchanges have no money and no stock of their own.
#[derive(Debug)]
pub enum StreamState {
    Stock(Box<Stock>),
    Order(Box<Order>),
    Payment(Box<Payment>),
    Other,
}

impl StreamState {
    fn of(stream: &StreamName) -> Self {
        match stream {
            StreamName::Stock(_) => Self::Stock(Box::default()),
            StreamName::Order(_) => Self::Order(Box::default()),
            StreamName::Payment(_) => Self::Payment(Box::default()),
            StreamName::Receipt(_) | StreamName::Exchange(_) => Self::Other,
        }
    }

    fn apply(&mut self, event: &RecordedEvent) -> Result<(), Poison> {
        match self {
            Self::Stock(stock) => fold::<StockDecider>(stock, event),
            Self::Order(order) => fold::<OrderDecider>(order, event),
            Self::Payment(payment) => fold::<PaymentDecider>(payment, event),
            Self::Other => Ok(()),
        }
    }
}

fn fold<D: Decider>(state: &mut D::State, event: &RecordedEvent) -> Result<(), Poison> {
    let event = event.decode_as::<D::Event>().map_err(|error| Poison::Undecodable(error.to_string()))?;
    guarded(|| {
        D::evolve(state, &event);
        Ok(())
    })
}

/// Sees every event with the state of its stream.
pub trait Visitor {
    type Error: From<io::Error>;

    /// `stream` includes the event.
    fn event(&mut self, event: &RecordedEvent, stream: &FoldedStream) -> Result<(), Self::Error>;

    /// All events of the stream have come. Not called for a stream with a fault.
    fn end(&mut self, stream: &FoldedStream) -> Result<(), Self::Error>;
}

/// Events that cannot be folded. The later events of their streams are left out.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// The first 100, as text.
    pub described: Vec<String>,
    pub count: u64,
}

impl Faults {
    fn add(&mut self, event: &RecordedEvent, poison: &Poison) {
        self.count += 1;
        if self.described.len() < DESCRIBED_MAX {
            self.described.push(format!("{}, revision {}: {poison}", event.stream, event.revision));
        }
    }
}

/// Folds every stream. Blocks the thread.
pub fn visit<V: Visitor>(events: &mut EventsByStream, visitor: &mut V) -> Result<Faults, V::Error> {
    let mut faults = Faults::default();
    let mut current: Option<FoldedStream> = None;
    // The stream whose later events are left out.
    let mut stopped: Option<StreamName> = None;
    events.each::<V::Error>(|event| {
        if current.as_ref().is_some_and(|stream| stream.name != event.stream) {
            current.take().map_or(Ok(()), |stream| visitor.end(&stream))?;
        }
        if stopped.as_ref() == Some(&event.stream) {
            return Ok(());
        }
        let expected = current.as_ref().map_or(0, |stream| stream.revision + 1);
        let mut stream = current.take().unwrap_or_else(|| FoldedStream {
            name: event.stream.clone(),
            state: StreamState::of(&event.stream),
            revision: 0,
            recorded_at: event.recorded_at,
            updated_at: event.recorded_at,
        });
        let applied = if event.revision == expected {
            stream.state.apply(&event)
        } else {
            Err(Poison::Gap { expected, found: event.revision })
        };
        if let Err(poison) = applied {
            faults.add(&event, &poison);
            stopped = Some(event.stream);
            return Ok(());
        }
        (stream.revision, stream.updated_at) = (event.revision, event.recorded_at);
        visitor.event(&event, &stream)?;
        current = Some(stream);
        Ok(())
    })?;
    current.map_or(Ok(()), |stream| visitor.end(&stream))?;
    Ok(faults)
}
