use domain::PaymentId;
use uuid::Uuid;

use super::*;

const PAYMENTS: u128 = 2_000;

fn occasion(payment: u128, what: &str, attempt: u64) -> Occasion<'_> {
    Occasion { payment: PaymentId(Uuid::from_u128(payment)), charge: 1, what, attempt }
}

fn script(text: &str) -> Script {
    text.parse().unwrap()
}

#[test]
fn a_script_is_written_as_in_a_setting_and_as_json() {
    let written = script("declines=0.2, lost_answers=0.25,delay_ms=40,outage=true,seed=7");
    let json =
        serde_json::json!({"declines": 0.2, "lost_answers": 0.25, "delay_ms": 40, "outage": true, "seed": 7});
    assert_eq!(Script::from_json(json).unwrap(), written);
    assert_eq!(Script::from_json(serde_json::to_value(written).unwrap()).unwrap(), written);
    assert_eq!(script(""), Script::default());
}

#[test]
fn a_script_that_cannot_be_followed_is_refused_by_its_member() {
    for (text, complaint) in [
        ("declines", "NAME=VALUE"),
        ("declines=2", "declines=2: a probability is from 0 to 1"),
        ("declines=-0.1", "from 0 to 1"),
        ("declines=often", "declines=often"),
        ("refusals=0.1", "unknown field `refusals`"),
        ("delay_ms=60001", "at most 60000 ms"),
        ("seed=1,seed=2", "seed is given twice"),
        ("declines=0.6,soft_declines=0.6", "more than 1 together"),
    ] {
        let error = text.parse::<Script>().unwrap_err().to_string();
        assert!(
            error.starts_with("ORDERLY_SANDBOX_SCRIPT: ") && error.contains(complaint),
            "{text}: {error}"
        );
    }
}

#[test]
fn chance_is_the_same_for_the_same_seed_and_another_for_another() {
    let verdicts = |text: &str| -> Vec<ChargeVerdict> {
        let script = script(text);
        (0..PAYMENTS)
            .map(|payment| script.charge(occasion(payment, "charge", 0), Method::Other, false))
            .collect()
    };
    assert_eq!(verdicts("declines=0.5,seed=7"), verdicts("declines=0.5,seed=7"));
    assert_ne!(verdicts("declines=0.5,seed=7"), verdicts("declines=0.5,seed=8"));
}

#[test]
fn what_is_said_to_happen_so_often_happens_so_often() {
    let script =
        script("declines=0.2,soft_declines=0.1,lost_answers=0.3,delay_ms=100,duplicate_webhooks=0.5,seed=3");
    let (mut hard, mut soft, mut lost, mut copies, mut delay) = (0, 0, 0, 0, Duration::ZERO);
    for payment in 0..PAYMENTS {
        match script.charge(occasion(payment, "charge", 0), Method::Other, false) {
            ChargeVerdict::Declined { retryable: false } => hard += 1,
            ChargeVerdict::Declined { retryable: true } => soft += 1,
            ChargeVerdict::Approved | ChargeVerdict::Pending(_) => {}
        }
        let ending = script.after(occasion(payment, "charge", 1), Method::Other, true);
        lost += u32::from(ending.fault == Some(Fault::Dropped));
        assert!(ending.delay <= Duration::from_secs(1));
        delay += ending.delay;
        copies += u32::try_from(script.deliveries(occasion(payment, "webhook", 1)).len()).unwrap();
    }
    // Five standard deviations of 2,000 draws are at most 112.
    for (what, happened, expected) in [
        ("declines", hard, 400),
        ("soft declines", soft, 200),
        ("lost answers", lost, 600),
        ("copies", copies, 3_000),
    ] {
        assert!(u32::abs_diff(happened, expected) < 112, "{what}: {happened} instead of {expected}");
    }
    let mean_ms = delay.as_millis() / PAYMENTS;
    assert!((85..115).contains(&mean_ms), "{mean_ms} ms");
}

#[test]
fn another_attempt_has_another_chance() {
    let script = script("lost_requests=0.5,seed=1");
    let lost =
        |payment, attempt| script.before(occasion(payment, "void", attempt), Method::Other, false).is_some();
    let lost_for_good = (0..PAYMENTS).filter(|payment| (1..=30).all(|attempt| lost(*payment, attempt)));
    assert_eq!(lost_for_good.count(), 0);
}

#[test]
fn a_method_of_its_own_is_not_subject_to_chance() {
    let script = script("declines=1,lost_requests=1,lost_answers=1,errors=1,refund_failures=1,delay_ms=1000");
    let one = occasion(1, "charge", 1);
    assert_eq!(script.charge(one, Method::of("ok"), false), ChargeVerdict::Approved);
    assert_eq!(script.before(one, Method::of("ok"), true), None);
    assert_eq!(script.after(one, Method::of("ok"), true), Ending::default());
    assert_eq!(script.refund(one, Method::of("ok")), RefundVerdict { fails: false, pending: None });
    assert_eq!(script.before(one, Method::of("visa"), true), Some(Fault::Dropped));
}
