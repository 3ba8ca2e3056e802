use http::HeaderValue;

use super::*;

fn headers(values: &[&str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for value in values {
        headers.append(header::AUTHORIZATION, HeaderValue::from_str(value).unwrap());
    }
    headers
}

#[test]
fn a_credential_follows_bearer_in_one_authorization_header() {
    assert_eq!(credential(&headers(&["Bearer abc"])).unwrap(), "abc");
    assert_eq!(credential(&headers(&["bearer  abc "])).unwrap(), "abc");
    assert!(matches!(credential(&headers(&[])), Err(Refusal::Missing)));
    let too_long = format!("Bearer {}", "x".repeat(CREDENTIAL_BYTES_MAX));
    for malformed in
        [&["Basic YTpi"][..], &["Bearer"], &[""], &["Bearer a", "Bearer a"], &[too_long.as_str()]]
    {
        assert!(matches!(credential(&headers(malformed)), Err(Refusal::Invalid(_))), "{malformed:?}");
    }
}

#[test]
fn no_two_kinds_of_caller_have_the_same_name() {
    for name in ["shop", "back-office.2", "A_1", &"x".repeat(64)] {
        assert_eq!(Principal::of_keys(name).unwrap().as_str(), name);
    }
    for name in ["", "a b", "a|b", "orderly:timer", "ü", &"x".repeat(65)] {
        assert_eq!(Principal::of_keys(name), Err(InvalidPrincipal::Characters), "{name}");
    }
    assert_eq!(Principal::of_keys("Anonymous"), Err(InvalidPrincipal::Reserved));
    assert_eq!(Principal::of_token("https://id.example", "7").unwrap().as_str(), "https://id.example|7");
    assert_eq!(Principal::of_token("https://id.example", ""), None);
    assert_eq!(Principal::of_token("https://id.example", "a\nb"), None);
}

#[test]
fn admin_permits_everything_and_every_other_scope_only_itself() {
    for scope in Scope::ALL {
        assert_eq!(scope.as_str().parse(), Ok(*scope));
        let permitted = Scope::ALL.iter().filter(|other| Scopes::of([*scope]).permit(**other)).count();
        assert_eq!(permitted, if *scope == Scope::Admin { Scope::ALL.len() } else { 1 }, "{scope}");
    }
    let scopes = Scopes::of_claim("openid read  profile orders:write");
    assert_eq!(scopes.to_string(), "orders:write, read");
    assert_eq!(
        serde_json::from_str::<Scopes>(r#"["read","later:scope"]"#).unwrap(),
        Scopes::of([Scope::Read])
    );
    assert!("orders:Write".parse::<Scope>().unwrap_err().to_string().contains("payments:write"));
}

#[test]
fn a_secret_is_parsed_as_it_was_shown_and_hidden_in_debug_output() {
    let secret = api_key::ApiKeySecret::generate().unwrap();
    let shown = secret.reveal();
    let parsed = api_key::ApiKeySecret::parse(&shown).unwrap();
    assert_eq!((parsed.id(), parsed.hash()), (secret.id(), secret.hash()));
    assert!(!format!("{secret:?} {:?}", secret.hash()).contains(&shown[21..]), "{secret:?}");
    let other = api_key::ApiKeySecret::generate().unwrap();
    assert_ne!((other.id(), other.hash()), (secret.id(), secret.hash()));
    for malformed in
        ["", "ork_", "ork_0123456789abcdef_", &shown[1..], &shown[..shown.len() - 1], &format!("{shown}A")]
    {
        assert!(api_key::ApiKeySecret::parse(malformed).is_none(), "{malformed}");
    }
}

#[test]
fn a_customer_sees_its_own_orders_and_every_other_caller_all() {
    let principal = Principal::of_keys("shop").unwrap();
    let service = Caller::new(principal.clone(), Scopes::default(), None);
    assert!(service.may_see_order_of(None) && service.may_see_order_of(Some("1")));
    let customer = Caller::new(principal, Scopes::default(), Some("1".into()));
    assert!(customer.may_see_order_of(Some("1")));
    assert!(!customer.may_see_order_of(Some("2")) && !customer.may_see_order_of(None));
}
