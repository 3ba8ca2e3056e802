//! What a backup has.

use infra::event_store::EventMark;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub(crate) const MANIFEST: &str = "manifest.json";

/// Describes a backup. Stored beside its files as `manifest.json`; later versions only add members.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The name of the backup, and of its folder. Names sort by time.
    pub name: String,
    /// When the backup was begun. It has every command that was acknowledged before.
    pub made_at: Timestamp,
    pub made_by: MadeBy,
    /// `None` if the event store is a server, which has backups of its own.
    pub log: Option<BackedUpLog>,
    pub files: Vec<FileEntry>,
    /// What else belongs to the installation, and is backed up by other means.
    pub elsewhere: Vec<String>,
}

/// The program that made a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MadeBy {
    pub version: String,
    pub commit: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackedUpLog {
    /// The id of the log that was copied.
    pub original_id: Uuid,
    /// The id of the copy.
    pub id: Uuid,
    pub events: u64,
    /// `None` if the log is empty.
    pub last_event: Option<EventMark>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    #[serde(rename = "name")]
    pub part: Part,
    pub bytes: u64,
    /// In hexadecimal digits.
    pub sha256: String,
}

/// A file of a backup. It has the same name in the data directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Part {
    /// Subscriptions, deliveries, API keys, parked reactions and positions.
    #[serde(rename = "operations.db")]
    Operations,
    /// The log.
    #[serde(rename = "events.db")]
    Events,
    /// The charges of the sandbox.
    #[serde(rename = "sandbox.db")]
    Sandbox,
    /// The secret that platform and sandbox share.
    #[serde(rename = "sandbox.secret")]
    SandboxSecret,
}

impl Part {
    pub fn file_name(self) -> &'static str {
        match self {
            Self::Operations => "operations.db",
            Self::Events => "events.db",
            Self::Sandbox => "sandbox.db",
            Self::SandboxSecret => "sandbox.secret",
        }
    }
}

impl Manifest {
    /// `20260131T020000.000Z-0d3c5f1e`: the time, and digits that differ between installations.
    pub(crate) fn name(made_at: Timestamp, id: Uuid) -> String {
        // The first digits of such an id are its time, the last ones are random.
        let digits = id.simple().to_string();
        format!("{}-{}", made_at.strftime("%Y%m%dT%H%M%S%.3fZ"), &digits[24..])
    }

    /// False for files and unfinished backups beside the backups.
    pub(crate) fn is_name(text: &str) -> bool {
        let is_of_name =
            |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'T' | b'.' | b'Z' | b'-' | b'a'..=b'f');
        text.len() == "20260131T020000.000Z-0d3c5f1e".len() && text.as_bytes().iter().all(is_of_name)
    }
}
