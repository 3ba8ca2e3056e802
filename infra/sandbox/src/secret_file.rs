//! The default secret of the sandbox: generated once and stored in the data directory.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use infra::signature::{SecretError, SigningSecret};

/// The secret cannot be read or generated.
#[derive(Debug, thiserror::Error)]
#[error("cannot use the secret of the sandbox in {}: {problem}", path.display())]
pub struct SecretFileError {
    path: PathBuf,
    problem: SecretFileProblem,
}

#[derive(Debug, thiserror::Error)]
enum SecretFileProblem {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Secret(#[from] SecretError),
}

/// The secret in the file. `None` if the file does not exist.
pub fn read(path: &Path) -> Result<Option<SigningSecret>, SecretFileError> {
    let secret = match fs::read_to_string(path) {
        Ok(text) => SigningSecret::parse(text.trim()).map(Some).map_err(SecretFileProblem::from),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    };
    secret.map_err(|problem| SecretFileError { path: path.to_owned(), problem })
}

/// The secret in the file. Generates it if the file does not exist; concurrent callers get the same secret.
pub fn read_or_make(path: &Path) -> Result<SigningSecret, SecretFileError> {
    if let Some(secret) = read(path)? {
        return Ok(secret);
    }
    make(path).map_err(|problem| SecretFileError { path: path.to_owned(), problem })?;
    let missing = || io::Error::from(io::ErrorKind::NotFound).into();
    read(path)?.ok_or_else(|| SecretFileError { path: path.to_owned(), problem: missing() })
}

/// Writes the secret under a temporary name first, so that the file is never incomplete under its own name,
/// also after a crash.
fn make(path: &Path) -> Result<(), SecretFileProblem> {
    let secret = SigningSecret::generate()?;
    let draft = path.with_extension(format!("secret-{}", uuid::Uuid::new_v4()));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    writeln!(file, "{}", secret.reveal())?;
    file.sync_all()?;
    // Unlike a rename, a link does not replace the file of a concurrent caller.
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
    fn concurrent_callers_make_one_secret_that_only_the_owner_can_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sandbox.secret");
        assert_eq!(read(&path).unwrap(), None);
        let made: Vec<SigningSecret> = std::thread::scope(|scope| {
            let making: Vec<_> = (0..8).map(|_| scope.spawn(|| read_or_make(&path).unwrap())).collect();
            making.into_iter().map(|one| one.join().unwrap()).collect()
        });
        assert!(made.iter().all(|secret| *secret == made[0]));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_malformed_file_is_refused_with_its_path_and_without_its_content() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sandbox.secret");
        fs::write(&path, "open sesame").unwrap();
        let error = read_or_make(&path).unwrap_err().to_string();
        assert!(error.contains("sandbox.secret") && !error.contains("open sesame"), "{error}");
    }
}
