//! Sorts more records than memory holds: sorts parts of them in memory, writes each part to a file, and merges
//! the files while they are read.
//!
//! The files have no name, so they vanish with the process, however it ends.

use std::{
    cmp::Ordering,
    collections::{BinaryHeap, binary_heap::PeekMut},
    fs::File,
    io::{self, BufRead, BufReader, BufWriter, Read, Seek, SeekFrom, Write},
    mem,
    path::{Path, PathBuf},
};

/// Bytes read from, or written to, a file at a time.
const FILE_BUFFER_BYTES: usize = 64 * 1024;
/// Files of one size that are merged into one larger file. Bounds the open files: each size has fewer.
const RUNS_MAX: usize = 64;

/// Records to sort. A key sorts byte by byte; a value is opaque.
#[derive(Debug)]
pub struct Sorter {
    directory: PathBuf,
    memory_bytes_max: usize,
    records: InMemory,
    /// Sorted files, by the number of merges that they went through.
    runs: Vec<Vec<File>>,
}

impl Sorter {
    /// Holds up to `memory_bytes_max` in memory, and one record more. Writes files in `directory`.
    pub fn new(directory: &Path, memory_bytes_max: usize) -> Self {
        // Reserved at once: a buffer that grows is copied, and takes twice its memory meanwhile. The system
        // provides its pages when they are first written.
        let records = InMemory { bytes: Vec::with_capacity(memory_bytes_max), entries: Vec::new() };
        Self { directory: directory.to_owned(), memory_bytes_max, records, runs: Vec::new() }
    }

    pub fn push(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        if self.records.size() + key.len() + value.len() > self.memory_bytes_max {
            self.write_run()?;
        }
        self.records.push(key, value)
    }

    /// The records in the order of their keys.
    pub fn finish(mut self) -> io::Result<Sorted> {
        if self.runs.is_empty() {
            self.records.sort();
            return Ok(Sorted { records: self.records, runs: Vec::new() });
        }
        self.write_run()?;
        // Merged runs are older.
        let runs = self.runs.into_iter().rev().flatten().collect();
        Ok(Sorted { records: InMemory::default(), runs })
    }

    fn write_run(&mut self) -> io::Result<()> {
        if self.records.entries.is_empty() {
            return Ok(());
        }
        self.records.sort();
        let mut file = BufWriter::with_capacity(FILE_BUFFER_BYTES, tempfile::tempfile_in(&self.directory)?);
        for index in 0..self.records.entries.len() {
            let (key, value) = self.records.record(index);
            write_record(&mut file, key, value)?;
        }
        self.records.clear();
        self.add_run(0, file.into_inner()?)
    }

    fn add_run(&mut self, level: usize, run: File) -> io::Result<()> {
        if self.runs.len() <= level {
            self.runs.resize_with(level + 1, Vec::new);
        }
        self.runs[level].push(run);
        if self.runs[level].len() < RUNS_MAX {
            return Ok(());
        }
        let mut merged = Sorted { records: InMemory::default(), runs: mem::take(&mut self.runs[level]) };
        let mut file = BufWriter::with_capacity(FILE_BUFFER_BYTES, tempfile::tempfile_in(&self.directory)?);
        let mut records = merged.read()?;
        while let Some((key, value)) = records.next()? {
            write_record(&mut file, key, value)?;
        }
        self.add_run(level + 1, file.into_inner()?)
    }
}

fn write_record(file: &mut impl Write, key: &[u8], value: &[u8]) -> io::Result<()> {
    for part in [key, value] {
        file.write_all(&length(part)?.to_le_bytes())?;
        file.write_all(part)?;
    }
    Ok(())
}

/// Records in one allocation, so that their size is known exactly.
#[derive(Debug, Default)]
struct InMemory {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
}

/// Where a record is.
#[derive(Debug, Clone, Copy)]
struct Entry {
    /// The first eight bytes of the key, which decide most comparisons without a look at the record.
    prefix: u64,
    begin: usize,
    key_bytes: u32,
    value_bytes: u32,
}

impl InMemory {
    fn push(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        let begin = self.bytes.len();
        let (key_bytes, value_bytes) = (length(key)?, length(value)?);
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(value);
        self.entries.push(Entry { prefix: prefix(key), begin, key_bytes, value_bytes });
        Ok(())
    }

    fn record(&self, index: usize) -> Record<'_> {
        let Entry { begin, key_bytes, value_bytes, .. } = self.entries[index];
        let value = begin + key_bytes as usize;
        (&self.bytes[begin..value], &self.bytes[value..value + value_bytes as usize])
    }

    fn sort(&mut self) {
        let key = |entry: &Entry| &self.bytes[entry.begin..entry.begin + entry.key_bytes as usize];
        // Equal keys stay in the order of their pushes.
        self.entries.sort_unstable_by(|a, b| {
            a.prefix.cmp(&b.prefix).then_with(|| key(a).cmp(key(b))).then(a.begin.cmp(&b.begin))
        });
    }

    fn size(&self) -> usize {
        self.bytes.len() + self.entries.len() * size_of::<Entry>()
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.entries.clear();
    }
}

fn length(part: &[u8]) -> io::Result<u32> {
    u32::try_from(part.len()).map_err(|_| io::ErrorKind::InvalidInput.into())
}

/// The first eight bytes of a key. A shorter key is padded with zeros, so that prefixes sort as their keys do.
fn prefix(key: &[u8]) -> u64 {
    let mut prefix = [0; 8];
    let bytes = key.len().min(prefix.len());
    prefix[..bytes].copy_from_slice(&key[..bytes]);
    u64::from_be_bytes(prefix)
}

/// Sorted records, which can be read several times.
#[derive(Debug)]
pub struct Sorted {
    /// Empty if there are runs.
    records: InMemory,
    runs: Vec<File>,
}

impl Sorted {
    /// Reads the records from the first one on.
    pub fn read(&mut self) -> io::Result<SortedReader<'_>> {
        let mut heads = BinaryHeap::with_capacity(self.runs.len());
        for (run, file) in self.runs.iter_mut().enumerate() {
            file.seek(SeekFrom::Start(0))?;
            let file = BufReader::with_capacity(FILE_BUFFER_BYTES, file);
            let mut head = Head { key: Vec::new(), value: Vec::new(), run, file };
            if head.advance()? {
                heads.push(head);
            }
        }
        Ok(SortedReader { records: &self.records, next: 0, heads, is_returned: false })
    }
}

/// A key and its value.
pub type Record<'a> = (&'a [u8], &'a [u8]);

/// Reads records in the order of their keys. Records with equal keys come in the order of their pushes.
#[derive(Debug)]
pub struct SortedReader<'a> {
    records: &'a InMemory,
    next: usize,
    /// The first record of each run that is not passed yet. The smallest key is the greatest head.
    heads: BinaryHeap<Head<'a>>,
    /// True if the record of the greatest head was returned.
    is_returned: bool,
}

impl SortedReader<'_> {
    #[allow(clippy::should_implement_trait, reason = "an iterator cannot lend its items")]
    pub fn next(&mut self) -> io::Result<Option<Record<'_>>> {
        if mem::take(&mut self.is_returned)
            && let Some(mut head) = self.heads.peek_mut()
            && !head.advance()?
        {
            PeekMut::pop(head);
        }
        if let Some(head) = self.heads.peek() {
            self.is_returned = true;
            return Ok(Some((&head.key, &head.value)));
        }
        if self.next == self.records.entries.len() {
            return Ok(None);
        }
        self.next += 1;
        Ok(Some(self.records.record(self.next - 1)))
    }
}

/// The first record of a run that is not passed yet, and the records after it.
#[derive(Debug)]
struct Head<'a> {
    key: Vec<u8>,
    value: Vec<u8>,
    /// Index of the run.
    run: usize,
    file: BufReader<&'a mut File>,
}

impl Head<'_> {
    /// Reads the next record. False at the end of the file.
    fn advance(&mut self) -> io::Result<bool> {
        if self.file.fill_buf()?.is_empty() {
            return Ok(false);
        }
        read_part(&mut self.file, &mut self.key)?;
        read_part(&mut self.file, &mut self.value)?;
        Ok(true)
    }
}

impl Ord for Head<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        other.key.cmp(&self.key).then(other.run.cmp(&self.run))
    }
}

impl PartialOrd for Head<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Head<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Head<'_> {}

fn read_part(file: &mut impl Read, part: &mut Vec<u8>) -> io::Result<()> {
    let mut length = [0; 4];
    file.read_exact(&mut length)?;
    part.resize(u32::from_le_bytes(length) as usize, 0);
    file.read_exact(part)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type OwnedRecord = (Vec<u8>, Vec<u8>);

    fn read_all(sorted: &mut Sorted) -> Vec<OwnedRecord> {
        let mut reader = sorted.read().unwrap();
        let next = || reader.next().unwrap().map(|(key, value)| (key.to_vec(), value.to_vec()));
        std::iter::from_fn(next).collect()
    }

    proptest! {
        #[test]
        fn records_come_sorted_by_key_and_then_in_the_order_of_their_pushes(
            // Equal keys, equal prefixes, and keys shorter than a prefix.
            keys in prop::collection::vec(prop::collection::vec(0..3_u8, 0..11), 0..300),
            memory_bytes_max in 0_usize..2_000,
        ) {
            let directory = tempfile::tempdir().unwrap();
            let mut sorter = Sorter::new(directory.path(), memory_bytes_max);
            let mut expected: Vec<OwnedRecord> = Vec::new();
            for (number, key) in keys.into_iter().enumerate() {
                let value = number.to_string().into_bytes();
                sorter.push(&key, &value).unwrap();
                expected.push((key, value));
            }
            expected.sort_by(|(a, _), (b, _)| a.cmp(b));
            let mut sorted = sorter.finish().unwrap();
            prop_assert_eq!(read_all(&mut sorted), expected.clone());
            // A second reader starts at the beginning.
            prop_assert_eq!(read_all(&mut sorted), expected);
            prop_assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
        }
    }

    #[test]
    fn the_records_in_memory_take_no_more_than_their_bound() {
        const MEMORY_BYTES_MAX: usize = 100_000;
        let directory = tempfile::tempdir().unwrap();
        let mut sorter = Sorter::new(directory.path(), MEMORY_BYTES_MAX);
        while sorter.runs.is_empty() {
            sorter.push(b"key", &[0; 1_000]).unwrap();
            assert_eq!(sorter.records.bytes.capacity(), MEMORY_BYTES_MAX);
        }
    }

    #[test]
    fn many_records_leave_few_files_open() {
        let directory = tempfile::tempdir().unwrap();
        let mut sorter = Sorter::new(directory.path(), 0);
        let count = u32::try_from(RUNS_MAX * RUNS_MAX + 3 * RUNS_MAX + 5).unwrap();
        for number in 0..count {
            sorter.push(&number.reverse_bits().to_be_bytes(), b"").unwrap();
        }
        let mut sorted = sorter.finish().unwrap();
        assert!(sorted.runs.len() < 3 * RUNS_MAX, "{} files", sorted.runs.len());
        let keys: Vec<_> = read_all(&mut sorted).into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys.len(), count as usize);
        assert!(keys.is_sorted());
    }
}
