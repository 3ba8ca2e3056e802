//! Who attends which payment. One task at a time attends a payment; requests that come meanwhile share its outcome.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use domain::PaymentId;
use tokio::sync::watch;

use super::ProviderStatus;
use crate::executor::ExecuteError;

/// Payments attended at once. Most of them wait for one of the places of a call.
const ATTENDED_MAX: usize = 1_024;

type Outcome = Result<ProviderStatus, ExecuteError>;

/// The payments that tasks of this process attend. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Desk {
    attended: Arc<Mutex<HashMap<PaymentId, Attended>>>,
}

#[derive(Debug)]
struct Attended {
    outcome: watch::Receiver<Option<Outcome>>,
    /// True if a request joined after the task began, or after it tried to leave.
    has_company: bool,
}

/// The outcome of the task that attends a payment.
#[derive(Debug)]
pub(super) struct Expected(watch::Receiver<Option<Outcome>>);

/// The right to attend a payment, until dropped.
#[derive(Debug)]
pub(super) struct Seat {
    payment: PaymentId,
    desk: Desk,
    outcome: watch::Sender<Option<Outcome>>,
}

impl Desk {
    /// Joins the task that attends the payment, or, if there is none, returns the seat for a new one. `None` if
    /// too many payments are attended, or if a new task is needed and `may_begin` is false.
    pub fn join(&self, payment: PaymentId, may_begin: bool) -> Option<(Expected, Option<Seat>)> {
        let mut attended = self.lock();
        let is_full = attended.len() >= ATTENDED_MAX;
        match attended.entry(payment) {
            Entry::Occupied(mut entry) => {
                entry.get_mut().has_company = true;
                Some((Expected(entry.get().outcome.clone()), None))
            }
            Entry::Vacant(entry) if may_begin && !is_full => {
                let (sender, receiver) = watch::channel(None);
                entry.insert(Attended { outcome: receiver.clone(), has_company: false });
                let seat = Seat { payment, desk: self.clone(), outcome: sender };
                Some((Expected(receiver), Some(seat)))
            }
            Entry::Vacant(_) => None,
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PaymentId, Attended>> {
        self.attended.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Expected {
    /// Waits for the outcome. If the task panics, the work is still open.
    pub async fn outcome(mut self) -> Outcome {
        let is_open = || ProviderStatus { is_open: true, next_action: None };
        match self.0.wait_for(Option::is_some).await {
            Ok(outcome) => outcome.clone().unwrap_or_else(|| Ok(is_open())),
            Err(_) => Ok(is_open()),
        }
    }
}

impl Seat {
    /// Leaves, and gives the outcome to every request that joined. If one joined since the last call, it may have
    /// recorded work that the task has not read: then the task keeps the seat and reads the payment again. After
    /// an error it leaves in any case.
    pub fn leave(self, outcome: Outcome) -> Option<Self> {
        let mut attended = self.desk.lock();
        let company = attended.get_mut(&self.payment).map(|attended| &mut attended.has_company);
        if outcome.is_ok() && company.is_some_and(std::mem::take) {
            drop(attended);
            return Some(self);
        }
        // Under the lock: no request joins between the last look and the outcome.
        attended.remove(&self.payment);
        drop(attended);
        self.outcome.send_replace(Some(outcome));
        None
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        // After `leave`, another task may have the seat already.
        if self.outcome.borrow().is_none() {
            self.desk.lock().remove(&self.payment);
        }
    }
}

#[cfg(test)]
mod tests;
