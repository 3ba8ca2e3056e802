//! Copies a database while other processes use it.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{
    Connection, OpenFlags,
    backup::{Backup, StepResult},
};

/// Pages between two reports of progress: 16 MiB.
const STEP_PAGES: i32 = 4_096;

/// Why a database was not copied.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    #[error("cannot copy {}: {source}", path.display())]
    Sqlite { path: PathBuf, source: rusqlite::Error },
    #[error("{} is damaged, so it was not copied: {finding}", path.display())]
    Damaged { path: PathBuf, finding: String },
}

/// Copies the database at `source`, as it is at one moment, to the new file `destination`, and checks every page of
/// the copy. Does not flush it. Blocks.
pub fn copy(source: &Path, destination: &Path) -> Result<(), CopyError> {
    let finding = copy_and_check(source, destination)
        .map_err(|error| CopyError::Sqlite { path: source.to_owned(), source: error })?;
    if finding == "ok" { Ok(()) } else { Err(CopyError::Damaged { path: source.to_owned(), finding }) }
}

fn copy_and_check(source: &Path, destination: &Path) -> rusqlite::Result<String> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let original = Connection::open_with_flags(source, flags)?;
    let snapshot = original.unchecked_transaction()?;
    snapshot.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
    let mut copy = Connection::open(destination)?;
    copy_pages(&snapshot, &mut copy, |_, _| {})?;
    // The write-ahead log of the original grows until the snapshot ends.
    snapshot.finish()?;
    let finding = copy.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    copy.close().map_err(|(_, error)| error)?;
    Ok(finding)
}

/// Copies all pages within the read transaction of `snapshot`: the copy is consistent, does not restart when
/// another process writes, and blocks no writer. `progress` gets the pages that are copied, and all.
///
/// SQLite's online backup copies pages unchanged, at the speed of the disk. (`VACUUM INTO` would rebuild every
/// B-tree and reports no progress.)
pub(crate) fn copy_pages(
    snapshot: &Connection,
    copy: &mut Connection,
    mut progress: impl FnMut(u64, u64),
) -> rusqlite::Result<()> {
    // The caller flushes the copy once, at the end.
    copy.pragma_update(None, "synchronous", "OFF")?;
    {
        let backup = Backup::new(snapshot, copy)?;
        loop {
            let step = backup.step(STEP_PAGES)?;
            let pages = backup.progress();
            progress(
                u64::from((pages.pagecount - pages.remaining).unsigned_abs()),
                u64::from(pages.pagecount.unsigned_abs()),
            );
            match step {
                StepResult::Done => break,
                StepResult::More => {}
                // Another process holds a lock on the original for a moment, for example while it closes the
                // file.
                _ => std::thread::sleep(Duration::from_millis(50)),
            }
        }
    }
    // Leaves one file without a write-ahead log. The server that opens the copy turns the log on again.
    copy.pragma_update(None, "journal_mode", "DELETE")
}
