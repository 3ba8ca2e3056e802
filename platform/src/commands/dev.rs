//! `orderly dev`: commands for tests and development. They can break a log, so they ask for `ORDERLY_DEV=1`.

mod shop;
mod write_history;

use std::{
    collections::{HashMap, HashSet},
    fmt,
    fs::File,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::{Args, Subcommand};
use domain::{CommandId, EventId, EventMetadata, NewEvent, Revision, StreamName};
use indicatif::HumanCount;
use infra::event_store::{
    Append, AppendError, EventStore, ExpectedRevision,
    sqlite::{SqliteEventStore, SqliteEventStoreOptions},
};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::{sync::mpsc, task::block_in_place};
use uuid::Uuid;

use self::write_history::WriteHistoryOptions;
use super::Failure;
use crate::{
    config::{EventStoreUrl, Settings},
    stores,
};

/// Events under way at once. More than one transaction of the event store takes.
const CHUNK_EVENTS: usize = 4_096;
/// A longer line is cut, and then is not JSON.
const LINE_BYTES_MAX: u64 = 8 << 20;

#[derive(Debug, Subcommand)]
pub enum DevCommand {
    /// Store events of any type in the embedded event store, without a command that decides them.
    WriteEvent(WriteEventOptions),
    /// Store the history of a made-up shop in an empty embedded event store: orders in every state, decided by the
    /// domain.
    WriteHistory(WriteHistoryOptions),
}

#[derive(Debug, Args)]
struct DevSwitch {
    /// Must be set: events that no command has decided can break every reader of the log.
    #[arg(long, env = "ORDERLY_DEV", value_parser = clap::builder::FalseyValueParser::new(), hide = true)]
    dev: bool,
}

#[derive(Debug, Args)]
pub struct WriteEventOptions {
    #[command(flatten)]
    switch: DevSwitch,

    /// `stock-SKU`, `order-UUID` or `payment-UUID`.
    #[arg(long, requires = "type_name", requires = "data", conflicts_with = "file")]
    stream: Option<StreamName>,

    /// The stored name of the event, also one that this version does not know.
    #[arg(long = "type", value_name = "TYPE", requires = "stream")]
    type_name: Option<String>,

    /// The data of the event, as JSON.
    #[arg(long, value_name = "JSON", requires = "stream")]
    data: Option<String>,

    /// File with one JSON object per line: `{"stream": …, "type": …, "data": …, "metadata": …}`. Without
    /// `metadata`, an event gets the metadata of a command of its own.
    #[arg(long, value_name = "FILE", required_unless_present = "stream")]
    file: Option<PathBuf>,
}

/// A line of the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EventLine {
    stream: StreamName,
    #[serde(rename = "type")]
    type_name: String,
    data: Box<RawValue>,
    metadata: Option<Box<RawValue>>,
}

pub async fn run(settings: &Settings, command: DevCommand) -> Result<(), Failure> {
    match command {
        DevCommand::WriteEvent(options) => write_events(settings, options).await,
        DevCommand::WriteHistory(options) => write_history::run(settings, &options).await,
    }
}

/// The file of the embedded event store, if the caller has allowed to write to it.
fn embedded_event_store(settings: &Settings, switch: &DevSwitch) -> Result<PathBuf, Failure> {
    if !switch.dev {
        return Err(Failure::new(
            "this command stores events that no command has decided, and can break a log: set ORDERLY_DEV=1 if the log \
             is for tests",
        ));
    }
    match settings.event_store() {
        EventStoreUrl::Sqlite(path) => Ok(path),
        EventStoreUrl::EventStoreDb(_) => Err(Failure::new(
            "ORDERLY_EVENT_STORE is an EventStoreDB server: this command writes to embedded event stores only",
        )),
    }
}

async fn write_events(settings: &Settings, options: WriteEventOptions) -> Result<(), Failure> {
    let path = embedded_event_store(settings, &options.switch)?;
    stores::make_data_dir(&settings.data_dir)?;
    let store = block_in_place(|| SqliteEventStore::open(&path, SqliteEventStoreOptions::default()))?;
    let mut writer =
        EventWriter { store: &store, revisions: HashMap::new(), names: HashMap::new(), stored: 0 };
    let outcome = match (options.file, options.stream, options.type_name, options.data) {
        (Some(file), ..) => writer.write_file(&file).await,
        (None, Some(stream), Some(type_name), Some(data)) => {
            let data = serde_json::from_str(&data);
            let data = data.map_err(|error| Failure::new(format!("--data is not JSON: {error}")))?;
            writer.write(vec![EventLine { stream, type_name, data, metadata: None }]).await
        }
        (None, ..) => unreachable!("clap requires a file, or stream, type and data"),
    };
    let stored = HumanCount(writer.stored);
    block_in_place(|| store.close());
    match outcome {
        Ok(()) => {
            println!("stored {stored} events");
            Ok(())
        }
        Err(failure) => Err(Failure::new(format!("{failure}. {stored} events were stored before"))),
    }
}

struct EventWriter<'a> {
    store: &'a SqliteEventStore,
    /// The last revision of each stream that was written to.
    revisions: HashMap<StreamName, Option<Revision>>,
    /// Event types: an append takes names that live as long as the program, and a file has few.
    names: HashMap<String, &'static str>,
    stored: u64,
}

impl EventWriter<'_> {
    async fn write_file(&mut self, path: &Path) -> Result<(), Failure> {
        let describe = |problem: &dyn fmt::Display| Failure::new(format!("{}: {problem}", path.display()));
        let mut reader = BufReader::new(File::open(path).map_err(|error| describe(&error))?);
        let (mut chunk, mut line) = (Vec::with_capacity(CHUNK_EVENTS), String::new());
        for number in 1.. {
            line.clear();
            let read = reader.by_ref().take(LINE_BYTES_MAX).read_line(&mut line);
            if read.map_err(|error| describe(&error))? == 0 {
                break;
            }
            if line.trim().is_empty() {
                continue;
            }
            let event = serde_json::from_str(&line);
            chunk.push(event.map_err(|error| describe(&format!("line {number}: {error}")))?);
            if chunk.len() == CHUNK_EVENTS {
                self.write(std::mem::take(&mut chunk)).await?;
            }
        }
        self.write(chunk).await
    }

    /// Submits all events before it waits for the first: the store commits many in one transaction.
    async fn write(&mut self, lines: Vec<EventLine>) -> Result<(), Failure> {
        self.find_revisions(&lines).await?;
        let (outcomes, mut answers) = mpsc::unbounded_channel();
        for line in lines {
            let revision = self.revisions.entry(line.stream.clone()).or_default();
            let expected = ExpectedRevision::of(*revision);
            *revision = Some(expected.next());
            let (stream, events) = (line.stream.clone(), vec![self.event(line)?]);
            let outcomes = outcomes.clone();
            let done = move |outcome| drop(outcomes.send(outcome));
            self.store.submit(Append { stream, expected, events, epoch: None }, Box::new(done));
        }
        drop(outcomes);
        let mut first_error = None;
        while let Some(outcome) = answers.recv().await {
            match outcome {
                Ok(_) => self.stored += 1,
                Err(error) => first_error = first_error.or(Some(error)),
            }
        }
        first_error.map_or(Ok(()), |error| Err(error.into()))
    }

    /// Looks up the streams that no event was written to yet.
    async fn find_revisions(&mut self, lines: &[EventLine]) -> Result<(), Failure> {
        let streams: HashSet<&StreamName> = lines.iter().map(|line| &line.stream).collect();
        let new: Vec<StreamName> =
            streams.into_iter().filter(|stream| !self.revisions.contains_key(stream)).cloned().collect();
        let exist = self.store.log().exist(&new).await?;
        for (stream, exists) in new.into_iter().zip(exist) {
            let revision = if exists { self.last_revision(&stream).await? } else { None };
            self.revisions.insert(stream, revision);
        }
        Ok(())
    }

    /// The store refuses a first event of an existing stream, and names the stream's revision.
    async fn last_revision(&self, stream: &StreamName) -> Result<Option<Revision>, Failure> {
        let probe = NewEvent {
            id: EventId(Uuid::now_v7()),
            type_name: "probe",
            data: vec![],
            metadata: Arc::from([]),
        };
        let expected = ExpectedRevision::NoStream;
        let append = Append { stream: stream.clone(), expected, events: vec![probe], epoch: None };
        match self.store.append(append).await {
            Err(AppendError::WrongExpectedRevision { actual: ExpectedRevision::Exact(revision), .. }) => {
                Ok(Some(revision))
            }
            Err(error) => Err(error.into()),
            Ok(_) => unreachable!("the stream exists, and only this process writes"),
        }
    }

    fn event(&mut self, line: EventLine) -> Result<NewEvent, Failure> {
        let id = Uuid::now_v7();
        let metadata = match line.metadata {
            Some(metadata) => metadata.get().as_bytes().into(),
            None => serde_json::to_vec(&EventMetadata {
                command_id: CommandId(id),
                command: "write_event".to_owned(),
                correlation_id: id,
                causation_id: None,
                idempotency: None,
                actor: None,
                traceparent: None,
            })?
            .into(),
        };
        let type_name = *self
            .names
            .entry(line.type_name)
            .or_insert_with_key(|name| Box::leak(name.clone().into_boxed_str()));
        Ok(NewEvent { id: EventId(id), type_name, data: line.data.get().into(), metadata })
    }
}
