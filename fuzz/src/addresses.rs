//! Settings that are URLs: a digit, which chooses the form, and the text around a password.
//!
//! Neither the accepted URL nor an error shows the password.

use platform::config::{BusUrl, EventStoreUrl, PaymentProviderUrl, ReadModelsUrl};

/// A text that no fuzzer makes by chance.
const PASSWORD: &str = "hunter2-3f9c1d";

pub fn check(input: &[u8]) {
    let Some((form, rest)) = input.split_first() else { return };
    let Ok(rest) = str::from_utf8(rest) else { return };
    // Without a password first: whatever is accepted can be printed.
    check_all(rest);
    let (scheme, rest) = rest.split_once("://").unwrap_or(("postgres", rest));
    let url = match form % 4 {
        0 => format!("{scheme}://user:{PASSWORD}@{rest}"),
        1 | 2 if rest.contains('?') => format!("{scheme}://{rest}&password={PASSWORD}"),
        1 | 2 => format!("{scheme}://{rest}?password={PASSWORD}"),
        _ => format!("{scheme}://:{PASSWORD}@{rest}"),
    };
    check_all(&url);
}

fn check_all(url: &str) {
    check_one(url, url.parse::<EventStoreUrl>());
    check_one(url, url.parse::<BusUrl>());
    check_one(url, url.parse::<ReadModelsUrl>());
    check_one(url, url.parse::<PaymentProviderUrl>());
}

fn check_one<T: std::fmt::Display + std::fmt::Debug, E: std::fmt::Display + std::fmt::Debug>(
    url: &str,
    parsed: Result<T, E>,
) {
    let shown = match parsed {
        Ok(url) => format!("{url} {url:?}"),
        Err(error) => format!("{error} {error:?}"),
    };
    let is_file = url.starts_with("sqlite:");
    assert!(is_file || !shown.contains(PASSWORD), "{url:?} is shown as {shown:?}");
}

pub fn seeds() -> Vec<Vec<u8>> {
    let urls = [
        "sqlite:data/events.db",
        "esdb://node1:2113,node2:2113?tls=true&tlsCAFile=ca.pem",
        "esdb+discover://cluster.example:2113",
        "kafka://broker1:9092,broker2:9092?prefix=shop&replication=3",
        "postgres://db.example:5432/orderly?sslmode=verify-full&sslrootcert=ca.pem",
        "sandbox:http://127.0.0.1:8082",
        "sandbox:http://127.0.0.1:8082#",
        "direct",
    ];
    let forms = ["0", "1", "2", "3"];
    let seed = |form: &&str| urls.map(|url| format!("{form}{url}").into_bytes());
    forms.iter().flat_map(seed).collect()
}
