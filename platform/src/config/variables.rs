//! Refuses environment variables that look like settings and are none: a misspelt one would be ignored.

use std::{collections::BTreeSet, ffi::OsString};

use clap::Command;

use super::nearest::suggestion;

const PREFIX: &str = "ORDERLY_";
/// Variables of the tests and scripts of this project. A script passes its environment on to the binary.
const OF_TESTS: &[&str] = &[
    "ORDERLY_CRASH_CYCLES",
    "ORDERLY_CRASH_SEED",
    "ORDERLY_MUTATION",
    "ORDERLY_PAUSE_SECONDS",
    "ORDERLY_RELAY_KILLS",
    "ORDERLY_REQUIRE_SERVICES",
    "ORDERLY_WRITE_DOCS",
];
const PREFIX_OF_TESTS: &str = "ORDERLY_TEST_";

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name}: there is no setting with this name{similar}")]
pub struct UnknownVariable {
    name: String,
    similar: String,
}

/// Checks the variables of this process against the arguments of all commands.
pub(super) fn check(
    command: &Command,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<(), UnknownVariable> {
    let mut known = BTreeSet::new();
    collect(command, &mut known);
    for (name, value) in variables {
        let (name, value) = (name.to_string_lossy(), value.to_string_lossy());
        let is_foreign = !name.starts_with(PREFIX) || value.is_empty();
        if is_foreign || known.contains(&*name) || is_of_tests(&name) || is_service_link(&name, &value) {
            continue;
        }
        let similar = suggestion(&name, known.iter().map(String::as_str));
        return Err(UnknownVariable { name: name.into_owned(), similar });
    }
    Ok(())
}

fn collect(command: &Command, known: &mut BTreeSet<String>) {
    let variables = command.get_arguments().filter_map(|argument| argument.get_env());
    known.extend(variables.map(|variable| variable.to_string_lossy().into_owned()));
    for subcommand in command.get_subcommands() {
        collect(subcommand, known);
    }
}

fn is_of_tests(name: &str) -> bool {
    OF_TESTS.contains(&name) || name.starts_with(PREFIX_OF_TESTS)
}

/// Kubernetes gives each container variables with the address of each service of its namespace. Those of a service
/// `orderly-query` begin with `ORDERLY_QUERY_`.
fn is_service_link(name: &str, value: &str) -> bool {
    let has_port = |rest: &str| rest.starts_with(|first: char| first.is_ascii_digit());
    name.ends_with("_SERVICE_HOST")
        || name.ends_with("_SERVICE_PORT")
        || name.contains("_SERVICE_PORT_")
        || (name.ends_with("_PORT") && value.contains("://"))
        || name.rsplit_once("_PORT_").is_some_and(|(_, rest)| has_port(rest))
}

#[cfg(test)]
mod tests {
    use clap::Arg;

    use super::*;

    fn check_one(name: &str, value: &str) -> Result<(), String> {
        let of_serve =
            Command::new("serve").arg(Arg::new("listen").long("query-listen").env("ORDERLY_QUERY_LISTEN"));
        let store = Arg::new("store").long("event-store").env("ORDERLY_EVENT_STORE");
        let command = Command::new("orderly").arg(store).subcommand(of_serve);
        check(&command, [(name.into(), value.into())]).map_err(|error| error.to_string())
    }

    #[test]
    fn a_misspelt_variable_is_refused_with_the_nearest_one() {
        for name in [
            "ORDERLY_EVENT_STORE",
            "ORDERLY_QUERY_LISTEN",
            "ORDERLY_TEST_KAFKA",
            "ORDERLY_CRASH_SEED",
            "PATH",
        ] {
            assert_eq!(check_one(name, "x"), Ok(()), "{name}");
        }
        let error = check_one("ORDERLY_EVENTSTORE", "esdb://db").unwrap_err();
        assert_eq!(
            error,
            "ORDERLY_EVENTSTORE: there is no setting with this name; did you mean ORDERLY_EVENT_STORE?"
        );
        assert_eq!(check_one("ORDERLY_EVENTSTORE", ""), Ok(()), "empty counts as not set");
        assert!(check_one("ORDERLY_", "x").is_err());
    }

    #[test]
    fn the_variables_of_services_of_kubernetes_are_no_settings() {
        for (name, value) in [
            ("ORDERLY_QUERY_SERVICE_HOST", "10.0.0.1"),
            ("ORDERLY_QUERY_SERVICE_PORT", "8081"),
            ("ORDERLY_QUERY_SERVICE_PORT_HTTP", "8081"),
            ("ORDERLY_QUERY_PORT", "tcp://10.0.0.1:8081"),
            ("ORDERLY_QUERY_PORT_8081_TCP", "tcp://10.0.0.1:8081"),
            ("ORDERLY_QUERY_PORT_8081_TCP_ADDR", "10.0.0.1"),
        ] {
            assert_eq!(check_one(name, value), Ok(()), "{name}");
        }
        assert!(check_one("ORDERLY_QUERY_PORT", "8081").is_err());
    }
}
