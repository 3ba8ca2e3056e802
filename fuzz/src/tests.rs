use proptest::{collection::vec, prelude::*, sample::Index, test_runner::TestRunner};

use super::*;

/// A part of an input, and what stands in its place.
fn change() -> impl Strategy<Value = (Index, u8, Vec<u8>)> {
    const TEXTS: [&str; 13] =
        ["", "0", "-1", "\"", "null", "{}", "[", "9223372036854775808", "\u{1f600}", "\0", "%", "&", "\n"];
    let text = prop::sample::select(&TEXTS[..]).prop_map(|text| text.as_bytes().to_vec());
    (any::<Index>(), 0..8_u8, prop_oneof![text, vec(any::<u8>(), 0..4)])
}

fn changed(seed: &[u8], changes: Vec<(Index, u8, Vec<u8>)>) -> Vec<u8> {
    let mut input = seed.to_vec();
    for (place, length, replacement) in changes {
        let start = place.index(input.len() + 1);
        let end = input.len().min(start + usize::from(length));
        input.splice(start..end, replacement);
    }
    input
}

fn holds_near_its_seeds(target: Target) {
    let seeds = (target.seeds)();
    assert!(!seeds.is_empty());
    for seed in &seeds {
        (target.check)(seed);
    }
    let inputs = (any::<Index>(), vec(change(), 1..4));
    let run = TestRunner::default().run(&inputs, |(seed, changes)| {
        (target.check)(&changed(&seeds[seed.index(seeds.len())], changes));
        Ok(())
    });
    run.unwrap_or_else(|failure| panic!("{}: {failure}", target.name));
}

#[test]
fn every_rule_holds_for_its_seeds_and_for_inputs_like_them() {
    for target in TARGETS {
        holds_near_its_seeds(*target);
    }
}
