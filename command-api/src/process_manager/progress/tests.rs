use domain::Position;

use super::*;

/// Reads a batch with this many reactions.
fn read(progress: &mut Progress, position: Position, reactions: usize) -> u64 {
    let number = 100 + position;
    progress.begin(number, position.into());
    for _ in 0..reactions {
        progress.add_reaction();
    }
    progress.finish_reading();
    number
}

#[test]
fn a_position_is_reached_when_all_reactions_before_it_are_durable() {
    let mut progress = Progress::new(Partition::whole_log(), Some(5.into()));
    assert_eq!(progress.unsaved(), None);
    read(&mut progress, 10, 0);
    assert_eq!(progress.unsaved(), Some(10.into()));
    progress.note_saved(10.into());

    let first = read(&mut progress, 20, 2);
    let second = read(&mut progress, 30, 1);
    let third = read(&mut progress, 40, 1);
    read(&mut progress, 50, 0);
    progress.finish_reaction(second);
    progress.finish_reaction(first);
    assert_eq!(progress.unsaved(), None);
    progress.finish_reaction(first);
    assert_eq!(progress.unsaved(), Some(30.into()));
    progress.finish_reaction(third);
    assert_eq!(progress.unsaved(), Some(50.into()));
}

#[test]
fn a_reaction_that_hangs_holds_the_position_and_later_batches_use_no_memory() {
    let mut progress = Progress::new(Partition::whole_log(), None);
    read(&mut progress, 1, 1);
    for position in 2..1_000 {
        let number = read(&mut progress, position, 1);
        progress.finish_reaction(number);
    }
    assert_eq!((progress.unsaved(), progress.under_way.len()), (None, 1));
}

#[test]
fn reactions_of_an_earlier_assignment_are_ignored() {
    let mut earlier = Progress::new(Partition::whole_log(), None);
    let number = read(&mut earlier, 10, 1);
    let mut progress = Progress::new(Partition::whole_log(), None);
    read(&mut progress, 11, 1);
    progress.finish_reaction(number);
    assert_eq!(progress.unsaved(), None);
}
