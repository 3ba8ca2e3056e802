use clap::Parser;

use super::*;

#[derive(Debug, Parser)]
struct Cli {
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    serve: ServeOptions,
}

fn parse(arguments: &[&str]) -> Result<Cli, String> {
    let arguments = std::iter::once(&"orderly").chain(arguments);
    Cli::try_parse_from(arguments).map_err(|error| error.to_string())
}

#[test]
fn embedded_files_lie_in_the_data_directory_unless_named_otherwise() {
    let settings = parse(&["--data-dir", "elsewhere"]).unwrap().settings;
    assert_eq!(settings.event_store(), EventStoreUrl::Sqlite("elsewhere/events.db".into()));
    assert_eq!(settings.read_models(), ReadModelsUrl::Sqlite("elsewhere/read-models.db".into()));

    let settings = parse(&["--data-dir", "elsewhere", "--event-store", "sqlite:/srv/e.db"]).unwrap().settings;
    assert_eq!(settings.event_store(), EventStoreUrl::Sqlite("/srv/e.db".into()));
    assert_eq!(settings.read_models(), ReadModelsUrl::Sqlite("elsewhere/read-models.db".into()));
}

#[test]
fn a_refused_setting_is_named_with_what_was_given_and_what_is_accepted() {
    for (flag, given, setting, accepted) in [
        ("--event-store", "esdb://localhost:2113", "ORDERLY_EVENT_STORE", "sqlite:FILE"),
        ("--event-store", "sqlite:", "ORDERLY_EVENT_STORE", "sqlite:FILE"),
        ("--bus", "kafka://localhost:9092", "ORDERLY_BUS", "direct"),
        ("--read-models", "postgres://localhost/orderly", "ORDERLY_READ_MODELS", "sqlite:FILE"),
    ] {
        let error = parse(&[flag, given]).unwrap_err();
        for part in [given, setting, accepted] {
            assert!(error.contains(part), "{error:?} does not mention {part}");
        }
    }
}

#[test]
fn owners_of_an_embedded_store_run_together_and_the_query_api_may_run_apart() {
    let roles = |names: &str| {
        let options = parse(&["--roles", names]).unwrap().serve;
        Roles::try_from(options.roles.as_slice()).map_err(|error| error.to_string())
    };
    assert_eq!(roles("command-api,process-manager,projectors,query-api"), Ok(Roles::ALL));
    assert_eq!(roles("projectors,command-api,process-manager"), Ok(Roles { owner: true, query_api: false }));
    assert_eq!(roles("query-api"), Ok(Roles { owner: false, query_api: true }));

    let error = roles("command-api,query-api").unwrap_err();
    assert!(error.contains("command-api cannot run without process-manager and projectors"), "{error}");
}

#[test]
fn an_api_url_is_plain_http_without_a_slash_at_its_end() {
    assert_eq!("http://shop:8080/".parse::<ApiUrl>().unwrap().as_str(), "http://shop:8080");
    for text in ["https://shop", "shop:8080", "http://", ""] {
        assert!(text.parse::<ApiUrl>().is_err(), "{text:?} was accepted");
    }
}
