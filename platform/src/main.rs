//! The `orderly` binary. `orderly help` lists what it can do.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use platform::{
    commands::{
        audit::{self, AuditCommand},
        backup::{self, BackupOptions},
        bench::{self, BenchOptions},
        import::{self, ImportOptions},
        projections::{self, ProjectionsCommand},
    },
    config::{ServeOptions, Settings},
    serve::{self, ServeConfig},
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
    /// Run the platform: command API, process manager, relay, projectors and query API.
    Serve(Box<ServeOptions>),
    /// Place the orders of a sales file (CSV of the Online Retail columns) over HTTP.
    Import(ImportOptions),
    /// Look into the event log.
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Look after the read models.
    #[command(subcommand)]
    Projections(ProjectionsCommand),
    /// Copy the event store to a file, also while it is served.
    Backup(BackupOptions),
    /// Measure throughput and latency over HTTP, beside what the machine can do at all.
    Bench(BenchOptions),
    /// The baseline that `bench` starts.
    #[command(hide = true)]
    BenchEcho,
}

/// Exit codes: 0 done, 1 failed, 2 called or configured wrongly.
#[tokio::main]
async fn main() -> ExitCode {
    let Cli { settings, command } = Cli::parse();
    if let Err(error) = infra::telemetry::init(&settings.log, settings.log_format()) {
        return called_wrongly(&format!("ORDERLY_LOG: {:?}: {error}", settings.log));
    }
    let outcome = match command {
        Command::Serve(options) => match ServeConfig::new(&settings, &options) {
            Ok(config) => serve::run(config).await,
            Err(error) => return called_wrongly(&error.to_string()),
        },
        Command::Import(options) => import::run(options).await,
        Command::Audit(command) => audit::run(&settings, command).await,
        Command::Projections(command) => projections::run(&settings, command).await,
        Command::Backup(options) => tokio::task::block_in_place(|| backup::run(&settings, &options)),
        Command::Bench(options) => bench::run(options).await,
        Command::BenchEcho => bench::echo::run().await,
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn called_wrongly(what: &str) -> ExitCode {
    eprintln!("error: {what}");
    ExitCode::from(2)
}
