//! The watch over the subscription, in paused time.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use super::*;
use crate::event_store::eventstoredb::appends::raise;

/// A window that covers the log up to position 100.
fn window() -> (Arc<Window>, Feed) {
    let window = Window::new(None, 1 << 20, Arc::default());
    let (feed, _) = window.begin_feed();
    window.cover(feed, 100);
    (Arc::new(window), feed)
}

/// Watches until the subscription must be replaced. Returns why, and after how many seconds.
async fn watched<F>(window: &Window, look_at_end: impl Fn() -> F) -> (Ended, u64)
where
    F: Future<Output = Result<(), ReadError>>,
{
    let begun = Instant::now();
    (watch(window, look_at_end).await, begun.elapsed().as_secs())
}

#[tokio::test(start_paused = true)]
async fn a_subscription_that_lacks_an_append_of_this_process_is_replaced_after_3_s() {
    let (window, _) = window();
    raise(window.seen(), Some(200));
    let (ended, seconds) =
        watched(&window, || async { Err(ReadError::Corrupt("the end need not be read".into())) }).await;
    assert!(matches!(ended, Ended::Silent), "{ended}");
    assert!((3..=5).contains(&seconds), "{seconds}");
}

#[tokio::test(start_paused = true)]
async fn a_subscription_that_lacks_events_of_other_processes_is_replaced_after_10_s_and_3_s() {
    let (window, _) = window();
    let at_the_end = || async {
        raise(window.seen(), Some(200));
        Ok(())
    };
    let (ended, seconds) = watched(&window, at_the_end).await;
    assert!(matches!(ended, Ended::Silent), "{ended}");
    assert!((13..=15).contains(&seconds), "{seconds}");
}

#[tokio::test(start_paused = true)]
async fn a_subscription_that_delivers_or_has_nothing_to_deliver_is_kept() {
    let (window, feed) = window();
    let looks = AtomicUsize::new(0);
    let at_the_end = || async {
        looks.fetch_add(1, Ordering::Relaxed);
        Ok(())
    };
    let delivering = async {
        // Always behind, and always delivering.
        for position in 101..=120 {
            raise(window.seen(), Some(position + 1));
            window.cover(feed, position);
            time::sleep(Duration::from_secs(2)).await;
        }
        assert_eq!(looks.load(Ordering::Relaxed), 0);
        window.cover(feed, 121);
        time::sleep(Duration::from_mins(1)).await;
    };
    tokio::select! {
        ended = watch(&window, at_the_end) => panic!("{ended}"),
        () = delivering => {}
    }
    assert!((5..=6).contains(&looks.load(Ordering::Relaxed)), "{looks:?}");
}

#[tokio::test(start_paused = true)]
async fn a_subscription_is_replaced_if_the_end_of_the_log_cannot_be_read() {
    let (window, _) = window();
    let unreadable = || async { Err(ReadError::Unavailable("no answer".into())) };
    let (ended, seconds) = watched(&window, unreadable).await;
    assert!(matches!(ended, Ended::Lost(_)), "{ended}");
    assert!((10..=11).contains(&seconds), "{seconds}");
}
