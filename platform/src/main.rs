//! The `orderly` binary. `orderly help` lists what it can do.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use platform::{
    commands::{
        Failure,
        audit::{self, AuditCommand},
        backup::{self, BackupOptions},
        import::{self, ImportOptions},
    },
    config::Settings,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// An event-sourced order platform: commands in, events kept, read models out.
#[derive(Debug, Parser)]
#[command(name = "orderly", version)]
struct Cli {
    #[command(flatten)]
    settings: Settings,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Place the orders of a sales file (CSV of the Online Retail columns) over HTTP.
    Import(ImportOptions),
    /// Look into the event log.
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Copy the event store to a file, also while it is served.
    Backup(BackupOptions),
}

/// Exit codes: 0 done, 1 failed, 2 called or configured wrongly.
#[tokio::main]
async fn main() -> ExitCode {
    let Cli { settings, command } = Cli::parse();
    if let Err(error) = infra::telemetry::init(&settings.log, settings.log_format()) {
        eprintln!("error: ORDERLY_LOG: {error}");
        return ExitCode::from(2);
    }
    match run(&settings, command).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}

async fn run(settings: &Settings, command: Command) -> Result<(), Failure> {
    match command {
        Command::Import(options) => import::run(options).await,
        Command::Audit(command) => audit::run(settings, command).await,
        Command::Backup(options) => tokio::task::block_in_place(|| backup::run(settings, &options)),
    }
}
