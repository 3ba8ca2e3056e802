//! The end of the log as frames in memory. All listeners share their bytes.

use std::collections::VecDeque;

use axum::body::Bytes;
use domain::{Position, RecordedEvent};
use infra::event_row::EventRow;

use crate::log_event::LogEvent;

/// A chunk ends with the frame that reaches this number of bytes.
const CHUNK_BYTES: usize = 32 << 10;

/// The last events of the log, up to a number of bytes. Beyond it the oldest are evicted.
#[derive(Debug)]
pub(super) struct Window {
    bytes_max: usize,
    bytes: usize,
    /// Each begins where the one before it ends.
    chunks: VecDeque<Chunk>,
}

/// Consecutive frames.
#[derive(Debug)]
pub(super) struct Chunk {
    /// The position before its first frame.
    after: Position,
    /// The position of its last frame.
    pub last: Position,
    pub bytes: Bytes,
    /// Position and first byte of each frame.
    frames: Vec<(Position, usize)>,
}

impl Window {
    pub fn new(bytes_max: usize) -> Self {
        Self { bytes_max, bytes: 0, chunks: VecDeque::new() }
    }

    pub fn clear(&mut self) {
        self.bytes = 0;
        self.chunks.clear();
    }

    /// Adds the events that follow position `after`.
    pub fn extend(&mut self, mut after: Position, events: &[RecordedEvent]) {
        if self.chunks.back().is_some_and(|last| last.last != after) {
            self.clear();
        }
        let mut rest = events;
        while !rest.is_empty() {
            let (chunk, count) = Chunk::of(after, rest, CHUNK_BYTES);
            after = chunk.last;
            rest = &rest[count..];
            self.bytes += chunk.bytes.len();
            self.chunks.push_back(chunk);
        }
        while self.bytes > self.bytes_max
            && let Some(oldest) = self.chunks.pop_front()
        {
            self.bytes -= oldest.bytes.len();
        }
    }

    /// Frames after a position, and the position of the last one. `None` if the window does not have the next event.
    pub fn after(&self, position: Position) -> Option<(Bytes, Position)> {
        let index = self.chunks.partition_point(|chunk| chunk.last <= position);
        let chunk = self.chunks.get(index).filter(|chunk| chunk.after <= position)?;
        let next = chunk.frames.partition_point(|(frame, _)| *frame <= position);
        let (_, begin) = chunk.frames.get(next)?;
        Some((chunk.bytes.slice(begin..), chunk.last))
    }
}

impl Chunk {
    /// The frames of the first events, until they reach `bytes_max`, and their number.
    pub fn of(after: Position, events: &[RecordedEvent], bytes_max: usize) -> (Self, usize) {
        let (mut bytes, mut frames, mut last) = (Vec::new(), Vec::new(), after);
        for event in events {
            if bytes.len() >= bytes_max {
                break;
            }
            frames.push((event.position, bytes.len()));
            last = event.position;
            LogEvent::of(EventRow::of(event, event.decode_metadata().ok().as_ref())).write_to(&mut bytes);
        }
        let count = frames.len();
        (Self { after, last, bytes: bytes.into(), frames }, count)
    }
}

#[cfg(test)]
mod tests {
    use domain::{EventId, OrderId, Timestamp};
    use uuid::Uuid;

    use super::*;

    fn events(positions: impl IntoIterator<Item = Position>, bytes: usize) -> Vec<RecordedEvent> {
        let event = |position| RecordedEvent {
            position,
            stream: OrderId(Uuid::nil()).into(),
            revision: position,
            id: EventId(Uuid::nil()),
            type_name: "order.placed.v2".into(),
            data: format!("\"{}\"", "x".repeat(bytes)).into_bytes().into(),
            metadata: b"{}".as_slice().into(),
            recorded_at: Timestamp::UNIX_EPOCH,
            damage: None,
        };
        positions.into_iter().map(event).collect()
    }

    /// The positions of all frames after a position. `None` if the window does not have the next event.
    fn positions(window: &Window, mut after: Position) -> Option<Vec<Position>> {
        let mut found = Vec::new();
        let end = window.chunks.back().map_or(0, |chunk| chunk.last);
        while after < end {
            let (bytes, last) = window.after(after)?;
            let text = String::from_utf8(bytes.to_vec()).unwrap();
            found.extend(text.lines().filter_map(|line| line.strip_prefix("id: ")?.parse::<u64>().ok()));
            after = last;
        }
        Some(found)
    }

    #[test]
    fn frames_are_found_after_any_position_also_where_positions_have_gaps() {
        let mut window = Window::new(1 << 20);
        window.extend(10, &events([20, 30, 40], 1));
        window.extend(40, &events((50..=250).step_by(10), 1_000));
        let all: Vec<Position> = (20..=250).step_by(10).collect();
        assert!(window.chunks.len() > 1);
        assert_eq!(positions(&window, 9), None);
        for after in 10..250 {
            let expected: Vec<_> = all.iter().copied().filter(|position| *position > after).collect();
            assert_eq!(positions(&window, after), Some(expected), "{after}");
        }
        assert_eq!(window.after(250).map(|(_, last)| last), None);
    }

    #[test]
    fn the_oldest_frames_leave_when_the_bytes_exceed_the_limit() {
        let mut window = Window::new(200_000);
        window.extend(0, &events(1..=1_000, 1_000));
        assert!(window.bytes <= 200_000 && window.bytes > 100_000, "{}", window.bytes);
        assert_eq!(window.bytes, window.chunks.iter().map(|chunk| chunk.bytes.len()).sum::<usize>());
        assert_eq!(positions(&window, 0), None);
        assert_eq!(positions(&window, 990), Some((991..=1_000).collect()));
    }

    #[test]
    fn events_that_do_not_follow_the_window_replace_it() {
        let mut window = Window::new(1 << 20);
        window.extend(0, &events(1..=3, 1));
        window.extend(9, &events(10..=11, 1));
        assert_eq!(window.after(2).map(|(_, last)| last), None);
        assert_eq!(positions(&window, 9), Some(vec![10, 11]));
    }
}
