//! Writes backups to a place, lists them, and fetches them.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Read, Write},
    path::{Path as FilePath, PathBuf},
    str::FromStr,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::{
    ObjectStore, ObjectStoreExt, PutPayload, RetryConfig, WriteMultipart, aws::AmazonS3Builder,
    local::LocalFileSystem, path::Path,
};
use sha2::{Digest, Sha256};
use tokio::task::spawn_blocking;

use crate::{BackupError, FileEntry, Manifest, Part, Place, manifest::MANIFEST};

/// A part of an upload. A file of more than 10,000 parts has larger ones, because S3 takes no more.
const PART_BYTES: u64 = 8 * 1024 * 1024;
const PARTS_MAX: u64 = 10_000;
/// Parts of one upload that are under way.
const UPLOADS_MAX: usize = 4;
/// A request is repeated for so long.
const REPEATED_MAX: Duration = Duration::from_mins(1);

/// An open place.
#[derive(Debug, Clone)]
pub struct Storage {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    place: String,
    /// Backups appear in it by a rename, without a second copy.
    pub(crate) directory: Option<PathBuf>,
}

/// Which backup to restore.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    Latest,
    Named(String),
}

impl FromStr for Which {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(if text == "latest" { Self::Latest } else { Self::Named(text.to_owned()) })
    }
}

impl Storage {
    /// Opens the place. A bucket is contacted later. Its credentials, region and endpoint come from the
    /// environment, under the names of the AWS command line (`AWS_ACCESS_KEY_ID` and so on), or from the machine.
    pub fn open(place: &Place) -> Result<Self, BackupError> {
        let describe = |source| BackupError::Storage { place: place.to_string(), source };
        match place {
            Place::Directory(path) => {
                let store = LocalFileSystem::new_with_prefix(path).map_err(describe)?;
                let store = store.with_fsync(true).with_automatic_cleanup(true);
                let directory = Some(path.clone());
                Ok(Self { directory, ..Self::over(Arc::new(store), Path::default(), &place.to_string()) })
            }
            Place::Bucket { name, prefix } => {
                let retry = RetryConfig { retry_timeout: REPEATED_MAX, ..RetryConfig::default() };
                let builder = AmazonS3Builder::from_env().with_bucket_name(name).with_retry(retry);
                let store = builder.build().map_err(describe)?;
                Ok(Self::over(Arc::new(store), Path::from(prefix.as_str()), &place.to_string()))
            }
        }
    }

    /// Makes the directory of a place if it is missing, and opens the place.
    pub fn open_or_make(place: &Place) -> Result<Self, BackupError> {
        if let Place::Directory(path) = place {
            fs::create_dir_all(path).map_err(BackupError::io(path))?;
        }
        Self::open(place)
    }

    pub(crate) fn over(store: Arc<dyn ObjectStore>, prefix: Path, place: &str) -> Self {
        Self { store, prefix, place: place.to_owned(), directory: None }
    }

    /// The names of all backups, the newest one first. A folder without a manifest may be among them.
    async fn names(&self) -> Result<Vec<String>, BackupError> {
        let listed = self.store.list_with_delimiter(Some(&self.prefix)).await.map_err(self.failed())?;
        let folders = listed.common_prefixes.iter().filter_map(Path::filename);
        let mut names: Vec<_> = folders.filter(|name| Manifest::is_name(name)).map(str::to_owned).collect();
        names.sort_unstable_by(|one, other| other.cmp(one));
        Ok(names)
    }

    /// `None` if the backup is unfinished or does not exist.
    async fn manifest(&self, name: &str) -> Result<Option<Manifest>, BackupError> {
        let read = match self.store.get(&self.path(name, MANIFEST)).await {
            Ok(found) => found.bytes().await,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => Err(error),
        };
        let text = read.map_err(self.failed())?;
        let unreadable = |reason: String| BackupError::Manifest {
            place: self.place.clone(),
            name: name.to_owned(),
            reason,
        };
        let manifest: Manifest =
            serde_json::from_slice(&text).map_err(|error| unreadable(error.to_string()))?;
        if manifest.name == name {
            Ok(Some(manifest))
        } else {
            Err(unreadable(format!("it names {}", manifest.name)))
        }
    }

    /// All backups, the newest one first.
    pub async fn backups(&self) -> Result<Vec<Manifest>, BackupError> {
        let mut found = Vec::new();
        for name in self.names().await? {
            found.extend(self.manifest(&name).await?);
        }
        Ok(found)
    }

    pub async fn find(&self, which: &Which) -> Result<Manifest, BackupError> {
        let names = self.names().await?;
        match which {
            Which::Latest => {
                for name in &names {
                    if let Some(manifest) = self.manifest(name).await? {
                        return Ok(manifest);
                    }
                }
                Err(BackupError::NoBackup { place: self.place.clone() })
            }
            Which::Named(name) => {
                let found = if names.contains(name) { self.manifest(name).await? } else { None };
                found.ok_or_else(|| BackupError::NoSuchBackup {
                    place: self.place.clone(),
                    name: name.clone(),
                    names: if names.is_empty() { "none".to_owned() } else { names.join(", ") },
                })
            }
        }
    }

    /// Writes the files of a backup from the directory `staging`, and its manifest last.
    pub(crate) async fn publish(&self, staging: &FilePath, manifest: &Manifest) -> Result<(), BackupError> {
        let text =
            serde_json::to_vec_pretty(manifest).map_err(|error| BackupError::Task(error.to_string()))?;
        if let Some(directory) = &self.directory {
            let (staging, target) = (staging.to_owned(), directory.join(&manifest.name));
            let publishing = spawn_blocking(move || move_into_place(&staging, &target, &text));
            return publishing.await.map_err(|error| BackupError::Task(error.to_string()))?;
        }
        for FileEntry { part, bytes, .. } in &manifest.files {
            let path = self.path(&manifest.name, part.file_name());
            self.upload(&staging.join(part.file_name()), *bytes, &path).await?;
        }
        let payload = PutPayload::from(text);
        self.store.put(&self.path(&manifest.name, MANIFEST), payload).await.map_err(self.failed())?;
        Ok(())
    }

    async fn upload(&self, file: &FilePath, bytes: u64, to: &Path) -> Result<(), BackupError> {
        let part_bytes = usize::try_from(PART_BYTES.max(bytes.div_ceil(PARTS_MAX - 1))).unwrap_or(usize::MAX);
        let mut source = File::open(file).map_err(BackupError::io(file))?;
        let mut upload: Option<WriteMultipart> = None;
        loop {
            let (rest, read) = read_part(source, part_bytes).await?;
            source = rest;
            let part = read.map_err(BackupError::io(file))?;
            let is_last = part.len() < part_bytes;
            match &mut upload {
                None if is_last => {
                    self.store.put(to, part.into()).await.map_err(self.failed())?;
                    return Ok(());
                }
                None => {
                    let begun = self.store.put_multipart(to).await.map_err(self.failed())?;
                    let mut begun = WriteMultipart::new_with_chunk_size(begun, part_bytes);
                    begun.put(part);
                    upload = Some(begun);
                }
                Some(running) => {
                    running.wait_for_capacity(UPLOADS_MAX).await.map_err(self.failed())?;
                    running.put(part);
                }
            }
            if is_last && let Some(running) = upload.take() {
                // Ends the upload also if it fails.
                return running.finish().await.map(drop).map_err(self.failed());
            }
        }
    }

    /// Writes the files of a backup to a directory, and compares each with its checksum.
    pub async fn fetch(&self, manifest: &Manifest, directory: &FilePath) -> Result<(), BackupError> {
        for FileEntry { part, sha256, bytes } in &manifest.files {
            let path = directory.join(part.file_name());
            let found = self.download(&self.path(&manifest.name, part.file_name()), &path).await?;
            if found != (*bytes, sha256.clone()) {
                return Err(BackupError::Damaged { file: part.file_name(), name: manifest.name.clone() });
            }
        }
        Ok(())
    }

    /// Returns the length and the checksum of the file.
    async fn download(&self, from: &Path, to: &FilePath) -> Result<(u64, String), BackupError> {
        let found = self.store.get(from).await.map_err(self.failed())?;
        let mut chunks = found.into_stream();
        let mut target = BufWriter::new(File::create_new(to).map_err(BackupError::io(to))?);
        let (mut hash, mut bytes) = (Sha256::new(), 0);
        while let Some(chunk) = chunks.try_next().await.map_err(self.failed())? {
            hash.update(&chunk);
            bytes += chunk.len() as u64;
            target.write_all(&chunk).map_err(BackupError::io(to))?;
        }
        let file = target.into_inner().map_err(|error| BackupError::io(to)(error.into_error()))?;
        file.sync_all().map_err(BackupError::io(to))?;
        Ok((bytes, hex::encode(hash.finalize())))
    }

    /// Deletes a backup: the manifest first, so that no incomplete backup looks complete.
    pub(crate) async fn delete(&self, manifest: &Manifest) -> Result<(), BackupError> {
        let files = manifest.files.iter().map(|file| file.part.file_name());
        for file in std::iter::once(MANIFEST).chain(files) {
            match self.store.delete(&self.path(&manifest.name, file)).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(self.failed()(error)),
            }
        }
        Ok(())
    }

    fn path(&self, name: &str, file: &'static str) -> Path {
        self.prefix.clone().join(name).join(file)
    }

    fn failed(&self) -> impl FnOnce(object_store::Error) -> BackupError + use<> {
        let place = self.place.clone();
        |source| BackupError::Storage { place, source }
    }
}

/// Reads the next part of a file on a blocking thread. It is shorter only at the end of the file.
async fn read_part(mut file: File, bytes: usize) -> Result<(File, io::Result<Bytes>), BackupError> {
    let reading = spawn_blocking(move || {
        let mut part = Vec::new();
        let read = Read::by_ref(&mut file).take(bytes as u64).read_to_end(&mut part);
        (file, read.map(|_| Bytes::from(part)))
    });
    reading.await.map_err(|error| BackupError::Task(error.to_string()))
}

/// Renames the staged backup, so it appears with all its files or not at all, also after a power loss.
fn move_into_place(staging: &FilePath, target: &FilePath, manifest: &[u8]) -> Result<(), BackupError> {
    let path = staging.join(MANIFEST);
    let write = || -> io::Result<()> {
        let mut file = File::create_new(&path)?;
        file.write_all(manifest)?;
        file.sync_all()?;
        File::open(staging)?.sync_all()
    };
    write().map_err(BackupError::io(&path))?;
    fs::rename(staging, target).map_err(BackupError::io(target))?;
    let above = target.parent().unwrap_or(FilePath::new("."));
    File::open(above).and_then(|directory| directory.sync_all()).map_err(BackupError::io(above))
}

/// The entry of a staged file. Flushes the file.
pub(crate) fn entry(part: Part, directory: &FilePath) -> Result<FileEntry, BackupError> {
    let path = directory.join(part.file_name());
    let hashed = || -> io::Result<FileEntry> {
        let mut file = File::open(&path)?;
        let mut hash = Sha256::new();
        let mut block = vec![0; 1024 * 1024];
        let mut bytes = 0;
        loop {
            let read = file.read(&mut block)?;
            if read == 0 {
                break;
            }
            hash.update(&block[..read]);
            bytes += read as u64;
        }
        file.sync_all()?;
        Ok(FileEntry { part, bytes, sha256: hex::encode(hash.finalize()) })
    };
    hashed().map_err(BackupError::io(&path))
}
