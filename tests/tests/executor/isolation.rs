//! A stream that cannot be read, or only slowly, delays no other stream.

use std::time::Duration;

use command_api::executor::ExecuteError;
use futures::poll;

use super::*;
use crate::support::PATIENCE;

/// Executors over both kinds of store.
fn executors(files: &Files, options: ExecutorOptions) -> [Stock; 2] {
    [FaultyStore::owned(files.events.clone()), FaultyStore::shared(files.events.clone())]
        .map(|store| Stock::over(&store, options))
}

/// A store with an event of the SKU, which no executor has in memory.
async fn with_one_receipt(sku: &Sku) -> Files {
    let files = Files::new();
    let data = r#"{"quantity":1}"#;
    files.append_unchecked(sku, ExpectedRevision::NoStream, "stock.received.v1", data).await;
    files
}

#[tokio::test]
async fn while_the_load_of_one_stream_hangs_other_streams_go_on() {
    let stuck = sku("stuck");
    let files = with_one_receipt(&stuck).await;
    let options = ExecutorOptions { read_max: PATIENCE, ..ExecutorOptions::default() };
    for (number, stock) in executors(&files, options).iter().enumerate() {
        stock.store.hang_reads_of(Some(stuck.clone().into()));
        let key = format!("hangs {number}");
        let mut hanging = Box::pin(stock.receive(&stuck, 1, &key));
        assert!(poll!(&mut hanging).is_pending());
        for other in 0..10 {
            let sound = sku(&format!("sound {number} {other}"));
            for key in ["a", "b"] {
                let recorded = stock.receive(&sound, 1, key).await;
                assert!(is_recorded(&recorded), "{recorded:?}");
            }
        }
        assert!(poll!(&mut hanging).is_pending());
        stock.store.hang_reads_of(None);
        assert!(is_recorded(&hanging.await));
    }
}

#[tokio::test]
async fn a_command_whose_stream_cannot_be_read_in_time_ends_and_records_nothing() {
    let stuck = sku("stuck");
    let files = with_one_receipt(&stuck).await;
    let options = ExecutorOptions { read_max: Duration::from_millis(50), ..ExecutorOptions::default() };
    for stock in executors(&files, options) {
        stock.store.hang_reads_of(Some(stuck.clone().into()));
        let ended = stock.receive(&stuck, 1, "a").await;
        assert!(matches!(ended, Err(ExecuteError::Unavailable(_))), "{ended:?}");
    }
    assert_eq!(files.log().await.stock("stuck").levels().on_hand, 1);
}

#[tokio::test]
async fn a_stream_that_cannot_be_decoded_is_not_read_again_for_each_command() {
    let files = Files::new();
    let unknown = sku("unknown");
    files.append_unchecked(&unknown, ExpectedRevision::NoStream, "stock.teleported.v9", "{}").await;
    for stock in executors(&files, ExecutorOptions::default()) {
        for key in ["a", "b", "c"] {
            let answer = stock.receive(&unknown, 1, key).await;
            assert!(matches!(answer, Err(ExecuteError::Unreadable(_))), "{answer:?}");
        }
        assert_eq!(stock.store.reads_of(&unknown.clone().into()), [0]);
    }
}
