use super::*;

fn parse(url: &str) -> KafkaConfig {
    url.parse().unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn a_url_with_only_a_broker_has_the_defaults() {
    let config = parse("kafka://127.0.0.1:9092");
    assert_eq!(config.brokers(), "127.0.0.1:9092");
    assert_eq!(config.prefix(), "orderly");
    assert_eq!((config.partitions(), config.replication(), config.min_insync()), (12, 1, 1));
}

#[test]
fn the_default_number_of_copies_is_the_number_of_brokers_up_to_three() {
    let copies = |url| (parse(url).replication(), parse(url).min_insync());
    assert_eq!(copies("kafka://a:1,b:2"), (2, 1));
    assert_eq!(copies("kafka://a:1,b:2,c:3,d:4"), (3, 2));
    assert_eq!(copies("kafka://a:1,b:2,c:3?replication=2"), (2, 1));
    assert_eq!(copies("kafka://a:1?replication=3&min_insync=3"), (3, 3));
}

#[test]
fn a_displayed_url_parses_to_the_same_settings() {
    for url in ["kafka://a:1", "kafka://a:1,[::1]:2/?prefix=shop-2.x&partitions=7&replication=3&min_insync=1"]
    {
        let config = parse(url);
        assert_eq!(parse(&config.to_string()), config);
    }
}

#[test]
fn a_wrong_url_is_refused_and_the_error_names_the_problem() {
    for (url, expected) in [
        ("redis://a:1", "does not begin with kafka://"),
        ("kafka://", "broker 1 is not HOST:PORT"),
        ("kafka://a", "broker 1 is not HOST:PORT"),
        ("kafka://a:0", "broker 1 is not HOST:PORT"),
        ("kafka://a:1,", "broker 2 is not HOST:PORT"),
        ("kafka://user:pw@a:1", "a user and a password need sasl=MECHANISM, one of plain, scram-sha-256"),
        ("kafka://user@a:1?sasl=scram-sha-512", "the user or the password is empty"),
        ("kafka://user:pw@a:1?sasl=plain", "sasl=plain sends the password readably"),
        ("kafka://user:pw@a:1?sasl=md5", "sasl is none of plain, scram-sha-256, scram-sha-512, oauthbearer"),
        (
            "kafka://user:pw@a:1?sasl=oauthbearer&token_url=https://b/",
            "sasl=oauthbearer sends the token readably",
        ),
        ("kafka://user:pw@a:1?sasl=oauthbearer&tls=true", "sasl=oauthbearer needs token_url=URL"),
        ("kafka://user:pw@a:1?sasl=scram-sha-512&token_scope=kafka", "token_scope need sasl=oauthbearer"),
        ("kafka://a:1?token_url=https://b/", "token_url and token_scope need sasl=oauthbearer"),
        ("kafka://user:pw@a:1?sasl=oauthbearer&tls=true&token_url=http://b/", "token_url is no https:// URL"),
        (
            "kafka://user:pw@a:1?sasl=oauthbearer&tls=true&token_url=https://u:p@b/",
            "token_url is no https:// URL",
        ),
        ("kafka://a:1?sasl=scram-sha-512", "sasl needs kafka://USER:PASSWORD@HOST:PORT"),
        ("kafka://a:1?tls=yes", "tls is neither true nor false"),
        ("kafka://a:1?tls=false&tls_ca_file=ca.pem", "tls=false contradicts the files"),
        ("kafka://a:1?tls_key_file=key.pem", "tls_certificate_file and tls_key_file belong together"),
        ("kafka://a:1?partitions=0", "partitions is not a number from 1 to 1000"),
        ("kafka://a:1?partitions=many", "partitions is not a number"),
        ("kafka://a:1?prefix=", "prefix must have"),
        ("kafka://a:1?prefix=a/b", "prefix must have"),
        ("kafka://a:1?replicas=3", "no parameter \"replicas\""),
        ("kafka://a:1?min_insync=2", "min_insync=2 is more than replication=1"),
    ] {
        let error = url.parse::<KafkaConfig>().unwrap_err().to_string();
        assert!(error.contains(expected), "{url}: {error}");
        assert!(error.contains("expected kafka://HOST:PORT"), "{error}");
    }
}

#[test]
fn user_and_password_are_decoded_and_never_shown() {
    let config = parse("kafka://shop%40x:p%3Aw%40rd@a:1,b:2?sasl=scram-sha-512&tls_ca_file=/etc/ca.pem");
    let client = crate::kafka::client(&config, "test");
    for (name, value) in [
        ("security.protocol", "sasl_ssl"),
        ("sasl.mechanism", "SCRAM-SHA-512"),
        ("sasl.username", "shop@x"),
        ("sasl.password", "p:w@rd"),
        ("ssl.ca.location", "/etc/ca.pem"),
    ] {
        assert_eq!(client.get(name), Some(value), "{name}");
    }
    let shown = format!("{config} {config:?}");
    assert!(!shown.contains("p:w@rd") && !shown.contains("p%3Aw"), "{shown}");
    assert!(config.to_string().ends_with("&tls=true&tls_ca_file=/etc/ca.pem&sasl=scram-sha-512"), "{config}");
}

#[test]
fn a_broker_without_security_gets_no_such_setting() {
    let client = crate::kafka::client(&parse("kafka://a:1"), "test");
    assert_eq!(client.get("security.protocol"), None);
}

#[test]
fn the_address_of_tokens_is_shown_and_the_secret_of_the_client_is_not() {
    let config = parse(
        "kafka://shop:p%3Aw%40rd@a:1?sasl=oauthbearer&tls=true&token_url=https://b/t?x=1%26y=%2525&token_scope=read%20all",
    );
    let client = crate::kafka::client(&config, "test");
    assert_eq!(client.get("security.protocol"), Some("sasl_ssl"));
    assert_eq!(client.get("sasl.mechanism"), Some("OAUTHBEARER"));
    assert_eq!(client.get("sasl.password"), None);
    let shown = config.to_string();
    let expected = "&tls=true&sasl=oauthbearer&token_url=https://b/t?x=1%26y=%2525&token_scope=read%20all";
    assert!(shown.ends_with(expected), "{shown}");
    let again = parse(&shown.replace("kafka://", "kafka://shop:p%3Aw%40rd@"));
    assert_eq!(again, config);
    let debug = format!("{config:?}");
    assert!(debug.contains("https://b/t") && !debug.contains("p:w@rd"), "{debug}");
}
