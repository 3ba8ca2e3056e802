//! The web pages: what the query API serves to browsers at `/`. docs/pages.md describes them for people who work
//! with them.
//!
//! The server renders every page from the queries of the API. The one script only refreshes what has changed, so each
//! page and each action works without it. A page never writes: an action is forwarded to the command API with the
//! credential of its caller.

mod actions;
mod assets;
mod audit;
mod chart;
mod commands;
mod errors;
mod event;
mod figures;
mod format;
mod lanes;
mod last_events;
mod layout;
mod log;
mod order;
mod orders;
mod payment;
mod payments;
mod session;
mod stock;
mod stuck;
mod surround;
mod system;
mod today;
mod url;
mod view;
mod webhooks;

use std::sync::Arc;

use axum::{
    response::{IntoResponse, Response},
    routing::{get, post},
};
use infra::{
    auth::Scope,
    http::{GuardedRoutes, Problem, ProblemSource},
    sealing::SecretKeys,
};

use self::{audit::Desk, commands::Commands};
pub use self::{
    audit::{
        Auditor, CurrencySums, ExportFormat, ExportWanted, Exported, ExportedFile, Progress, TotalsThen,
        Verified,
    },
    commands::CommandApiAccess,
    figures::Measurements,
    surround::surround,
};
use crate::QueryApi;

/// What the pages show of the platform that no read model has, and how they reach the command API.
#[derive(Debug)]
pub struct PagesOptions {
    pub platform: Platform,
    /// `None`: the page of the system has no figures of requests.
    pub measurements: Option<Measurements>,
    /// The command API that carries out actions. `None`: the pages show no actions.
    pub commands: Option<CommandApiAccess>,
    /// Reads the whole log for the page of audits. `None`: the page names the commands only.
    pub auditor: Option<Arc<dyn Auditor>>,
    /// Seal the sessions and the forms of browsers. The processes behind one name need the same keys.
    pub keys: SecretKeys,
}

/// The parts that the platform is made of, as the page of the system shows them.
#[derive(Debug, Clone, Default)]
pub struct Platform {
    /// The roles of this process.
    pub roles: Vec<String>,
    pub event_store: &'static str,
    pub bus: &'static str,
    pub read_models: &'static str,
    pub provider: Provider,
}

/// The payment provider, as the pages name it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Provider {
    /// This process does not charge, so it does not know.
    #[default]
    Elsewhere,
    /// Payments are recorded by hand.
    None,
    /// Moves no money, which each page says.
    Sandbox,
    Stripe,
}

/// The pages of a query API. Its handlers find them in [`QueryApi`].
#[derive(Debug)]
pub(crate) struct Pages {
    platform: Platform,
    measurements: Option<Measurements>,
    commands: Option<Commands>,
    desk: Option<Desk>,
    keys: SecretKeys,
}

impl Pages {
    pub fn new(options: PagesOptions) -> Self {
        let PagesOptions { platform, measurements, commands, auditor, keys } = options;
        let (commands, desk) = (commands.map(Commands::new), auditor.map(Desk::new));
        Self { platform, measurements, commands, desk, keys }
    }

    /// Pages that show and do nothing beyond the read models.
    pub fn plain() -> Self {
        // Without keys no one can log in, which only a machine without random numbers shows.
        let keys = SecretKeys::of_this_process().unwrap_or_default();
        Self { platform: Platform::default(), measurements: None, commands: None, desk: None, keys }
    }
}

/// Adds every page with the scope that its callers need.
pub(crate) fn add_to(routes: GuardedRoutes<Arc<QueryApi>>) -> GuardedRoutes<Arc<QueryApi>> {
    routes
        .page(Scope::Read, "/", get(today::today))
        .page(Scope::Read, "/orders", get(orders::orders))
        .page(Scope::Read, "/orders/{id}", get(order::order))
        .page(Scope::Read, "/orders/{id}/{action}", get(actions::form).post(actions::act))
        .page(Scope::Read, "/stock", get(stock::stock))
        .page(Scope::Read, "/stock/{sku}", get(stock::sku))
        .page(Scope::Read, "/payments", get(payments::payments))
        .page(Scope::Read, "/payments/{id}", get(payment::payment))
        .page(Scope::Read, "/payments/{id}/charge", get(actions::charge_form).post(actions::charge))
        .page(Scope::Read, "/reconciliations/{day}", get(payments::day))
        .page(Scope::Read, "/stuck", get(stuck::stuck))
        .page(Scope::Read, "/stuck/{id}/retry", get(actions::retry_form).post(actions::retry))
        .page(Scope::Read, "/system", get(system::system))
        .page(Scope::Admin, "/system/webhooks/{id}", get(webhooks::deliveries))
        .page(
            Scope::Admin,
            "/system/webhooks/{id}/{delivery}/retry",
            get(actions::resend_form).post(actions::resend),
        )
        .page(Scope::Audit, "/log", get(log::log))
        .page(Scope::Audit, "/log/{correlation}", get(log::tree))
        .page(Scope::Audit, "/audit", get(audit::audit))
        .page(Scope::Audit, "/audit/then", get(audit::then))
        .page(Scope::Audit, "/audit/verify", post(audit::verify))
        .page(Scope::Audit, "/audit/totals", post(audit::totals))
        .page(Scope::Audit, "/audit/export", post(audit::export_files))
        .page(Scope::Audit, "/audit/export/{file}", get(audit::download))
        .open_page("/login", get(session::form).post(session::log_in))
        .open_page("/logout", post(session::log_out))
        .open_page("/assets/{name}", get(assets::asset))
}

/// A page that cannot be shown, or an action that is refused. [`surround()`] makes it a page for people.
#[derive(Debug)]
pub(crate) struct Refused(Problem);

impl<E: ProblemSource> From<E> for Refused {
    fn from(error: E) -> Self {
        Self(error.problem())
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        self.0.into_response()
    }
}
