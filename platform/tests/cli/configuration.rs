//! The settings file, `orderly config`, `orderly completions` and `orderly man`.

use std::fs;

use super::support::{DataDir, Finished};

/// Writes a settings file, and returns its path.
fn settings_file(data: &DataDir, text: &str) -> String {
    let path = data.path("orderly.toml");
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

async fn run_with(data: &DataDir, variables: &[(&str, &str)], arguments: &[&str]) -> Finished {
    let mut command = data.command(arguments);
    Finished::from(command.envs(variables.iter().copied()).output().await.unwrap())
}

/// The value of a setting and its origin, in the table of `config show`.
fn row<'a>(shown: &'a str, name: &str) -> Vec<&'a str> {
    let mut rows = shown.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let row = rows.find(|row| row.first() == Some(&name));
    row.unwrap_or_else(|| panic!("{name} is not in {shown}"))[1..].to_vec()
}

#[tokio::test]
async fn a_flag_takes_precedence_over_the_environment_and_that_over_the_file() {
    let data = DataDir::new();
    let file = settings_file(
        &data,
        "payment-due-after = \"45m\"\nlog = \"info,requests=debug\"\nquery-listen = \"localhost:9001\"\n\
         allowed-hosts = [\"shop.example\", \"b.example\"]\nwebhooks-allow-private = true\nevent-store = \"\"\n",
    );
    let show = ["config", "show", "--config", &file];
    let shown = run_with(&data, &[], &show).await;
    assert_eq!(shown.code, Some(0), "{shown:?}");
    assert_eq!(row(&shown.stdout, "payment-due-after"), ["45m", "file"]);
    assert_eq!(row(&shown.stdout, "query-listen"), ["localhost:9001", "file"]);
    assert_eq!(row(&shown.stdout, "allowed-hosts"), ["shop.example,b.example", "file"]);
    assert_eq!(row(&shown.stdout, "webhooks-allow-private"), ["true", "file"]);
    assert_eq!(row(&shown.stdout, "command-listen"), ["127.0.0.1:8080", "default"]);
    assert_eq!(row(&shown.stdout, "event-store").last(), Some(&"default"));
    assert_eq!(row(&shown.stdout, "data-dir").last(), Some(&"environment"));

    let over = [("ORDERLY_CONFIG", file.as_str()), ("ORDERLY_PAYMENT_DUE_AFTER", "50m"), ("ORDERLY_LOG", "")];
    let shown = run_with(&data, &over, &["config", "show", "--query-listen", "127.0.0.1:9002"]).await;
    assert_eq!(row(&shown.stdout, "payment-due-after"), ["50m", "environment"]);
    assert_eq!(row(&shown.stdout, "query-listen"), ["127.0.0.1:9002", "flag"]);
    assert_eq!(
        row(&shown.stdout, "log"),
        ["info,requests=debug", "file"],
        "an empty variable counts as not set"
    );
}

#[tokio::test]
async fn a_wrong_file_is_refused_with_the_line_and_without_its_secrets() {
    let data = DataDir::new();
    for (text, parts) in [
        ("log = \"info\"\nevent-stor = \"x\"\n", ["line 2: event-stor: ", "did you mean event-store?"]),
        ("query-url = \"http://127.0.0.1:1\"\n", ["line 1: query-url: ", "no setting"]),
        ("\nlog = \"warning\"\n", ["line 2: log: ", "did you mean warn?"]),
        ("roles = \"janitor\"\n", ["line 1: roles: ", "query-api"]),
        ("roles = [\"janitor\"]\n", ["line 1: roles: ", "janitor"]),
        ("log = [\"info\"]\n", ["line 1: log: ", "not a list"]),
        ("webhooks-allow-private = \"yes\"\n", ["line 1: webhooks-allow-private: ", "true or false"]),
        ("[serve]\nlog = \"info\"\n", ["line 1: serve: ", "no setting"]),
        ("[log]\nlevel = \"info\"\n", ["line 1: log: ", "without tables"]),
        ("log = \"info\"\nlog = \"warn\"\n", ["line 2", "not TOML"]),
        ("bus = \"kafka://u:hunter2@k:9092\"\n", ["line 1: bus: ", "ORDERLY_BUS"]),
        ("log = \"info\"\nstripe-secret-key = sk_live_hunter2\n", ["line 2", "not TOML"]),
        ("stripe-secret-key = \"hunter2\"\n", ["line 1: stripe-secret-key: ", "sk_live_"]),
        ("sandbox-secret = \"hunter2\"\n", ["line 1: sandbox-secret: ", "ORDERLY_SANDBOX_SECRET"]),
    ] {
        let file = settings_file(&data, text);
        let refused = data.run(&["config", "check", "--config", &file]).await;
        assert_eq!(refused.code, Some(2), "{text}: {refused:?}");
        for part in [&["orderly.toml"][..], &parts[..]].concat() {
            assert!(refused.stderr.contains(part), "{text}: {part:?} is not in {}", refused.stderr);
        }
        assert!(!refused.stderr.contains("hunter2"), "{text}: {}", refused.stderr);
    }
}

#[tokio::test]
async fn what_config_show_prints_as_toml_gives_the_same_settings() {
    let data = DataDir::new();
    let given = [
        ("ORDERLY_BUS", "kafka://k:9092?partitions=3"),
        ("ORDERLY_ROLES", "query-api,projectors"),
        ("ORDERLY_EVENT_STORE", "esdb://db:2113?tls=false"),
        ("ORDERLY_ALLOWED_HOSTS", "shop.example"),
        ("ORDERLY_WEBHOOKS_ALLOW_PRIVATE", "true"),
        ("ORDERLY_SANDBOX_SECRET", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
        ("ORDERLY_READ_MODELS", "postgres://orderly:hunter2@db/orderly"),
        ("ORDERLY_READ_MODELS_REPLICA", "postgres://orderly:hunter2@db-2/orderly"),
    ];
    let written = run_with(&data, &given, &["config", "show", "--format", "toml"]).await;
    assert_eq!(written.code, Some(0), "{written:?}");
    assert!(!written.stdout.contains("hunter2") && !written.stdout.contains("MfKQ"), "{}", written.stdout);
    for line in [
        "# read-models = \"postgres://orderly@db:5432/orderly\"",
        "# read-models-replica = \"postgres://orderly@db-2:5432/orderly\"",
    ] {
        assert!(written.stdout.contains(line), "{}", written.stdout);
    }

    let file = settings_file(&data, &written.stdout);
    let (table, open) = (["config", "show"], &given[..5]);
    let shown = run_with(&data, open, &table).await.stdout;
    let again = data.run_well(&["config", "show", "--config", &file]).await;
    for name in
        ["bus", "roles", "event-store", "allowed-hosts", "webhooks-allow-private", "log", "command-listen"]
    {
        assert_eq!(row(&again, name)[0], row(&shown, name)[0], "{name}");
    }
    assert_eq!(row(&again, "event-store"), ["esdb://db:2113?tls=false", "file"]);
}

#[tokio::test]
async fn config_check_reads_what_serve_would_and_makes_no_file() {
    let data = DataDir::new();
    let inner = data.path("new");
    let check = ["config", "check", "--data-dir", inner.to_str().unwrap()];
    let checked = data.run(&check).await;
    assert_eq!(checked.code, Some(0), "{checked:?}");
    assert!(checked.stdout.contains("The settings are right"), "{checked:?}");
    assert!(checked.stdout.contains("payments     sandbox"), "{checked:?}");
    assert!(!inner.exists());

    for (variables, code, reason) in [
        ([("ORDERLY_ROLES", "projectors,query-api")], 2, "cannot run without"),
        ([("ORDERLY_PAYMENT_PROVIDER", "stripe")], 2, "ORDERLY_STRIPE_SECRET_KEY"),
        ([("ORDERLY_COMMAND_LISTEN", "no such host:80")], 2, "has no address"),
        ([("ORDERLY_READ_MODELS", "postgres://h/d?sslmode=require&sslrootcert=/no/ca.pem")], 1, "/no/ca.pem"),
        ([("ORDERLY_EVENT_STORE", "esdb://h:2113?tlsCAFile=/no/ca.pem")], 1, "/no/ca.pem"),
    ] {
        let refused = run_with(&data, &variables, &check).await;
        assert_eq!(refused.code, Some(code), "{variables:?}: {refused:?}");
        assert!(refused.stderr.contains(reason), "{variables:?}: {refused:?}");
    }

    fs::create_dir(&inner).unwrap();
    for (file, text, reason) in [
        ("sandbox.secret", "not a secret", "sandbox.secret"),
        ("events.db", "not a database", "events.db"),
        ("read-models.db", "not a database", "read-models.db"),
    ] {
        fs::write(inner.join(file), text).unwrap();
        let refused = data.run(&check).await;
        assert_eq!(refused.code, Some(1), "{file}: {refused:?}");
        assert!(refused.stderr.contains(reason), "{refused:?}");
        fs::remove_file(inner.join(file)).unwrap();
    }
    fs::remove_dir_all(&inner).unwrap();
    fs::write(&inner, "a file").unwrap();
    assert_eq!(data.run(&check).await.code, Some(1));
}

#[tokio::test]
async fn a_secret_without_a_flag_is_refused_as_a_flag() {
    let data = DataDir::new();
    let refused = data.run(&["serve", "--stripe-secret-key", "sk_live_hunter2"]).await;
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(refused.stderr.contains("ORDERLY_STRIPE_SECRET_KEY"), "{refused:?}");
    assert!(!refused.stderr.contains("hunter2"), "{refused:?}");
}

#[tokio::test]
async fn each_shell_gets_completions_and_each_command_a_manual_page() {
    let data = DataDir::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = data.run_well(&["completions", shell]).await;
        assert!(script.contains("reconcile") && script.contains("command-listen"), "{shell}");
    }
    let page = data.run_well(&["man"]).await;
    assert!(page.contains(".TH") && page.contains("orderly"), "{page}");
    let pages = data.path("man");
    data.run_well(&["man", "--dir", pages.to_str().unwrap()]).await;
    let serve = fs::read_to_string(pages.join("orderly-serve.1")).unwrap();
    assert!(serve.contains("ORDERLY_COMMAND_LISTEN"), "{serve}");
}
