//! Durations as people write them: `90s`, `30m`, `1h 30m`, `90d`.

use std::{fmt, ops::RangeInclusive, str::FromStr, time::Duration};

use command_api::CommandApiOptions;
use jiff::{SignedDuration, Span, SpanRelativeTo};

/// Parses a duration within bounds. A day has 24 hours. The error names the bounds.
pub fn parse_duration(text: &str, bounds: &RangeInclusive<Duration>) -> Result<Duration, String> {
    let span = text.parse::<Span>().map_err(|error| error.to_string())?;
    let signed = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|error| error.to_string())?;
    let duration = Duration::try_from(signed).ok().filter(|duration| bounds.contains(duration));
    duration.ok_or_else(|| {
        format!("expected a duration from {} to {}", friendly(*bounds.start()), friendly(*bounds.end()))
    })
}

/// Formats a duration so that [`parse_duration`] reads it.
pub(super) fn friendly(duration: Duration) -> String {
    SignedDuration::try_from(duration)
        .map_or_else(|_| format!("{duration:?}"), |signed| format!("{signed:#}"))
}

/// Time from the recording of an order to its payment due time. Applies to orders whose request sets none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PaymentDueAfter(pub Duration);

impl PaymentDueAfter {
    pub const DEFAULT: Self = Self(CommandApiOptions::PAYMENT_DUE_AFTER);
    /// One second to one year. A shorter time would expire orders before their customers can pay.
    const BOUNDS: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(365 * 24);
}

impl fmt::Display for PaymentDueAfter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&friendly(self.0))
    }
}

impl FromStr for PaymentDueAfter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        parse_duration(text, &Self::BOUNDS).map(Self)
    }
}
