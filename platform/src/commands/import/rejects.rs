//! The rows of a file that cannot be imported.

use std::{
    fmt::{self, Write as _},
    fs::File,
    path::{Path, PathBuf},
};

use super::Failure;

/// Rejected rows that messages show in full.
const SHOWN_MAX: usize = 10;

/// Collects rejected rows, and writes them to a file as they come. Holds the first ten in memory.
#[derive(Debug)]
pub struct Rejects {
    list: RowList,
    shown: Vec<String>,
}

impl Rejects {
    /// `path` is `None` if no file is wanted. The file is made with the first rejected row.
    pub fn new(path: Option<PathBuf>) -> Self {
        Self { list: RowList::new(path), shown: Vec::new() }
    }

    /// The names of the columns of the rejected rows.
    pub fn set_headers(&mut self, headers: &[String]) {
        let all = ["line", "reason"].into_iter().chain(headers.iter().map(String::as_str));
        self.list.headers = all.map(str::to_owned).collect();
    }

    pub fn add<'a>(
        &mut self,
        line: u64,
        reason: &str,
        cells: impl IntoIterator<Item = &'a str>,
    ) -> Result<(), RowListError> {
        if self.shown.len() < SHOWN_MAX {
            self.shown.push(format!("line {line}: {reason}"));
        }
        self.list.add(&[&line.to_string(), reason], cells)
    }

    /// Finishes the file.
    pub fn finish(self) -> Result<Rejected, RowListError> {
        let Self { list, shown } = self;
        let (rows, path) = list.finish()?;
        Ok(Rejected { rows, shown, path })
    }
}

/// All rejected rows of a file.
#[derive(Debug, Default)]
pub struct Rejected {
    pub rows: u64,
    /// The first ones with their line and reason.
    shown: Vec<String>,
    /// The file that has all.
    path: Option<PathBuf>,
}

impl Rejected {
    /// Stops an import that was not asked to skip them.
    pub fn refuse(&self, file: &Path, what: &str) -> Result<(), Failure> {
        if self.rows == 0 {
            return Ok(());
        }
        Err(Failure::new(format!(
            "{}: {} rows cannot be imported, so nothing was sent:\n{self}Correct them, or import the other {what} \
             with --skip-bad-rows, which writes these rows to a file (--rejects FILE)",
            file.display(),
            self.rows
        )))
    }
}

/// One line for each of the first rows, and one that says where the others are.
impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for row in &self.shown {
            writeln!(f, "  {row}")?;
        }
        let others = self.rows - self.shown.len() as u64;
        let mut rest = String::new();
        if others > 0 {
            write!(rest, "{others} others")?;
        }
        if let Some(path) = self.path.as_ref().filter(|_| self.rows > 0) {
            let start = if rest.is_empty() { "all" } else { ", all" };
            write!(rest, "{start} in {}", path.display())?;
        }
        if rest.is_empty() { Ok(()) } else { writeln!(f, "  {rest}") }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("{path}: the file cannot be written: {reason}", path = path.display())]
pub struct RowListError {
    path: PathBuf,
    reason: csv::Error,
}

/// A CSV file that is made with its first row.
#[derive(Debug)]
pub struct RowList {
    path: Option<PathBuf>,
    headers: Vec<String>,
    writer: Option<csv::Writer<File>>,
    rows: u64,
}

impl RowList {
    pub fn new(path: Option<PathBuf>) -> Self {
        Self { path, headers: Vec::new(), writer: None, rows: 0 }
    }

    pub fn with_headers(self, headers: &[&str]) -> Self {
        Self { headers: headers.iter().map(|header| (*header).to_owned()).collect(), ..self }
    }

    pub fn add<'a>(
        &mut self,
        first: &[&str],
        others: impl IntoIterator<Item = &'a str>,
    ) -> Result<(), RowListError> {
        self.rows += 1;
        let Some(path) = &self.path else { return Ok(()) };
        let failed = |reason| RowListError { path: path.clone(), reason };
        let writer = if let Some(writer) = &mut self.writer {
            writer
        } else {
            let mut writer = csv::WriterBuilder::new().flexible(true).from_path(path).map_err(failed)?;
            writer.write_record(&self.headers).map_err(failed)?;
            self.writer.insert(writer)
        };
        for cell in first.iter().copied() {
            writer.write_field(cell).map_err(failed)?;
        }
        for cell in others {
            writer.write_field(cell).map_err(failed)?;
        }
        // Ends the row.
        writer.write_record(None::<&[u8]>).map_err(failed)
    }

    /// The number of rows, and the file if there is one.
    pub fn finish(self) -> Result<(u64, Option<PathBuf>), RowListError> {
        let Self { path, writer, rows, .. } = self;
        if let (Some(mut writer), Some(path)) = (writer, &path) {
            let flushed = writer.flush();
            flushed.map_err(|error| RowListError { path: path.clone(), reason: error.into() })?;
        }
        Ok((rows, path.filter(|_| rows > 0)))
    }
}
