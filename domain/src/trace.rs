//! The place of a command in a distributed trace.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A span and its trace, as the header `traceparent` of W3C Trace Context names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceParent {
    /// Never 0.
    pub trace_id: u128,
    /// The span that is the parent of what follows. Never 0.
    pub span_id: u64,
    /// True if the spans of the trace are recorded.
    pub is_sampled: bool,
}

/// A text that is not the header `traceparent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected the header `traceparent` of W3C Trace Context")]
pub struct InvalidTraceParent;

impl TraceParent {
    /// The bit of the flags that says that the caller may have recorded its span.
    const SAMPLED: u8 = 1;

    /// The header. `None` if the trace is not sampled: then no span refers to its ids, so they are not worth
    /// their bytes in the log.
    pub fn if_sampled(self) -> Option<Self> {
        self.is_sampled.then_some(self)
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flags = if self.is_sampled { Self::SAMPLED } else { 0 };
        write!(f, "00-{:032x}-{:016x}-{flags:02x}", self.trace_id, self.span_id)
    }
}

/// Reads version 00, and of later versions the part that they share with it.
impl FromStr for TraceParent {
    type Err = InvalidTraceParent;

    fn from_str(text: &str) -> Result<Self, InvalidTraceParent> {
        let mut parts = text.split('-');
        let mut next = |length: usize| {
            let part = parts.next().filter(|part| part.len() == length).ok_or(InvalidTraceParent)?;
            let is_hex = part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
            let value = u128::from_str_radix(part, 16).ok().filter(|_| is_hex);
            value.ok_or(InvalidTraceParent)
        };
        let (version, trace_id, span_id, flags) = (next(2)?, next(32)?, next(16)?, next(2)?);
        let has_more = parts.next().is_some();
        let span_id = u64::try_from(span_id).map_err(|_| InvalidTraceParent)?;
        if version == 0xff || (version == 0 && has_more) || trace_id == 0 || span_id == 0 {
            return Err(InvalidTraceParent);
        }
        Ok(Self { trace_id, span_id, is_sampled: flags & u128::from(Self::SAMPLED) != 0 })
    }
}

impl Serialize for TraceParent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Reads the stored form. `None` also for a text that this version cannot read: a trace is never a reason to
/// refuse an event.
pub(crate) fn read_stored<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<TraceParent>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    Ok(text.and_then(|text| text.parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_of_the_specification_is_read_and_written() {
        const HEADER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let parent: TraceParent = HEADER.parse().unwrap();
        let (trace_id, span_id) = (0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736, 0x00f0_67aa_0ba9_02b7);
        assert_eq!(parent, TraceParent { trace_id, span_id, is_sampled: true });
        assert_eq!(parent.to_string(), HEADER);
        let unsampled = HEADER.replace("-01", "-00").parse::<TraceParent>().unwrap();
        assert_eq!((unsampled.is_sampled, unsampled.if_sampled()), (false, None));
    }

    #[test]
    fn later_versions_and_flags_are_read_as_far_as_they_are_known() {
        for header in [
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what-the-future-will-be-like",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-03",
        ] {
            let parent: TraceParent = header.parse().unwrap();
            assert_eq!(parent.to_string(), "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
        }
    }

    #[test]
    fn a_malformed_header_is_refused() {
        for header in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-000f067aa0ba902b7-01",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-extra",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01 ",
        ] {
            assert_eq!(header.parse::<TraceParent>(), Err(InvalidTraceParent), "{header:?}");
        }
    }
}
