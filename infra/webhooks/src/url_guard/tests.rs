use std::collections::HashMap;

use super::*;

/// Resolves only the given names.
struct FixedHostNames(HashMap<&'static str, Vec<IpAddr>>);

#[async_trait]
impl HostNames for FixedHostNames {
    async fn look_up(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        self.0.get(host).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

fn guard(names: &[(&'static str, &[&str])]) -> UrlGuard {
    let addresses = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
    let fixed = names.iter().map(|(name, texts)| (*name, addresses(texts))).collect();
    UrlGuard::with_names(false, Arc::new(FixedHostNames(fixed)))
}

#[tokio::test]
async fn addresses_outside_the_public_internet_are_refused_in_every_notation() {
    let guard = guard(&[]);
    for host in [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "0.0.0.0",
        "10.0.0.1",
        "10.255.255.255",
        "100.64.0.1",
        "100.100.100.200",
        "168.63.129.16",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.192",
        "192.168.1.1",
        "198.18.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "[::]",
        "[::1]",
        "[::ffff:10.0.0.1]",
        "[::ffff:127.0.0.1]",
        "[::127.0.0.1]",
        "[64:ff9b::10.0.0.1]",
        "[64:ff9b:1::1]",
        "[fd00::1]",
        "[fd00:ec2::254]",
        "[fc00::1]",
        "[fe80::1]",
        "[fec0::1]",
        "[ff02::1]",
        "[2001:db8::1]",
        "[2001::1]",
        "[2002:a00:1::]",
    ] {
        let refused = guard.check(&format!("https://{host}/hook")).await;
        assert_eq!(refused, Err(RefusedUrl::NotPublic), "{host}");
    }
}

#[tokio::test]
async fn addresses_of_the_public_internet_are_accepted() {
    let guard = guard(&[]);
    for host in
        ["1.1.1.1", "100.63.0.1", "172.32.0.1", "[2606:4700::1111]", "[64:ff9b::1.1.1.1]", "[::ffff:1.1.1.1]"]
    {
        assert_eq!(guard.check(&format!("https://{host}/hook")).await, Ok(()), "{host}");
    }
}

#[tokio::test]
async fn a_name_is_refused_if_any_of_its_addresses_is_private() {
    let guard = guard(&[
        ("good.example", &["1.1.1.1", "2606:4700::1111"]),
        ("bad.example", &["10.0.0.1"]),
        ("mixed.example", &["1.1.1.1", "::1"]),
        ("none.example", &[]),
    ]);
    assert_eq!(guard.check("https://good.example").await, Ok(()));
    assert_eq!(guard.check("https://GOOD.example:8443/a?b=c").await, Ok(()));
    assert_eq!(guard.check("https://bad.example").await, Err(RefusedUrl::NotPublic));
    assert_eq!(guard.check("https://mixed.example").await, Err(RefusedUrl::NotPublic));
    assert_eq!(guard.check("https://none.example").await, Err(RefusedUrl::UnknownHost));
    assert_eq!(guard.check("https://unheard.example").await, Err(RefusedUrl::UnknownHost));
}

#[tokio::test]
async fn a_connection_gets_only_permitted_addresses() {
    let guard = guard(&[("mixed.example", &["10.0.0.1", "1.1.1.1", "::1"]), ("bad.example", &["fd00::1"])]);
    let given: Vec<SocketAddr> = guard.resolve("mixed.example".parse().unwrap()).await.unwrap().collect();
    assert_eq!(given, ["1.1.1.1:0".parse().unwrap()]);
    let Err(refused) = guard.resolve("bad.example".parse().unwrap()).await else {
        panic!("the private address was permitted")
    };
    assert_eq!(refused.downcast_ref(), Some(&RefusedUrl::NotPublic));
}

#[tokio::test]
async fn malformed_and_insecure_urls_are_refused_with_their_reason() {
    let guard = guard(&[("good.example", &["1.1.1.1"])]);
    let long = format!("https://good.example/{}", "a".repeat(URL_CHARS_MAX));
    for (url, why) in [
        ("good.example/hook", RefusedUrl::NotAUrl),
        ("", RefusedUrl::NotAUrl),
        (&long, RefusedUrl::NotAUrl),
        ("https://", RefusedUrl::NotAUrl),
        ("https://good.example/\r\nX: y", RefusedUrl::NotAUrl),
        ("https://good.example/\n", RefusedUrl::NotAUrl),
        ("https://good.example/a b", RefusedUrl::NotAUrl),
        ("https://good.example/\0", RefusedUrl::NotAUrl),
        ("\thttps://good.example/", RefusedUrl::NotAUrl),
        ("http://good.example/", RefusedUrl::NotEncrypted),
        ("ftp://good.example/", RefusedUrl::OtherScheme),
        ("file:///etc/passwd", RefusedUrl::OtherScheme),
        ("https://me:secret@good.example/", RefusedUrl::Credentials),
        ("https://me@good.example/", RefusedUrl::Credentials),
    ] {
        assert_eq!(guard.check(url).await, Err(why), "{url}");
    }
}

#[tokio::test]
async fn allowing_private_networks_allows_plain_http() {
    let guard = UrlGuard::new(true);
    for url in ["http://127.0.0.1:8080/hook", "https://10.0.0.1", "http://receiver.internal"] {
        assert_eq!(guard.check(url).await, Ok(()), "{url}");
    }
    assert_eq!(guard.check("gopher://127.0.0.1/").await, Err(RefusedUrl::OtherScheme));
}
