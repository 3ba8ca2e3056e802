//! The shape of every aggregate: pure functions, and events with stable stored names.

use std::{fmt::Debug, sync::Arc};

use serde::{Serialize, de::DeserializeOwned};

use crate::{Position, Revision, StreamName};

/// An aggregate as pure functions (the decider pattern): `State::default()` is the state before the first
/// event, [`Decider::evolve`] folds one event, [`Decider::decide`] answers one command.
pub trait Decider: Sized + Send + Sync + 'static {
    /// The kind of aggregate, as measurements name it.
    const NAME: &'static str;

    /// The id of one aggregate.
    type Id: Clone + Eq + std::hash::Hash + Debug + Into<StreamName> + Send + Sync + 'static;
    type State: Default + Clone + Debug + Serialize + DeserializeOwned + Send + Sync + 'static;
    type Command: Clone + Debug + Send + Sync + 'static;
    type Event: StoredEvent;
    /// Why a command is refused. An answer to the caller, not an error of the program.
    type Refusal: std::error::Error + Clone + PartialEq + Send + Sync + 'static;
    /// The part of the state that answers to commands contain. Small, so it is cheap to copy.
    type Summary: Clone + Debug + PartialEq + Send + Sync + 'static;

    /// Folds one event. Never fails: an event in the log has happened.
    fn evolve(state: &mut Self::State, event: &Self::Event);

    /// Answers a command with the events it causes. No events if the command is already satisfied.
    fn decide(state: &Self::State, command: Self::Command) -> Result<Vec<Self::Event>, Self::Refusal>;

    fn summary(state: &Self::State) -> Self::Summary;

    /// Adds to a new event what an answer to a retry needs of the state right after it.
    fn complete(_event: &mut Self::Event, _after: &Self::State) {}

    /// The summary of the state right after a recorded event; `None` if only a fold of the stream tells it.
    fn recorded_summary(_event: &Self::Event) -> Option<Self::Summary> {
        None
    }

    /// The stored name of a command, used in metadata and in the ids of reactions.
    fn command_name(command: &Self::Command) -> &'static str;

    /// True if the stream remembers the command id to recognise a retry. If false, the state itself makes the
    /// retry a no-op.
    fn deduplicated_by_command_id(command_name: &str) -> bool;

    /// True if the id of the command's first event names the content of the request: the command fills an empty
    /// stream, and its sender does not read the stream first.
    fn is_identified_by_content(_command_name: &str) -> bool {
        false
    }

    /// Bytes that a state owns on the heap. Caches call it after each command, so it must not take longer than
    /// a command.
    fn heap_bytes(state: &Self::State) -> usize;

    /// Folds a whole stream.
    fn fold<'a>(events: impl IntoIterator<Item = &'a Self::Event>) -> Self::State {
        let mut state = Self::State::default();
        for event in events {
            Self::evolve(&mut state, event);
        }
        state
    }
}

/// An event with the name and version it is stored under.
pub trait StoredEvent: Clone + Debug + PartialEq + Send + Sync + 'static {
    /// The stored name, version included. Never changes once an event was stored under it.
    fn type_name(&self) -> &'static str;
    /// The event's data as JSON.
    fn to_json(&self) -> Vec<u8>;
    fn from_json(type_name: &str, data: &[u8]) -> Result<Self, DecodeError>;
    /// Every name that [`StoredEvent::from_json`] accepts.
    const TYPE_NAMES: &'static [&'static str];
}

/// A stored event that this version of Orderly cannot read.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    #[error("event type {0:?} is unknown: a newer version wrote it, or it does not belong to this stream")]
    UnknownType(String),
    #[error("cannot decode the data of an event of type {type_name:?}: {source}")]
    Data { type_name: String, source: serde_json::Error },
    #[error("cannot decode the metadata of an event: {0}")]
    Metadata(serde_json::Error),
    #[error(
        "the event at position {position} (stream {stream}, revision {revision}) is damaged: {why}. Restore a backup \
         that has it intact"
    )]
    Damaged { position: Position, stream: StreamName, revision: Revision, why: Arc<str> },
}

/// Makes an event enum, its data-less kind enum and the table of stored names that connects them.
///
/// Logs contain the stored names: a variant may be renamed, but its string must never change. Names of earlier
/// versions follow after `|`: their data decodes as the present type, whose new members then have their serde
/// defaults. New events have the first name.
macro_rules! stored_events {
    ($(#[$doc:meta])* pub enum $name:ident of $kind:ident { $($(#[$variant_doc:meta])* $variant:ident($data:ty) = $type_name:literal $(| $earlier:literal)*,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq)]
        pub enum $name { $($(#[$variant_doc])* $variant($data),)* }

        #[doc = concat!("The kind of a [`", stringify!($name), "`], without its data.")]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $kind { $($(#[$variant_doc])* $variant,)* }

        impl $kind {
            /// Every kind, in the order of the variants.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The stored name, version included. Never changes once an event was stored under it.
            pub const fn type_name(self) -> &'static str {
                match self { $(Self::$variant => $type_name,)* }
            }

            /// None for the name of another aggregate's event, or of an event that a newer version wrote.
            pub fn of_type_name(type_name: &str) -> Option<Self> {
                match type_name {
                    $($type_name $(| $earlier)* => Some(Self::$variant),)*
                    _ => None,
                }
            }
        }

        impl $name {
            pub const fn kind(&self) -> $kind {
                match self { $(Self::$variant(_) => $kind::$variant,)* }
            }
        }

        impl $crate::decider::StoredEvent for $name {
            const TYPE_NAMES: &'static [&'static str] = &[$($type_name, $($earlier,)*)*];

            fn type_name(&self) -> &'static str {
                self.kind().type_name()
            }

            fn to_json(&self) -> Vec<u8> {
                let json = match self { $(Self::$variant(data) => serde_json::to_vec(data),)* };
                json.expect("event data has string keys and no failing serializers")
            }

            fn from_json(type_name: &str, data: &[u8]) -> Result<Self, $crate::DecodeError> {
                let unknown = || $crate::DecodeError::UnknownType(type_name.to_owned());
                let event = match $kind::of_type_name(type_name).ok_or_else(unknown)? {
                    $($kind::$variant => serde_json::from_slice(data).map(Self::$variant),)*
                };
                event.map_err(|source| $crate::DecodeError::Data { type_name: type_name.to_owned(), source })
            }
        }

        $(impl From<$data> for $name {
            fn from(data: $data) -> Self { Self::$variant(data) }
        })*
    };
}
pub(crate) use stored_events;

/// An aggregate's state with the revision of its last event. `None` before the first event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versioned<S> {
    pub state: S,
    pub revision: Option<Revision>,
}
