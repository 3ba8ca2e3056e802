//! A server with TLS, users and rights.

use std::env;

use eventstore::{AppendToStreamOptions, Client, EventData};
use serde_json::{Value, json};
use tempfile::TempDir;
use tests::eventstoredb::{Certificates, FixtureOptions, Server, User};

use super::{super::eventually, PROGRAM, real::RealServer};

/// The administrator of a new server.
const ADMIN: &str = "admin";
const ADMIN_PASSWORD: &str = "changeit";

/// The fixture, or a process of a real server if one is configured.
pub struct SecuredEventStoreDb {
    certificates: Certificates,
    server: Secured,
    _folder: TempDir,
}

enum Secured {
    Fixture(Box<Server>),
    Process(Box<RealServer>),
}

impl SecuredEventStoreDb {
    /// Starts a server with a user who is no administrator.
    pub async fn start(user: &str, password: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let certificates = Certificates::create(folder.path()).unwrap();
        let server = if let Ok(program) = env::var(PROGRAM) {
            let server = RealServer::start(program, Some(certificates.clone())).await;
            create_user(&server, user, password).await;
            Secured::Process(Box::new(server))
        } else {
            let account = |name: &str, password: &str, is_admin| User {
                name: name.to_owned(),
                password: password.to_owned(),
                is_admin,
            };
            let users = vec![account(ADMIN, ADMIN_PASSWORD, true), account(user, password, false)];
            let options =
                FixtureOptions { users, tls: Some(certificates.clone()), ..FixtureOptions::default() };
            Secured::Fixture(Box::new(Server::start(options).await.unwrap()))
        };
        Self { certificates, server, _folder: folder }
    }

    /// The connection string for `NAME:PASSWORD`, percent-encoded.
    pub fn url(&self, user: &str) -> String {
        let authority = self.certificates.authority();
        format!("{}&tlsCAFile={}", self.url_without_authority(user), authority.display())
    }

    /// A connection string for clients that do not know the authority of the server's certificate.
    pub fn url_without_authority(&self, user: &str) -> String {
        let address = match &self.server {
            Secured::Fixture(server) => server.address(),
            Secured::Process(server) => server.address(),
        };
        // Clients wait for this interval before every connection, even the first.
        format!("esdb://{user}@{address}?tls=true&discoveryInterval=10")
    }

    /// Sets the metadata of a stream, such as `{"$acl": {"$r": ["orders", "$admins"]}}` for `$all`.
    pub async fn set_metadata(&self, stream: &str, metadata: &Value) {
        match &self.server {
            Secured::Fixture(server) => server.set_metadata(stream, metadata),
            Secured::Process(_) => {
                let url = self.url(&format!("{ADMIN}:{ADMIN_PASSWORD}"));
                let client = Client::new(url.parse().unwrap()).unwrap();
                let event = EventData::json("$metadata", metadata).unwrap();
                let options = AppendToStreamOptions::default();
                client.append_to_stream(format!("$${stream}"), &options, event).await.unwrap();
            }
        }
    }
}

/// The server makes its administrator some time after its start, so the first attempts may be refused.
async fn create_user(server: &RealServer, name: &str, password: &str) {
    let (client, page) = (server.http_client(), server.page("/users/"));
    let user = json!({"loginName": name, "fullName": name, "groups": [], "password": password});
    eventually("a new user", async || {
        let request = client.post(&page).basic_auth(ADMIN, Some(ADMIN_PASSWORD)).json(&user);
        let answer = request.send().await.ok()?;
        (answer.status() == 201).then_some(())
    })
    .await;
}
