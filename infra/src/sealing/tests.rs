use super::*;

const FIRST: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const SECOND: &str = "//////////////////////////////////////////8=";

fn keys(lines: &[&str]) -> SecretKeys {
    SecretKeys::parse(&lines.join("\n")).unwrap()
}

fn place(row: u128) -> SecretPlace {
    SecretPlace { column: "table.secret", row: Uuid::from_u128(row) }
}

fn no_key(id: &str) -> UnreadableSecret {
    UnreadableSecret::NoKey(KeyId(id.to_owned()))
}

#[test]
fn a_sealed_secret_names_its_key_hides_its_text_and_opens_again() {
    let secret = SigningSecret::generate().unwrap();
    let first = keys(&[FIRST]);
    let stored = first.seal(&secret, place(1));
    assert!(stored.starts_with("sealed:v1:630dcd2966c4:"), "{stored}");
    assert!(!stored.contains(secret.reveal().trim_start_matches("whsec_")), "{stored}");
    assert_ne!(stored, first.seal(&secret, place(1)), "each nonce is new");
    assert_eq!(first.open(&stored, place(1)), Ok(secret.clone()));
    assert_eq!(keys(&[SECOND, FIRST]).open(&stored, place(1)), Ok(secret));
}

#[test]
fn a_secret_that_was_sealed_before_opens_for_ever() {
    // Sealed by the Python package `cryptography`.
    let stored = "sealed:v1:630dcd2966c4:AAECAwQFBgcICQoLMGqlfqa6j33GEK75ia4zNPKk00OaLg84AC6p1Ucgb4BNceKd/LZoan81wAoFDdwqJc7uhtLZ";
    let secret = SigningSecret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
    assert_eq!(keys(&[FIRST]).open(stored, place(1)), Ok(secret));
}

#[test]
fn a_sealed_secret_opens_neither_elsewhere_nor_after_a_change() {
    let first = keys(&[FIRST]);
    let stored = first.seal(&SigningSecret::generate().unwrap(), place(1));
    let other_column = SecretPlace { column: "table.previous_secret", ..place(1) };
    for elsewhere in [place(2), other_column] {
        assert_eq!(first.open(&stored, elsewhere), Err(UnreadableSecret::Damaged));
    }
    let begin = "sealed:v1:630dcd2966c4:".len();
    for at in begin..stored.len() {
        let mut changed = stored.clone().into_bytes();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(changed).unwrap();
        assert_eq!(first.open(&changed, place(1)), Err(UnreadableSecret::Damaged), "{changed}");
    }
    for end in PREFIX.len()..stored.len() {
        assert_eq!(first.open(&stored[..end], place(1)), Err(UnreadableSecret::Damaged), "{end}");
    }
}

#[test]
fn a_secret_under_another_key_names_the_key_that_is_missing() {
    let secret = SigningSecret::generate().unwrap();
    let stored = keys(&[FIRST]).seal(&secret, place(1));
    for without in [SecretKeys::default(), keys(&[SECOND])] {
        assert_eq!(without.open(&stored, place(1)), Err(no_key("630dcd2966c4")));
        assert_eq!(without.seal_again(&stored, place(1)), None);
    }
    assert!(no_key("630dcd2966c4").to_string().contains("ORDERLY_SECRETS_KEY_FILE"));
}

#[test]
fn plain_texts_and_texts_under_an_old_key_are_sealed_again() {
    let secret = SigningSecret::generate().unwrap();
    let (none, first, both) = (SecretKeys::default(), keys(&[FIRST]), keys(&[SECOND, FIRST]));
    let plain = none.seal(&secret, place(1));
    assert_eq!(plain, secret.reveal());
    assert_eq!(none.seal_again(&plain, place(1)), None);
    let sealed_first = first.seal_again(&plain, place(1)).unwrap();
    assert_eq!(first.seal_again(&sealed_first, place(1)), None);
    let sealed_second = both.seal_again(&sealed_first, place(1)).unwrap();
    assert_eq!(both.seal_again(&sealed_second, place(1)), None);
    assert_eq!(keys(&[SECOND]).open(&sealed_second, place(1)), Ok(secret));
    assert_eq!(first.open("whsec_?", place(1)), Err(UnreadableSecret::Damaged));
}

#[test]
fn a_key_file_has_a_key_a_line_with_comments_and_its_faults_name_the_line() {
    let read = |text: &str| SecretKeys::parse(text).map(|keys| format!("{keys:?}"));
    let shown = read(&format!("# since May\n\n  {FIRST}\r\n{SECOND}\n")).unwrap();
    assert_eq!(shown, r#"SecretKeys([SecretKey("630dcd2966c4"), SecretKey("af9613760f72")])"#);
    for (text, fault) in [
        (String::new(), "there is no key"),
        ("# nothing".to_owned(), "there is no key"),
        (format!("{FIRST}\nsecret"), "line 2: expected the base64 of 32 bytes"),
        ("AAEC".to_owned(), "line 1: expected the base64 of 32 bytes"),
        (format!("{FIRST}\n{FIRST}"), "line 2: the key stands on an earlier line"),
    ] {
        let error = read(&text).unwrap_err();
        assert!(error.starts_with(fault) && !error.contains("secret") && !error.contains(FIRST), "{error}");
    }
    let error = SecretKeys::read(Path::new("/nowhere/keys")).unwrap_err().to_string();
    assert!(error.starts_with("ORDERLY_SECRETS_KEY_FILE: /nowhere/keys: "), "{error}");
}

#[test]
fn a_text_of_a_browser_opens_only_sealed_and_at_its_place() {
    let (first, both) = (keys(&[FIRST]), keys(&[SECOND, FIRST]));
    let sealed = first.seal_for_browser("ork_1", place(1)).unwrap();
    assert!(!sealed.contains("ork_1"), "{sealed}");
    assert_eq!(both.open_from_browser(&sealed, place(1)).as_deref(), Some("ork_1"));
    assert_eq!(first.open_from_browser(&sealed, place(2)), None);
    // A browser sends what it likes.
    for text in ["", "ork_1", "sealed:v1:", "sealed:v1:630dcd2966c4:AAAA"] {
        assert_eq!(first.open_from_browser(text, place(1)), None, "{text}");
    }
    let (one, other) = (SecretKeys::of_this_process().unwrap(), SecretKeys::of_this_process().unwrap());
    let sealed = one.seal_for_browser("ork_1", place(1)).unwrap();
    assert_eq!(other.open_from_browser(&sealed, place(1)), None);
    assert_eq!(SecretKeys::default().seal_for_browser("ork_1", place(1)), None);
}
