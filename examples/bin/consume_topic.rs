//! Usage: `consume-topic BROKERS [TOPIC] [GROUP]`. Prints every event until it is stopped.

use std::{env, error::Error};

use examples::consume_topic::consume;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let brokers = env::args().nth(1).ok_or("usage: consume-topic HOST:PORT [orderly.orders] [GROUP]")?;
    let argument = |number, default: &str| env::args().nth(number).unwrap_or_else(|| default.to_owned());
    let (topic, group) = (argument(2, "orderly.orders"), argument(3, "example"));
    consume(&brokers, &topic, &group, |event| {
        println!("{} {} {}", event.stream, event.type_name, event.data);
        true
    })
    .await?;
    Ok(())
}
