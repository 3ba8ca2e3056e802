//! Seeking: the consumer chooses the position from which a partition is read.

use infra::event_source::{Partition, SourceUpdate};

use super::{Fixture, Reader, given_stream, stored};

pub async fn no_event_arrives_before_the_consumer_seeks(fixture: impl Fixture) {
    let stream = given_stream(&fixture, 3).await;
    let mut source = fixture.source(10).await;
    let mut assigned = 0;
    while assigned < fixture.partitions().len() {
        match source.next().await.unwrap() {
            SourceUpdate::Assigned(partitions) => assigned += partitions.len(),
            other => panic!("{other:?} arrived before the consumer called seek"),
        }
    }
    // Events arrive although the consumer never seeks the other partitions.
    let partition = fixture.partition_of(&stream);
    source.seek(&partition, None);
    match source.next().await.unwrap() {
        SourceUpdate::Events(batch) => assert_eq!(batch.partition, partition),
        other => panic!("expected events, got {other:?}"),
    }
}

pub async fn a_source_starts_after_the_given_position(fixture: impl Fixture) {
    let stream = given_stream(&fixture, 5).await;
    let partition = fixture.partition_of(&stream);
    let mut first = Reader::of_all(&fixture, 2).await;
    first.take_events(5).await;
    let first_batch = first.batches[0].clone();
    drop(first);

    let mut second = Reader::of_all(&fixture, 10).await;
    second.seek(&partition, Some(first_batch.position));
    second.take_events(5 - first_batch.events.len()).await;
    assert_eq!(second.of(&partition), stored(&fixture, &partition).await[first_batch.events.len()..]);
}

pub async fn a_source_can_seek_back(fixture: impl Fixture) {
    let stream = given_stream(&fixture, 6).await;
    let partition = fixture.partition_of(&stream);
    let mut reader = Reader::of_all(&fixture, 2).await;
    reader.take_events(6).await;
    let all = stored(&fixture, &partition).await;
    assert_eq!(reader.of(&partition), all);

    let first_batch = reader.batches[0].clone();
    for (position, rest) in [(None, &all[..]), (Some(first_batch.position), &all[first_batch.events.len()..])]
    {
        reader.batches.clear();
        reader.seek(&partition, position);
        reader.take_events(rest.len()).await;
        assert_eq!(reader.of(&partition), rest);
    }
}

pub async fn events_fetched_before_a_seek_do_not_arrive_after_it(fixture: impl Fixture) {
    let stream = given_stream(&fixture, 40).await;
    let partition = fixture.partition_of(&stream);
    let mut reader = Reader::of_all(&fixture, 1).await;
    reader.take_events(1).await;
    let first = reader.batches[0].position;
    // The source may already have queued later batches. `Reader::keep` fails on a batch that does not follow
    // the seek.
    for _ in 0..20 {
        reader.seek(&partition, Some(first));
        reader.take().await;
        reader.seek(&partition, None);
        reader.take().await;
    }
    let begin = &stored(&fixture, &partition).await[..2];
    let arrived: Vec<_> = reader.events().skip(1).cloned().collect();
    let expected: Vec<_> = (0..20).flat_map(|_| [begin[1].clone(), begin[0].clone()]).collect();
    assert_eq!(arrived, expected);
}

pub async fn a_seek_of_a_foreign_partition_has_no_effect(fixture: impl Fixture) {
    given_stream(&fixture, 3).await;
    let mut reader = Reader::of_all(&fixture, 10).await;
    reader.source.seek(&Partition("elsewhere.orders/0".to_owned()), Some(7.into()));
    reader.take_events(3).await;
}
