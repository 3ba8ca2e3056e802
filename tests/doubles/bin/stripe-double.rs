//! The double of Stripe as a program, for checks in other languages.

use std::{net::SocketAddr, process::ExitCode, time::Duration};

use clap::Parser;
use tests::stripe::{StripeDouble, WEBHOOK_SECRET, signature};
use tokio::io::{AsyncBufReadExt, BufReader};

/// A double of Stripe for tests. Prints `listening on URL`. Then reads commands from standard input, one on
/// each line, and answers each with one line: `advance SECONDS`, `search-lag SECONDS`,
/// `authenticate INTENT yes|no`, `settle-refund REFUND yes|no`, `dispute INTENT AMOUNT`, `close-dispute DISPUTE yes|no`,
/// `events`, `signed-event NUMBER`.
#[derive(Debug, Parser)]
struct Arguments {
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
}

#[tokio::main]
async fn main() -> ExitCode {
    let Arguments { listen } = Arguments::parse();
    let double = match StripeDouble::start(listen).await {
        Ok(double) => double,
        Err(error) => {
            eprintln!("The double of Stripe cannot listen on {listen}: {error}");
            return ExitCode::FAILURE;
        }
    };
    println!("listening on {}", double.url());
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        println!("{}", obey(&double, &line).unwrap_or_else(|reason| format!("error: {reason}")));
    }
    ExitCode::SUCCESS
}

fn obey(double: &StripeDouble, command: &str) -> Result<String, String> {
    let words: Vec<&str> = command.split_whitespace().collect();
    let number = |text: &str| text.parse::<u32>().map_err(|error| error.to_string());
    match words[..] {
        ["advance", seconds] => double.advance(Duration::from_secs(number(seconds)?.into())),
        ["search-lag", seconds] => double.set_search_lag(Duration::from_secs(number(seconds)?.into())),
        ["authenticate", intent, answer] => double.authenticate(intent, answer == "yes"),
        ["settle-refund", refund, answer] => double.settle_refund(refund, answer == "yes"),
        ["dispute", intent, amount] => return Ok(double.dispute(intent, number(amount)?.into())),
        ["close-dispute", dispute, is_won] => double.close_dispute(dispute, is_won == "yes"),
        ["events"] => return Ok(double.events().len().to_string()),
        ["signed-event", index] => {
            let events = double.events();
            let body = events.get(number(index)? as usize).ok_or("no such event")?;
            let header = signature(body, WEBHOOK_SECRET, double.now().as_second());
            return Ok(format!("{header} {body}"));
        }
        _ => return Err(format!("no such command: {command}")),
    }
    Ok("done".to_owned())
}
