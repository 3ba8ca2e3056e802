//! The secret that platform and sandbox share where nobody has set one: made once, and kept in the data directory.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use crate::signature::{Secret, SecretError};

/// Why the secret cannot be read or made.
#[derive(Debug, thiserror::Error)]
#[error("the secret of the sandbox, {}: {problem}", path.display())]
pub struct SecretFileError {
    path: PathBuf,
    problem: Problem,
}

#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Secret(#[from] SecretError),
}

/// The secret in the file; none where there is no file.
pub fn read(path: &Path) -> Result<Option<Secret>, SecretFileError> {
    let secret = match fs::read_to_string(path) {
        Ok(text) => Secret::parse(text.trim()).map(Some).map_err(Problem::from),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    };
    secret.map_err(|problem| SecretFileError { path: path.to_owned(), problem })
}

/// The secret in the file, which is made where there is none. Of those who make it at once, one does.
pub fn read_or_make(path: &Path) -> Result<Secret, SecretFileError> {
    if let Some(secret) = read(path)? {
        return Ok(secret);
    }
    make(path).map_err(|problem| SecretFileError { path: path.to_owned(), problem })?;
    let missing = || io::Error::from(io::ErrorKind::NotFound).into();
    read(path)?.ok_or_else(|| SecretFileError { path: path.to_owned(), problem: missing() })
}

/// Written under another name first: under its own it is there in full, and after a crash too.
fn make(path: &Path) -> Result<(), Problem> {
    let secret = Secret::generate()?;
    let draft = path.with_extension(format!("secret-{}", uuid::Uuid::new_v4()));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    writeln!(file, "{}", secret.reveal())?;
    file.sync_all()?;
    // A link does not replace what another has made meanwhile.
    let linked = fs::hard_link(&draft, path);
    fs::remove_file(&draft)?;
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error.into()),
        Ok(()) | Err(_) => {}
    }
    if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
        File::open(dir)?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_secret_is_made_once_and_is_its_owners_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sandbox.secret");
        assert_eq!(read(&path).unwrap(), None);
        let made: Vec<Secret> = std::thread::scope(|scope| {
            let making: Vec<_> = (0..8).map(|_| scope.spawn(|| read_or_make(&path).unwrap())).collect();
            making.into_iter().map(|one| one.join().unwrap()).collect()
        });
        assert!(made.iter().all(|secret| *secret == made[0]));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_holds_something_else_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sandbox.secret");
        fs::write(&path, "open sesame").unwrap();
        let error = read_or_make(&path).unwrap_err().to_string();
        assert!(error.contains("sandbox.secret") && !error.contains("open sesame"), "{error}");
    }
}
