//! `orderly dev write-history`: a shop of any size, within minutes.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use clap::Args;
use command_api::process_manager::REACTOR;
use domain::Timestamp;
use indicatif::HumanCount;
use infra::{
    clock::Clock,
    event_source::{Partition, Reached},
    event_store::{EventLog, EventMark},
    health::Health,
};

use super::{DevSwitch, shop::Shop};
use crate::{
    commands::{Failure, history::HistoryWriter},
    config::Settings,
    progress::ProgressDisplay,
    stores::{self, WritableEventStore},
};

#[derive(Debug, Args)]
pub struct WriteHistoryOptions {
    #[command(flatten)]
    pub(super) switch: DevSwitch,

    /// Orders of the shop. The last one is placed now, and each other one 30 s before the next.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    orders: u64,
}

/// Writes the history into an empty log. Then lets the process manager begin after it: the log has all reactions. A
/// log with events stays as it is, so that the history can be used with other read models, where the position of the
/// process manager is stored.
pub(super) async fn run(settings: &Settings, options: &WriteHistoryOptions) -> Result<(), Failure> {
    super::embedded_event_store(settings, &options.switch)?;
    stores::make_data_dir(&settings.data_dir)?;
    let shop = Shop { orders: options.orders, end: Timestamp::now() };
    let recorded_at = Arc::new(AtomicI64::new(shop.placed_at(0).as_microsecond()));
    let shown = Arc::clone(&recorded_at);
    let clock = Clock::given_by(move || {
        Timestamp::from_microsecond(shown.load(Ordering::Relaxed)).unwrap_or(Timestamp::MAX)
    });
    let opened = WritableEventStore::open(&settings.event_store(), clock, &Health::default()).await?;
    let log = opened.store.log();
    let events = match log.last_event().await? {
        Some(_) => 0,
        None => write(&opened, shop, &recorded_at).await?,
    };
    skip_reactions(settings, &*log).await?;
    drop(log);
    opened.close().await;
    println!("stored {} events", HumanCount(events));
    Ok(())
}

/// The events of a chunk are recorded at the time of its first order.
async fn write(opened: &WritableEventStore, shop: Shop, recorded_at: &AtomicI64) -> Result<u64, Failure> {
    let mut writer = HistoryWriter::new(&opened.store);
    Shop::receive_stock(&mut writer.history);
    let progress = ProgressDisplay::start("orders written", shop.orders);
    for number in 0..shop.orders {
        if number % HistoryWriter::CHUNK_ORDERS == 0 {
            writer.end_chunk().await?;
            recorded_at.store(shop.placed_at(number).as_microsecond(), Ordering::Relaxed);
            progress.set(number, shop.orders);
        }
        shop.add_order(&mut writer.history, number);
    }
    writer.finish().await
}

async fn skip_reactions(settings: &Settings, log: &dyn EventLog) -> Result<(), Failure> {
    let Some(last) = log.last_event().await? else { return Ok(()) };
    let reached = Reached { position: last.position, last_event: Some(EventMark::from(&last)) };
    let operations = stores::open_operations(&settings.read_models(), None, &settings.data_dir)?;
    operations.positions.save(REACTOR, log.store_id(), &Partition::whole_log(), None, &reached).await?;
    Ok(())
}
