//! Files and directories are closed to the other users of the machine.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use super::support::DataDir;

/// Every file and directory below `directory` that another user has a right to.
fn open_to_others(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let metadata = fs::metadata(&path).unwrap();
        let (mode, expected) =
            (metadata.permissions().mode() & 0o777, if metadata.is_dir() { 0o700 } else { 0o600 });
        if mode != expected {
            found.push(format!("{} {mode:o}", path.display()));
        }
        if metadata.is_dir() {
            found.extend(open_to_others(&path));
        }
    }
    found
}

fn mode_of(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn no_other_user_has_a_right_to_a_file_and_earlier_files_are_corrected() {
    let outer = DataDir::new();
    let data = DataDir::at(outer.path("made/by/orderly"));
    let server = data.serve().await;
    server.place_an_order("A").await;
    data.run_well(&["backup", data.path("backups").to_str().unwrap()]).await;
    data.run_well(&["projections", "rebuild"]).await;
    assert_eq!(open_to_others(&outer.path("made")), [""; 0], "while it runs");
    assert!(server.terminate().await.success());
    assert_eq!(open_to_others(&outer.path("made")), [""; 0], "after its end");
    for name in ["events.db", "operations.db", "read-models.db", "sandbox.db", "sandbox.secret", "snapshots"]
    {
        assert!(data.path(name).exists(), "{name}");
    }

    // As an earlier build left them, after a kill.
    for entry in fs::read_dir(data.path("")).unwrap() {
        let path = entry.unwrap().path();
        let mode = if path.is_dir() { 0o755 } else { 0o644 };
        if path
            .file_name()
            .is_some_and(|name| name != "sandbox.secret" && name != "backups" && name != "backup.lock")
        {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        }
    }
    fs::set_permissions(data.path(""), fs::Permissions::from_mode(0o755)).unwrap();
    let server = data.serve().await;
    server.place_an_order("B").await;
    assert_eq!(open_to_others(&data.path("")), [""; 0]);
    assert_eq!(mode_of(&data.path("")), 0o700);
    server.kill().await;
    assert_eq!(open_to_others(&data.path("")), [""; 0]);
}
