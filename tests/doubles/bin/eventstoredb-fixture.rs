//! The EventStoreDB fixture as a program, for tests that need a server in another process.

use std::{net::SocketAddr, path::PathBuf, process::ExitCode, time::Duration};

use clap::Parser;
use tests::eventstoredb::{FixtureOptions, Server};
use tokio::io::{AsyncBufReadExt, BufReader};

/// A server for tests that speaks the protocol of EventStoreDB. Prints `listening on ADDRESS`. Then reads
/// commands from standard input, one on each line: `refuse`, `accept`, `cut`, `lose-answers N`,
/// `delay-answers MILLISECONDS`, `end-subscriptions`.
#[derive(Debug, Parser)]
struct Arguments {
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// File of the log. Without one, the log is in memory.
    #[arg(long)]
    file: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let Arguments { listen, file } = Arguments::parse();
    let server = match Server::start(FixtureOptions { listen, file, ..FixtureOptions::default() }).await {
        Ok(server) => server,
        Err(error) => {
            eprintln!("The EventStoreDB fixture cannot listen on {listen}: {error}");
            return ExitCode::FAILURE;
        }
    };
    println!("listening on {}", server.address());
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        match obey(&server, &line).await {
            Ok(()) => println!("done"),
            Err(reason) => println!("error: {reason}"),
        }
    }
    // Standard input has ended: serves until a signal ends the process.
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
