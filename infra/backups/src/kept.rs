//! Which backups are kept.

use std::{fmt, num::NonZeroUsize, str::FromStr};

use jiff::{SignedDuration, Span, SpanRelativeTo, Timestamp};

/// How many backups are kept, or for how long. The newest one is always kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    Newest(NonZeroUsize),
    For(SignedDuration),
}

impl Keep {
    /// The backups that are not kept. `backups` have their times, the newest one first.
    pub(crate) fn outdated<T>(
        self,
        backups: &[T],
        made_at: impl Fn(&T) -> Timestamp,
        now: Timestamp,
    ) -> Vec<&T> {
        let is_outdated = |(index, backup): &(usize, &T)| match self {
            Self::Newest(count) => *index >= count.get(),
            Self::For(time) => *index > 0 && now.duration_since(made_at(backup)) > time,
        };
        backups.iter().enumerate().filter(is_outdated).map(|(_, backup)| backup).collect()
    }
}

impl FromStr for Keep {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(count) = text.parse() {
            return Ok(Self::Newest(count));
        }
        let time =
            text.parse::<Span>().and_then(|span| span.to_duration(SpanRelativeTo::days_are_24_hours()));
        time.ok().filter(|time| *time >= SignedDuration::from_mins(1)).map(Self::For).ok_or_else(|| {
            "expected a number of backups, as in `14`, or a time of a minute or more, as in `30d`".to_owned()
        })
    }
}

impl fmt::Display for Keep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Newest(count) => count.fmt(f),
            Self::For(time) => write!(f, "{time:#}"),
        }
    }
}
