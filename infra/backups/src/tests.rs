#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

use std::{fs, path::Path as FilePath, sync::Arc, time::Duration};

use infra::{health::Health, operations::sqlite::SqliteOperations};
use jiff::{SignedDuration, Timestamp};
use object_store::{ObjectStoreExt, memory::InMemory, path::Path};
use tempfile::TempDir;
use uuid::Uuid;

use crate::{
    BackedUpLog, BackupError, InvalidPlace, Keep, MadeBy, Manifest, Part, Place, Schedule, Sources, Storage,
    Which, schedule::Measured, storage::entry,
};

/// More than one part of an upload.
const LARGE_BYTES: usize = 20 * 1024 * 1024;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

/// A staged backup with a large and an empty file.
fn staged(second: i64) -> (TempDir, Manifest) {
    let staging = tempfile::tempdir().unwrap();
    let large: Vec<u8> = (0..LARGE_BYTES).map(|index| u8::try_from(index % 251).unwrap()).collect();
    fs::write(staging.path().join(Part::Operations.file_name()), large).unwrap();
    fs::write(staging.path().join(Part::SandboxSecret.file_name()), "").unwrap();
    let manifest = Manifest {
        name: Manifest::name(at(second), Uuid::now_v7()),
        made_at: at(second),
        made_by: MadeBy { version: "1".to_owned(), commit: "abc".to_owned() },
        log: None,
        files: [Part::Operations, Part::SandboxSecret]
            .map(|part| entry(part, staging.path()).unwrap())
            .into(),
        elsewhere: Vec::new(),
    };
    (staging, manifest)
}

async fn publish(storage: &Storage, second: i64) -> Manifest {
    let (staging, manifest) = staged(second);
    storage.publish(staging.path(), &manifest).await.unwrap();
    manifest
}

/// A bucket in memory, and a directory.
fn storages() -> (Arc<InMemory>, TempDir, [Storage; 2]) {
    let (memory, directory) = (Arc::new(InMemory::new()), tempfile::tempdir().unwrap());
    let bucket = Storage::over(memory.clone(), Path::from("shop/backups"), "s3://b/shop/backups");
    let local = Storage::open(&Place::Directory(directory.path().to_owned())).unwrap();
    (memory, directory, [bucket, local])
}

fn bytes_in(directory: &FilePath, part: Part) -> usize {
    usize::try_from(fs::metadata(directory.join(part.file_name())).unwrap().len()).unwrap()
}

#[tokio::test]
async fn a_published_backup_is_listed_and_fetched_with_its_files() {
    let (_memory, _directory, storages) = storages();
    for storage in storages {
        assert!(matches!(storage.find(&Which::Latest).await, Err(BackupError::NoBackup { .. })));
        let older = publish(&storage, 0).await;
        let newer = publish(&storage, 60).await;
        assert_eq!(storage.backups().await.unwrap(), [newer.clone(), older.clone()]);
        assert_eq!(storage.find(&Which::Latest).await.unwrap(), newer);
        assert_eq!(storage.find(&Which::Named(older.name.clone())).await.unwrap(), older);
        let unknown =
            storage.find(&Which::Named("20200101T000000.000Z-00000000".to_owned())).await.unwrap_err();
        assert!(unknown.to_string().contains(&older.name), "{unknown}");

        let target = tempfile::tempdir().unwrap();
        storage.fetch(&newer, target.path()).await.unwrap();
        assert_eq!(bytes_in(target.path(), Part::Operations), LARGE_BYTES);
        assert_eq!(bytes_in(target.path(), Part::SandboxSecret), 0);

        storage.delete(&older).await.unwrap();
        assert_eq!(storage.backups().await.unwrap(), [newer]);
    }
}

#[tokio::test]
async fn a_folder_without_a_manifest_is_no_backup() {
    let (memory, directory, [bucket, local]) = storages();
    let (name, file) = ("20990131T020000.000Z-0d3c5f1e", Part::Events.file_name());
    memory.put(&Path::from(format!("shop/backups/{name}/{file}")), "x".into()).await.unwrap();
    fs::create_dir(directory.path().join(name)).unwrap();
    fs::write(directory.path().join(name).join(file), "x").unwrap();
    fs::create_dir(directory.path().join(".unfinished-backup-0d3c5f1e")).unwrap();
    for storage in [bucket, local] {
        let complete = publish(&storage, 0).await;
        assert_eq!(storage.find(&Which::Latest).await.unwrap(), complete);
    }
}

#[tokio::test]
async fn a_file_that_changed_is_refused_when_it_is_fetched() {
    let (memory, _directory, [storage, _]) = storages();
    let manifest = publish(&storage, 0).await;
    let path = Path::from(format!("shop/backups/{}/operations.db", manifest.name));
    let mut content = memory.get(&path).await.unwrap().bytes().await.unwrap().to_vec();
    content[LARGE_BYTES / 2] ^= 1;
    memory.put(&path, content.into()).await.unwrap();
    let target = tempfile::tempdir().unwrap();
    let refused = storage.fetch(&manifest, target.path()).await.unwrap_err();
    assert!(matches!(refused, BackupError::Damaged { file: "operations.db", .. }), "{refused}");
}

#[tokio::test]
async fn a_manifest_of_a_later_version_with_unknown_files_is_refused_by_name() {
    let (memory, _directory, [storage, _]) = storages();
    let manifest = publish(&storage, 0).await;
    let path = Path::from(format!("shop/backups/{}/manifest.json", manifest.name));
    let text = serde_json::to_string(&manifest).unwrap().replace("operations.db", "ledger.db");
    memory.put(&path, text.into()).await.unwrap();
    let refused = storage.find(&Which::Latest).await.unwrap_err().to_string();
    assert!(refused.contains(&manifest.name) && refused.contains("newer version"), "{refused}");
}

#[test]
fn a_place_is_a_directory_or_a_bucket() {
    let bucket =
        |name: &str, prefix: &str| Place::Bucket { name: name.to_owned(), prefix: prefix.to_owned() };
    for (text, place) in [
        ("backups", Place::Directory("backups".into())),
        ("/var/backups", Place::Directory("/var/backups".into())),
        ("file:///var/backups", Place::Directory("/var/backups".into())),
        ("s3://shop-backups", bucket("shop-backups", "")),
        ("s3://shop-backups/orderly/eu/", bucket("shop-backups", "orderly/eu")),
    ] {
        assert_eq!(text.parse::<Place>(), Ok(place), "{text}");
    }
    for text in ["", "file://var/backups", "gs://shop/orderly", "https://shop.example/"] {
        assert_eq!(text.parse::<Place>(), Err(InvalidPlace::Scheme), "{text}");
    }
    for text in ["s3://", "s3:///orderly", "s3://key:secret@shop/orderly"] {
        assert_eq!(text.parse::<Place>(), Err(InvalidPlace::BucketName), "{text}");
    }
    assert!(matches!("s3://shop/a//b".parse::<Place>(), Err(InvalidPlace::Prefix(_))));
}

#[test]
fn backups_are_kept_by_number_or_by_age_and_the_newest_one_always() {
    let day = 24 * 60 * 60;
    let made = [at(0), at(-day), at(-2 * day), at(-40 * day)];
    let outdated = |keep: &str, now: Timestamp| {
        let keep: Keep = keep.parse().unwrap();
        keep.outdated(&made, |made_at| *made_at, now).into_iter().copied().collect::<Vec<_>>()
    };
    assert_eq!(outdated("2", at(0)), made[2..]);
    assert_eq!(outdated("14", at(0)), []);
    assert_eq!(outdated("30d", at(0)), made[3..]);
    assert_eq!(outdated("36h", at(0)), made[2..]);
    assert_eq!(outdated("36h", at(365 * day)), made[1..], "the newest one stays, however old it is");
    for text in ["0", "-1", "", "30s", "30 apples"] {
        assert!(text.parse::<Keep>().is_err(), "{text}");
    }
    assert_eq!(Keep::For(SignedDuration::from_hours(720)).to_string().parse::<Keep>(), "30d".parse::<Keep>());
}

/// Backs up the operational state only, at every call.
fn schedule(data_dir: &FilePath, place: &FilePath) -> Schedule {
    let operations = data_dir.join("operations.db");
    SqliteOperations::open(&operations).unwrap();
    Schedule {
        sources: Sources {
            log: None,
            operations: Some(operations),
            data_dir: data_dir.to_owned(),
            elsewhere: Vec::new(),
        },
        place: Place::Directory(place.to_owned()),
        every: Duration::ZERO,
        keep: "2".parse().unwrap(),
        made_by: MadeBy { version: "1".to_owned(), commit: "abc".to_owned() },
        health: Health::default(),
    }
}

#[tokio::test]
async fn a_schedule_makes_what_is_due_and_deletes_old_backups_of_its_own_log_only() {
    let (_memory, place, [_, storage]) = storages();
    let data = tempfile::tempdir().unwrap();
    let (staging, mut foreign) = staged(-1_000_000_000);
    let id = Uuid::now_v7();
    foreign.log = Some(BackedUpLog { original_id: id, id, events: 0, last_event: None });
    storage.publish(staging.path(), &foreign).await.unwrap();

    let mut schedule = schedule(data.path(), place.path());
    let mut made = Vec::new();
    for _ in 0..3 {
        schedule.make_due(&Measured::new()).await.unwrap();
        made.insert(0, storage.find(&Which::Latest).await.unwrap());
    }
    let kept = [made[0].clone(), made[1].clone(), foreign];
    assert_eq!(storage.backups().await.unwrap(), kept);

    schedule.every = Duration::from_hours(1);
    let pause = schedule.make_due(&Measured::new()).await.unwrap();
    assert!(pause > Duration::from_mins(50) && pause <= Duration::from_hours(1), "{pause:?}");
    assert_eq!(storage.backups().await.unwrap(), kept, "none is due");
}
