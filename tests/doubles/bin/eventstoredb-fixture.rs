//! The EventStoreDB fixture as a program, for tests that need a server in another process.

use std::{net::SocketAddr, path::PathBuf, process::ExitCode, time::Duration};

use clap::Parser;
use tests::eventstoredb::{Options, Server};
use tokio::io::{AsyncBufReadExt, BufReader};

/// A server for tests that speaks the protocol of EventStoreDB. Prints `listening on ADDRESS`, and then takes commands
/// from its standard input, one a line: `refuse`, `accept`, `cut`, `lose-answers N`, `delay-answers MILLISECONDS`,
/// `end-subscriptions`.
#[derive(Debug, Parser)]
struct Arguments {
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Keeps the log in this file; without it, in memory.
    #[arg(long)]
    file: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let Arguments { listen, file } = Arguments::parse();
    let server = match Server::start(Options { listen, file, ..Options::default() }).await {
        Ok(server) => server,
        Err(error) => {
            eprintln!("The fixture cannot start on {listen}: {error}");
            return ExitCode::FAILURE;
        }
    };
    println!("listening on {}", server.address());
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        match obey(&server, &line).await {
            Ok(()) => println!("done"),
            Err(why) => println!("error: {why}"),
        }
    }
    // Without anybody to command it, it serves until it is killed.
    std::future::pending::<()>().await;
    ExitCode::SUCCESS
}

async fn obey(server: &Server, command: &str) -> Result<(), String> {
    let words: Vec<&str> = command.split_whitespace().collect();
    let number = |text: &str| text.parse::<u32>().map_err(|error| error.to_string());
    match words[..] {
        ["refuse"] => server.refuse_connections(),
        ["accept"] => server.accept_connections().await.map_err(|error| error.to_string())?,
        ["cut"] => server.faults().cut_connections(),
        ["lose-answers", count] => server.faults().lose_answers(number(count)? as usize),
        ["delay-answers", ms] => {
            server.faults().delay_answers(Duration::from_millis(number(ms)?.into()));
        }
        ["end-subscriptions"] => server.faults().end_subscriptions(),
        _ => return Err(format!("no such command: {command}")),
    }
    Ok(())
}
