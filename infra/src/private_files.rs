//! Keeps files from the other users of the machine: orders are personal data, and `operations.db` holds the
//! secrets of webhooks.
//!
//! A process clears the rights of others in its umask at its start, so it creates every file with mode 0600 and
//! every directory with 0700. This module corrects what exists already, for example from an earlier build.

use std::{
    fs::{self, Permissions},
    io,
    os::unix::fs::PermissionsExt,
    path::Path,
};

const OWNER: u32 = 0o700;
const OTHERS: u32 = 0o077;
/// Marks a directory that several users share, such as `/tmp`.
const STICKY: u32 = 0o1000;
/// What Orderly and SQLite append to the name of a database.
const SUFFIXES: [&str; 6] = ["", "-wal", "-shm", "-journal", ".lock", ".rebuild.lock"];

/// Takes all rights to a database and the files beside it from other users.
pub fn restrict_database(path: &Path) {
    for suffix in SUFFIXES {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        restrict(Path::new(&name));
    }
}

/// Takes all rights to a file or a directory from other users. No effect if it does not exist, or if it is a
/// directory that users share. Only logs a failure: a process may write to a directory that it does not own.
pub fn restrict(path: &Path) {
    let restricted = fs::metadata(path).and_then(|metadata| {
        let mode = metadata.permissions().mode();
        if mode & OTHERS == 0 || mode & STICKY != 0 {
            return Ok(());
        }
        fs::set_permissions(path, Permissions::from_mode(mode & OWNER))
    });
    match restricted {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => {
            tracing::warn!(
                path = %path.display(), %error,
                "Cannot take the rights to a file from other users; change its mode or its owner"
            );
        }
    }
}
