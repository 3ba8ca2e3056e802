use domain::{EventId, OrderId, Position};

use super::*;

const LOG: Uuid = Uuid::from_u128(1);

fn mark(position: Position) -> EventMark {
    let stream = OrderId(Uuid::from_u128(position.into())).into();
    EventMark { position, stream, revision: 0, id: EventId(Uuid::from_u128(position.into())) }
}

fn positions(journal: &Journal) -> Vec<Position> {
    journal.content.marks.iter().map(|mark| mark.position).collect()
}

/// Notes each step of a log, and checks after each that any loss finds a mark close before it.
fn check(steps: impl Iterator<Item = Position>) {
    let directory = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(directory.path(), LOG).unwrap();
    let mut noted = Vec::new();
    for position in steps {
        noted.push(position);
        journal.note(mark(position));
        let kept = positions(&journal);
        assert!(kept.len() <= 130, "{} marks", kept.len());
        assert_eq!((kept.first(), kept.last()), (noted.first(), noted.last()));
        for pair in kept.windows(2) {
            let neighbours = noted.iter().filter(|one| (pair[0]..pair[1]).contains(*one)).count() == 1;
            let (older, newer) = (position - pair[0], position - pair[1]);
            assert!(neighbours || older <= 2 * newer, "at {position}: {older} and {newer}");
        }
    }
}

#[test]
fn the_newest_mark_left_is_at_most_as_far_before_a_loss_as_the_loss_is_long() {
    check(1..1_000);
    check((1..400).map(|step| step * step));
    check((1..400).map(|step| step * 7_919 % 5 + step * 1_000));
    check((0..60).map(|step| 1 << step));
}

#[test]
fn a_journal_survives_a_restart_and_belongs_to_one_log() {
    let directory = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(directory.path(), LOG).unwrap();
    assert_eq!(journal.last(), None);
    (1..50).for_each(|position| journal.note(mark(position)));
    journal.note(mark(49));
    journal.save().unwrap();
    let mut reopened = Journal::open(directory.path(), LOG).unwrap();
    assert_eq!((reopened.last(), positions(&reopened)), (Some(&mark(49)), positions(&journal)));

    reopened.go_back_to(Some(&mark(20)));
    assert!(positions(&reopened).iter().all(|position| *position <= 20));
    reopened.go_back_to(None);
    assert_eq!(reopened.last(), None);

    let other = Journal::open(directory.path(), Uuid::from_u128(2)).unwrap();
    assert_eq!(other.last(), None);
    fs::write(directory.path().join(FILE), "{").unwrap();
    assert_eq!(Journal::open(directory.path(), LOG).unwrap().last(), None);
}
