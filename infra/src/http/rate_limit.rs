//! A limit on the requests of each caller over time, so that one caller leaves room for the others.
//!
//! A caller is counted by its principal, which survives its keys and tokens. Requests without a valid credential are
//! counted by the address of the client.

use std::{
    fmt,
    net::IpAddr,
    num::{NonZeroU32, NonZeroUsize},
    str::FromStr,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use governor::{
    Quota, RateLimiter,
    clock::{Clock, MonotonicClock},
    middleware::StateInformationMiddleware,
    nanos::Nanos,
    state::StateStore,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, header, request::Parts};
use lru::LruCache;

use super::{
    Code, Problem,
    peer::{TrustedProxies, counted_as},
};
use crate::{
    auth::{Caller, Principal},
    measurements::{Counter, RATE_LIMITED_REQUESTS},
};

const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
/// The most callers that a limit remembers, in about 2 MiB. The caller that was silent for longest is forgotten, and
/// may then send a burst again.
const CALLERS_MAX: NonZeroUsize = NonZeroUsize::new(10_000).unwrap();

/// Requests a second, and the most requests at once. A caller that was silent for a while may send a burst.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    pub per_second: NonZeroU32,
    pub burst: NonZeroU32,
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.per_second, self.burst)
    }
}

/// Parses `RATE` or `RATE:BURST`. Without a burst, it is the requests of two seconds.
impl FromStr for Rate {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        const EXPECTED: &str = "expected requests per second and the largest burst, such as 50:200, or none";
        let (rate, burst) = text.split_once(':').map_or((text, None), |(rate, burst)| (rate, Some(burst)));
        let number = |text: &str| text.parse::<NonZeroU32>().map_err(|_| EXPECTED);
        let per_second = number(rate)?;
        let burst = burst.map(number).transpose()?;
        let two_seconds = NonZeroU32::MIN.saturating_add(1).saturating_mul(per_second);
        Ok(Self { per_second, burst: burst.unwrap_or(two_seconds) })
    }
}

/// The rates of an API. `None`: no limit.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rates {
    /// Of each program: of a principal that is no customer, or of an address if callers are not authenticated.
    pub reads: Option<Rate>,
    pub writes: Option<Rate>,
    /// Of each customer, and of the requests of an address that have no valid credential.
    pub public: Option<Rate>,
}

/// The limits of the callers of both APIs.
#[derive(Debug)]
pub struct RateLimits {
    reads: Option<Limit>,
    writes: Option<Limit>,
    public: Option<Limit>,
    proxies: TrustedProxies,
}

/// What a caller has left. The answer shows it.
#[derive(Debug)]
pub(super) struct Allowance {
    policy: &'static str,
    rate: Rate,
    left: u32,
}

impl RateLimits {
    pub fn new(rates: Rates, proxies: TrustedProxies) -> Self {
        Self {
            reads: rates.reads.map(|rate| Limit::new("reads", rate)),
            writes: rates.writes.map(|rate| Limit::new("writes", rate)),
            public: rates.public.map(|rate| Limit::new("public", rate)),
            proxies,
        }
    }

    /// Counts a request of a caller. `None` if no limit applies.
    pub(super) fn admit(&self, caller: &Caller, request: &Parts) -> Result<Option<Allowance>, Problem> {
        let is_read = matches!(request.method, Method::GET | Method::HEAD);
        let limit = match (caller.customer(), is_read) {
            (Some(_), _) => &self.public,
            (None, true) => &self.reads,
            (None, false) => &self.writes,
        };
        let Some(limit) = limit else { return Ok(None) };
        let key = caller.principal().map(|principal| CallerKey::Principal(principal.clone()));
        match key.or_else(|| self.address_of(request)) {
            Some(key) => limit.admit(&key).map(Some),
            None => Ok(None),
        }
    }

    /// Counts a request without a valid credential.
    pub(super) fn admit_stranger(&self, request: &Parts) -> Result<(), Problem> {
        match (&self.public, self.address_of(request)) {
            (Some(limit), Some(key)) => limit.admit(&key).map(drop),
            (Some(_) | None, _) => Ok(()),
        }
    }

    /// Leaves out the addresses of this machine: an operator uses them, or a proxy whose clients would all count as
    /// one.
    fn address_of(&self, request: &Parts) -> Option<CallerKey> {
        let client = self.proxies.client_of(&request.extensions, &request.headers)?;
        (!client.is_loopback()).then(|| CallerKey::Address(counted_as(client)))
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum CallerKey {
    Principal(Principal),
    Address(IpAddr),
}

/// One limit, with a bucket for each caller.
struct Limit {
    name: &'static str,
    rate: Rate,
    limiter: RateLimiter<CallerKey, Callers, MonotonicClock, StateInformationMiddleware>,
    refused: Counter,
}

impl fmt::Debug for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limit").field("name", &self.name).field("rate", &self.rate).finish_non_exhaustive()
    }
}

impl Limit {
    fn new(name: &'static str, rate: Rate) -> Self {
        let quota = Quota::per_second(rate.per_second).allow_burst(rate.burst);
        let callers = Callers(Mutex::new(LruCache::new(CALLERS_MAX)));
        let limiter = RateLimiter::new(quota, callers, MonotonicClock);
        Self { name, rate, limiter, refused: RATE_LIMITED_REQUESTS.with([name]) }
    }

    fn admit(&self, key: &CallerKey) -> Result<Allowance, Problem> {
        let (policy, rate) = (self.name, self.rate);
        match self.limiter.check_key(key) {
            Ok(state) => Ok(Allowance { policy, rate, left: state.remaining_burst_capacity() }),
            Err(not_until) => {
                self.refused.increment(1);
                let wait = not_until.wait_time_from(self.limiter.clock().now());
                Err(Allowance { policy, rate, left: 0 }.refusal(wait))
            }
        }
    }
}

/// The state of each caller that is remembered.
struct Callers(Mutex<LruCache<CallerKey, Nanos>>);

impl StateStore for Callers {
    type Key = CallerKey;

    fn measure_and_replace<T, F, E>(&self, key: &CallerKey, measure: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let mut callers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(state) = callers.get_mut(key) {
            let (outcome, next) = measure(Some(*state))?;
            *state = next;
            return Ok(outcome);
        }
        let (outcome, next) = measure(None)?;
        callers.put(key.clone(), next);
        Ok(outcome)
    }
}

impl Allowance {
    /// Adds `RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers). The quota is the burst, and the
    /// window is the time in which a caller without requests gets all of it back.
    pub(super) fn show(&self, headers: &mut HeaderMap) {
        for (name, value) in self.headers(self.seconds_for(self.rate.burst.get() - self.left)) {
            headers.insert(name, value);
        }
    }

    fn headers(&self, reset_s: u32) -> [(HeaderName, HeaderValue); 2] {
        let Self { policy, rate, left } = self;
        let window_s = self.seconds_for(rate.burst.get());
        let value = |text: String| HeaderValue::try_from(text).expect("digits and names are visible ASCII");
        [
            (RATE_LIMIT_POLICY, value(format!("\"{policy}\";q={};w={window_s}", rate.burst))),
            (RATE_LIMIT, value(format!("\"{policy}\";r={left};t={reset_s}"))),
        ]
    }

    /// The time until so many requests are free again.
    fn seconds_for(&self, requests: u32) -> u32 {
        requests.div_ceil(self.rate.per_second.get())
    }

    /// 429. `wait`: until the next request is free.
    fn refusal(&self, wait: Duration) -> Problem {
        let seconds = u32::try_from(wait.as_millis().div_ceil(1_000)).unwrap_or(u32::MAX).max(1);
        let Rate { per_second, burst } = self.rate;
        let detail = format!("the limit of {} is {per_second} a second, and {burst} at once", self.policy);
        let problem = Problem::new(Code::RateLimited).detail(detail);
        let problem = problem.header(header::RETRY_AFTER, HeaderValue::from(seconds));
        self.headers(seconds).into_iter().fold(problem, |problem, (name, value)| problem.header(name, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_has_a_burst_of_two_seconds_unless_it_is_given() {
        let shown = |text: &str| text.parse::<Rate>().map(|rate| rate.to_string());
        assert_eq!(shown("50"), Ok("50:100".to_owned()));
        assert_eq!(shown("50:200"), Ok("50:200".to_owned()));
        for text in ["", "0", "50:0", "-1", "50:", "fast", "1.5"] {
            assert!(shown(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_caller_that_was_silent_for_longest_is_forgotten() {
        let limit = Limit::new("reads", "1:1".parse().unwrap());
        let key = |number: u32| CallerKey::Address(IpAddr::V4(number.into()));
        limit.admit(&key(0)).unwrap();
        limit.admit(&key(0)).unwrap_err();
        let others = u32::try_from(CALLERS_MAX.get()).unwrap();
        for number in 1..=others {
            limit.admit(&key(number)).unwrap();
        }
        limit.admit(&key(0)).unwrap();
        let callers = limit.limiter.into_state_store().0.into_inner().unwrap();
        assert_eq!(callers.len(), CALLERS_MAX.get());
    }
}
