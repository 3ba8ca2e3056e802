//! The size of the write-ahead log.

use std::time::Instant;

use super::*;
use crate::sqlite::overlapping_reads::{LongRead, OverlappingReads};

const MIB: u64 = 1 << 20;

async fn write_rows(writer: &Writer, rows: usize, bytes: i32) {
    for _ in 0..rows {
        let write = move |connection: &mut Connection| {
            connection.execute("INSERT INTO written VALUES (zeroblob(?1))", [bytes]).unwrap();
            Ok(())
        };
        writer.run(write).await.unwrap();
    }
}

/// Without restarts, the log would take all that is written.
#[tokio::test]
async fn the_write_ahead_log_stays_bounded_while_reads_overlap() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("read-models.db");
    let log_bytes = || fs::metadata(path.with_extension("db-wal")).unwrap().len();
    let writer = Writer::start(&path).unwrap();
    let create = |connection: &mut Connection| {
        connection.execute_batch("CREATE TABLE written (bytes BLOB)").unwrap();
        Ok(())
    };
    writer.run(create).await.unwrap();
    let _reads = OverlappingReads::of(&path);
    for _ in 0..400 {
        write_rows(&writer, 1, 1 << 20).await;
        // 100 MiB a second at most.
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert!(log_bytes() < 256 * MIB, "{} MiB", log_bytes() / MIB);
    }

    // A verification holds the log. Its growth ends with the verification, and the file shrinks again.
    let verification = LongRead::of(&path);
    write_rows(&writer, 100, 1 << 20).await;
    assert!(log_bytes() > 90 * MIB, "{} MiB", log_bytes() / MIB);
    drop(verification);
    let deadline = Instant::now() + Duration::from_mins(1);
    while log_bytes() > 64 * MIB {
        assert!(Instant::now() < deadline, "{} MiB", log_bytes() / MIB);
        write_rows(&writer, 1, 10).await;
    }
}
