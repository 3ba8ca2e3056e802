use eventstore::{ClientSettings, Credentials};

use super::*;

#[test]
fn user_and_password_are_percent_decoded_and_shown_nowhere() {
    let config: EventStoreDbConfig =
        "esdb://o%40rders:p%40ss%2Fw%C3%B6rd%25@one:2113,two:2114".parse().unwrap();
    let expected = Credentials::new("o@rders", "p@ss/wörd%");
    assert_eq!(config.settings().default_authenticated_user().as_ref(), Some(&expected));
    assert_eq!(config.user(), Some("o@rders"));
    assert_eq!(config.servers(), "one:2113,two:2114");
    assert!(!format!("{config:?}").contains("rd"), "{config:?}");
}

#[test]
fn the_other_settings_of_the_connection_string_stay() {
    for url in [
        "esdb://one:2113",
        "esdb+discover://cluster:2113?nodePreference=follower&maxDiscoverAttempts=7&discoveryInterval=10",
        "esdb://one:1,two:2,three:3?tls=false&keepAliveInterval=-1&keepAliveTimeout=20000&gossipTimeout=4000",
        "esdb://one:2113?defaultDeadline=6000&connectionName=orderly&tlsCAFile=/ca.pem&tlsVerifyCert=false",
        "esdb://one:2113?defaultDeadline=-1&userCertFile=/user.pem&userKeyFile=/user.key",
    ] {
        let config: EventStoreDbConfig = url.parse().unwrap();
        assert_eq!(config.settings(), &url.parse::<ClientSettings>().unwrap(), "{url}");
        assert_eq!(config.user(), None);
    }
}

#[test]
fn an_unreadable_connection_string_is_refused_and_not_repeated() {
    for url in ["esdb://", "http://secret@one", "esdb://u:sec/ret@one", "esdb://u:secret%FF@one"] {
        let error = url.parse::<EventStoreDbConfig>().unwrap_err().to_string();
        assert!(error.contains("%40") && !error.contains("secret"), "{url}: {error}");
    }
}
