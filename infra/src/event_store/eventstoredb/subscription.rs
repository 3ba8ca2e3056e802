//! A subscription to the whole log that ends when the server ends it.
//!
//! The client library (crate `eventstore` 4.0) polls a subscription that ended normally in a loop that never
//! yields, and so would block its thread for ever. In each round the loop logs a warning. So [`next`] polls the
//! library with a log subscriber of its own, which leaves the loop at that warning by unwinding. The loop sends
//! no other warning, and nothing else runs below this poll.

use std::{panic, sync::LazyLock};

use eventstore::{
    Client, Position, StreamPosition, SubscribeToAllOptions, SubscriptionEvent, SubscriptionFilter,
};
use futures::FutureExt;
use tracing::{
    Dispatch, Event, Level, Metadata, Subscriber,
    instrument::WithSubscriber,
    level_filters::LevelFilter,
    span::{Attributes, Id, Record},
    subscriber::Interest,
};

/// The server looks at so many events of the log before it reports how far it is, although none matched.
const SEARCHED_EVENTS: u32 = 512;
/// Module of the client library that has the loop.
const LIBRARY_MODULE: &str = "eventstore::commands";

/// Subscribes to the events after a position, without those of the server itself. The library connects at the
/// first call of [`next`].
pub(super) async fn subscribe(client: &Client, from: StreamPosition<Position>) -> eventstore::Subscription {
    let filter = SubscriptionFilter::on_stream_name().exclude_system_events().max(SEARCHED_EVENTS);
    let options = SubscribeToAllOptions::default().position(from).filter(filter).requires_leader(true);
    client.subscribe_to_all(&options).await
}

/// The next message; `None` if the server has ended the subscription. Not cancel safe: the library subscribes
/// again after a dropped call.
pub(super) async fn next(
    subscription: &mut eventstore::Subscription,
) -> eventstore::Result<Option<SubscriptionEvent>> {
    static LISTENER: LazyLock<Dispatch> = LazyLock::new(|| Dispatch::new(EndOfStream));
    let polling = subscription.next_subscription_event().with_subscriber(LISTENER.clone());
    match panic::AssertUnwindSafe(polling).catch_unwind().await {
        Ok(message) => message.map(Some),
        Err(payload) if payload.is::<EndOfStream>() => Ok(None),
        Err(payload) => panic::resume_unwind(payload),
    }
}

/// Unwinds at the warning of the library's loop. Ignores all else.
struct EndOfStream;

impl EndOfStream {
    fn is_warning_of_loop(metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::WARN && metadata.target() == LIBRARY_MODULE
    }
}

impl Subscriber for EndOfStream {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.enabled(metadata) { Interest::always() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        Self::is_warning_of_loop(metadata)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::WARN)
    }

    fn event(&self, event: &Event<'_>) {
        if Self::is_warning_of_loop(event.metadata()) {
            // Unlike `panic!`, this calls no panic hook: nothing is printed.
            panic::resume_unwind(Box::new(Self));
        }
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}
