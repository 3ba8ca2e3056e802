//! What may go wrong with what the adapters do, and how long it takes.

use async_trait::async_trait;
use domain::Timestamp;

/// What an adapter is about to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    Append,
    ReadLog,
    CommitRows,
    ReadRows,
    SavePosition,
    LoadPosition,
}

/// What becomes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Succeed,
    /// Nothing is done, and the caller is told so.
    Fail,
    /// Nothing is done, and the caller does not learn that.
    Vanish,
    /// It is done, and the caller does not learn that.
    LoseAnswer,
}

/// Asked at every operation of an adapter. A process that has died is never answered.
#[async_trait]
pub trait Hazards: Send + Sync + 'static {
    /// Before the operation has any effect. Takes as long as the operation takes.
    async fn before(&self, operation: Operation) -> Fate;

    /// After it has had its effect, before anybody hears of it.
    async fn after(&self, operation: Operation);

    /// The time that the store writes beside events.
    fn now(&self) -> Timestamp;
}

/// Everything succeeds at once.
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
