//! The figures of this process, read from its own measurements: as they are now, and over the last ten minutes.

mod history;
mod routes;
mod series;

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use domain::Timestamp;

pub(super) use self::{
    history::{History, Sample},
    routes::{Times, by_group, by_route},
    series::Series,
};

/// Gives the measurements of this process, in the text format of Prometheus. Clones share what they have sampled.
#[derive(Clone)]
pub struct Measurements {
    render: Arc<dyn Fn() -> String + Send + Sync>,
    history: Arc<Mutex<History>>,
}

impl Measurements {
    pub fn given_by(render: impl Fn() -> String + Send + Sync + 'static) -> Self {
        Self { render: Arc::new(render), history: Arc::default() }
    }

    /// Remembers the figures of this moment for ten minutes, if it is called every 10 s.
    pub fn sample(&self, now: Timestamp) {
        let sample = Sample::of(now, &self.now());
        self.history.lock().unwrap_or_else(PoisonError::into_inner).push(sample);
    }

    pub(super) fn now(&self) -> Series {
        Series::parse(&(self.render)())
    }

    pub(super) fn history(&self) -> History {
        self.history.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl fmt::Debug for Measurements {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Measurements")
    }
}
