use clap::Parser;

use super::*;

#[derive(Debug, Parser)]
struct Cli {
    #[command(flatten)]
    settings: Settings,
    #[command(flatten)]
    serve: ServeOptions,
}

fn parse(arguments: &[&str]) -> Result<Cli, String> {
    let arguments = std::iter::once(&"orderly").chain(arguments);
    Cli::try_parse_from(arguments).map_err(|error| error.to_string())
}

fn events_file(settings: &Settings) -> String {
    match settings.event_store() {
        EventStoreUrl::Sqlite(path) => path.to_str().unwrap().to_owned(),
        other @ EventStoreUrl::EventStoreDb(_) => panic!("{other:?}"),
    }
}

#[test]
fn embedded_files_are_in_the_data_directory_by_default() {
    let settings = parse(&["--data-dir", "elsewhere"]).unwrap().settings;
    assert_eq!(events_file(&settings), "elsewhere/events.db");
    assert_eq!(settings.read_models(), ReadModelsUrl::Sqlite("elsewhere/read-models.db".into()));

    let settings = parse(&["--data-dir", "elsewhere", "--event-store", "sqlite:/srv/e.db"]).unwrap().settings;
    assert_eq!(events_file(&settings), "/srv/e.db");
    assert_eq!(settings.read_models(), ReadModelsUrl::Sqlite("elsewhere/read-models.db".into()));
}

#[test]
fn a_url_selects_each_store_and_the_bus() {
    let kafka = "kafka://10.0.0.1:9092,10.0.0.2:9092?prefix=shop";
    let postgres = "postgres://orderly@10.0.0.3/orderly";
    let store = "esdb://10.0.0.4:2113?tls=false";
    let settings = parse(&["--event-store", store, "--bus", kafka, "--read-models", postgres]);
    let settings = settings.unwrap().settings;
    let EventStoreUrl::EventStoreDb(config) = settings.event_store() else { panic!("expected EventStoreDB") };
    assert_eq!(config.servers(), "10.0.0.4:2113");
    assert_eq!(settings.bus, BusUrl::Kafka(kafka.parse().unwrap()));
    assert_eq!(settings.read_models(), ReadModelsUrl::Postgres(Box::new(postgres.parse().unwrap())));
}

#[test]
fn the_error_for_a_refused_url_does_not_show_its_password() {
    for (flag, given) in [
        ("--event-store", "esdb://admin:open-sesame@"),
        ("--read-models", "postgres://orderly:open-sesame@localhost"),
        ("--read-models", "postgresq://orderly:open-sesame@localhost/orderly"),
    ] {
        let error = parse(&[flag, given]).unwrap_err();
        assert!(!error.contains("open-sesame"), "{error}");
        assert!(error.starts_with("error: ORDERLY_"), "{error}");
    }
}

#[test]
fn the_error_for_a_refused_setting_names_it_and_the_accepted_forms() {
    for (flag, given, setting, accepted) in [
        ("--event-store", "mysql://localhost", "ORDERLY_EVENT_STORE", "sqlite:FILE"),
        ("--event-store", "sqlite:", "ORDERLY_EVENT_STORE", "sqlite:FILE"),
        ("--event-store", "esdb:", "ORDERLY_EVENT_STORE", "esdb://host:2113"),
        ("--bus", "amqp://localhost", "ORDERLY_BUS", "`direct` or kafka://HOST:PORT"),
        ("--bus", "kafka://localhost", "ORDERLY_BUS", "kafka://HOST:PORT"),
        ("--read-models", "mysql://localhost", "ORDERLY_READ_MODELS", "sqlite:FILE"),
        ("--read-models", "postgres://localhost", "ORDERLY_READ_MODELS", "names no database"),
    ] {
        let error = parse(&[flag, given]).unwrap_err();
        for part in [setting, accepted] {
            assert!(error.contains(part), "{error:?} does not mention {part}");
        }
    }
}

/// The roles of a process with these settings.
fn roles(arguments: &[&str]) -> Result<String, String> {
    let Cli { settings, serve } = parse(arguments).unwrap();
    let roles =
        Roles::new(&serve.roles, &settings.event_store(), &settings.bus, &serve.provider.payment_provider)
            .and_then(|roles| roles.with_read_models(&settings.read_models()));
    roles.map(|roles| roles.to_string()).map_err(|error| error.to_string())
}

#[test]
fn a_process_has_every_role_by_default() {
    assert_eq!(roles(&[]).unwrap(), "command-api, process-manager, projectors, query-api, webhooks, sandbox");
    let kafka = ["--bus", "kafka://localhost:9092"];
    assert_eq!(
        roles(&kafka).unwrap(),
        "command-api, process-manager, relay, projectors, query-api, webhooks, sandbox"
    );
}

#[test]
fn roles_that_own_an_embedded_store_run_together_and_others_may_run_apart() {
    let direct = |names: &str| roles(&["--roles", names]);
    assert!(direct("projectors,command-api,process-manager").is_ok());
    assert!(direct("query-api").is_ok());
    let error = direct("command-api,query-api").unwrap_err();
    assert!(error.contains("command-api cannot run without process-manager and projectors"), "{error}");
    assert!(direct("relay").unwrap_err().contains("ORDERLY_BUS"));
    assert!(direct("projectors,command-api,process-manager,webhooks").is_ok());
    let error = direct("webhooks").unwrap_err();
    assert!(error.contains("webhooks cannot run without command-api and process-manager"), "{error}");

    let kafka = |names: &str| roles(&["--bus", "kafka://localhost:9092", "--roles", names]);
    assert!(kafka("command-api,process-manager,relay").is_ok());
    assert!(kafka("projectors").is_ok());
    let error = kafka("relay,projectors").unwrap_err();
    assert!(error.contains("relay cannot run without command-api and process-manager"), "{error}");
}

#[test]
fn with_eventstoredb_each_role_may_run_apart() {
    let store = ["--event-store", "esdb://localhost:2113", "--bus", "kafka://localhost:9092", "--roles"];
    for role in ["command-api", "process-manager", "relay", "projectors", "query-api"] {
        assert_eq!(roles(&[&store[..], &[role]].concat()).unwrap(), role);
    }
}

#[test]
fn webhooks_run_beside_the_command_api_or_with_postgres() {
    let apart = |more: &[&str]| {
        let store = ["--event-store", "esdb://localhost:2113", "--roles", "webhooks"];
        roles(&[&store[..], more].concat())
    };
    let error = apart(&[]).unwrap_err();
    assert!(error.contains("webhooks cannot run without command-api"), "{error}");
    assert_eq!(apart(&["--read-models", "postgres://orderly@10.0.0.3/orderly"]).unwrap(), "webhooks");
}

#[test]
fn the_sandbox_runs_if_it_is_the_payment_provider_or_is_requested() {
    for provider in ["none", "sandbox:http://pay:8082"] {
        let roles = roles(&["--payment-provider", provider]).unwrap();
        assert_eq!(roles, "command-api, process-manager, projectors, query-api, webhooks");
    }
    assert_eq!(roles(&["--roles", "sandbox", "--payment-provider", "none"]).unwrap(), "sandbox");
}

#[test]
fn a_url_selects_the_payment_provider() {
    let provider =
        |url: &str| parse(&["--payment-provider", url]).map(|cli| cli.serve.provider.payment_provider);
    assert_eq!(parse(&[]).unwrap().serve.provider.payment_provider, PaymentProviderUrl::Sandbox);
    assert_eq!(provider("none"), Ok(PaymentProviderUrl::None));
    assert_eq!(provider("stripe"), Ok(PaymentProviderUrl::Stripe));
    let elsewhere = PaymentProviderUrl::SandboxAt("http://pay:8082".parse().unwrap());
    assert_eq!(provider("sandbox:http://pay:8082/"), Ok(elsewhere));
    for url in ["", "sandbox:", "sandbox:https://pay", "sandbox:pay:8082", "paypal", "none:"] {
        let error = provider(url).unwrap_err();
        assert!(error.contains("ORDERLY_PAYMENT_PROVIDER"), "{url:?}: {error}");
    }
}

#[test]
fn the_error_for_missing_or_wrong_stripe_settings_names_them_and_shows_no_secret() {
    let options = |arguments: &[&str]| {
        let stripe = parse(arguments).map(|cli| cli.serve.provider.stripe);
        let options = stripe.and_then(|stripe| stripe.options().map_err(|error| error.to_string()));
        options.map(|options| format!("{options:?}"))
    };
    let key = "--stripe-secret-key=sk_live_hidden";
    let secret = "--stripe-webhook-secret=whsec_hidden";
    for (arguments, named) in [
        (&[][..], "ORDERLY_STRIPE_SECRET_KEY"),
        (&[secret], "ORDERLY_STRIPE_SECRET_KEY"),
        (&[key], "ORDERLY_STRIPE_WEBHOOK_SECRET"),
        (&[key, secret, "--stripe-api-url=http://stripe.example"], "ORDERLY_STRIPE_API_URL"),
        (&["--stripe-secret-key=hidden", secret], "ORDERLY_STRIPE_SECRET_KEY"),
        (&["--stripe-secret-key=pk_live_hidden", secret], "ORDERLY_STRIPE_SECRET_KEY"),
        (&["--stripe-secret-key=sk hidden", secret], "ORDERLY_STRIPE_SECRET_KEY"),
        (&[key, "--stripe-webhook-secret=hidden"], "ORDERLY_STRIPE_WEBHOOK_SECRET"),
    ] {
        let error = options(arguments).unwrap_err();
        assert!(error.contains(named) && !error.contains("hidden"), "{arguments:?}: {error}");
    }
    let shown = options(&[key, secret]).unwrap();
    assert!(shown.contains("api.stripe.com") && !shown.contains("hidden"), "{shown}");
    assert!(options(&[key, secret, "--stripe-multicapture"]).unwrap().contains("multicapture: true"));
    let settings = parse(&[key, secret]).unwrap().serve;
    assert!(!format!("{settings:?}").contains("hidden"), "{settings:?}");
}

#[test]
fn errors_do_not_show_the_sandbox_secret_and_the_script_is_checked_at_start() {
    let error = parse(&["--sandbox-secret", "open-sesame"]).unwrap_err();
    assert!(error.starts_with("error: ORDERLY_SANDBOX_SECRET: "), "{error}");
    assert!(!error.contains("open-sesame"), "{error}");
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let serve =
        parse(&["--sandbox-secret", secret, "--sandbox-script", "declines=0.2,seed=7"]).unwrap().serve;
    let (provider, sandbox) = (serve.provider, serve.sandbox);
    assert!(!format!("{provider:?}").contains("MfKQ"), "{provider:?}");
    assert_eq!(provider.sandbox_secret.map(|SandboxSecret(secret)| secret.reveal()).as_deref(), Some(secret));
    assert_eq!(sandbox.script, "seed=7,declines=0.2".parse().unwrap());
    let error = parse(&["--sandbox-script", "declines=2"]).unwrap_err();
    assert!(error.contains("ORDERLY_SANDBOX_SCRIPT: declines=2"), "{error}");
}

#[test]
fn unpaid_orders_expire_after_a_duration_from_one_second_to_one_year() {
    let payment_due_after = |text: &str| {
        let argument = format!("--payment-due-after={text}");
        parse(&[&argument]).map(|cli| cli.serve.payment_due_after.0.as_secs())
    };
    assert_eq!(parse(&[]).unwrap().serve.payment_due_after, PaymentDueAfter::DEFAULT);
    assert_eq!(PaymentDueAfter::DEFAULT.to_string().parse(), Ok(PaymentDueAfter::DEFAULT));
    for (text, seconds) in [("1s", 1), ("45m", 2_700), ("1h 30m", 5_400), ("8760h", 31_536_000)] {
        assert_eq!(payment_due_after(text), Ok(seconds), "{text}");
    }
    for text in ["", "30", "0s", "999ms", "-5m", "8761h", "soon"] {
        let error = payment_due_after(text).unwrap_err();
        assert!(error.contains("--payment-due-after"), "{text:?}: {error}");
    }
    assert!(payment_due_after("0s").unwrap_err().contains("from 1s to 8760h"));
}

#[test]
fn the_url_of_a_client_is_plain_or_encrypted() {
    for text in ["http://shop:8080", "https://shop"] {
        assert_eq!(text.parse::<ClientUrl>().unwrap().as_str(), text);
    }
    for text in ["ftp://shop", "shop:8080", "https://", "", "https://shop?key=a", "https://shop/#key=a"] {
        assert!(text.parse::<ClientUrl>().is_err(), "{text:?} was accepted");
    }
}

#[test]
fn an_api_url_is_plain_http_without_a_trailing_slash() {
    assert_eq!("http://shop:8080/".parse::<ApiUrl>().unwrap().as_str(), "http://shop:8080");
    for text in ["https://shop", "shop:8080", "http://", "", "http://shop?key=a", "http://shop#?key=a"] {
        assert!(text.parse::<ApiUrl>().is_err(), "{text:?} was accepted");
    }
}

#[test]
fn the_stores_are_printed_without_credentials() {
    let settings = parse(&[
        "--event-store",
        "esdb://admin:hunter2@10.0.0.4:2113?tls=false",
        "--read-models",
        "postgres://orderly:hunter2@10.0.0.3:5432/orders?connect_timeout=3",
        "--bus",
        "kafka://10.0.0.1:9092?partitions=3",
    ]);
    let settings = settings.unwrap().settings;
    assert_eq!(settings.event_store().to_string(), "esdb://10.0.0.4:2113");
    assert_eq!(settings.read_models().to_string(), "postgres://orderly@10.0.0.3:5432/orders");
    assert_eq!(settings.bus.to_string(), "kafka://10.0.0.1:9092");
    assert!(!format!("{settings:?}").contains("hunter2"), "{settings:?}");
}

#[test]
fn only_urls_without_credentials_and_with_known_parameters_are_shown_as_given() {
    for url in ["direct", "sqlite:data/e.db", "esdb://db:2113?tls=false", "kafka://a:1?partitions=3&prefix=x"]
    {
        assert!(urls::holds_no_secret(url), "{url}");
    }
    for url in ["esdb://u:p@db", "postgres://db/d?password=p", "postgres://db/d?sslmode=require&password=p"] {
        assert!(!urls::holds_no_secret(url), "{url}");
    }
}

fn auth(arguments: &[&str], secret: Option<&str>) -> Result<AuthConfig, AuthSettingsError> {
    let mut settings = parse(arguments).unwrap().serve.auth;
    settings.jwt_development_secret = secret.map(|secret| secret.parse().unwrap());
    settings.checked()
}

#[test]
fn tokens_need_an_issuer_an_audience_and_one_kind_of_key() {
    assert!(auth(&[], None).unwrap().tokens.is_none());
    let (issuer, audience) = (["--jwt-issuer", "https://id.example"], ["--jwt-audience", "orderly"]);
    let keys = ["--jwt-keys", "https://id.example/keys"];
    let secret = "a secret with more than thirty-two bytes";
    let whole = [issuer, audience, keys].concat();
    let (options, kind) = auth(&whole, None).unwrap().tokens.unwrap();
    assert_eq!((options.issuer.as_str(), options.principal_claim.as_str()), ("https://id.example", "sub"));
    assert!(matches!(kind, TokenKeys::OfIssuer(_)));
    let development = auth(&[issuer, audience].concat(), Some(secret)).unwrap();
    assert!(matches!(development.tokens, Some((_, TokenKeys::Development(_)))));
    assert!(!format!("{development:?}").contains(secret));

    let missing = |given, missing| Some(AuthSettingsError::Missing { given, missing });
    assert_eq!(auth(&issuer, None).err(), missing("ORDERLY_JWT_ISSUER", "ORDERLY_JWT_AUDIENCE"));
    assert_eq!(auth(&keys, None).err(), missing("ORDERLY_JWT_KEYS", "ORDERLY_JWT_ISSUER"));
    assert_eq!(
        auth(&[issuer, audience].concat(), None).err(),
        missing("ORDERLY_JWT_ISSUER", "ORDERLY_JWT_KEYS")
    );
    assert_eq!(auth(&whole, Some(secret)).err(), Some(AuthSettingsError::TwoKinds));
    assert!("short".parse::<auth::JwtDevelopmentSecret>().is_err());
    let ambiguous = [["--jwt-issuer", "a|b"], audience, keys].concat();
    assert_eq!(auth(&ambiguous, None).err(), Some(AuthSettingsError::Issuer));
    assert!(parse(&["--jwt-keys", "http://id.example/keys"]).is_err());
}
