//! The roles of a process over stores that a test names.

use std::path::Path;

use clap::Parser;
use platform::{
    config::{ServeOptions, Settings},
    serve::{RunningRoles, ServeConfig},
};

/// The settings of a process, as its command line has them.
#[derive(Parser)]
pub struct Configured {
    #[command(flatten)]
    pub settings: Settings,
    #[command(flatten)]
    pub options: ServeOptions,
}

impl Configured {
    /// All roles over this event store and without a payment provider. Its other stores are in the directory.
    pub fn over(event_store: &str, data_dir: &Path) -> Self {
        let (any, none, data_dir) = ("127.0.0.1:0", "none", data_dir.to_str().unwrap());
        let listen = ["--command-listen", any, "--query-listen", any];
        let stores = ["--data-dir", data_dir, "--event-store", event_store, "--payment-provider", none];
        Self::parse_from(["test"].iter().chain(&listen).chain(&stores))
    }

    pub async fn start(&self) -> RunningRoles {
        RunningRoles::start(ServeConfig::new(&self.settings, &self.options).unwrap()).await.unwrap()
    }
}
