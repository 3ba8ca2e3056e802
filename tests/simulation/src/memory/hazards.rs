//! The faults and the latency of the adapters' operations.

use async_trait::async_trait;
use domain::{StreamName, Timestamp};

/// An operation of an adapter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    Append,
    ReadLog,
    CommitRows,
    ReadRows,
    SavePosition,
    LoadPosition,
}

/// The fate of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Succeed,
    /// No effect; the caller gets an error that says so.
    Fail,
    /// No effect; the caller gets an unknown outcome.
    Vanish,
    /// Full effect; the caller gets an unknown outcome.
    LoseAnswer,
}

/// Decides the fate of every operation. Its futures never complete in a dead process.
#[async_trait]
pub trait Hazards: Send + Sync + 'static {
    /// Called before the operation has any effect. Takes as long as the operation.
    async fn before(&self, operation: Operation) -> Fate;

    /// Called after the effect and before the answer.
    async fn after(&self, operation: Operation);

    /// The time that the store records with events.
    fn now(&self) -> Timestamp;

    /// True if the read models list orders that the sweep should finish.
    fn lists_unfinished_orders(&self) -> bool {
        true
    }

    /// True if the read models refuse the rows of this stream.
    fn refuses_rows_of(&self, _stream: &StreamName) -> bool {
        false
    }
}

/// No faults and no latency.
#[derive(Debug, Clone, Copy, Default)]
pub struct Calm;

#[async_trait]
impl Hazards for Calm {
    async fn before(&self, _operation: Operation) -> Fate {
        Fate::Succeed
    }

    async fn after(&self, _operation: Operation) {}

    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}
