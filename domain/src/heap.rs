//! The memory of states, so that caches can bound it in bytes.

use std::{collections::BTreeMap, mem::size_of};

use crate::Sku;

/// Bytes that a value owns outside itself. Implementations name every member, so that a new member does not
/// compile until it is counted.
pub(crate) trait HeapBytes {
    fn heap_bytes(&self) -> usize;
}

/// The counters of an `Arc`.
const COUNTERS_BYTES: usize = 2 * size_of::<usize>();

impl HeapBytes for String {
    fn heap_bytes(&self) -> usize {
        self.capacity()
    }
}

impl HeapBytes for Sku {
    fn heap_bytes(&self) -> usize {
        COUNTERS_BYTES + self.as_str().len()
    }
}

impl<T: HeapBytes> HeapBytes for Option<T> {
    fn heap_bytes(&self) -> usize {
        self.as_ref().map_or(0, T::heap_bytes)
    }
}

impl<T: HeapBytes> HeapBytes for Vec<T> {
    fn heap_bytes(&self) -> usize {
        self.capacity() * size_of::<T>() + self.iter().map(T::heap_bytes).sum::<usize>()
    }
}

impl<K: HeapBytes, V: HeapBytes> HeapBytes for BTreeMap<K, V> {
    fn heap_bytes(&self) -> usize {
        // A node has room for 11 entries and may hold half as many.
        let nodes = 2 * self.len() * size_of::<(K, V)>();
        nodes + self.iter().map(|(key, value)| key.heap_bytes() + value.heap_bytes()).sum::<usize>()
    }
}
