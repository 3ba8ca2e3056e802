//! Snapshots of aggregates: disposable local files, so that a long stream is not read from its beginning.
//!
//! The stream is the truth. A snapshot that is torn, or belongs to another log, stream or format, is ignored.
//! The command ids up to a snapshot are in one index for all streams, so that snapshots stay small. A
//! snapshot whose index was deleted is ignored too. Deleting the directory costs only time.

mod commands;

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use domain::{CommandId, EventId, Revision, StreamName};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use self::commands::CommandIndex;
use crate::private_files;

/// Snapshot files of one log. The methods block: do not call them on an async worker.
#[derive(Debug)]
pub struct SnapshotStore {
    dir: PathBuf,
    store_id: Uuid,
    commands: CommandIndex,
}

/// The state of an aggregate at a revision of its stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot<S> {
    pub revision: Revision,
    /// Id of the event at that revision. A reader compares it with the stream, to detect a snapshot of
    /// another history.
    pub event_id: EventId,
    pub state: S,
}

/// The first line of a file; the second is the state as JSON.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Header {
    format: u32,
    store_id: Uuid,
    stream: StreamName,
    revision: Revision,
    event_id: EventId,
    /// The index with the commands up to this revision.
    index_id: Uuid,
    /// Checksum of the second line, in hex.
    sha256: String,
}

impl SnapshotStore {
    /// Keeps snapshots of the log `store_id` in `dir`. Creates `dir` if it does not exist.
    pub fn open(dir: &Path, store_id: Uuid) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        private_files::restrict(dir);
        Ok(Self { dir: dir.to_owned(), store_id, commands: CommandIndex::open(dir, store_id)? })
    }

    /// The latest snapshot of a stream; `None` if there is no intact one of this log, stream and `format`.
    pub fn load<S: DeserializeOwned>(&self, stream: &StreamName, format: u32) -> Option<Snapshot<S>> {
        let text = fs::read_to_string(self.path(stream)).ok()?;
        let (first_line, body) = text.split_once('\n')?;
        let header: Header = serde_json::from_str(first_line).ok()?;
        let Header { revision, event_id, .. } = header;
        let expected = Header {
            format,
            store_id: self.store_id,
            stream: stream.clone(),
            revision,
            event_id,
            index_id: self.commands.id,
            sha256: hex_sha256(body.as_bytes()),
        };
        if header != expected {
            return None;
        }
        let state = serde_json::from_str(body).ok()?;
        Some(Snapshot { revision, event_id, state })
    }

    /// Replaces the snapshot of a stream. Its commands must be in the index already. A reader sees the old file or the new one, never a partial one.
    pub fn save<S: Serialize>(
        &self,
        stream: &StreamName,
        format: u32,
        revision: Revision,
        event_id: EventId,
        state: &S,
    ) -> io::Result<()> {
        let body = serde_json::to_vec(state)?;
        let sha256 = hex_sha256(&body);
        let (store_id, index_id) = (self.store_id, self.commands.id);
        let header =
            Header { format, store_id, stream: stream.clone(), revision, event_id, index_id, sha256 };
        let mut file = tempfile::NamedTempFile::new_in(&self.dir)?;
        serde_json::to_writer(&mut file, &header)?;
        file.write_all(b"\n")?;
        file.write_all(&body)?;
        file.persist(self.path(stream))?;
        Ok(())
    }

    /// Adds commands of a stream to the index, each with the revision of its last event.
    pub fn index_commands(
        &self,
        stream: &StreamName,
        commands: Vec<(CommandId, Revision)>,
    ) -> io::Result<()> {
        self.commands.add(stream, commands).map_err(io::Error::other)
    }

    /// The revision of the last event of a command, if the index has it. The log may have another event there
    /// after it was restored to an earlier state: compare.
    pub async fn find_command(&self, stream: &StreamName, id: CommandId) -> io::Result<Option<Revision>> {
        self.commands.find(stream, id).await
    }

    /// File names are hashes, because a SKU may have characters that a file name cannot have.
    fn path(&self, stream: &StreamName) -> PathBuf {
        self.dir.join(format!("{}.json", &hex_sha256(stream.to_string().as_bytes())[..32]))
    }
}

fn hex_sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

#[cfg(test)]
mod tests;
