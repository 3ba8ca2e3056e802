use domain::{Amount, Currency};

use super::{StripeOptions, StripeOptionsError, currency};

mod notices;
mod reports;

#[test]
fn debug_output_shows_no_secret() {
    let options = StripeOptions::new("sk_live_hidden", "whsec_hidden").expect("a key and a secret");
    let provider = super::StripeProvider::new(options.clone(), crate::clock::Clock::system());
    assert!(!format!("{options:?} {provider:?}").contains("hidden"));
}

#[test]
fn unusable_settings_are_refused_and_the_error_does_not_show_them() {
    for key in ["", "foo", "sk_", "sk_1\n", "sk_live 1", "pk_live_1", "whsec_1"] {
        assert_eq!(StripeOptions::new(key, "whsec_1").err(), Some(StripeOptionsError::SecretKey), "{key:?}");
    }
    for secret in ["", "whsec", "whsec_", "whsec 1", "whsec_1 2", "sk_1"] {
        let refused = StripeOptions::new("rk_live_1", secret).err();
        assert_eq!(refused, Some(StripeOptionsError::WebhookSecret), "{secret:?}");
    }
    let with = |url: &str| {
        StripeOptions::new("sk_1", "whsec_1").expect("a key and a secret").with_api_url(url).map(|_| ())
    };
    for url in ["https://stripe.example", "http://127.0.0.1:12111", "http://[::1]:1", "http://localhost:1/"] {
        assert_eq!(with(url), Ok(()), "{url}");
    }
    // The first one would send the key over the network in clear text.
    for url in
        ["http://stripe.example", "https://u:p@stripe.example", "https://stripe.example/v1", "ftp://a", "x"]
    {
        assert_eq!(with(url), Err(StripeOptionsError::ApiUrl), "{url}");
    }
}

fn amount(minor_units: i64) -> Amount {
    Amount::new(minor_units).expect("an amount")
}

fn currency_of(code: &str) -> Currency {
    code.parse().expect("a currency")
}

#[test]
fn amounts_convert_to_the_units_of_stripe_and_back() {
    for (code, minor_units, units) in [
        ("GBP", 1_234, 1_234),
        ("JPY", 500, 500),
        // No minor unit in ISO 4217, two decimals at Stripe.
        ("ISK", 5, 500),
        ("UGX", 5, 500),
        // Two decimals in ISO 4217, none at Stripe.
        ("MGA", 500, 5),
        ("KWD", 5_120, 5_120),
    ] {
        assert_eq!(currency::to_stripe(amount(minor_units), currency_of(code)), Ok(units), "{code}");
        assert_eq!(currency::from_stripe(units, currency_of(code)), Ok(amount(minor_units)), "{code}");
    }
    assert_eq!(currency::to_stripe(Amount::MAX, currency_of("ISK")), Ok(Amount::MAX.minor_units() * 100));
}

#[test]
fn amounts_that_stripe_cannot_represent_are_refused_and_not_rounded() {
    for (code, minor_units) in [("KWD", 5_124), ("MGA", 550), ("LYD", 1_000), ("CLF", 1_000), ("XAU", 1)] {
        assert!(currency::to_stripe(amount(minor_units), currency_of(code)).is_err(), "{code}");
    }
    assert!(currency::from_stripe(550, currency_of("ISK")).is_err());
    assert!(currency::from_stripe(i64::MAX, currency_of("MGA")).is_err());
}
