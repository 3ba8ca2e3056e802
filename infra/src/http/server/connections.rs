//! The connections of a server, bounded in all and for each address.
//!
//! If all places are taken, connections that wait for their clients make room. So clients that open connections and
//! send nothing cannot keep others out. While all places are taken, the addresses of many such clients get no further
//! connection: they would only take the places of one another.

use std::{
    cmp::Reverse,
    collections::{HashMap, HashSet},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::exchange::{Exchange, clock_ms};
use crate::{
    http::peer::{TrustedProxies, counted_as},
    log_limit::LogLimit,
    measurements::{Counter, Gauge, HTTP_CONNECTIONS, HTTP_CONNECTIONS_CLOSED, number},
};

/// One of so many connections makes room at once, 64 of 4,096. Choosing them looks at all connections.
const EVICTED_ONE_OF: usize = 64;
/// A client that has sent no whole request after this time is slow.
const SLOW_AFTER_MS: u64 = 1_000;
/// How often connections that can make room are looked for.
const LOOKED_FOR_EVERY: Duration = Duration::from_millis(50);
/// An address with more connections of slow clients gets no further one while all places are taken.
const SLOW_OF_ADDRESS_MAX: usize = 16;
/// How long an address counts as one of many slow clients.
const SLOW_FOR: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Connections {
    places: Arc<Semaphore>,
    per_address_max: usize,
    evicted_at_once: usize,
    slow_after_ms: u64,
    /// Their connections are those of many clients, so they have no limit of their own.
    proxies: TrustedProxies,
    open: Mutex<Open>,
    count: Gauge,
    refused: Counter,
    evicted: Counter,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    by_number: HashMap<u64, Connection>,
    by_address: HashMap<IpAddr, usize>,
    /// Connections that make room and are still open.
    leaving: usize,
    /// The addresses of many slow clients when connections last had to make room, and when that was.
    slow: Option<(Instant, HashSet<IpAddr>)>,
}

#[derive(Debug)]
struct Connection {
    address: IpAddr,
    is_of_proxy: bool,
    exchange: Arc<Exchange>,
}

/// The order in which connections make room, the first first: those that never had an answer and wait for long, then
/// others that wait for long. Of these, those of the addresses with the most connections, and then the oldest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rank(u8, Reverse<usize>, Reverse<u64>);

impl Rank {
    fn of(connections_of_address: usize, waited_ms: u64, has_answered: bool) -> Self {
        let class = match (waited_ms >= SLOW_AFTER_MS, has_answered) {
            (true, false) => 0,
            (true, true) => 1,
            (false, _) => 2,
        };
        Self(class, Reverse(connections_of_address), Reverse(waited_ms))
    }
}

/// The place of a connection. Free when dropped.
#[derive(Debug)]
pub(super) struct Place {
    number: u64,
    address: IpAddr,
    pub exchange: Arc<Exchange>,
    all: Arc<Connections>,
    _permit: OwnedSemaphorePermit,
}

impl Connections {
    pub fn new(
        server: &'static str,
        max: usize,
        per_address_max: usize,
        proxies: TrustedProxies,
    ) -> Arc<Self> {
        Arc::new(Self {
            places: Arc::new(Semaphore::new(max)),
            per_address_max,
            evicted_at_once: (max / EVICTED_ONE_OF).max(1),
            slow_after_ms: SLOW_AFTER_MS,
            proxies,
            open: Mutex::default(),
            count: HTTP_CONNECTIONS.with([server]),
            refused: HTTP_CONNECTIONS_CLOSED.with([server, "address_limit"]),
            evicted: HTTP_CONNECTIONS_CLOSED.with([server, "evicted"]),
        })
    }

    /// A place for a connection from `peer`. `None` if its address has too many, of slow clients or in all. Waits while
    /// all places are taken by connections that cannot make room.
    pub async fn admit(self: &Arc<Self>, peer: IpAddr) -> Option<Place> {
        let (address, is_of_proxy) = (counted_as(peer), self.proxies.contain(peer));
        if !is_of_proxy {
            let is_full = self.places.available_permits() == 0;
            let open = self.lock();
            if open.count_of(address) >= self.per_address_max || (is_full && open.has_many_slow(address)) {
                self.refused.increment(1);
                return None;
            }
        }
        let permit = self.permit().await;
        let exchange = Arc::new(Exchange::default());
        let mut open = self.lock();
        let number = open.next;
        open.next += 1;
        *open.by_address.entry(address).or_default() += 1;
        open.by_number.insert(number, Connection { address, is_of_proxy, exchange: Arc::clone(&exchange) });
        self.count.set(number_of(&open));
        drop(open);
        Some(Place { number, address, exchange, all: Arc::clone(self), _permit: permit })
    }

    async fn permit(&self) -> OwnedSemaphorePermit {
        let places = || Arc::clone(&self.places);
        if let Ok(permit) = places().try_acquire_owned() {
            return permit;
        }
        loop {
            self.make_room();
            if let Ok(permit) = timeout(LOOKED_FOR_EVERY, places().acquire_owned()).await {
                return permit.expect("the semaphore is never closed");
            }
        }
    }

    fn make_room(&self) {
        static EVICTED: LogLimit = LogLimit::new(Duration::from_secs(10));
        let mut open = self.lock();
        if open.leaving > 0 {
            // On a busy processor they need some time.
            return;
        }
        let now_ms = clock_ms();
        open.find_slow_addresses(now_ms, self.slow_after_ms);
        let mut waiting: Vec<_> =
            open.by_number.values().filter_map(|it| Self::rank(&open, it, now_ms)).collect();
        if waiting.len() > self.evicted_at_once {
            waiting.select_nth_unstable_by_key(self.evicted_at_once, |(rank, _)| *rank);
            waiting.truncate(self.evicted_at_once);
        }
        for (_, exchange) in &waiting {
            exchange.evict();
        }
        let evicted = waiting.len();
        open.leaving = evicted;
        drop(open);
        self.evicted.increment(evicted as u64);
        if evicted > 0
            && let Some(omitted) = EVICTED.pass()
        {
            tracing::warn!(
                connections.closed = evicted,
                lines.omitted = omitted,
                "All places for connections are taken; connections that wait for their clients are closed"
            );
        }
    }

    /// `None` for a connection that works on a request.
    fn rank<'a>(
        open: &Open,
        Connection { address, is_of_proxy, exchange }: &'a Connection,
        now_ms: u64,
    ) -> Option<(Rank, &'a Exchange)> {
        let waited_ms = exchange.waits_for_client_ms(now_ms)?;
        let count = if *is_of_proxy { 1 } else { open.count_of(*address) };
        Some((Rank::of(count, waited_ms, exchange.has_answered()), &**exchange))
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connection {
    /// Its client has sent no whole request in a time in which others do.
    fn is_slow(&self, now_ms: u64, after_ms: u64) -> bool {
        let exchange = &self.exchange;
        !exchange.has_answered()
            && exchange.waits_for_client_ms(now_ms).is_some_and(|waited| waited >= after_ms)
    }
}

impl Open {
    fn has_many_slow(&self, address: IpAddr) -> bool {
        let of_slow = self.slow.as_ref().filter(|(at, _)| at.elapsed() < SLOW_FOR);
        of_slow.is_some_and(|(_, addresses)| addresses.contains(&address))
    }

    fn find_slow_addresses(&mut self, now_ms: u64, slow_after_ms: u64) {
        let mut slow: HashMap<IpAddr, usize> = HashMap::new();
        for connection in
            self.by_number.values().filter(|it| !it.is_of_proxy && it.is_slow(now_ms, slow_after_ms))
        {
            *slow.entry(connection.address).or_default() += 1;
        }
        let many = slow.into_iter().filter(|(_, count)| *count > SLOW_OF_ADDRESS_MAX);
        self.slow = Some((Instant::now(), many.map(|(address, _)| address).collect()));
    }

    fn count_of(&self, address: IpAddr) -> usize {
        self.by_address.get(&address).copied().unwrap_or_default()
    }
}

fn number_of(open: &Open) -> f64 {
    number(open.by_number.len())
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.all.lock();
        open.by_number.remove(&self.number);
        if self.exchange.is_evicted() {
            open.leaving -= 1;
        }
        if let Some(count) = open.by_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                open.by_address.remove(&self.address);
            }
        }
        self.all.count.set(number_of(&open));
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn with(max: usize, per_address_max: usize, proxies: &[&str]) -> Arc<Connections> {
        let proxies = proxies.iter().map(|network| network.parse().unwrap()).collect();
        Connections::new("test", max, per_address_max, proxies)
    }

    fn admit(all: &Arc<Connections>, address: &str) -> Option<Place> {
        let place = all.admit(address.parse().unwrap()).now_or_never().expect("a place is free");
        place.inspect(|place| place.exchange.open())
    }

    fn is_evicted(place: &Place) -> bool {
        place.exchange.evicted().now_or_never().is_some()
    }

    #[test]
    fn an_address_has_a_limit_and_a_trusted_proxy_has_none() {
        let all = with(10, 2, &["10.0.0.7"]);
        let _places = [admit(&all, "1.2.3.4").unwrap(), admit(&all, "1.2.3.4").unwrap()];
        assert!(admit(&all, "1.2.3.4").is_none());
        let place = admit(&all, "::ffff:5.6.7.8").unwrap();
        let second = admit(&all, "5.6.7.8").unwrap();
        assert!(admit(&all, "5.6.7.8").is_none());
        drop(place);
        assert!(admit(&all, "5.6.7.8").is_some());
        drop(second);
        assert!((0..3).map(|_| admit(&all, "10.0.0.7")).collect::<Option<Vec<_>>>().is_some());
    }

    #[test]
    fn slow_clients_make_room_before_those_that_were_answered() {
        let in_order = [
            Rank::of(50, 9_000, false),
            Rank::of(50, 2_000, false),
            Rank::of(1, 9_000, false),
            Rank::of(1_000, 2_000, true),
            Rank::of(1, 60_000, true),
            Rank::of(1_000, 10, true),
            Rank::of(1, 20, false),
            Rank::of(1, 10, true),
        ];
        assert!(in_order.is_sorted(), "{in_order:?}");
    }

    #[tokio::test]
    async fn an_address_of_many_slow_clients_gets_no_further_connection_while_all_places_are_taken() {
        let mut all = with(SLOW_OF_ADDRESS_MAX + 2, 100, &[]);
        Arc::get_mut(&mut all).unwrap().slow_after_ms = 0;
        let mut hostile: Vec<Place> =
            (0..=SLOW_OF_ADDRESS_MAX).map(|_| admit(&all, "9.9.9.9").unwrap()).collect();
        let _good = admit(&all, "1.2.3.4").unwrap();
        let waits = |address: &str| all.admit(address.parse().unwrap()).now_or_never().is_none();
        // One makes room, and while it leaves, no further one does.
        assert!(waits("5.6.7.8"));
        assert!(waits("5.6.7.8"));
        assert!(admit(&all, "9.9.9.9").is_none());
        hostile.retain(|place| !is_evicted(place));
        assert_eq!(hostile.len(), SLOW_OF_ADDRESS_MAX);
        assert!(admit(&all, "9.9.9.9").is_some());
    }

    #[tokio::test]
    async fn connections_of_the_address_with_the_most_make_room() {
        let all = with(100, 100, &[]);
        let good = admit(&all, "1.2.3.4").unwrap();
        let hostile: Vec<Place> = (0..99).map(|_| admit(&all, "9.9.9.9").unwrap()).collect();
        let next = Arc::clone(&all);
        let admitting = tokio::spawn(async move { next.admit("5.6.7.8".parse().unwrap()).await });
        while !hostile.iter().any(is_evicted) {
            tokio::task::yield_now().await;
        }
        assert!(!is_evicted(&good));
        drop(hostile);
        assert!(admitting.await.unwrap().is_some());
    }
}
