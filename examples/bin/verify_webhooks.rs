//! Usage: `verify-webhooks SECRET [ADDRESS]`. Prints the type and the order of each webhook.

use std::{env, error::Error};

use examples::verify_webhooks::app;
use tokio::{net::TcpListener, sync::mpsc};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let secret = env::args().nth(1).ok_or("usage: verify-webhooks whsec_… [127.0.0.1:9000]")?;
    let address = env::args().nth(2).unwrap_or_else(|| "127.0.0.1:9000".to_owned());
    let (sender, mut events) = mpsc::channel(100);
    let app = app(&secret, sender)?;
    let listener = TcpListener::bind(address).await?;
    tokio::spawn(async move {
        while let Some(event) = events.recv().await {
            println!("{} {}", event["type"], event["data"]["order_id"]);
        }
    });
    Ok(axum::serve(listener, app).await?)
}
