//! Events as records that sort by stream and then by revision.

use std::{io, sync::Arc};

use domain::{EventId, ExchangeId, OrderId, PaymentId, ReceiptId, RecordedEvent, Sku, StreamName, Timestamp};
use infra::external_sort::Sorter;
use uuid::Uuid;

/// Bytes of a revision, which ends a key.
const REVISION_BYTES: usize = 8;
/// Bytes of a value before the type name: partition, position, id, time in nanoseconds, whether the event is
/// damaged, length of the type name, length of the metadata. The metadata follow, then the data, or the damage.
const HEADER_BYTES: usize = 8 + 8 + 16 + 16 + 1 + 8 + 8;

/// Turns events into records that sort by stream and then by revision, and back.
#[derive(Debug, Default)]
pub(crate) struct EventRecords {
    key: Vec<u8>,
    value: Vec<u8>,
}

impl EventRecords {
    /// `source`: the index of the partition. `metadata`: those of the event, or nothing.
    pub fn push(
        &mut self,
        sorter: &mut Sorter,
        source: usize,
        event: &RecordedEvent,
        metadata: &[u8],
    ) -> io::Result<()> {
        let Self { key, value } = self;
        key.clear();
        put_stream(key, &event.stream);
        key.extend(event.revision.to_be_bytes());
        value.clear();
        value.reserve(HEADER_BYTES + event.type_name.len() + metadata.len() + event.data.len());
        value.extend((source as u64).to_le_bytes());
        value.extend(event.position.to_le_bytes());
        value.extend(event.id.0.as_bytes());
        value.extend(event.recorded_at.as_nanosecond().to_le_bytes());
        value.push(u8::from(event.damage.is_some()));
        value.extend((event.type_name.len() as u64).to_le_bytes());
        value.extend((metadata.len() as u64).to_le_bytes());
        value.extend(event.type_name.as_bytes());
        value.extend_from_slice(metadata);
        value.extend_from_slice(event.damage.as_ref().map_or(&event.data[..], |damage| damage.as_bytes()));
        sorter.push(key, value)
    }
}

/// A byte for the kind, then the id. SKUs contain no zero byte, so a zero byte ends them.
fn put_stream(key: &mut Vec<u8>, stream: &StreamName) {
    let (kind, id): (u8, &[u8]) = match stream {
        StreamName::Stock(sku) => (0, sku.as_str().as_bytes()),
        StreamName::Order(id) => (1, id.0.as_bytes()),
        StreamName::Payment(id) => (2, id.0.as_bytes()),
        StreamName::Receipt(id) => (3, id.0.as_bytes()),
        StreamName::Exchange(id) => (4, id.0.as_bytes()),
    };
    key.push(kind);
    key.extend_from_slice(id);
    if kind == 0 {
        key.push(0);
    }
}

/// `None` if the bytes are not those that [`put_stream`] wrote.
fn stream_of(key: &[u8]) -> Option<StreamName> {
    let (kind, id) = key.split_first()?;
    let uuid = || Uuid::from_slice(id).ok();
    Some(match kind {
        0 => StreamName::Stock(Sku::new(std::str::from_utf8(id.strip_suffix(&[0])?).ok()?).ok()?),
        1 => StreamName::Order(OrderId(uuid()?)),
        2 => StreamName::Payment(PaymentId(uuid()?)),
        3 => StreamName::Receipt(ReceiptId(uuid()?)),
        4 => StreamName::Exchange(ExchangeId(uuid()?)),
        _ => return None,
    })
}

/// The index of the partition, and the event. `None` if the bytes are not those that [`EventRecords::push`] wrote.
/// `no_metadata`: those of an event that was sorted without.
pub(crate) fn read_event(
    key: &[u8],
    value: &[u8],
    no_metadata: &Arc<[u8]>,
) -> Option<(usize, RecordedEvent)> {
    let (stream, revision) = key.split_last_chunk::<REVISION_BYTES>()?;
    let (source, rest) = value.split_first_chunk()?;
    let (position, rest) = rest.split_first_chunk()?;
    let (id, rest) = rest.split_first_chunk()?;
    let (recorded_at, rest) = rest.split_first_chunk()?;
    let (is_damaged, rest) = rest.split_first()?;
    let (type_length, rest) = rest.split_first_chunk()?;
    let (metadata_length, rest) = rest.split_first_chunk()?;
    let length = |bytes: &[u8; 8]| usize::try_from(u64::from_le_bytes(*bytes)).ok();
    let (type_name, rest) = rest.split_at_checked(length(type_length)?)?;
    let (metadata, data) = rest.split_at_checked(length(metadata_length)?)?;
    let (damage, data) = match is_damaged {
        0 => (None, data),
        _ => (Some(std::str::from_utf8(data).ok()?.into()), [].as_slice()),
    };
    let recorded = RecordedEvent {
        position: u64::from_le_bytes(*position),
        stream: stream_of(stream)?,
        revision: u64::from_be_bytes(*revision),
        id: EventId(Uuid::from_bytes(*id)),
        type_name: std::str::from_utf8(type_name).ok()?.into(),
        data: data.into(),
        metadata: if metadata.is_empty() { Arc::clone(no_metadata) } else { metadata.into() },
        recorded_at: Timestamp::from_nanosecond(i128::from_le_bytes(*recorded_at)).ok()?,
        damage,
    };
    Some((length(source)?, recorded))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn event(stream: &str, revision: u64) -> RecordedEvent {
        RecordedEvent {
            position: 7,
            stream: stream.parse().unwrap(),
            revision,
            id: EventId(Uuid::from_u128(3)),
            type_name: "order.placed.v2".into(),
            data: b"{\"a\":1}".as_slice().into(),
            metadata: b"{\"command\":\"order.place\"}".as_slice().into(),
            recorded_at: Timestamp::UNIX_EPOCH,
            damage: None,
        }
    }

    #[test]
    fn events_come_back_by_stream_and_revision_with_or_without_their_metadata() {
        let order = "order-00000000-0000-0000-0000-000000000001";
        let damaged = RecordedEvent { damage: Some("why".into()), data: [].into(), ..event("stock-B", 0) };
        let events = [event(order, 1), damaged, event(order, 0), event("stock-A", 0)];
        let mut sorter = Sorter::new(Path::new("."), 1 << 20);
        let mut records = EventRecords::default();
        for (index, event) in events.iter().enumerate() {
            let metadata: &[u8] = if index == 0 { &[] } else { &event.metadata };
            records.push(&mut sorter, index, event, metadata).unwrap();
        }
        let mut sorted = sorter.finish().unwrap();
        let (mut reader, none) = (sorted.read().unwrap(), Arc::from(b"{}".as_slice()));
        let mut found = Vec::new();
        while let Some((key, value)) = reader.next().unwrap() {
            found.push(read_event(key, value, &none).unwrap());
        }
        let first = RecordedEvent { metadata: none, ..events[0].clone() };
        let of = |index: usize| (index, events[index].clone());
        assert_eq!(found, [of(3), of(1), of(2), (0, first)]);
    }
}
