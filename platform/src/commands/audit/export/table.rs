//! One file of rows, with its checksum.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::Path,
};

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::{Format, manifest::Sums};

/// A file that is written row by row.
pub(super) struct Table {
    name: String,
    rows: u64,
    writer: RowWriter,
}

enum RowWriter {
    /// Names the columns before the first row.
    Csv(Box<csv::Writer<Checked>>),
    Jsonl(BufWriter<Checked>),
}

/// Computes the checksum of what is written.
struct Checked {
    file: File,
    bytes: u64,
    hash: Sha256,
}

/// A finished file, as the manifest shows it.
#[derive(Debug, Clone, Serialize)]
pub struct FileEntry {
    pub name: String,
    pub rows: u64,
    pub bytes: u64,
    pub sha256: String,
    pub sums: Sums,
}

impl Table {
    pub fn create(directory: &Path, name: &str, format: Format) -> io::Result<Self> {
        let name = format!("{name}.{}", format.extension());
        let file = File::create_new(directory.join(&name))?;
        let checked = Checked { file, bytes: 0, hash: Sha256::new() };
        let writer = match format {
            Format::Csv => RowWriter::Csv(Box::new(csv::Writer::from_writer(checked))),
            Format::Jsonl => RowWriter::Jsonl(BufWriter::new(checked)),
        };
        Ok(Self { name, rows: 0, writer })
    }

    pub fn format(&self) -> Format {
        match self.writer {
            RowWriter::Csv(_) => Format::Csv,
            RowWriter::Jsonl(_) => Format::Jsonl,
        }
    }

    pub fn row(&mut self, row: &impl Serialize) -> io::Result<()> {
        self.rows += 1;
        match &mut self.writer {
            RowWriter::Csv(writer) => writer.serialize(row).map_err(io::Error::other),
            RowWriter::Jsonl(writer) => {
                serde_json::to_writer(&mut *writer, row)?;
                writer.write_all(b"\n")
            }
        }
    }

    /// Waits until the file is on disk.
    pub fn finish(self, sums: Sums) -> io::Result<FileEntry> {
        let Checked { file, bytes, hash } = match self.writer {
            RowWriter::Csv(writer) => {
                writer.into_inner().map_err(|error| io::Error::other(error.to_string()))?
            }
            RowWriter::Jsonl(writer) => writer.into_inner()?,
        };
        file.sync_all()?;
        let sha256 = hex::encode(hash.finalize());
        Ok(FileEntry { name: self.name, rows: self.rows, bytes, sha256, sums })
    }
}

impl Write for Checked {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hash.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
