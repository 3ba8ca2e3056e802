//! The `orderly` binary. `orderly help` lists its commands.

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use platform::{
    commands::{
        audit::{self, AuditCommand},
        backup::{self, BackupOptions},
        bench::{self, BenchOptions},
        completions::{self, CompletionsOptions, ManOptions},
        config::{self, ConfigCommand, ConfigError},
        demo::{self, DemoOptions},
        dev::{self, DevCommand},
        health::{self, HealthOptions},
        import::{self, ImportOptions},
        keys::{self, KeysCommand},
        openapi::{self, OpenapiOptions},
        payments::{self, PaymentsCommand, PaymentsError},
        projections::{self, ProjectionsCommand},
        reactions::{self, ReactionsCommand},
        repair::{self, RepairCommand},
        restore::{self, RestoreOptions},
    },
    config::{ReadError, ServeOptions, Settings},
    serve::{self, ServeConfig},
};
use rustix::{fs::Mode, process::umask};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// An event-sourced order platform: accepts commands, stores events, serves read models.
#[derive(Debug, Parser)]
#[command(
    name = "orderly",
    version = concat!(env!("CARGO_PKG_VERSION"), " (", env!("ORDERLY_COMMIT"), ")")
)]
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
    /// Check and show the settings of `serve`.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Try Orderly: a throw-away platform with the orders of a made-up shop, and its pages.
    Demo(DemoOptions),
    /// Place the orders of a sales file (CSV with the Online Retail columns) over HTTP.
    Import(Box<ImportOptions>),
    /// Inspect the event log and check the read models.
    #[command(subcommand)]
    Audit(AuditCommand),
    /// List the read models, rebuild them, and retry parked streams.
    #[command(subcommand)]
    Projections(ProjectionsCommand),
    /// Compare recorded charges and refunds with the payment provider.
    #[command(subcommand)]
    Payments(PaymentsCommand),
    /// Make, list, replace and end the API keys of callers.
    #[command(subcommand)]
    Keys(KeysCommand),
    /// List the parked reactions of the process manager, and run them again.
    #[command(subcommand)]
    Reactions(ReactionsCommand),
    /// Mend the platform after its event log went back.
    #[command(subcommand)]
    Repair(RepairCommand),
    /// Copy everything that cannot be rebuilt to a directory or a bucket, also while a server runs.
    Backup(BackupOptions),
    /// Make an empty data directory from a backup, rebuild the read models and check the result.
    Restore(RestoreOptions),
    /// Ask the process on this machine whether it is ready; exits with 1 if it is not.
    Health(HealthOptions),
    /// Measure throughput and latency over HTTP, beside the baselines of this machine.
    Bench(BenchOptions),
    /// Write events directly into a log, for tests.
    #[command(subcommand)]
    Dev(DevCommand),
    /// Print the completion script for a shell.
    Completions(CompletionsOptions),
    /// Print the manual page, in the format of `man`.
    Man(ManOptions),
    /// Print the OpenAPI document of both APIs, or of one.
    Openapi(OpenapiOptions),
    /// Serve the HTTP baseline of `bench`.
    #[command(hide = true)]
    BenchEcho,
}

/// Exit codes: 0 success, 1 failure, 2 wrong arguments or settings.
#[tokio::main]
async fn main() -> ExitCode {
    // Every file that this process creates is closed to other users from its first moment.
    umask(Mode::RWXG | Mode::RWXO);
    let (Cli { settings, command }, given) = match platform::config::read::<Cli>() {
        Ok(read) => read,
        Err(ReadError::Arguments(error)) => error.exit(),
        Err(error @ (ReadError::Variable(_) | ReadError::File(_) | ReadError::SecretFlag { .. })) => {
            return usage_error(&error.to_string());
        }
    };
    if let Err(error) = infra::telemetry::init(settings.log.as_str(), settings.log_format()) {
        return usage_error(&format!("ORDERLY_LOG: {error}"));
    }
    log_panics();
    let outcome = match command {
        Command::Serve(options) => match ServeConfig::new(&settings, &options) {
            Ok(config) => serve::run(config, settings.log_format()).await,
            Err(error) => return usage_error(&error.to_string()),
        },
        Command::Config(command) => match config::run(&settings, command, &given).await {
            Ok(()) => Ok(()),
            Err(ConfigError::Settings(problem)) => return usage_error(&problem.to_string()),
            Err(ConfigError::Failed(failure)) => Err(failure),
        },
        Command::Demo(options) => demo::run(options).await,
        Command::Import(options) => import::run(*options).await,
        Command::Audit(command) => audit::run(&settings, command).await,
        Command::Projections(command) => projections::run(&settings, command).await,
        Command::Payments(command) => match payments::run(&settings, command).await {
            Ok(()) => Ok(()),
            Err(PaymentsError::Settings(problem)) => return usage_error(&problem),
            Err(PaymentsError::Failed(failure)) => Err(failure),
        },
        Command::Keys(command) => keys::run(&settings, command).await,
        Command::Reactions(command) => reactions::run(&settings, command).await,
        Command::Repair(command) => repair::run(&settings, command).await,
        Command::Backup(options) => backup::run(&settings, &options).await,
        Command::Restore(options) => restore::run(&settings, &options).await,
        Command::Health(options) => health::run(&options).await,
        Command::Bench(options) => bench::run(&settings, options).await,
        Command::Dev(command) => dev::run(&settings, command).await,
        Command::Completions(options) => completions::print_completions(Cli::command(), &options),
        Command::Man(options) => completions::print_manual(Cli::command(), &options),
        Command::Openapi(options) => openapi::run(&options),
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

    use std::{env, fs, path::Path};

    use clap::CommandFactory;
    use platform::config::reference;

    use super::Cli;

    #[test]
    fn the_arguments_of_all_commands_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_configuration_page_has_every_setting() {
        const MARK: &str = "## All settings\n";
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
        let page = fs::read_to_string(&path).unwrap();
        let (text, tables) = page.split_once(MARK).unwrap();
        let expected = reference::tables(&Cli::command());
        if env::var_os("ORDERLY_WRITE_DOCS").is_some() {
            fs::write(&path, format!("{text}{MARK}{expected}")).unwrap();
            return;
        }
        let differs = tables.lines().zip(expected.lines()).find(|(is, should)| is != should);
        assert!(
            tables == expected,
            "docs/configuration.md is outdated: run this test with ORDERLY_WRITE_DOCS=1 to write it. {differs:?}"
        );
    }
}
