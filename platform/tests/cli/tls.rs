//! A platform with a certificate, and files of settings that cannot be read.

use tests::eventstoredb::Certificates;

use super::support::{DataDir, Finished, write_sales_file};

#[tokio::test]
async fn an_import_goes_to_an_encrypted_api_whose_certificate_is_trusted() {
    let data = DataDir::new();
    let folder = tempfile::tempdir().unwrap();
    let certificates = Certificates::create(folder.path()).unwrap();
    let (certificate, key) = (certificates.certificate_file(), certificates.key_file());
    let tls = ["--tls-certificate", certificate.to_str().unwrap(), "--tls-key", key.to_str().unwrap()];
    let checked = data.run(&[&["config", "check"], &tls[..]].concat()).await;
    assert_eq!(checked.code, Some(0), "{checked:?}");

    let none = ["--payment-provider", "none"];
    let server = data.serve_without_sandbox(&[&tls[..], &none].concat()).await;
    assert!(server.command_url.starts_with("https://127.0.0.1:"), "{}", server.command_url);
    let file = data.path("sales.csv");
    write_sales_file(&file, &["536365,85123A,HEART,6,2010-12-01T08:26:00,2.55,17850,United Kingdom"]);
    let import = ["import", file.to_str().unwrap(), "--command-url", &server.command_url];
    let refused = data.run(&import).await;
    assert_eq!(refused.code, Some(1), "the certificate is not trusted: {refused:?}");
    let mut trusting = data.command(&import);
    let imported =
        Finished::from(trusting.env("SSL_CERT_FILE", certificates.authority()).output().await.unwrap());
    assert_eq!(imported.code, Some(0), "{imported:?}");
}

#[tokio::test]
async fn a_certificate_that_cannot_be_read_stops_the_start_by_its_name() {
    let missing = ["--tls-certificate", "/no/certificate.pem", "--tls-key", "/no/key.pem"];
    stops_the_start(&missing, &["ORDERLY_TLS_CERTIFICATE", "/no/certificate.pem"]).await;
}

#[tokio::test]
async fn a_key_file_that_cannot_be_used_stops_the_start_by_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys");
    let file_name = file.to_str().unwrap();
    let setting = ["--secrets-key-file", file_name];
    stops_the_start(&setting, &["ORDERLY_SECRETS_KEY_FILE", file_name]).await;
    std::fs::write(&file, "c2hvcnQ=").unwrap();
    stops_the_start(&setting, &["ORDERLY_SECRETS_KEY_FILE", "line 1: expected the base64 of 32 bytes"]).await;
}

/// Neither `config check` nor `serve` accepts these settings. Their errors have these parts.
async fn stops_the_start(settings: &[&str], parts: &[&str]) {
    const ANY: &str = "127.0.0.1:0";
    let serve = ["serve", "--command-listen", ANY, "--query-listen", ANY, "--sandbox-listen", ANY];
    let data = DataDir::new();
    for command in [&["config", "check"][..], &serve] {
        let refused = data.run(&[command, settings].concat()).await;
        assert_eq!(refused.code, Some(1), "{refused:?}");
        for part in parts {
            assert!(refused.stderr.contains(part), "{refused:?}");
        }
    }
}
