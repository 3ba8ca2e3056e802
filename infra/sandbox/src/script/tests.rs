use domain::PaymentId;
use uuid::Uuid;

use super::*;

const PAYMENTS: u128 = 2_000;

fn draw_key(payment: u128, operation: &str, attempt: u64) -> DrawKey<'_> {
    DrawKey { payment: PaymentId(Uuid::from_u128(payment)), charge: 1, operation, attempt }
}

fn script(text: &str) -> SandboxScript {
    text.parse().unwrap()
}

#[test]
fn a_setting_and_json_give_the_same_script() {
    let written = script("declines=0.2, lost_answers=0.25,delay_ms=40,outage=true,seed=7");
    let json =
        serde_json::json!({"declines": 0.2, "lost_answers": 0.25, "delay_ms": 40, "outage": true, "seed": 7});
    assert_eq!(SandboxScript::from_json(json).unwrap(), written);
    assert_eq!(SandboxScript::from_json(serde_json::to_value(written).unwrap()).unwrap(), written);
    assert_eq!(script(""), SandboxScript::default());
}

#[test]
fn a_malformed_script_is_refused_with_the_name_of_its_member() {
    for (text, complaint) in [
        ("declines", "NAME=VALUE"),
        ("declines=2", "declines=2: a probability must be from 0 to 1"),
        ("declines=-0.1", "from 0 to 1"),
        ("declines=often", "declines=often"),
        ("refusals=0.1", "unknown field `refusals`"),
        ("delay_ms=60001", "at most 60000 ms"),
        ("seed=1,seed=2", "seed appears twice"),
        ("declines=0.6,soft_declines=0.6", "together are more than 1"),
    ] {
        let error = text.parse::<SandboxScript>().unwrap_err().to_string();
        assert!(
            error.starts_with("ORDERLY_SANDBOX_SCRIPT: ") && error.contains(complaint),
            "{text}: {error}"
        );
    }
}

#[test]
fn the_same_seed_gives_the_same_draws_and_another_seed_gives_others() {
    let verdicts = |text: &str| -> Vec<ChargeVerdict> {
        let script = script(text);
        (0..PAYMENTS)
            .map(|payment| script.charge(draw_key(payment, "charge", 0), TestMethod::Other, false))
            .collect()
    };
    assert_eq!(verdicts("declines=0.5,seed=7"), verdicts("declines=0.5,seed=7"));
    assert_ne!(verdicts("declines=0.5,seed=7"), verdicts("declines=0.5,seed=8"));
}

#[test]
fn faults_are_as_frequent_as_the_script_says() {
    let script =
        script("declines=0.2,soft_declines=0.1,lost_answers=0.3,delay_ms=100,duplicate_webhooks=0.5,seed=3");
    let (mut hard, mut soft, mut lost, mut copies, mut delay) = (0, 0, 0, 0, Duration::ZERO);
    for payment in 0..PAYMENTS {
        match script.charge(draw_key(payment, "charge", 0), TestMethod::Other, false) {
            ChargeVerdict::Declined { retryable: false } => hard += 1,
            ChargeVerdict::Declined { retryable: true } => soft += 1,
            ChargeVerdict::Approved | ChargeVerdict::Pending(_) => {}
        }
        let ending = script.after(draw_key(payment, "charge", 1), TestMethod::Other, true);
        lost += u32::from(ending.fault == Some(Fault::Dropped));
        assert!(ending.delay <= Duration::from_secs(1));
        delay += ending.delay;
        copies += u32::try_from(script.notice_delays(draw_key(payment, "webhook", 1)).len()).unwrap();
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
fn each_attempt_has_its_own_draw() {
    let script = script("lost_requests=0.5,seed=1");
    let lost = |payment, attempt| {
        script.before(draw_key(payment, "void", attempt), TestMethod::Other, false).is_some()
    };
    let lost_always = (0..PAYMENTS).filter(|payment| (1..=30).all(|attempt| lost(*payment, attempt)));
    assert_eq!(lost_always.count(), 0);
}

#[test]
fn a_named_method_ignores_the_script() {
    let script = script("declines=1,lost_requests=1,lost_answers=1,errors=1,refund_failures=1,delay_ms=1000");
    let one = draw_key(1, "charge", 1);
    assert_eq!(script.charge(one, TestMethod::of("ok"), false), ChargeVerdict::Approved);
    assert_eq!(script.before(one, TestMethod::of("ok"), true), None);
    assert_eq!(script.after(one, TestMethod::of("ok"), true), Ending::default());
    assert_eq!(script.refund(one, TestMethod::of("ok")), RefundVerdict { fails: false, pending: None });
    assert_eq!(script.before(one, TestMethod::of("visa"), true), Some(Fault::Dropped));
}
