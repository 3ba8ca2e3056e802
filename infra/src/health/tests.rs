use super::{Condition, Health};

fn condition(name: &'static str, detail: &str) -> Condition {
    Condition { name, detail: detail.to_owned() }
}

#[test]
fn a_degraded_part_leaves_the_process_ready_until_it_is_resolved() {
    let health = Health::default();
    let part = health.clone();
    part.degraded("parked_reactions", "1 order");
    part.degraded("parked_reactions", "2 orders");
    assert_eq!(health.readiness().unwrap().degraded, [condition("parked_reactions", "2 orders")]);
    part.resolve("parked_reactions");
    assert_eq!(health.readiness().unwrap().degraded, []);
}

#[test]
fn a_part_that_cannot_work_makes_the_process_not_ready() {
    let health = Health::default();
    health.degraded("parked_reactions", "1 order");
    health.unable("log_went_back", "repair it");
    assert_eq!(health.readiness(), Err(condition("log_went_back", "repair it")));
    health.resolve("log_went_back");
    assert_eq!(health.readiness().unwrap().degraded.len(), 1);
}
