//! Reads a table row by row: CSV with any of four separators, in any encoding, compressed with zstd or not.
//!
//! Holds one row at a time, so a table may be larger than the memory.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Chain, Cursor, Read},
    path::Path,
    str::FromStr,
};

use csv::StringRecord;
use encoding_rs::Encoding;
use sha2::{Digest, Sha256};

use super::decoding::{TextEncoding, TextReader};

/// Bytes of one row in UTF-8. A quote that is never closed makes one row of the rest of the file.
const ROW_BYTES_MAX: usize = 1024 * 1024;
const HEADER_BYTES_MAX: u64 = 64 * 1024;
/// The characters between columns that a header is searched for. The first wins if two are equally frequent.
const SEPARATORS: [u8; 4] = [b',', b';', b'\t', b'|'];

/// The argument of `--separator`: one ASCII character, or `tab`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Separator(u8);

impl FromStr for Separator {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.as_bytes() {
            b"tab" | b"\\t" => Ok(Self(b'\t')),
            [byte] if byte.is_ascii() && !byte.is_ascii_alphanumeric() && !b"\"\r\n".contains(byte) => {
                Ok(Self(*byte))
            }
            _ => Err("expected one character such as , ; or |, or the word tab".to_owned()),
        }
    }
}

/// How a table is written. What is not given is found out.
#[derive(Debug, Clone, Copy, Default)]
pub struct Dialect {
    pub separator: Option<Separator>,
    pub encoding: Option<&'static Encoding>,
}

/// Why a table cannot be read any further.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    #[error("the file cannot be read: {0}")]
    Io(#[from] io::Error),
    #[error("the file is empty: it needs a header row with the names of its columns")]
    NoHeader,
    #[error(
        "line {line}: the row has more than {ROW_BYTES_MAX} bytes; a quote at its start may not be closed"
    )]
    RowTooLong { line: u64 },
    #[error("the rows cannot be read: {0}")]
    Csv(#[from] csv::Error),
}

type Text<R> = Chain<Cursor<Vec<u8>>, BufReader<TextReader<Hashed<R>>>>;

/// A table, read up to some row.
pub struct Table<R> {
    reader: csv::Reader<RowLimit<Text<R>>>,
    headers: Vec<String>,
    record: StringRecord,
    /// Lines before those that `reader` counts.
    lines_before: u64,
    line: u64,
    number: u64,
}

/// A row with as many cells as the header, or not.
#[derive(Debug)]
pub struct Row<'a> {
    /// The first row below the header is 1. Blank rows count.
    pub number: u64,
    /// The line of the file on which it begins, or a blank line before it.
    pub line: u64,
    record: &'a StringRecord,
}

/// What is known at the end of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableEnd {
    /// The first 32 hex digits of the SHA-256 of the uncompressed file.
    pub id: String,
    pub encoding: TextEncoding,
}

/// Opens a file, and uncompresses it if its name ends in `.zst`.
pub fn open(path: &Path) -> io::Result<Box<dyn Read>> {
    let file = File::open(path)?;
    let is_compressed = path.extension().is_some_and(|extension| extension == "zst");
    Ok(if is_compressed { Box::new(zstd::Decoder::new(file)?) } else { Box::new(file) })
}

impl<R: Read> Table<R> {
    /// Reads the header.
    pub fn new(content: R, dialect: Dialect) -> Result<Self, TableError> {
        let hashed = Hashed { content, hash: Sha256::new() };
        let mut text = BufReader::new(TextReader::new(hashed, dialect.encoding));
        let mut first = line_of(&mut text)?;
        let mut lines_before = 0;
        // Spreadsheets write, and understand, a first line such as `sep=;`.
        let hint = hinted_separator(&first);
        if hint.is_some() {
            first = line_of(&mut text)?;
            lines_before = 1;
        }
        let ends_with_crlf = first.ends_with(b"\r\n");
        let separator = dialect.separator.map(|Separator(byte)| byte).or(hint);
        let separator = separator.unwrap_or_else(|| separator_of(&first));
        let limited =
            RowLimit { content: Cursor::new(first).chain(text), left: ROW_BYTES_MAX, is_exceeded: false };
        let mut builder = csv::ReaderBuilder::new();
        let mut reader = builder.delimiter(separator).flexible(true).from_reader(limited);
        let headers: Vec<String> = reader.headers()?.iter().map(|header| header.trim().to_owned()).collect();
        if headers.iter().all(String::is_empty) {
            return Err(TableError::NoHeader);
        }
        let line = lines_before + 1;
        // The CSV reader ends a row at the CR, and counts the LF after it as part of the next row.
        lines_before += u64::from(ends_with_crlf);
        Ok(Self { reader, headers, record: StringRecord::new(), lines_before, line, number: 0 })
    }

    pub fn headers(&self) -> &[String] {
        &self.headers
    }

    /// The next row that is not blank.
    pub fn next_row(&mut self) -> Result<Option<Row<'_>>, TableError> {
        loop {
            self.reader.get_mut().left = ROW_BYTES_MAX;
            let read = self.reader.read_record(&mut self.record);
            if self.reader.get_ref().is_exceeded {
                return Err(TableError::RowTooLong { line: self.line + 1 });
            }
            if !read? {
                return Ok(None);
            }
            self.number += 1;
            self.line = self.lines_before + self.record.position().map_or(0, csv::Position::line);
            if !self.record.iter().all(|cell| cell.trim().is_empty()) {
                break;
            }
        }
        Ok(Some(Row { number: self.number, line: self.line, record: &self.record }))
    }

    /// Call it when [`Table::next_row`] has returned `None`.
    pub fn finish(self) -> TableEnd {
        let (_, text) = self.reader.into_inner().content.into_inner();
        let text = text.into_inner();
        let encoding = text.encoding();
        let id = hex::encode(&text.into_inner().hash.finalize()[..16]);
        TableEnd { id, encoding }
    }
}

impl Row<'_> {
    /// The cell as it is, or an empty one if the row is too short.
    pub fn cell(&self, index: usize) -> &str {
        self.record.get(index).unwrap_or("")
    }

    pub fn cells(&self) -> impl Iterator<Item = &str> {
        self.record.iter()
    }

    /// Fails if the row has fewer cells than the header, or more that are not empty: its cells may then stand
    /// under wrong headers.
    pub fn check_width(&self, headers: &[String]) -> Result<(), String> {
        let (width, wanted) = (self.record.len(), headers.len());
        let has_more = self.record.iter().skip(wanted).any(|cell| !cell.trim().is_empty());
        if width < wanted || has_more {
            return Err(format!("the row has {width} cells, and the header has {wanted}"));
        }
        Ok(())
    }
}

/// One line with its end.
fn line_of(text: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    text.take(HEADER_BYTES_MAX).read_until(b'\n', &mut line)?;
    Ok(line)
}

fn hinted_separator(line: &[u8]) -> Option<u8> {
    match line.trim_ascii_end() {
        [s, e, p, b'=', separator] if [*s, *e, *p].eq_ignore_ascii_case(b"sep") => Some(*separator),
        // A tab at the end is trimmed.
        [s, e, p, b'='] if [*s, *e, *p].eq_ignore_ascii_case(b"sep") && line.get(4) == Some(&b'\t') => {
            Some(b'\t')
        }
        _ => None,
    }
}

/// The most frequent separator outside of quotes in the first line of a text.
fn separator_of(line: &[u8]) -> u8 {
    let mut counts = [0_usize; SEPARATORS.len()];
    let mut is_quoted = false;
    for byte in line.iter().take_while(|byte| **byte != b'\r') {
        is_quoted ^= *byte == b'"';
        if let Some(index) = SEPARATORS.iter().position(|separator| separator == byte).filter(|_| !is_quoted)
        {
            counts[index] += 1;
        }
    }
    let most = counts.iter().copied().max().unwrap_or(0);
    let winner = counts.iter().position(|count| *count == most).unwrap_or(0);
    SEPARATORS[winner]
}

/// A reader that hashes the bytes it reads.
struct Hashed<R> {
    content: R,
    hash: Sha256,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.content.read(buffer)?;
        self.hash.update(&buffer[..count]);
        Ok(count)
    }
}

/// A reader that ends with an error when its caller asks for too much of one row.
struct RowLimit<R> {
    content: R,
    left: usize,
    is_exceeded: bool,
}

impl<R: Read> Read for RowLimit<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = buffer.len().min(self.left);
        let read = self.content.read(&mut buffer[..count])?;
        self.left -= read;
        if count == 0 && !buffer.is_empty() {
            self.is_exceeded = true;
            return Err(io::Error::other("the row is too long"));
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests;
