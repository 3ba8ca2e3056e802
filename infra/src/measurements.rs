//! Every metric of the platform: its name, its labels and its meaning.
//!
//! A part makes its handles once, from the families of [`catalogue`], and counts through them. So counting looks
//! nothing up. Handles that are made before the process installs a recorder count nothing. The code gives every label
//! value, never a caller, so the number of series is bounded.

mod catalogue;

use metrics::Label;
pub use metrics::{Counter, Gauge, Histogram};

pub use self::catalogue::*;

/// Upper bounds of the buckets of a duration, in seconds.
const SECONDS: &[f64] =
    &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
/// Upper bounds of the buckets of a number of things.
const SIZES: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0];

/// A metric as operators see it.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    pub name: &'static str,
    pub kind: Kind,
    pub labels: &'static [&'static str],
    pub meaning: &'static str,
}

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A number that only grows, from 0 at the start of the process.
    Counters,
    /// A number that grows and shrinks.
    Gauges,
    /// Durations, in seconds.
    Seconds,
    /// Numbers of things.
    Sizes,
}

impl Kind {
    /// The upper bounds of the buckets of a histogram. `None` for other kinds.
    pub fn buckets(self) -> Option<&'static [f64]> {
        match self {
            Self::Counters | Self::Gauges => None,
            Self::Seconds => Some(SECONDS),
            Self::Sizes => Some(SIZES),
        }
    }

    /// The kind in the text format of Prometheus.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counters => "counter",
            Self::Gauges => "gauge",
            Self::Seconds | Self::Sizes => "histogram",
        }
    }
}

/// Counters that differ in their `N` labels.
#[derive(Debug, Clone, Copy)]
pub struct Counters<const N: usize>(Family<N>);

/// Gauges that differ in their `N` labels.
#[derive(Debug, Clone, Copy)]
pub struct Gauges<const N: usize>(Family<N>);

/// Histograms of durations that differ in their `N` labels.
#[derive(Debug, Clone, Copy)]
pub struct Seconds<const N: usize>(Family<N>);

/// Histograms of numbers of things that differ in their `N` labels.
#[derive(Debug, Clone, Copy)]
pub struct Sizes<const N: usize>(Family<N>);

#[derive(Debug, Clone, Copy)]
struct Family<const N: usize> {
    name: &'static str,
    labels: [&'static str; N],
}

impl<const N: usize> Family<N> {
    fn labels(&self, values: [&str; N]) -> Vec<Label> {
        self.labels
            .into_iter()
            .zip(values)
            .map(|(label, value)| Label::new(label, value.to_owned()))
            .collect()
    }
}

impl<const N: usize> Counters<N> {
    const fn new(name: &'static str, labels: [&'static str; N]) -> Self {
        Self(Family { name, labels })
    }

    pub fn name(&self) -> &'static str {
        self.0.name
    }

    /// The counter with these values of its labels.
    pub fn with(&self, values: [&str; N]) -> Counter {
        metrics::counter!(self.0.name, self.0.labels(values))
    }
}

impl<const N: usize> Gauges<N> {
    const fn new(name: &'static str, labels: [&'static str; N]) -> Self {
        Self(Family { name, labels })
    }

    pub fn name(&self) -> &'static str {
        self.0.name
    }

    /// The gauge with these values of its labels.
    pub fn with(&self, values: [&str; N]) -> Gauge {
        metrics::gauge!(self.0.name, self.0.labels(values))
    }
}

impl<const N: usize> Seconds<N> {
    const fn new(name: &'static str, labels: [&'static str; N]) -> Self {
        Self(Family { name, labels })
    }

    pub fn name(&self) -> &'static str {
        self.0.name
    }

    /// The histogram with these values of its labels.
    pub fn with(&self, values: [&str; N]) -> Histogram {
        metrics::histogram!(self.0.name, self.0.labels(values))
    }
}

impl<const N: usize> Sizes<N> {
    const fn new(name: &'static str, labels: [&'static str; N]) -> Self {
        Self(Family { name, labels })
    }

    /// The histogram with these values of its labels.
    pub fn with(&self, values: [&str; N]) -> Histogram {
        metrics::histogram!(self.0.name, self.0.labels(values))
    }
}

/// Gives the recorder of the process the meaning of every metric.
pub fn describe() {
    for Metric { name, kind, meaning, .. } in ALL {
        match kind {
            Kind::Counters => metrics::describe_counter!(*name, *meaning),
            Kind::Gauges => metrics::describe_gauge!(*name, *meaning),
            Kind::Seconds | Kind::Sizes => metrics::describe_histogram!(*name, *meaning),
        }
    }
}

/// Counts one thing as under way, until dropped.
#[derive(Debug)]
pub struct UnderWay<'a>(&'a Gauge);

impl<'a> UnderWay<'a> {
    pub fn begin(gauge: &'a Gauge) -> Self {
        gauge.increment(1.0);
        Self(gauge)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

/// A number of things or bytes as the value of a measurement.
#[allow(clippy::cast_precision_loss, reason = "exact below 2^53")]
pub fn number(of: impl TryInto<u64>) -> f64 {
    of.try_into().unwrap_or(u64::MAX) as f64
}

#[cfg(test)]
mod tests;
