use super::*;

fn config(url: &str) -> EventStoreDbConfig {
    url.parse().unwrap()
}

#[test]
fn without_tls_the_certificates_of_the_machine_are_not_read() {
    let prepared = prepared(config("esdb://user:pa%40ss@one:2113?tls=false")).unwrap();
    assert_eq!(prepared.settings().tls_ca_file().map(String::as_str), Some(NO_CERTIFICATES));
    assert_eq!(prepared.user(), Some("user"));
}

#[test]
fn a_ca_file_that_is_missing_or_has_no_certificate_is_named() {
    let empty = tempfile::NamedTempFile::new().unwrap();
    for path in [empty.path(), Path::new("/no/such/ca.pem")] {
        let url = format!("esdb://one:2113?tlsCAFile={}", path.display());
        let error = prepared(config(&url)).unwrap_err().to_string();
        assert!(error.contains("tlsCAFile") && error.contains(&path.display().to_string()), "{error}");
    }
}

#[test]
fn the_readable_certificates_of_the_machine_can_be_read_back_from_the_file_for_the_library() {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let readable: Vec<_> = found.certs.iter().filter(|found| roots.add((*found).clone()).is_ok()).collect();
    if readable.is_empty() {
        return;
    }
    let file = write_pem(&readable).unwrap();
    assert_eq!(roots_of(file.path()).unwrap().len(), readable.len());
}
