//! What this process reports at `/readyz`: parts that wait for an operator, and parts that cannot work.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    http::{Code, Problem, ProblemSource},
    measurements::CONDITION,
};

/// The conditions of this process. Every part of a process shares one. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Health {
    conditions: Arc<Mutex<BTreeMap<&'static str, Reported>>>,
}

#[derive(Debug, Clone)]
struct Reported {
    severity: Severity,
    detail: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Severity {
    /// The process works; a part of the work waits for an operator.
    Degraded,
    /// The process cannot do one of its roles.
    Unable,
}

impl Severity {
    /// As [`CONDITION`] shows it.
    fn level(self) -> f64 {
        match self {
            Self::Degraded => 1.0,
            Self::Unable => 2.0,
        }
    }
}

/// A condition that `/readyz` lists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Condition {
    /// A stable name, such as `parked_reactions`.
    #[schema(example = "parked_reactions")]
    pub name: &'static str,
    /// What happened, and what an operator can do.
    pub detail: String,
}

/// The answer of `/readyz` of a process that can do its roles.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Readiness {
    /// Always `ready`: a process that cannot do its roles answers 503.
    #[schema(example = "ready")]
    pub status: &'static str,
    /// Parts of the work that wait for an operator. Empty in normal operation.
    pub degraded: Vec<Condition>,
}

impl Health {
    /// Reports that a part of the work waits for an operator. Replaces an earlier report of this name.
    pub fn degraded(&self, name: &'static str, detail: impl Into<String>) {
        self.report(name, Severity::Degraded, detail.into());
    }

    /// Reports that this process cannot do one of its roles: `/readyz` answers 503. Replaces an earlier report
    /// of this name.
    pub fn unable(&self, name: &'static str, detail: impl Into<String>) {
        self.report(name, Severity::Unable, detail.into());
    }

    /// Withdraws the report of this name. No effect without one.
    pub fn resolve(&self, name: &'static str) {
        if self.lock().remove(name).is_some() {
            CONDITION.with([name]).set(0.0);
        }
    }

    /// The readiness of this process, or the first condition that makes it unable to do its roles.
    pub fn readiness(&self) -> Result<Readiness, Condition> {
        let mut degraded = Vec::new();
        for (name, reported) in self.lock().iter() {
            let condition = Condition { name, detail: reported.detail.clone() };
            match reported.severity {
                Severity::Unable => return Err(condition),
                Severity::Degraded => degraded.push(condition),
            }
        }
        Ok(Readiness { status: "ready", degraded })
    }

    fn report(&self, name: &'static str, severity: Severity, detail: String) {
        self.lock().insert(name, Reported { severity, detail });
        CONDITION.with([name]).set(severity.level());
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, Reported>> {
        self.conditions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ProblemSource for Condition {
    const CODES: &'static [Code] = &[Code::NotReady];

    fn problem(self) -> Problem {
        Problem::new(Code::NotReady).detail(self.detail).member("condition", self.name)
    }
}

#[cfg(test)]
mod tests;
