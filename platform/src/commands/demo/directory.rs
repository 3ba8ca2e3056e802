//! The directory of a demo. A file in it says that a demo has made it.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use domain::Timestamp;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use crate::commands::Failure;

const MARK: &str = "orderly-demo.json";
const DATA: &str = "data";

/// Removed when dropped, if it is a temporary one.
#[derive(Debug)]
pub(super) struct DemoDirectory {
    path: PathBuf,
    contents: Contents,
    _temporary: Option<TempDir>,
}

/// With the same contents, a demo sends the same commands again: one that was interrupted goes on.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Contents {
    seed: u64,
    orders: u32,
    begun_at: Timestamp,
    is_filled: bool,
}

impl DemoDirectory {
    /// Refuses a directory with anything that no demo has made.
    pub fn open(path: Option<&Path>, orders: u32) -> Result<Self, Failure> {
        let new = Contents { seed: fastrand::u64(..), orders, begun_at: Timestamp::now(), is_filled: false };
        let Some(path) = path else {
            let temporary = tempfile::Builder::new().prefix("orderly-demo-").tempdir()?;
            let path = temporary.path().to_owned();
            return Self { path, contents: new, _temporary: Some(temporary) }.saved();
        };
        let describe = |why: &str| Failure::new(format!("--directory {}: {why}", path.display()));
        let contents = match fs::read(path.join(MARK)) {
            Ok(mark) => {
                serde_json::from_slice(&mark).map_err(|error| describe(&format!("{MARK}: {error}")))?
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if path.exists() && fs::read_dir(path)?.next().is_some() {
                    return Err(describe(
                        "is not empty, and no demo has made it: name a new or an empty directory",
                    ));
                }
                fs::create_dir_all(path)?;
                new
            }
            Err(error) => return Err(describe(&error.to_string())),
        };
        Self { path: path.to_owned(), contents, _temporary: None }.saved()
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The data directory of the platform.
    pub fn data(&self) -> PathBuf {
        self.path.join(DATA)
    }

    pub fn seed(&self) -> u64 {
        self.contents.seed
    }

    pub fn orders(&self) -> u32 {
        self.contents.orders
    }

    pub fn begun_at(&self) -> Timestamp {
        self.contents.begun_at
    }

    pub fn is_filled(&self) -> bool {
        self.contents.is_filled
    }

    pub fn set_filled(&mut self) -> Result<(), Failure> {
        self.contents.is_filled = true;
        self.save()
    }

    fn saved(self) -> Result<Self, Failure> {
        self.save()?;
        Ok(self)
    }

    fn save(&self) -> Result<(), Failure> {
        Ok(fs::write(self.path.join(MARK), serde_json::to_vec_pretty(&self.contents)?)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_of_something_else_is_refused_and_stays_as_it_is() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("events.db"), "a shop").unwrap();
        let refused = DemoDirectory::open(Some(directory.path()), 10).unwrap_err();
        assert!(refused.to_string().contains("no demo has made it"), "{refused}");
        let names: Vec<_> =
            fs::read_dir(directory.path()).unwrap().map(|it| it.unwrap().file_name()).collect();
        assert_eq!(names, ["events.db"]);
    }

    #[test]
    fn a_demo_goes_on_with_its_own_directory() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("demo");
        let mut first = DemoDirectory::open(Some(&path), 10).unwrap();
        first.set_filled().unwrap();
        let second = DemoDirectory::open(Some(&path), 99).unwrap();
        assert!(second.is_filled());
        assert_eq!((second.seed(), second.orders()), (first.seed(), 10));
    }

    #[test]
    fn a_temporary_directory_is_removed() {
        let demo = DemoDirectory::open(None, 10).unwrap();
        let path = demo.path().to_owned();
        assert!(path.exists());
        drop(demo);
        assert!(!path.exists());
    }
}
