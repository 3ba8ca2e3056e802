//! The aggregates in memory, bounded in bytes.

use std::mem;

use domain::Decider;
use infra::measurements::number;
use lru::LruCache;

use super::{aggregate::Aggregate, measured::CacheMeasured};

/// The links and the table entry of a cached aggregate, in bytes, besides its id.
const OVERHEAD_BYTES: usize = 64;

/// Drops the least recently used aggregates when all together exceed `bytes_max`.
pub(super) struct Cache<A: Decider> {
    cached: LruCache<A::Id, Cached<A>>,
    bytes: usize,
    bytes_max: usize,
    measured: CacheMeasured,
}

struct Cached<A: Decider> {
    aggregate: Aggregate<A>,
    /// As counted in [`Cache::bytes`].
    bytes: usize,
}

impl<A: Decider> Cache<A> {
    pub fn new(bytes_max: usize, measured: CacheMeasured) -> Self {
        Self { cached: LruCache::unbounded(), bytes: 0, bytes_max, measured }
    }

    pub fn get_mut(&mut self, id: &A::Id) -> Option<&mut Aggregate<A>> {
        self.cached.get_mut(id).map(|cached| &mut cached.aggregate)
    }

    /// Counts the bytes of an aggregate again. Call it after a change.
    pub fn weigh(&mut self, id: &A::Id) {
        if let Some(cached) = self.cached.peek_mut(id) {
            let before = mem::replace(&mut cached.bytes, bytes_of(&cached.aggregate));
            self.bytes = self.bytes - before + cached.bytes;
        }
    }

    pub fn put(&mut self, id: A::Id, aggregate: Aggregate<A>) {
        let bytes = bytes_of(&aggregate);
        self.bytes += bytes;
        if let Some(replaced) = self.cached.put(id, Cached { aggregate, bytes }) {
            self.bytes -= replaced.bytes;
        }
    }

    pub fn take(&mut self, id: &A::Id) -> Option<Aggregate<A>> {
        let Cached { aggregate, bytes } = self.cached.pop(id)?;
        self.bytes -= bytes;
        Some(aggregate)
    }

    pub fn clear(&mut self) {
        self.cached.clear();
        self.bytes = 0;
    }

    /// Evicts from the least recently used on, up to the first that must stay. Call it after changes.
    pub fn evict(&mut self, may_go: impl Fn(&Aggregate<A>) -> bool) {
        while self.bytes > self.bytes_max
            && self.cached.peek_lru().is_some_and(|(_, oldest)| may_go(&oldest.aggregate))
        {
            if let Some((_, oldest)) = self.cached.pop_lru() {
                self.bytes -= oldest.bytes;
                self.measured.evictions.increment(1);
            }
        }
        self.measured.bytes.set(number(self.bytes));
    }
}

fn bytes_of<A: Decider>(aggregate: &Aggregate<A>) -> usize {
    aggregate.bytes() + size_of::<A::Id>() + OVERHEAD_BYTES
}
