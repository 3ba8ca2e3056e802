//! A local record of events that this process has seen in the log.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    event_store::{EventLog, EventMark, ReadError},
    private_files,
};

const FILE: &str = "log-journal.json";

/// Marks of events that were once in the log, in order. They are dense near the end: if events are lost, the
/// newest mark that is left is at most as far before the loss as the loss is long.
///
/// A process that has a data directory keeps it there. So it notices at its start that the log went back, also
/// without positions of its own, and a repair knows how far to go back. A lost journal costs only that.
#[derive(Debug, Clone)]
pub struct Journal {
    /// `None`: the journal lives in memory only.
    path: Option<PathBuf>,
    content: Content,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Content {
    store_id: Uuid,
    marks: Vec<EventMark>,
}

impl Journal {
    /// Reads the journal of the log `store_id`. It is empty if the file is missing, unreadable or of another
    /// log. Blocks.
    pub fn open(data_dir: &Path, store_id: Uuid) -> io::Result<Self> {
        let path = data_dir.join(FILE);
        private_files::restrict(&path);
        let read = match fs::read(&path) {
            Ok(text) => serde_json::from_slice::<Content>(&text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Self::empty(Some(path), store_id));
            }
            Err(error) => return Err(error),
        };
        match read {
            Ok(content) if content.store_id == store_id => Ok(Self { path: Some(path), content }),
            Ok(_) => Ok(Self::empty(Some(path), store_id)),
            Err(error) => {
                tracing::warn!(%error, file = %path.display(), "The journal of the event log is unreadable; beginning a new one");
                Ok(Self::empty(Some(path), store_id))
            }
        }
    }

    /// A journal that is not stored.
    pub fn in_memory(store_id: Uuid) -> Self {
        Self::empty(None, store_id)
    }

    fn empty(path: Option<PathBuf>, store_id: Uuid) -> Self {
        Self { path, content: Content { store_id, marks: Vec::new() } }
    }

    /// The newest mark.
    pub fn last(&self) -> Option<&EventMark> {
        self.content.marks.last()
    }

    /// The newest mark whose event is still in the log.
    pub async fn last_in(&self, log: &dyn EventLog) -> Result<Option<EventMark>, ReadError> {
        for mark in self.content.marks.iter().rev() {
            if log.has(mark).await? {
                return Ok(Some(mark.clone()));
            }
        }
        Ok(None)
    }

    /// Adds the mark of the last event of the log, and drops marks that are closer together than needed.
    pub fn note(&mut self, last: EventMark) {
        let marks = &mut self.content.marks;
        if marks.last().is_none_or(|newest| newest.position < last.position) {
            marks.push(last);
            thin(marks);
        }
    }

    /// Drops the marks after `last`, which the log lost.
    pub fn go_back_to(&mut self, last: Option<&EventMark>) {
        self.content.marks.retain(|mark| Some(mark.position) <= last.map(|last| last.position));
    }

    /// Replaces the file. Does not flush it: a power cut costs at most the journal. Blocks.
    pub fn save(&self) -> io::Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        let directory = path.parent().unwrap_or(Path::new("."));
        let mut file = tempfile::NamedTempFile::new_in(directory)?;
        serde_json::to_writer(&mut file, &self.content)?;
        file.flush()?;
        file.persist(path)?;
        Ok(())
    }
}

/// Drops each mark whose older neighbour is at most twice as far from the end as its newer neighbour. About
/// two marks are left for each doubling of the distance, so at most 130 for any log.
fn thin(marks: &mut Vec<EventMark>) {
    let Some(end) = marks.last().map(|mark| mark.position) else { return };
    let distance = |mark: &EventMark| end - mark.position;
    let mut index = marks.len().saturating_sub(2);
    while index > 0 {
        if distance(&marks[index - 1]) <= distance(&marks[index + 1]).saturating_mul(2) {
            marks.remove(index);
        }
        index -= 1;
    }
}

#[cfg(test)]
mod tests;
