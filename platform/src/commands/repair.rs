//! `orderly repair`: mends what this platform has stored about a log that went back.
//!
//! Run it with every Orderly process of the log stopped.

use std::sync::Arc;

use clap::{Args, Subcommand};
use domain::Position;
use infra::{
    clock::Clock,
    event_source::{Partition, Reached},
    event_store::{EventLog, EventMark, ReadError},
    health::Health,
    kafka::topics,
    log_guard::Journal,
    operations::{
        SavedPosition,
        parked::{ParkedReaction, ParkedReactions},
        webhooks,
    },
    relay,
};

use super::{Failure, projections};
use crate::{
    config::{BusUrl, EventStoreUrl, Settings},
    stores::{self, Operations, Views, WritableEventStore},
};

/// Parked reactions per read of the operational state.
const PARKED_PAGE: usize = 100;

#[derive(Debug, Subcommand)]
pub enum RepairCommand {
    /// After an older copy of the event log was restored: let every follower continue from what is left.
    Log(RepairLogOptions),
}

#[derive(Debug, Args)]
pub struct RepairLogOptions {
    /// Do it. Without this, the command only prints what it would do.
    #[arg(long)]
    pub yes: bool,
}

pub async fn run(settings: &Settings, command: RepairCommand) -> Result<(), Failure> {
    let RepairCommand::Log(RepairLogOptions { yes }) = command;
    // The owner's lock shows that no process writes meanwhile. A server has no such lock.
    let _owned = match settings.event_store() {
        url @ EventStoreUrl::Sqlite(_) if yes => {
            Some(WritableEventStore::open(&url, Clock::system(), &Health::default()).await?)
        }
        EventStoreUrl::Sqlite(_) | EventStoreUrl::EventStoreDb(_) => None,
    };
    let log = stores::open_log(&settings.event_store()).await?;
    refuse_lost_topics(settings, &*log).await?;
    let plan = Plan::make(settings, &log).await?;
    if plan.is_empty() {
        println!("The event log has every event that this platform has read. There is nothing to repair.");
        return Ok(());
    }
    plan.print();
    if !yes {
        println!(
            "\nNothing was changed. Stop every Orderly process of this log, and run `orderly repair log --yes`."
        );
        return Ok(());
    }
    println!();
    plan.carry_out(settings).await?;
    println!("The repair is done. Start the processes again.");
    Ok(())
}

/// Topics with events that the log lost cannot be mended: consumers outside Orderly may have read them.
async fn refuse_lost_topics(settings: &Settings, log: &dyn EventLog) -> Result<(), Failure> {
    let kafka = match &settings.bus {
        BusUrl::Direct => return Ok(()),
        BusUrl::Kafka(kafka) => kafka,
    };
    // Creates missing topics, as each start does.
    topics::ensure(kafka).await?;
    let Some(published) = relay::published_and_lost(kafka, log).await? else { return Ok(()) };
    let prefix = kafka.prefix();
    Err(Failure::new(format!(
        "the topics {prefix}.* have events up to position {published} that the event log lost, and consumers may have \
         read them. Nothing was changed. Give ORDERLY_BUS another prefix and run this command again: the relay then \
         publishes the whole log to new topics, and the read models are rebuilt for them. Consumers of your own must \
         move to the new topics and drop what they made of the lost events"
    )))
}

/// What the repair does.
struct Plan {
    data_dir_journal: Journal,
    log_end: Option<Position>,
    /// The last event that this machine has seen and the log still has.
    agreed: Option<EventMark>,
    /// Projections and partitions of the read models that are ahead of the log.
    read_models: Vec<(String, Partition, Position)>,
    /// The positions that go back.
    reactors: Vec<SavedPosition>,
    /// The positions that are ahead of the log.
    reactors_ahead: Vec<SavedPosition>,
    /// Parked reactions whose first event the log lost, and with it all events that they cover.
    parked: Vec<ParkedReaction>,
    journal_is_ahead: bool,
    operations: Operations,
    log: Arc<dyn EventLog>,
}

impl Plan {
    async fn make(settings: &Settings, log: &Arc<dyn EventLog>) -> Result<Self, Failure> {
        stores::make_data_dir(&settings.data_dir)?;
        let journal = Journal::open(&settings.data_dir, log.store_id())?;
        let agreed = journal.last_in(&**log).await?;
        let mut read_models = Vec::new();
        for row in Views::open(&settings.read_models()).await?.projections.checkpoints().await? {
            let Some(position) = row.position else { continue };
            let reached = Reached { position, last_event: row.last_event };
            if is_lost(&**log, &row.partition, &reached).await? {
                read_models.push((row.projection, row.partition, position));
            }
        }
        let operations = stores::open_operations(&settings.read_models(), None, &settings.data_dir)?;
        let (mut reactors, mut reactors_ahead) = (Vec::new(), Vec::new());
        for saved in operations.positions.saved(log.store_id()).await? {
            let is_ahead = is_lost(&**log, &saved.partition, &saved.reached).await?;
            reactors_ahead.extend(is_ahead.then(|| saved.clone()));
            reactors.extend((is_ahead || writes_the_log(&saved)).then_some(saved));
        }
        Ok(Self {
            log_end: log.last_position().await?,
            journal_is_ahead: journal.last() != agreed.as_ref(),
            data_dir_journal: journal,
            agreed,
            read_models,
            reactors,
            reactors_ahead,
            parked: lost_reactions(&**log, &*operations.parked).await?,
            operations,
            log: Arc::clone(log),
        })
    }

    fn is_empty(&self) -> bool {
        self.read_models.is_empty()
            && self.reactors_ahead.is_empty()
            && self.parked.is_empty()
            && !self.journal_is_ahead
    }

    /// Where a reactor continues; `None`: at the beginning of its partition. Offsets of Kafka cannot be derived
    /// from the log. The log may have kept an event and lost what a reaction to it wrote, so for the process manager
    /// no later place is safe.
    fn continues_after(&self, saved: &SavedPosition) -> Option<Reached> {
        let agreed = self.agreed.as_ref().filter(|mark| mark.position < saved.reached.position)?;
        (saved.partition == Partition::whole_log() && !writes_the_log(saved))
            .then(|| Reached { position: agreed.position, last_event: Some(agreed.clone()) })
    }

    fn print(&self) {
        println!(
            "The event log ends at position {}. It lost events that were read before:",
            at(self.log_end)
        );
        for (projection, partition, position) in &self.read_models {
            println!("  the read model of {projection} has read {} up to position {position}", partition.0);
        }
        for SavedPosition { reactor, partition, reached } in &self.reactors_ahead {
            println!("  the {reactor} has read {} up to position {}", partition.0, reached.position);
        }
        for ParkedReaction { stream, revision, .. } in &self.parked {
            println!("  a reaction to revision {revision} of {stream} is parked");
        }
        if self.journal_is_ahead {
            let last = self.data_dir_journal.last().map(|mark| mark.position);
            println!("  this machine has seen events up to position {}", at(last));
        }
        println!("\nThe repair");
        if !self.read_models.is_empty() {
            println!("  rebuilds all read models from the log");
        }
        for saved in &self.reactors {
            let from = match self.continues_after(saved) {
                Some(reached) => format!("after position {}", reached.position),
                None => format!("from the beginning of {}", saved.partition.0),
            };
            println!(
                "  lets the {} continue {from}; it handles later events again, which repeats no effect",
                saved.reactor
            );
        }
        if !self.parked.is_empty() {
            println!("  drops the parked reactions to lost events");
        }
        println!(
            "  lets each webhook subscription receive the events after position {}; a receiver may get a webhook \
             again, under its former id",
            at(self.agreed.as_ref().map(|mark| mark.position))
        );
        println!(
            "\nThe repair does not bring lost events back. Orders, stock changes and payments that they recorded are gone \
             here. Charges and refunds that were made in that time exist at the payment provider only."
        );
    }

    /// Can be repeated: the journal, which decides how far to go back, changes last.
    async fn carry_out(mut self, settings: &Settings) -> Result<(), Failure> {
        if !self.read_models.is_empty() {
            projections::rebuild(settings).await?;
        }
        let store_id = self.log.store_id();
        for saved in &self.reactors {
            let SavedPosition { reactor, partition, .. } = saved;
            let positions = &self.operations.positions;
            match self.continues_after(saved) {
                Some(reached) => {
                    let known = Some(saved.reached.position);
                    positions.save(reactor, store_id, partition, known, &reached).await?;
                }
                None => positions.forget(reactor, partition).await?,
            }
            println!("the {reactor} continues in {}", partition.0);
        }
        for ParkedReaction { stream, last_revision, .. } in &self.parked {
            self.operations.parked.resume(store_id, stream, *last_revision).await?;
            println!("the parked reaction of {stream} is dropped");
        }
        let agreed = self.agreed.as_ref();
        self.operations.webhooks.start_no_later_than(agreed.map(|mark| mark.position)).await?;
        self.data_dir_journal.go_back_to(agreed);
        self.data_dir_journal.save()?;
        Ok(())
    }
}

/// True for the process manager. Webhooks write no event.
fn writes_the_log(saved: &SavedPosition) -> bool {
    saved.reactor != webhooks::REACTOR
}

/// True if the log lost the last event before this position.
async fn is_lost(log: &dyn EventLog, partition: &Partition, reached: &Reached) -> Result<bool, ReadError> {
    match &reached.last_event {
        Some(mark) => Ok(!log.has(mark).await?),
        None if *partition == Partition::whole_log() => {
            Ok(log.last_position().await? < Some(reached.position))
        }
        None => Ok(false),
    }
}

/// The parked reactions to events that the log lost. An entry whose first event is left stays: its retry ends with
/// the last event that is left.
async fn lost_reactions(
    log: &dyn EventLog,
    parked: &dyn ParkedReactions,
) -> Result<Vec<ParkedReaction>, Failure> {
    let (mut lost, mut after) = (Vec::new(), None);
    loop {
        let page = parked.list(log.store_id(), after, PARKED_PAGE).await?;
        let Some(last) = page.last() else { return Ok(lost) };
        after = Some(last.stream.clone());
        for entry in page {
            let found = log.read_stream(&entry.stream, entry.revision, 1).await?;
            // The id of a damaged event may differ.
            let is_left = found.iter().any(|event| event.id == entry.event_id || event.damage.is_some());
            if !is_left {
                lost.push(entry);
            }
        }
    }
}

fn at(position: Option<Position>) -> String {
    position.map_or_else(|| "0 (the beginning)".to_owned(), |position| position.to_string())
}
