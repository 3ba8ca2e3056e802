//! Usage: `checkout [COMMAND_URL] [QUERY_URL] [BASKET]`. Repeated with the same basket, it changes nothing. If the
//! platform authenticates its callers, set `ORDERLY_API_KEY`.

use std::{env, error::Error};

use examples::checkout::Shop;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let argument = |number, default: &str| env::args().nth(number).unwrap_or_else(|| default.to_owned());
    let shop = Shop::new(&argument(1, "http://127.0.0.1:8080"), &argument(2, "http://127.0.0.1:8081"))?;
    let shop = shop.with_api_key(env::var("ORDERLY_API_KEY").ok());
    println!("{:#}", shop.check_out(&argument(3, "4711")).await?);
    Ok(())
}
