//! Commits: checkpoints, partitions, parked streams and notifications.

use std::time::Duration;

use domain::{EventId, StreamName};
use infra::{
    event_source::{Partition, Reached},
    read_models::{
        BindError, Changes, ParkedStream, Progress, Projection, ReadModelError, Rows, StockRow, StreamChanges,
    },
};
use uuid::Uuid;

use super::{Fixture, at, mark, order_id, partition, position, sku, step, step_with};
use crate::support::PATIENCE;

fn stock_rows(on_hand: u32) -> Rows {
    let stock = vec![StockRow { sku: sku("A"), on_hand, reserved: 0, revision: 0 }];
    Rows { stock, ..Rows::default() }
}

fn assert_moved(outcome: &Result<(), ReadModelError>) {
    assert!(matches!(outcome, Err(ReadModelError::CheckpointMoved)), "{outcome:?}");
}

pub async fn the_checkpoint_moves_with_the_rows_or_not_at_all<F: Fixture>(fixture: F) {
    let (models, queries) = (fixture.models(), fixture.queries());
    assert_eq!(models.checkpoint(&partition()).await.unwrap(), None);
    models.commit(step_with(1, stock_rows(1))).await.unwrap();
    assert_eq!(position(&models, &partition()).await, Some(1));

    let behind = step_with(1, stock_rows(2));
    assert_moved(&models.commit(behind).await);
    let ahead = Changes { rows: stock_rows(3), ..Changes::none(partition(), Some(7), Some(8)) };
    assert_moved(&models.commit(ahead).await);
    let rebuilt_meanwhile = infra::read_models::Generation(models.generation().await.unwrap().0 ^ 1);
    let stale = Changes { rows: stock_rows(4), generation: Some(rebuilt_meanwhile), ..step(2) };
    assert_moved(&models.commit(stale).await);
    assert_eq!(position(&models, &partition()).await, Some(1));
    assert_eq!(queries.stock(&sku("A")).await.unwrap().unwrap().on_hand, 1);

    let known = Some(models.generation().await.unwrap());
    models.commit(Changes { rows: stock_rows(5), generation: known, ..step(2) }).await.unwrap();
    let checkpoints = queries.checkpoints().await.unwrap();
    assert_eq!(checkpoints.len(), Projection::ALL.len());
    for row in checkpoints {
        assert_eq!((row.partition, row.position, row.log_position), (partition(), Some(2), Some(2)));
        assert!(row.updated_at.is_some());
    }
}

pub async fn a_rehearsal_writes_nothing_and_fails_as_the_commit_does<F: Fixture>(fixture: F) {
    let (models, queries) = (fixture.models(), fixture.queries());
    models.commit(step_with(1, stock_rows(1))).await.unwrap();
    let parked = ParkedStream {
        projection: Projection::Orders,
        stream: order_id(1).into(),
        partition: partition(),
        event_id: EventId(Uuid::from_u128(9)),
        revision: 3,
        position: 1,
        reason: "refused".to_owned(),
        parked_at: at(0),
    };
    let changes = || Changes { parked: vec![parked.clone()], ..step_with(2, stock_rows(2)) };
    for _ in 0..2 {
        models.rehearse(changes()).await.unwrap();
        assert_eq!(position(&models, &partition()).await, Some(1));
        assert_eq!(queries.stock(&sku("A")).await.unwrap().unwrap().on_hand, 1);
        assert_eq!(models.parked().await.unwrap(), []);
    }

    assert_moved(&models.rehearse(step_with(1, stock_rows(3))).await);
    let skipped = vec![(Projection::Orders, order_id(2).into())];
    assert_moved(&models.rehearse(Changes { skipped, ..step(2) }).await);
    models.commit(changes()).await.unwrap();
    assert_eq!(position(&models, &partition()).await, Some(2));
}

pub async fn exactly_one_owner_wins_a_race_for_a_position<F: Fixture>(fixture: F) {
    for position in 1..=20 {
        let attempts = (0..4).map(|owner| {
            let models = fixture.models();
            tokio::spawn(async move {
                models.commit(step_with(position, stock_rows(owner))).await.map(|()| owner)
            })
        });
        let mut winners = Vec::new();
        for attempt in attempts.collect::<Vec<_>>() {
            match attempt.await.unwrap() {
                Ok(owner) => winners.push(owner),
                refused => assert_moved(&refused.map(drop)),
            }
        }
        assert_eq!(winners.len(), 1);
        let row = fixture.queries().stock(&sku("A")).await.unwrap().unwrap();
        assert_eq!(row.on_hand, winners[0]);
    }
}

pub async fn partitions_move_independently<F: Fixture>(fixture: F) {
    let models = fixture.models();
    let other = Partition("orders/3".to_owned());
    models.commit(step(1)).await.unwrap();
    models.commit(Changes::none(other.clone(), None, Some(40))).await.unwrap();
    models.commit(step(2)).await.unwrap();
    assert_eq!(position(&models, &partition()).await, Some(2));
    assert_eq!(position(&models, &other).await, Some(40));
}

pub async fn several_partitions_move_in_one_commit_or_none<F: Fixture>(fixture: F) {
    let models = fixture.models();
    let [orders, payments, stock] = ["shop.orders/1", "shop.payments/0", "shop.stock/2"];
    // A step of each: it begins where the last one ended, unless the test says otherwise.
    let step = |places: &[(&str, Option<u64>, u64)]| {
        let progress = places.iter().map(|(name, from, to)| Progress {
            partition: Partition((*name).to_owned()),
            from: *from,
            to: Some(*to),
            last_event: Some(mark(*to)),
        });
        Changes { rows: stock_rows(9), ..Changes::of(progress.collect()) }
    };
    let positions = async || {
        let mut found = Vec::new();
        for name in [orders, payments, stock] {
            found.push(position(&models, &Partition(name.to_owned())).await);
        }
        found
    };
    models.commit(step(&[(orders, None, 5), (payments, None, 7)])).await.unwrap();
    assert_eq!(positions().await, [Some(5), Some(7), None]);
    // Partitions that begin, and those that move on.
    models.commit(step(&[(orders, Some(5), 6), (payments, Some(7), 9), (stock, None, 3)])).await.unwrap();
    assert_eq!(positions().await, [Some(6), Some(9), Some(3)]);
    let refused = [
        step(&[(orders, Some(6), 8), (payments, Some(8), 10), (stock, Some(3), 4)]),
        step(&[(orders, Some(6), 8), (payments, Some(9), 10), (stock, None, 4)]),
        step(&[(orders, Some(6), 8), ("shop.stock/5", Some(1), 2)]),
    ];
    for changes in refused {
        assert_moved(&models.commit(changes).await);
        assert_eq!(positions().await, [Some(6), Some(9), Some(3)]);
    }
    let rows = fixture.queries().checkpoints().await.unwrap();
    let ends = rows.iter().map(|row| (row.projection.as_str(), row.position, row.log_position));
    let expected = [("orders", 6), ("payments", 9), ("sales", 6), ("stock", 3)]
        .map(|(name, end)| (name, Some(end), Some(end)));
    assert_eq!(ends.collect::<std::collections::BTreeSet<_>>(), expected.into());
}

pub async fn a_partition_of_a_topic_moves_only_the_projections_of_its_topic<F: Fixture>(fixture: F) {
    let moved = [
        ("shop.stock/0", vec!["stock"]),
        ("shop.orders/11", vec!["orders", "sales"]),
        ("shop.payments/2", vec!["payments"]),
    ];
    for (name, projections) in moved {
        let partition = Partition(name.to_owned());
        let models = fixture.models();
        assert_eq!(models.checkpoint(&partition).await.unwrap(), None);
        models.commit(Changes::none(partition.clone(), None, Some(5))).await.unwrap();
        assert_moved(&models.commit(Changes::none(partition.clone(), None, Some(6))).await);
        assert_eq!(position(&models, &partition).await, Some(5));
        let mut found = fixture.queries().checkpoints().await.unwrap();
        found.retain(|row| row.partition == partition);
        assert_eq!(found.iter().map(|row| row.projection.as_str()).collect::<Vec<_>>(), projections);
    }
}

pub async fn the_last_event_never_goes_back<F: Fixture>(fixture: F) {
    let models = fixture.models();
    let orders = Partition("shop.orders/1".to_owned());
    let (mut from, mut reached) = (None, None);
    // Offsets with and without an event. Position 40 is an event that rebuilt rows already reflect.
    let steps = [(0, None), (4, Some(70)), (5, None), (6, Some(40)), (9, Some(71)), (9, None)];
    for (to, log_position) in steps {
        let last_event = log_position.map(mark);
        let progress = Progress { partition: orders.clone(), from, to: Some(to), last_event };
        models.commit(Changes::of(vec![progress])).await.unwrap();
        from = Some(to);
        reached = reached.max(log_position);
        for row in fixture.queries().checkpoints().await.unwrap() {
            assert_eq!((row.position, row.log_position), (from, reached), "{row:?}");
            assert_eq!(row.last_event, reached.map(mark));
        }
        let stored = models.checkpoint(&orders).await.unwrap();
        assert_eq!(stored, Some(Reached { position: to, last_event: reached.map(mark) }));
    }
}

pub async fn rows_are_bound_to_one_log<F: Fixture>(fixture: F) {
    let models = fixture.models();
    let (log, another) = (Uuid::from_u128(1), Uuid::from_u128(2));
    models.bind(log).await.unwrap();
    models.bind(log).await.unwrap();
    let refused = models.bind(another).await;
    assert!(
        matches!(refused, Err(BindError::OtherLog { bound, given }) if (bound, given) == (log, another)),
        "{refused:?}"
    );
}

pub async fn parked_streams_are_listed_until_they_are_retried<F: Fixture>(fixture: F) {
    let (models, queries) = (fixture.models(), fixture.queries());
    let stream: StreamName = order_id(1).into();
    let parked = ParkedStream {
        projection: Projection::Orders,
        stream: stream.clone(),
        partition: partition(),
        event_id: EventId(Uuid::from_u128(9)),
        revision: 3,
        position: 1,
        reason: "it is \"broken\"".to_owned(),
        parked_at: at(0),
    };
    models.commit(Changes { parked: vec![parked.clone()], ..step(1) }).await.unwrap();
    assert_eq!(queries.parked_streams().await.unwrap(), std::slice::from_ref(&parked));
    assert_eq!(models.parked().await.unwrap(), std::slice::from_ref(&parked));
    assert!(queries.is_parked(&stream).await.unwrap());
    assert!(!queries.is_parked(&order_id(2).into()).await.unwrap());
    assert_eq!(models.retry_requests().await.unwrap(), []);

    let skipping = |stream: &StreamName, to| Changes {
        skipped: vec![(Projection::Orders, stream.clone())],
        rows: stock_rows(1),
        ..step(to)
    };
    models.commit(skipping(&stream, 2)).await.unwrap();
    assert_moved(&models.commit(skipping(&order_id(2).into(), 3)).await);

    assert!(!models.request_retry(&order_id(2).into()).await.unwrap());
    assert!(models.request_retry(&stream).await.unwrap());
    assert_eq!(models.retry_requests().await.unwrap(), std::slice::from_ref(&parked));
    let retried = |row: &ParkedStream| Changes { retried: vec![row.clone()], ..step(3) };
    let at_another_revision = ParkedStream { revision: 4, ..parked.clone() };
    assert_moved(&models.commit(retried(&at_another_revision)).await);
    models.commit(retried(&parked)).await.unwrap();
    assert_eq!(models.parked().await.unwrap(), []);
    assert!(!queries.is_parked(&stream).await.unwrap());
    assert_moved(&models.commit(skipping(&stream, 4)).await);
}

pub async fn a_commit_wakes_the_callers_of_its_streams_here_and_in_other_processes<F: Fixture>(fixture: F) {
    let elsewhere = fixture.queries_elsewhere().await;
    for (number, queries) in [(1, fixture.queries()), (2, elsewhere)] {
        let order: StreamName = order_id(number).into();
        let mut of_stock = queries.changes_of(&sku("A").into());
        let mut of_order = queries.changes_of(&order);
        // A new caller may be woken once without a change.
        settle(&mut of_stock).await;
        settle(&mut of_order).await;
        let position = position(&fixture.models(), &partition()).await.unwrap_or(0);
        let revision = position + 7;
        let stock = vec![StockRow { sku: sku("A"), on_hand: 7, reserved: 0, revision }];
        let rows = Rows { stock, ..Rows::default() };
        fixture.models().commit(step_with(position + 1, rows)).await.unwrap();
        let noticed = async {
            while queries.stock(&sku("A")).await.unwrap().is_none_or(|row| row.revision < revision) {
                of_stock.next().await;
            }
        };
        tokio::time::timeout(PATIENCE, noticed).await.expect("the commit is noticed");
        let woken = tokio::time::timeout(QUIET, of_order.next()).await;
        assert!(woken.is_err(), "a commit of another stream wakes the caller");

        let parked = ParkedStream {
            projection: Projection::Orders,
            stream: order.clone(),
            partition: partition(),
            event_id: EventId(Uuid::from_u128(9)),
            revision,
            position: 1,
            reason: String::new(),
            parked_at: at(0),
        };
        fixture.models().commit(Changes { parked: vec![parked], ..step(position + 2) }).await.unwrap();
        tokio::time::timeout(PATIENCE, of_order.next()).await.expect("parking is noticed");
    }
}

/// Longer than any adapter needs to notice a commit.
const QUIET: Duration = Duration::from_millis(300);

async fn settle(changes: &mut StreamChanges) {
    while tokio::time::timeout(QUIET, changes.next()).await.is_ok() {}
}
