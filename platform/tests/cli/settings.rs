use super::support::DataDir;

#[tokio::test]
async fn an_invalid_setting_is_named_and_ends_with_exit_code_2() {
    let data = DataDir::new();
    for (setting, given, mentioned) in [
        // These errors do not show the value, which may hold a password.
        ("ORDERLY_EVENT_STORE", "mysql://localhost", ["ORDERLY_EVENT_STORE", "sqlite:FILE"]),
        ("ORDERLY_READ_MODELS", "mysql://localhost/orderly", ["ORDERLY_READ_MODELS", "sqlite:FILE"]),
        ("ORDERLY_BUS", "amqp://localhost", ["ORDERLY_BUS", "kafka://HOST:PORT"]),
        ("ORDERLY_PAYMENT_PROVIDER", "paypal", ["ORDERLY_PAYMENT_PROVIDER", "stripe"]),
        ("ORDERLY_ALLOWED_HOSTS", "http://shop.example", ["--allowed-hosts", "shop.example"]),
        ("ORDERLY_COMMAND_LISTEN", "localhost", ["localhost", "--command-listen"]),
        ("ORDERLY_INSTANCE", "shop 1", ["--instance", "A-Z a-z 0-9"]),
        ("ORDERLY_ROLES", "janitor", ["janitor", "query-api"]),
        ("ORDERLY_PAYMENT_DUE_AFTER", "0s", ["--payment-due-after", "from 1s"]),
        ("ORDERLY_PAYMENT_PROVIDER", "stripe", ["ORDERLY_STRIPE_SECRET_KEY", "not set"]),
        ("ORDERLY_LOG", "info,=", ["info,=", "--log"]),
        ("ORDERLY_LOG", "warning", ["warning", "did you mean warn?"]),
        ("ORDERLY_STRIPE_SECRET_KEY", "foo", ["ORDERLY_STRIPE_SECRET_KEY", "sk_live_"]),
        ("ORDERLY_EVENTSTORE", "esdb://db:2113", ["ORDERLY_EVENTSTORE", "did you mean ORDERLY_EVENT_STORE?"]),
        (
            "ORDERLY_READ_MODELS_REPLICA",
            "postgres://db/orderly",
            ["ORDERLY_READ_MODELS_REPLICA is set", "set ORDERLY_READ_MODELS to"],
        ),
        ("ORDERLY_TLS_KEY", "key.pem", ["ORDERLY_TLS_KEY is set", "ORDERLY_TLS_CERTIFICATE is not"]),
        ("ORDERLY_CORS_ORIGINS", "*", ["--cors-origins", "https://shop.example"]),
        ("ORDERLY_CONFIG", "no-such-file.toml", ["no-such-file.toml", "cannot read the settings file"]),
    ] {
        let finished = data.command(&["serve"]).env(setting, given).output().await.unwrap();
        let stderr = String::from_utf8(finished.stderr).unwrap();
        assert_eq!(finished.status.code(), Some(2), "{setting}: {stderr}");
        for part in mentioned {
            assert!(stderr.contains(part), "{stderr:?} does not mention {part}");
        }
    }
}

#[tokio::test]
async fn errors_about_urls_do_not_show_a_password() {
    let data = DataDir::new();
    for (setting, given) in [
        ("ORDERLY_EVENT_STORE", "esdb://admin:hunter2@db:port"),
        ("ORDERLY_EVENT_STORE", "mysql://admin:hunter2@db"),
        ("ORDERLY_BUS", "kafka://admin:hunter2@kafka:9092"),
        ("ORDERLY_BUS", "kafka:admin:hunter2@kafka:9092"),
        ("ORDERLY_BUS", "kafka://kafka:9092?sasl.password=hunter2"),
        ("ORDERLY_READ_MODELS", "postgres://admin:hunter2@db:port/orderly"),
        ("ORDERLY_READ_MODELS", "mysql://admin:hunter2@db/orderly"),
        ("ORDERLY_READ_MODELS_REPLICA", "postgres://admin:hunter2@db:port/orderly"),
        ("ORDERLY_PAYMENT_PROVIDER", "sandbox:https://admin:hunter2@sandbox"),
    ] {
        let finished = data.command(&["serve"]).env(setting, given).output().await.unwrap();
        let stderr = String::from_utf8(finished.stderr).unwrap();
        assert_eq!(finished.status.code(), Some(2), "{given}: {stderr}");
        assert!(stderr.contains(setting) && !stderr.contains("hunter2"), "{given}: {stderr}");
    }
}

#[tokio::test]
async fn roles_that_must_share_a_process_are_refused_apart() {
    let finished = DataDir::new().run(&["serve", "--roles", "projectors,query-api"]).await;
    assert_eq!(finished.code, Some(2), "{finished:?}");
    let expected = "projectors cannot run without command-api and process-manager";
    assert!(finished.stderr.contains(expected), "{finished:?}");
}
