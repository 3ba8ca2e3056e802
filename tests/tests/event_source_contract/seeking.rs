//! From where a partition is read.

use infra::event_source::{Partition, SourceUpdate};

use super::{Fixture, Reader, given_stream, stored};

pub async fn nothing_comes_before_the_consumer_has_said_from_where(fixture: impl Fixture) {
    let stream = given_stream(&fixture, 3).await;
    let mut source = fixture.source(10).await;
    let mut assigned = 0;
    while assigned < fixture.partitions().len() {
        match source.next().await.unwrap() {
            SourceUpdate::Assigned(partitions) => assigned += partitions.len(),
            other => panic!("{other:?} comes before the partition is sought"),
        }
    }
    // What is sought last comes although nothing was ever asked of the others.
    let partition = fixture.partition_of(&stream);
    source.seek(&partition, None);
    match source.next().await.unwrap() {
        SourceUpdate::Events(batch) => assert_eq!(batch.partition, partition),
        other => panic!("expected events, got {other:?}"),
    }
}

pub async fn a_source_starts_after_the_position_it_is_given(fixture: impl Fixture) {
    let stream = given_stream(&fixture, 5).await;
    let partition = fixture.partition_of(&stream);
    let mut first = Reader::of_all(&fixture, 2).await;
    first.take_events(5).await;
    let begins = first.batches[0].clone();
    drop(first);

    let mut second = Reader::of_all(&fixture, 10).await;
    second.seek(&partition, Some(begins.position));
    second.take_events(5 - begins.events.len()).await;
    assert_eq!(second.of(&partition), stored(&fixture, &partition).await[begins.events.len()..]);
}

pub async fn a_source_can_be_set_back(fixture: impl Fixture) {
    let stream = given_stream(&fixture, 6).await;
    let partition = fixture.partition_of(&stream);
    let mut reader = Reader::of_all(&fixture, 2).await;
    reader.take_events(6).await;
    let all = stored(&fixture, &partition).await;
    assert_eq!(reader.of(&partition), all);

    let begins = reader.batches[0].clone();
    for (position, rest) in [(None, &all[..]), (Some(begins.position), &all[begins.events.len()..])] {
        reader.batches.clear();
        reader.seek(&partition, position);
        reader.take_events(rest.len()).await;
        assert_eq!(reader.of(&partition), rest);
    }
}

pub async fn what_was_fetched_before_a_seek_does_not_come_after_it(fixture: impl Fixture) {
    let stream = given_stream(&fixture, 40).await;
    let partition = fixture.partition_of(&stream);
    let mut reader = Reader::of_all(&fixture, 1).await;
    reader.take_events(1).await;
    let first = reader.batches[0].position;
    // The next batches may wait already. `Reader::keep` fails on one that does not follow the position sought.
    for _ in 0..20 {
        reader.seek(&partition, Some(first));
        reader.take().await;
        reader.seek(&partition, None);
        reader.take().await;
    }
    let begin = &stored(&fixture, &partition).await[..2];
    let came: Vec<_> = reader.events().skip(1).cloned().collect();
    let expected: Vec<_> = (0..20).flat_map(|_| [begin[1].clone(), begin[0].clone()]).collect();
    assert_eq!(came, expected);
}

pub async fn seeking_what_is_not_ours_changes_nothing(fixture: impl Fixture) {
    given_stream(&fixture, 3).await;
    let mut reader = Reader::of_all(&fixture, 10).await;
    reader.source.seek(&Partition("elsewhere.orders/0".to_owned()), Some(7));
    reader.take_events(3).await;
}
