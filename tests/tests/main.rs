//! One test binary over the whole platform.

#![recursion_limit = "256"]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![allow(clippy::needless_pass_by_value, reason = "tests write values where they use them")]

mod api_keys_contract;
mod architecture_doc;
mod as_of;
mod authentication;
mod back_office;
mod checkout_process;
mod client_limits;
mod command_api;
mod event_source_contract;
mod event_store_contract;
mod events_doc;
mod eventstoredb_cluster;
mod eventstoredb_long;
mod eventstoredb_orders;
mod eventstoredb_window;
mod executor;
mod fair_stock;
mod flash_sale;
mod http_server;
mod interleavings;
mod malformed_input;
mod measurements_of_servers;
mod metrics_doc;
mod order_timeline;
mod pages;
mod parked_reactions_contract;
mod payment_provider_contract;
mod positions_contract;
mod process_manager;
mod projectors;
mod query_api;
mod reactions_after_a_crash;
mod read_models_contract;
mod reconciliation;
mod reconciliations_contract;
mod relay;
mod restored_log;
mod simulation;
mod stripe;
mod support;
mod trace_context;
mod webhooks;
mod webhooks_contract;
