//! The `orderly` binary. `orderly help` lists its commands.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use platform::{
    commands::{
        audit::{self, AuditCommand},
        backup::{self, BackupOptions},
        bench::{self, BenchOptions},
        dev::{self, DevCommand},
        import::{self, ImportOptions},
        payments::{self, PaymentsCommand, PaymentsError},
        projections::{self, ProjectionsCommand},
        reactions::{self, ReactionsCommand},
        repair::{self, RepairCommand},
    },
    config::{ServeOptions, Settings},
    serve::{self, ServeConfig},
};
use rustix::{fs::Mode, process::umask};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// An event-sourced order platform: accepts commands, stores events, serves read models.
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
    /// Run the platform: all roles, or those of `--roles`.
    Serve(Box<ServeOptions>),
    /// Place the orders of a sales file (CSV with the Online Retail columns) over HTTP.
    Import(ImportOptions),
    /// Inspect the event log and check the read models.
    #[command(subcommand)]
    Audit(AuditCommand),
    /// List the read models, rebuild them, and retry parked streams.
    #[command(subcommand)]
    Projections(ProjectionsCommand),
    /// Compare recorded charges and refunds with the payment provider.
    #[command(subcommand)]
    Payments(PaymentsCommand),
    /// List the parked reactions of the process manager, and run them again.
    #[command(subcommand)]
    Reactions(ReactionsCommand),
    /// Mend the platform after its event log went back.
    #[command(subcommand)]
    Repair(RepairCommand),
    /// Copy the embedded event store to a file, also while a server runs.
    Backup(BackupOptions),
    /// Measure throughput and latency over HTTP, beside the baselines of this machine.
    Bench(BenchOptions),
    /// Write events directly into a log, for tests.
    #[command(subcommand)]
    Dev(DevCommand),
    /// Serve the HTTP baseline of `bench`.
    #[command(hide = true)]
    BenchEcho,
}

/// Exit codes: 0 success, 1 failure, 2 wrong arguments or settings.
#[tokio::main]
async fn main() -> ExitCode {
    // Every file that this process creates is closed to other users from its first moment.
    umask(Mode::RWXG | Mode::RWXO);
    let Cli { settings, command } = Cli::parse();
    if let Err(error) = infra::telemetry::init(&settings.log, settings.log_format()) {
        return usage_error(&format!("ORDERLY_LOG: {:?}: {error}", settings.log));
    }
    log_panics();
    let outcome = match command {
        Command::Serve(options) => match ServeConfig::new(&settings, &options) {
            Ok(config) => serve::run(config).await,
            Err(error) => return usage_error(&error.to_string()),
        },
        Command::Import(options) => import::run(options).await,
        Command::Audit(command) => audit::run(&settings, command).await,
        Command::Projections(command) => projections::run(&settings, command).await,
        Command::Payments(command) => match payments::run(&settings, command).await {
            Ok(()) => Ok(()),
            Err(PaymentsError::Settings(problem)) => return usage_error(&problem),
            Err(PaymentsError::Failed(failure)) => Err(failure),
        },
        Command::Reactions(command) => reactions::run(&settings, command).await,
        Command::Repair(command) => repair::run(&settings, command).await,
        Command::Backup(options) => tokio::task::block_in_place(|| backup::run(&settings, &options)),
        Command::Bench(options) => bench::run(&settings, options).await,
        Command::Dev(command) => dev::run(&settings, command).await,
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

/// Writes panics to the log. A panic that parks a stream is logged with the stream instead.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let location = panic.location().map(ToString::to_string).unwrap_or_default();
        let message = panic.payload_as_str().unwrap_or("no message");
        if projectors::event::panics_are_handled() {
            tracing::debug!(panic.location = location, panic.message = message, "A fold has panicked");
        } else {
            tracing::error!(panic.location = location, panic.message = message, "A task has panicked");
        }
    }));
}

fn usage_error(message: &str) -> ExitCode {
    eprintln!("error: {message}");
    ExitCode::from(2)
}
