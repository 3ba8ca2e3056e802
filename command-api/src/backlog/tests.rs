//! Projectors of a given speed, and demand of a given rate.

use infra::{event_source::Partition, read_models::CheckpointRow};

use super::*;

/// Projectors that pass events at a rate, or stop.
struct Shop {
    pace: Pace,
    now: Instant,
    reading: Reading,
}

impl Shop {
    fn new() -> Self {
        Self { pace: Pace::default(), now: Instant::now(), reading: Reading { passed: 0, behind: 0 } }
    }

    /// One second with this many events wanted by callers. `speed`: events that the projectors can pass.
    fn second(&mut self, wanted: u64, speed: u64) -> u64 {
        let arrived = wanted * self.pace.part / WHOLE;
        let passed = speed.min(self.reading.behind + arrived);
        self.reading.passed += passed;
        self.reading.behind += arrived;
        self.reading.behind -= passed;
        self.now += Duration::from_secs(1);
        self.pace.observe(self.now, Some(self.reading))
    }
}

#[test]
fn projectors_that_fall_behind_bound_the_backlog_and_no_order_is_refused_once_they_catch_up() {
    for wanted in [1_500, 5_000, 50_000] {
        let mut shop = Shop::new();
        let mut largest = 0;
        for _ in 0..600 {
            shop.second(wanted, 1_000);
            largest = largest.max(shop.reading.behind);
        }
        // Seconds of demand pass before the first decision.
        let bound = 15_000 + 8 * wanted;
        assert!(largest < bound, "{wanted} a second: {largest} behind");
        assert!(shop.reading.behind < 40_000, "{wanted} a second: {} behind at the end", shop.reading.behind);
        // The projectors stay busy.
        assert!(shop.reading.passed > 550_000, "{wanted} a second: {} passed", shop.reading.passed);
        for _ in 0..120 {
            shop.second(500, 1_000);
        }
        assert_eq!((shop.pace.part, shop.reading.behind), (WHOLE, 0));
    }
}

/// Commands and projectors on one processor, where the commands take nearly all of it. It can execute 2,500 orders a second
/// with their rows.
#[test]
fn refused_orders_leave_no_processor_idle() {
    for (wanted, left_for_projectors) in [(5_000, 200), (5_000, 1_000), (10_000, 500)] {
        let mut shop = Shop::new();
        for _ in 0..600 {
            const PROCESSOR: u64 = 10_000;
            let executed = (wanted * shop.pace.part / WHOLE).min((PROCESSOR - left_for_projectors) / 3);
            shop.second(executed * WHOLE / shop.pace.part, PROCESSOR - 3 * executed);
        }
        let per_second = (shop.reading.passed + shop.reading.behind) / 600;
        assert!(per_second > 2_400, "{wanted} wanted, {left_for_projectors} left: {per_second} a second");
        assert!(shop.reading.behind < 100_000, "{} behind", shop.reading.behind);
    }
}

#[test]
fn a_backlog_that_shrinks_or_is_short_refuses_nothing() {
    let mut shop = Shop::new();
    shop.reading.behind = 1_000_000;
    for _ in 0..60 {
        assert_eq!(shop.second(900, 1_000), WHOLE);
    }
    let mut shop = Shop::new();
    for second in 0..60 {
        // Bursts that the projectors work off within ten seconds.
        let wanted = if second % 10 == 0 { 6_000 } else { 0 };
        assert_eq!(shop.second(wanted, 1_000), WHOLE, "second {second}");
    }
}

#[test]
fn stopped_projectors_and_unreachable_read_models_refuse_nothing() {
    let mut shop = Shop::new();
    for _ in 0..60 {
        assert_eq!(shop.second(5_000, 0), WHOLE);
    }
    let mut shop = Shop::new();
    while shop.second(5_000, 1_000) == WHOLE {}
    assert_eq!(shop.pace.observe(shop.now, None), WHOLE);
    // Projectors that stop while orders are refused.
    while shop.second(5_000, 1_000) == WHOLE {}
    for _ in 0..READINGS {
        shop.second(5_000, 0);
    }
    assert_eq!(shop.pace.part, WHOLE);
}

/// The projectors of an earlier version stop, and those of a newer one get their partitions some seconds later.
#[test]
fn projectors_that_pause_refuse_nothing() {
    let mut shop = Shop::new();
    for _ in 0..10 {
        assert_eq!(shop.second(900, 1_000), WHOLE);
    }
    for speed in [50, 0, 0, 0, 50] {
        assert_eq!(shop.second(900, speed), WHOLE);
    }
    for _ in 0..60 {
        assert_eq!(shop.second(900, 5_000), WHOLE);
    }
}

#[test]
fn admitted_orders_are_spread_evenly() {
    let backlog = Backlog::default();
    assert!((0..100).all(|_| backlog.admit().is_ok()));
    backlog.0.part.store(WHOLE / 4, Ordering::Relaxed);
    let admitted: Vec<bool> = (0..400).map(|_| backlog.admit().is_ok()).collect();
    assert!(admitted.chunks(4).all(|four| four.iter().filter(|admitted| **admitted).count() == 1));
}

#[tokio::test(start_paused = true)]
async fn a_reading_that_hangs_ends_the_refusals() {
    let (backlog, health, shutdown) = (Backlog::default(), Health::default(), CancellationToken::new());
    let seconds = Arc::new(AtomicU64::new(0));
    let read = move || {
        let second = seconds.fetch_add(1, Ordering::Relaxed);
        async move {
            match second {
                0..8 => Some(Reading { passed: 1_000 * second, behind: 20_000 * second }),
                _ => std::future::pending().await,
            }
        }
    };
    let following = tokio::spawn(backlog.clone().follow(read, health.clone(), shutdown.clone()));
    let degraded = || health.readiness().unwrap().degraded.iter().map(|one| one.name).collect::<Vec<_>>();
    tokio::time::sleep(Duration::from_millis(8_500)).await;
    assert_eq!(degraded(), [CONDITION]);
    assert!((0..100).any(|_| backlog.admit().is_err()));
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(degraded().is_empty());
    assert!((0..100).all(|_| backlog.admit().is_ok()));
    shutdown.cancel();
    following.await.unwrap();
}

#[test]
fn the_latest_partition_tells_how_far_the_rows_are() {
    let row = |log_position| CheckpointRow {
        projection: "orders".to_owned(),
        partition: Partition::whole_log(),
        position: None,
        log_position,
        last_event: None,
        updated_at: None,
    };
    let rows = [row(Some(7)), row(None), row(Some(4))];
    assert_eq!(Reading::of(&rows, Some(9)), Reading { passed: 7, behind: 2 });
    assert_eq!(Reading::of(&rows, Some(6)), Reading { passed: 7, behind: 0 });
    assert_eq!(Reading::of(&[], Some(9)), Reading { passed: 0, behind: 9 });
    assert_eq!(Reading::of(&[], None), Reading { passed: 0, behind: 0 });
}
