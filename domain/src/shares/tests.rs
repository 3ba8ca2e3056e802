use proptest::prelude::*;

use super::*;

fn amount(minor_units: i64) -> Amount {
    Amount::new(minor_units).unwrap()
}

fn amounts(minor_units: &[i64]) -> Vec<Amount> {
    minor_units.iter().copied().map(amount).collect()
}

fn sum(parts: &[Amount]) -> i64 {
    parts.iter().map(|part| part.minor_units()).sum()
}

#[test]
fn what_rounding_leaves_goes_to_the_largest_remainders_and_of_equal_ones_to_the_first() {
    let cases: [(i64, &[i64], &[i64]); 7] = [
        (-3000, &[10_000], &[-3000]),
        (2000, &[1000, 9000], &[200, 1800]),
        (100, &[1, 1, 1], &[34, 33, 33]),
        (-100, &[1, 1, 1], &[-34, -33, -33]),
        (10, &[1, 0, 6], &[1, 0, 9]),
        (2, &[3, 3, 3], &[1, 1, 0]),
        (0, &[5, 5], &[0, 0]),
    ];
    for (whole, weights, parts) in cases {
        assert_eq!(
            spread(amount(whole), &amounts(weights)),
            Some(amounts(parts)),
            "{whole} over {weights:?}"
        );
    }
}

#[test]
fn nothing_is_spread_over_lines_without_value() {
    assert_eq!(spread(amount(100), &amounts(&[0, 0])), None);
    assert_eq!(spread(amount(100), &[]), None);
}

#[test]
fn units_are_worth_their_share_rounded_cumulatively() {
    let worth = |units, total| {
        (0..=units).map(move |count| worth_of_first(count, units, amount(total)).minor_units())
    };
    assert_eq!(worth(2, 7000).collect::<Vec<_>>(), [0, 3500, 7000]);
    assert_eq!(worth(3, 8999).collect::<Vec<_>>(), [0, 3000, 5999, 8999]);
    assert_eq!(worth(3, 1).collect::<Vec<_>>(), [0, 0, 1, 1]);
}

/// Amounts of the orders of magnitude of currencies without decimals, with two and with three.
fn value() -> impl Strategy<Value = i64> {
    prop_oneof![0..10i64, 0..100_000i64, 0..crate::order::ORDER_VALUE_MAX]
}

proptest! {
    #[test]
    fn shares_add_up_to_the_whole_and_differ_from_the_proportion_by_less_than_one(
        weights in prop::collection::vec(value(), 1..20),
        whole in value(),
        is_discount: bool,
    ) {
        let whole = if is_discount { -whole } else { whole };
        let all: i128 = weights.iter().copied().map(i128::from).sum();
        match spread(amount(whole), &amounts(&weights)) {
            None => prop_assert_eq!(all, 0),
            Some(parts) => {
                prop_assert_eq!(sum(&parts), whole);
                for (part, weight) in parts.iter().zip(&weights) {
                    let difference = i128::from(part.minor_units()) * all - i128::from(whole) * i128::from(*weight);
                    prop_assert!(difference.abs() < all, "{part} of {whole} for {weight} of {all}");
                }
            }
        }
    }

    #[test]
    fn a_discount_up_to_the_whole_never_exceeds_the_value_of_a_line(
        weights in prop::collection::vec(value(), 1..20),
        part in 0..=1_000i128,
    ) {
        let all: i128 = weights.iter().copied().map(i128::from).sum();
        let discount = i64::try_from(all * part / 1_000).unwrap();
        if let Some(shares) = spread(amount(-discount), &amounts(&weights)) {
            for (share, weight) in shares.iter().zip(&weights) {
                prop_assert!((-*weight..=0).contains(&share.minor_units()), "{share} of {weight}");
            }
        }
    }

    #[test]
    fn the_units_of_a_line_are_worth_its_total_however_they_leave(
        units in 1..crate::order::LINE_QUANTITY_MAX,
        total in value(),
        cuts in prop::collection::vec(0..crate::order::LINE_QUANTITY_MAX, 0..10),
    ) {
        let mut cuts: Vec<u32> = cuts.into_iter().map(|cut| cut % (units + 1)).chain([0, units]).collect();
        cuts.sort_unstable();
        let worth_of_first = |count| worth_of_first(count, units, amount(total)).minor_units();
        let parts: Vec<i64> = cuts.windows(2).map(|cut| worth_of_first(cut[1]) - worth_of_first(cut[0])).collect();
        prop_assert_eq!(parts.iter().sum::<i64>(), total);
        prop_assert!(parts.iter().all(|worth| *worth >= 0), "{parts:?}");
    }
}
