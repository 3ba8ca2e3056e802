//! `orderly demo`: a throw-away platform with the orders of a made-up shop, placed by commands like any other.

mod directory;
mod filling;
mod goods;
mod live;
mod plan;

use std::{
    io::{IsTerminal, stdout},
    net::SocketAddr,
    path::PathBuf,
    time::Instant,
};

use clap::Args;
use indicatif::HumanCount;

use self::{directory::DemoDirectory, filling::Shop};
use super::{
    Failure,
    child::{ANY_PORT, ChildServer, orderly},
};
use crate::config::listen_address;

/// Orders under way at once.
const CONCURRENCY: usize = 32;

#[derive(Debug, Args)]
pub struct DemoOptions {
    /// Directory for its files: a new or an empty one, or that of an earlier demo, which goes on [default: a temporary
    /// one, removed at the end]
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,

    /// Orders of the last six weeks.
    #[arg(
        long,
        value_name = "N",
        default_value = "2000",
        value_parser = clap::value_parser!(u32).range(1..=100_000)
    )]
    orders: u32,

    /// Address of the pages. Port 0: any free one.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8081", value_parser = listen_address)]
    listen: SocketAddr,

    /// Do not open a browser.
    #[arg(long)]
    no_browser: bool,

    /// End once the shop is filled, without live orders.
    #[arg(long, requires = "directory")]
    fill_only: bool,
}

/// Runs until a signal.
pub async fn run(options: DemoOptions) -> Result<(), Failure> {
    let begun = Instant::now();
    let mut directory = DemoDirectory::open(options.directory.as_deref(), options.orders)?;
    let mut server = start(&directory, options.listen).await?;
    let [command, pages] = [0, 1].map(|at| format!("http://{}", server.addresses[at]));
    let shop = Shop::new(&command, CONCURRENCY)?;

    let outcome = tokio::select! {
        outcome = serve(&mut directory, &shop, &pages, &options, begun) => outcome,
        ended = server.ended() => ended.and(Err(Failure::new("the server has ended; its error is above"))),
        signal = stop_signal() => signal,
    };
    server.stop().await?;
    outcome
}

async fn serve(
    directory: &mut DemoDirectory,
    shop: &Shop,
    pages: &str,
    options: &DemoOptions,
    begun: Instant,
) -> Result<(), Failure> {
    if directory.is_filled() {
        println!("The shop of {} goes on", directory.path().display());
    } else {
        let filled = shop.fill(directory.seed(), directory.begun_at(), directory.orders()).await?;
        directory.set_filled()?;
        println!(
            "{} orders of six weeks after {:.1} s: {} shipped, {} returned, {} cancelled, {} declined, {} refused for \
             stock",
            HumanCount(filled.placed),
            begun.elapsed().as_secs_f64(),
            HumanCount(filled.shipped),
            HumanCount(filled.returned),
            HumanCount(filled.cancelled),
            HumanCount(filled.declined),
            HumanCount(filled.refused),
        );
    }
    if options.fill_only {
        return Ok(());
    }
    println!("The shop is at {pages}/ and new orders come in. Ctrl+C ends it.");
    if !options.no_browser && stdout().is_terminal() {
        // Without a browser the address is enough.
        let _ = open::that_detached(pages);
    }
    shop.take_orders().await
}

/// All roles with the sandbox as the payment provider.
async fn start(directory: &DemoDirectory, pages: SocketAddr) -> Result<ChildServer, Failure> {
    let mut command = orderly(&["serve", "--payment-provider", "sandbox", "--query-listen"])?;
    command.arg(pages.to_string());
    command.args(["--command-listen", ANY_PORT, "--sandbox-listen", ANY_PORT]);
    command.arg("--data-dir").arg(directory.data());
    ChildServer::start(command, 3).await
}

async fn stop_signal() -> Result<(), Failure> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut interrupts, mut terminations) =
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        _ = interrupts.recv() => {}
        _ = terminations.recv() => {}
    }
    Ok(())
}
