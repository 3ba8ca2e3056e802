//! The contract of the positions of reactors: one suite that runs over every adapter.

use std::sync::Arc;

use async_trait::async_trait;
use domain::{EventId, OrderId, Position};
use infra::{
    event_source::{Partition, Reached},
    event_store::EventMark,
    operations::{Positions, SavedPosition, postgres::PostgresOperations, sqlite::SqliteOperations},
    postgres::Database,
};
use rusqlite::Connection;
use tempfile::TempDir;
use uuid::Uuid;

use crate::support::TestDatabase;

/// A store under test.
#[async_trait]
trait Fixture: Send + Sync + Sized {
    /// A new, empty store.
    async fn fresh() -> Self;

    /// The store as a process opens it after a restart.
    async fn opened(&self) -> Arc<dyn Positions>;
}

struct Sqlite(TempDir);

#[async_trait]
impl Fixture for Sqlite {
    async fn fresh() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    async fn opened(&self) -> Arc<dyn Positions> {
        Arc::new(SqliteOperations::open(&self.0.path().join("operations.db")).unwrap())
    }
}

struct Postgres(TestDatabase);

#[async_trait]
impl Fixture for Postgres {
    async fn fresh() -> Self {
        Self(TestDatabase::create().await)
    }

    async fn opened(&self) -> Arc<dyn Positions> {
        let connected = Database::connect(self.0.url().parse().unwrap()).await.unwrap();
        Arc::new(PostgresOperations::new(connected))
    }
}

/// Generates one test per rule of the contract, for one adapter.
macro_rules! positions_contract {
    ($adapter:ident: $fixture:ty) => { positions_contract!(#[cfg(test)] $adapter: $fixture); };
    (#[$attribute:meta] $adapter:ident: $fixture:ty) => {
        mod $adapter {
            use super::*;
            positions_contract! { #[$attribute] $fixture =>
                a_position_survives_a_restart_with_its_last_event,
                a_position_belongs_to_one_log_reactor_and_partition,
                a_position_that_is_not_the_known_one_is_kept,
                every_saved_position_of_a_log_is_listed,
                a_forgotten_position_is_gone,
            }
        }
    };
    (#[$attribute:meta] $fixture:ty => $($rule:ident),* $(,)?) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        #[$attribute]
        async fn $rule() {
            super::$rule(<$fixture as Fixture>::fresh().await).await;
        }
    )*};
}
positions_contract!(sqlite: Sqlite);
positions_contract!(#[ignore = "needs Postgres: infra/dev/services up"] postgres: Postgres);

const LOG: Uuid = Uuid::from_u128(1);

fn whole_log() -> Partition {
    Partition::whole_log()
}

fn reached(position: Position) -> Reached {
    let order = OrderId(Uuid::from_u128(position.into()));
    let id = EventId(Uuid::new_v5(&order.0, b"event"));
    Reached { position, last_event: Some(EventMark { position, stream: order.into(), revision: 3, id }) }
}

async fn a_position_survives_a_restart_with_its_last_event(fixture: impl Fixture) {
    let positions = fixture.opened().await;
    assert_eq!(positions.load("pm", LOG, &whole_log()).await.unwrap(), None);
    // A position without a mark replaces one with a mark, and the other way round.
    let mut known = None;
    for next in [reached(7), reached(9), Reached::from(10), reached(11)] {
        assert!(positions.save("pm", LOG, &whole_log(), known, &next).await.unwrap());
        known = Some(next.position);
        assert_eq!(fixture.opened().await.load("pm", LOG, &whole_log()).await.unwrap(), Some(next));
    }
}

async fn a_position_belongs_to_one_log_reactor_and_partition(fixture: impl Fixture) {
    let positions = fixture.opened().await;
    positions.save("pm", LOG, &whole_log(), None, &reached(7)).await.unwrap();
    let elsewhere = Partition("orderly.orders/1".to_owned());
    assert_eq!(positions.load("pm", Uuid::from_u128(2), &whole_log()).await.unwrap(), None);
    assert_eq!(positions.load("other", LOG, &whole_log()).await.unwrap(), None);
    assert_eq!(positions.load("pm", LOG, &elsewhere).await.unwrap(), None);
}

async fn a_position_that_is_not_the_known_one_is_kept(fixture: impl Fixture) {
    let positions = fixture.opened().await;
    let save = async |known: Option<Position>, next: Position| {
        positions.save("pm", LOG, &whole_log(), known, &reached(next)).await.unwrap()
    };
    // The database has lost the position, or never had one.
    assert!(!save(Some(7), 9).await);
    assert_eq!(positions.load("pm", LOG, &whole_log()).await.unwrap(), None);
    assert!(save(None, 7).await && !save(None, 8).await && !save(Some(6), 8).await && save(Some(7), 9).await);
    assert_eq!(positions.load("pm", LOG, &whole_log()).await.unwrap(), Some(reached(9)));
    // The position of another log is replaced, and not taken for one of this log.
    let other_log = Uuid::from_u128(2);
    let save_other =
        async |known| positions.save("pm", other_log, &whole_log(), known, &reached(1)).await.unwrap();
    assert!(!save_other(Some(9)).await && save_other(None).await);
}

async fn every_saved_position_of_a_log_is_listed(fixture: impl Fixture) {
    let positions = fixture.opened().await;
    assert_eq!(positions.saved(LOG).await.unwrap(), []);
    let saved = |reactor: &str, partition: Partition, reached| SavedPosition {
        reactor: reactor.to_owned(),
        partition,
        reached,
    };
    let expected = [
        saved("hooks", whole_log(), Reached::from(3)),
        saved("pm", whole_log(), reached(7)),
        saved("pm", Partition("orderly.orders/1".to_owned()), reached(9)),
    ];
    for SavedPosition { reactor, partition, reached } in &expected {
        positions.save(reactor, LOG, partition, None, reached).await.unwrap();
    }
    positions.save("another log", Uuid::from_u128(2), &whole_log(), None, &reached(1)).await.unwrap();
    assert_eq!(positions.saved(LOG).await.unwrap(), expected);
}

async fn a_forgotten_position_is_gone(fixture: impl Fixture) {
    let positions = fixture.opened().await;
    positions.save("pm", LOG, &whole_log(), None, &reached(7)).await.unwrap();
    positions.save("hooks", LOG, &whole_log(), None, &reached(8)).await.unwrap();
    positions.forget("pm", &whole_log()).await.unwrap();
    assert_eq!(positions.load("pm", LOG, &whole_log()).await.unwrap(), None);
    assert_eq!(positions.load("hooks", LOG, &whole_log()).await.unwrap(), Some(reached(8)));
}

#[tokio::test]
async fn a_file_of_an_earlier_version_opens_and_its_position_gets_a_mark_with_the_next_save() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("operations.db");
    Connection::open(&path)
        .unwrap()
        .execute_batch(
            "CREATE TABLE reactor_positions (reactor TEXT NOT NULL, partition TEXT NOT NULL,
                 store_id BLOB NOT NULL, position INTEGER NOT NULL, PRIMARY KEY (reactor, partition))
                 STRICT, WITHOUT ROWID;
             INSERT INTO reactor_positions VALUES ('pm', 'log', X'00000000000000000000000000000001', 7)",
        )
        .unwrap();
    for _ in 0..2 {
        let positions = SqliteOperations::open(&path).unwrap();
        assert_eq!(positions.load("pm", LOG, &whole_log()).await.unwrap(), Some(Reached::from(7)));
    }
    let positions = SqliteOperations::open(&path).unwrap();
    positions.save("pm", LOG, &whole_log(), Some(7), &reached(8)).await.unwrap();
    assert_eq!(positions.load("pm", LOG, &whole_log()).await.unwrap(), Some(reached(8)));
}
