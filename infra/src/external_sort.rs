//! Sorts more records than memory holds: sorts parts of them in memory, writes each part to a file, and merges
//! the files while they are read.
//!
//! The files have no name, so they vanish with the process, however it ends.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    fs::File,
    io::{self, BufReader, BufWriter, Seek, SeekFrom, Write},
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
        let (directory, records) = (directory.to_owned(), InMemory::default());
        Self { directory, memory_bytes_max, records, runs: Vec::new() }
    }

    pub fn push(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        if self.records.size() + key.len() + value.len() > self.memory_bytes_max {
            self.write_run()?;
        }
        self.records.push(key, value);
        Ok(())
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
        let mut merged = Sorted { records: InMemory::default(), runs: std::mem::take(&mut self.runs[level]) };
        let mut file = BufWriter::with_capacity(FILE_BUFFER_BYTES, tempfile::tempfile_in(&self.directory)?);
        let mut records = merged.read()?;
        while let Some((key, value)) = records.next()? {
            write_record(&mut file, &key, &value)?;
        }
        self.add_run(level + 1, file.into_inner()?)
    }
}

fn write_record(file: &mut impl Write, key: &[u8], value: &[u8]) -> io::Result<()> {
    for part in [key, value] {
        let length = u32::try_from(part.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        file.write_all(&length.to_le_bytes())?;
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

/// Where a record begins, where its value begins, and where it ends.
#[derive(Debug, Clone, Copy)]
struct Entry {
    begin: usize,
    value: usize,
    end: usize,
}

impl InMemory {
    fn push(&mut self, key: &[u8], value: &[u8]) {
        let begin = self.bytes.len();
        self.bytes.extend_from_slice(key);
        let value_begin = self.bytes.len();
        self.bytes.extend_from_slice(value);
        self.entries.push(Entry { begin, value: value_begin, end: self.bytes.len() });
    }

    fn record(&self, index: usize) -> (&[u8], &[u8]) {
        let Entry { begin, value, end } = self.entries[index];
        (&self.bytes[begin..value], &self.bytes[value..end])
    }

    fn sort(&mut self) {
        let bytes = &self.bytes;
        self.entries.sort_by_key(|entry| &bytes[entry.begin..entry.value]);
    }

    fn size(&self) -> usize {
        self.bytes.len() + self.entries.len() * size_of::<Entry>()
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.entries.clear();
    }
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
        let mut reader =
            SortedReader { records: &self.records, next: 0, runs: Vec::new(), heads: BinaryHeap::new() };
        for (index, run) in self.runs.iter_mut().enumerate() {
            run.seek(SeekFrom::Start(0))?;
            reader.runs.push(BufReader::with_capacity(FILE_BUFFER_BYTES, run));
            reader.advance(index)?;
        }
        Ok(reader)
    }
}

/// A key and its value.
pub type Record = (Vec<u8>, Vec<u8>);

/// Reads records in the order of their keys. Records with equal keys come in the order of their pushes.
#[derive(Debug)]
pub struct SortedReader<'a> {
    records: &'a InMemory,
    next: usize,
    runs: Vec<BufReader<&'a mut File>>,
    /// The first record of each run that is not read yet: key, index of the run, value.
    heads: BinaryHeap<Head>,
}

/// The smallest key is the greatest head.
type Head = Reverse<(Vec<u8>, usize, Vec<u8>)>;

impl SortedReader<'_> {
    #[allow(clippy::should_implement_trait, reason = "an iterator cannot stop at an error by `?`")]
    pub fn next(&mut self) -> io::Result<Option<Record>> {
        if let Some(Reverse((key, run, value))) = self.heads.pop() {
            self.advance(run)?;
            return Ok(Some((key, value)));
        }
        if self.next == self.records.entries.len() {
            return Ok(None);
        }
        let (key, value) = self.records.record(self.next);
        self.next += 1;
        Ok(Some((key.to_vec(), value.to_vec())))
    }

    fn advance(&mut self, run: usize) -> io::Result<()> {
        let file = &mut self.runs[run];
        if let Some(key) = read_part(file)? {
            let value = read_part(file)?.ok_or(io::ErrorKind::UnexpectedEof)?;
            self.heads.push(Reverse((key, run, value)));
        }
        Ok(())
    }
}

/// `None` at the end of the file.
fn read_part(file: &mut impl io::BufRead) -> io::Result<Option<Vec<u8>>> {
    if file.fill_buf()?.is_empty() {
        return Ok(None);
    }
    let mut length = [0; 4];
    file.read_exact(&mut length)?;
    let mut part = vec![0; u32::from_le_bytes(length) as usize];
    file.read_exact(&mut part)?;
    Ok(Some(part))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read_all(sorted: &mut Sorted) -> Vec<Record> {
        let mut reader = sorted.read().unwrap();
        std::iter::from_fn(|| reader.next().unwrap()).collect()
    }

    proptest! {
        #[test]
        fn records_come_sorted_by_key_and_then_in_the_order_of_their_pushes(
            keys in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..3), 0..300),
            memory_bytes_max in 0_usize..2_000,
        ) {
            let directory = tempfile::tempdir().unwrap();
            let mut sorter = Sorter::new(directory.path(), memory_bytes_max);
            let mut expected: Vec<Record> = Vec::new();
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
