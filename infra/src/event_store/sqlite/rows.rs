//! Turns rows into events, and checks each event against its checksum.

use std::{fmt::Display, str};

use domain::{EventId, Position, RecordedEvent, Revision, StreamName, Timestamp};
use rusqlite::{Row, types::ValueRef};
use uuid::Uuid;

use super::checksum::StoredFields;

/// The columns that [`Stored::of`] reads, in its order. A macro, because `concat!` takes literals only.
macro_rules! event_columns {
    () => {
        "position, revision, id, type, data, metadata, recorded_at, checksum"
    };
}
pub(super) use event_columns;

/// The first column after those of an event.
pub(super) const COLUMN_AFTER: usize = 8;

/// Events up to this position may lack a checksum, because an earlier build stored them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct UncheckedUpTo(pub Position);

/// A row of the table of events. A damaged row may have any value in any column.
pub(super) struct Stored<'a> {
    /// Always an integer, because it is the key of the table.
    pub position: Position,
    pub revision: Option<Revision>,
    id: Option<&'a [u8]>,
    type_name: Option<&'a str>,
    data: Option<&'a [u8]>,
    metadata: Option<&'a [u8]>,
    recorded_at_us: Option<i64>,
    checksum: StoredChecksum,
}

enum StoredChecksum {
    Absent,
    Present(i64),
    /// Not an integer.
    Damaged,
}

impl StoredChecksum {
    fn of(value: ValueRef<'_>) -> Self {
        match value.as_i64_or_null() {
            Ok(Some(stored)) => Self::Present(stored),
            Ok(None) => Self::Absent,
            Err(_) => Self::Damaged,
        }
    }
}

impl<'a> Stored<'a> {
    pub(super) fn of(row: &'a Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            position: row.get::<_, i64>(0)?.cast_unsigned(),
            revision: row.get_ref(1)?.as_i64().ok().map(i64::cast_unsigned),
            id: row.get_ref(2)?.as_blob().ok(),
            type_name: text(row.get_ref(3)?).and_then(|bytes| str::from_utf8(bytes).ok()),
            data: text(row.get_ref(4)?),
            metadata: text(row.get_ref(5)?),
            recorded_at_us: row.get_ref(6)?.as_i64().ok(),
            checksum: StoredChecksum::of(row.get_ref(7)?),
        })
    }

    /// Checks the event. `name` is the stored name of its stream. The error says what is wrong.
    fn check(&self, name: impl Display, unchecked: UncheckedUpTo) -> Result<StoredFields<'a>, &'static str> {
        let fields = self.fields().ok_or("a column has a value of another type")?;
        match self.checksum {
            StoredChecksum::Present(stored) if stored == i64::from(fields.checksum(name)) => Ok(fields),
            StoredChecksum::Absent if self.position <= unchecked.0 => Ok(fields),
            StoredChecksum::Absent => Err("its checksum is missing"),
            StoredChecksum::Present(_) | StoredChecksum::Damaged => {
                Err("its checksum does not match what is stored")
            }
        }
    }

    /// The checked event.
    pub(super) fn event(
        &self,
        name: impl Display,
        stream: &StreamName,
        unchecked: UncheckedUpTo,
    ) -> Result<RecordedEvent, &'static str> {
        let fields = self.check(name, unchecked)?;
        Ok(RecordedEvent {
            position: fields.position,
            stream: stream.clone(),
            revision: fields.revision,
            id: EventId(Uuid::from_slice(fields.id).map_err(|_| "its id is not a UUID")?),
            type_name: fields.type_name.into(),
            data: fields.data.into(),
            metadata: fields.metadata.into(),
            recorded_at: Timestamp::from_microsecond(fields.recorded_at_us)
                .map_err(|_| "its time is out of range")?,
            damage: None,
        })
    }

    /// The event without its content. Id and time are as stored if they are readable.
    pub(super) fn damaged(&self, stream: StreamName, revision: Revision, why: &str) -> RecordedEvent {
        let unreadable = damaged(self.position, stream, revision, why);
        let recorded_at = self.recorded_at_us.and_then(|time| Timestamp::from_microsecond(time).ok());
        RecordedEvent {
            id: EventId(self.id.and_then(|id| Uuid::from_slice(id).ok()).unwrap_or_default()),
            recorded_at: recorded_at.unwrap_or(unreadable.recorded_at),
            ..unreadable
        }
    }

    fn fields(&self) -> Option<StoredFields<'a>> {
        Some(StoredFields {
            position: self.position,
            revision: self.revision?,
            recorded_at_us: self.recorded_at_us?,
            id: self.id?,
            type_name: self.type_name?,
            data: self.data?,
            metadata: self.metadata?,
        })
    }
}

/// An event of which only the place is known.
pub(super) fn damaged(
    position: Position,
    stream: StreamName,
    revision: Revision,
    why: &str,
) -> RecordedEvent {
    RecordedEvent {
        position,
        stream,
        revision,
        id: EventId(Uuid::nil()),
        type_name: "".into(),
        data: [].into(),
        metadata: [].into(),
        recorded_at: Timestamp::UNIX_EPOCH,
        damage: Some(why.into()),
    }
}

/// The bytes of a text. A blob is damage: one flipped bit turns a stored text into a blob of the same bytes.
fn text(value: ValueRef<'_>) -> Option<&[u8]> {
    match value {
        ValueRef::Text(bytes) => Some(bytes),
        ValueRef::Blob(_) | ValueRef::Null | ValueRef::Integer(_) | ValueRef::Real(_) => None,
    }
}
