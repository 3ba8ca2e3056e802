use super::*;

const LOOPBACK: &str = "127.0.0.1:8080";
const ANY: &str = "0.0.0.0:8080";

/// The code of the answer to a request with these headers, if the rule refuses it.
fn refused(
    names: &[&str],
    address: &str,
    uri: &str,
    version: Version,
    hosts: &[&str],
) -> Option<&'static str> {
    let names = names.iter().map(|name| name.parse::<HostName>().unwrap()).collect();
    let rule = HostRule::new(names, AllowedOrigins::default(), Some(address.parse().unwrap()));
    let mut request = Request::builder().uri(uri).version(version);
    for host in hosts {
        request = request.header(header::HOST, *host);
    }
    rule.check(&request.body(()).unwrap()).err().map(|problem| problem.code.as_str())
}

fn refused_by_loopback(host: &str) -> Option<&'static str> {
    refused(&["shop.example"], LOOPBACK, "/", Version::HTTP_11, &[host])
}

#[test]
fn a_loopback_server_answers_to_addresses_localhost_and_allowed_names() {
    for host in [
        "127.0.0.1",
        "127.0.0.1:8080",
        "10.0.0.1",
        "[::1]:8080",
        "localhost",
        "LocalHost:9",
        "localhost.",
        "shop.example",
        "SHOP.example:443",
    ] {
        assert_eq!(refused_by_loopback(host), None, "{host}");
    }
    for host in
        ["evil.example", "evil.example:8080", "notlocalhost", "localhost.evil.example", "127.0.0.1.nip.io"]
    {
        assert_eq!(refused_by_loopback(host), Some("wrong_host"), "{host}");
    }
    for host in ["", "a b", "a/b", "me@localhost", "[::1"] {
        assert_eq!(refused_by_loopback(host), Some("invalid_parameter"), "{host}");
    }
}

#[test]
fn a_server_on_other_addresses_checks_names_only_if_names_are_given() {
    let refused = |names: &[&str], host| refused(names, ANY, "/", Version::HTTP_11, &[host]);
    assert_eq!(refused(&[], "orderly.internal"), None);
    assert_eq!(refused(&["shop.example"], "orderly.internal"), Some("wrong_host"));
    assert_eq!(refused(&["shop.example"], "10.0.0.7:8080"), None);
}

#[test]
fn a_request_names_one_host() {
    let refused = |version, uri, hosts: &[&str]| refused(&[], LOOPBACK, uri, version, hosts);
    assert_eq!(refused(Version::HTTP_11, "/", &[]), Some("invalid_parameter"));
    assert_eq!(refused(Version::HTTP_11, "/", &["localhost", "localhost"]), Some("invalid_parameter"));
    assert_eq!(refused(Version::HTTP_10, "/", &[]), None);
    assert_eq!(refused(Version::HTTP_10, "/", &["evil.example"]), Some("wrong_host"));
    assert_eq!(refused(Version::HTTP_11, "http://evil.example/", &["localhost"]), Some("wrong_host"));
    assert_eq!(refused(Version::HTTP_11, "http://localhost/", &["evil.example"]), None);
}

#[test]
fn a_host_name_has_no_scheme_port_or_path() {
    for text in ["shop.example", "orderly", "a-b_c.d"] {
        assert!(text.parse::<HostName>().is_ok(), "{text}");
    }
    for text in ["", ".", "a..b", "http://a", "a:80", "a/b", "*.a", " a"] {
        assert_eq!(text.parse::<HostName>(), Err(InvalidHostName), "{text}");
    }
}

/// The code of the answer to a request to 127.0.0.1:8080 with these origins, if the rule refuses it.
fn refused_origin(address: &str, origins: &[&str]) -> Option<&'static str> {
    let names = ["shop.example"].iter().map(|name| name.parse::<HostName>().unwrap()).collect();
    let names = if address == ANY { AllowedHosts::default() } else { names };
    let sites = ["https://app.example"].iter().map(|origin| origin.parse().unwrap()).collect();
    let rule = HostRule::new(names, sites, Some(address.parse().unwrap()));
    let mut request = Request::builder().uri("/").header(header::HOST, "10.0.0.7:8080");
    for origin in origins {
        request = request.header(header::ORIGIN, *origin);
    }
    rule.check(&request.body(()).unwrap()).err().map(|problem| problem.code.as_str())
}

#[test]
fn a_loopback_server_accepts_origins_of_this_machine_and_of_allowed_names() {
    for origin in [
        "http://127.0.0.1:3000",
        "http://[::1]:8080",
        "http://localhost:8081",
        "https://shop.example",
        // Allowed by CORS.
        "https://app.example",
        // That of the request's host.
        "http://10.0.0.7:8080",
    ] {
        assert_eq!(refused_origin(LOOPBACK, &[origin]), None, "{origin}");
    }
    for origin in [
        "https://evil.example",
        "http://app.example",
        "http://localhost.evil.example",
        "http://203.0.113.5",
        "http://10.0.0.7:8081",
        "null",
        "",
        "chrome-extension://abcdefgh",
        "file://",
    ] {
        assert_eq!(refused_origin(LOOPBACK, &[origin]), Some("wrong_origin"), "{origin}");
    }
    assert_eq!(refused_origin(LOOPBACK, &[]), None);
    let two = ["http://localhost", "https://evil.example"];
    assert_eq!(refused_origin(LOOPBACK, &two), Some("wrong_origin"));
    assert_eq!(refused_origin(ANY, &["https://evil.example"]), None);
}
