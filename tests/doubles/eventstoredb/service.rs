//! The methods of the server.

use std::{
    future::ready,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use http::{Request, Response};
use prost::Message;
use tokio::sync::watch;
use tonic::{Status, body::Body, server::Grpc};
use tonic_prost::ProstCodec;
use tower::service_fn;
use uuid::Uuid;

use super::{
    access::{Caller, User},
    certificates::Certificates,
    connections::Resets,
    counts::Calls,
    errors,
    faults::Faults,
    log::Log,
    membership::{Membership, Role},
    messages::{
        ClusterInfo, EndPoint, MemberInfo, NodeState, ReadRequest, SupportedMethod, SupportedMethods,
        WireUuid,
    },
    reading,
    writing::{self, Deletion},
};

const VERSION: &str = "24.10.0";
const STREAMS: &str = "event_store.client.streams.streams";
/// The largest message that the server accepts, in bytes.
const MESSAGE_BYTES_MAX: usize = 17 << 20;

/// The state that all connections share.
#[derive(Debug)]
pub struct Shared {
    pub log: Arc<Mutex<Log>>,
    pub faults: Faults,
    pub append_bytes_max: usize,
    pub users: Vec<User>,
    pub delay_acknowledgements: bool,
    pub tls: Option<Certificates>,
    pub broken_off_reads_max: Option<usize>,
    pub membership: Arc<Membership>,
    /// The index of this node in the cluster.
    pub node: usize,
    /// True while nothing moves on its connections.
    pub silent: watch::Sender<bool>,
    pub calls: Mutex<Calls>,
}

impl Shared {
    pub fn count(&self, add: impl FnOnce(&mut Calls)) {
        add(&mut lock(&self.calls));
    }

    pub fn role(&self) -> Role {
        self.membership.role(self.node)
    }

    /// The number of events that this node can read.
    pub fn readable(&self, log: &Log) -> usize {
        self.membership.readable(self.node, log.end())
    }

    /// Why this node cannot answer a call, if it cannot.
    pub fn refusal(&self, is_read: bool, requires_leader: bool) -> Option<Status> {
        self.faults.refusal().or_else(|| match self.role() {
            Role::Follower(leader) if requires_leader => Some(errors::not_leader(leader)),
            // A follower forwards writes to the leader.
            Role::Leader | Role::LeaderApart | Role::Follower(_) => None,
            Role::Leaderless if is_read && !requires_leader => None,
            Role::Leaderless => Some(errors::not_ready()),
        })
    }
}

pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Answers a call, within the time that its client allows.
pub async fn answer(shared: Arc<Shared>, request: Request<Body>) -> Response<Body> {
    let allowed = request.headers().get("grpc-timeout").and_then(|value| time_allowed(value.to_str().ok()?));
    let answering = route(shared, request);
    match allowed {
        // The end of the time cancels the call.
        Some(allowed) => tokio::time::timeout(allowed, answering)
            .await
            .unwrap_or_else(|_| Status::deadline_exceeded("Deadline Exceeded").into_http()),
        None => answering.await,
    }
}

/// Reads a value such as `5000m`: at most 8 digits and a unit.
fn time_allowed(value: &str) -> Option<Duration> {
    let (number, unit) = value.split_at_checked(value.len().checked_sub(1)?)?;
    let number = number.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_hours(number),
        "M" => Duration::from_mins(number),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

async fn route(shared: Arc<Shared>, request: Request<Body>) -> Response<Body> {
    let path = request.uri().path().to_owned();
    let Some(method) = path.strip_prefix("/event_store.client.streams.Streams/") else {
        return answer_about_node(&shared, &path, request).await;
    };
    let caller = match Caller::new(&shared.users, request.headers()) {
        Ok(caller) => caller,
        Err(status) => return status.into_http(),
    };
    let requires_leader = request.headers().get("requires-leader");
    let requires_leader = requires_leader.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"true"));
    if let Some(status) = shared.refusal(method == "Read", requires_leader) {
        return status.into_http();
    }
    match method {
        "Append" => {
            let append = service_fn(move |request| writing::append(shared.clone(), caller.clone(), request));
            grpc().client_streaming(append, request).await
        }
        "BatchAppend" => {
            let append = service_fn(move |request| {
                let (shared, caller) = (shared.clone(), caller.clone());
                ready(Ok(writing::batch_append(shared, caller, requires_leader, request)))
            });
            grpc().streaming(append, request).await
        }
        "Read" => {
            let read = service_fn(move |request: tonic::Request<ReadRequest>| {
                let resets = request.extensions().get::<Arc<Resets>>().cloned();
                let options = request.into_inner().options.ok_or_else(|| errors::missing("options"));
                let responses = options.and_then(|options| reading::read(&shared, &options, &caller, resets));
                async move { responses.map(tonic::Response::new) }
            });
            grpc().server_streaming(read, request).await
        }
        "Delete" | "Tombstone" => {
            let deletion = if method == "Delete" { Deletion::Soft } else { Deletion::ForGood };
            let delete =
                service_fn(move |request| ready(writing::delete(&shared, &caller, deletion, request)));
            grpc().unary(delete, request).await
        }
        _ => no_such_method(),
    }
}

async fn answer_about_node(shared: &Shared, path: &str, request: Request<Body>) -> Response<Body> {
    match path {
        "/event_store.client.server_features.ServerFeatures/GetSupportedMethods" => {
            let methods = service_fn(|_: tonic::Request<()>| async { Ok(tonic::Response::new(supported())) });
            grpc().unary(methods, request).await
        }
        "/event_store.client.gossip.Gossip/Read" => {
            shared.count(|calls| calls.gossip_reads += 1);
            let members = members(shared);
            let gossip = service_fn(move |_: tonic::Request<()>| {
                ready(Ok::<_, Status>(tonic::Response::new(members.clone())))
            });
            grpc().unary(gossip, request).await
        }
        _ => no_such_method(),
    }
}

fn no_such_method() -> Response<Body> {
    Status::unimplemented("this server has no such method").into_http()
}

fn grpc<Sent, Received>() -> Grpc<ProstCodec<Sent, Received>>
where
    Sent: Message + 'static,
    Received: Message + Default + 'static,
{
    Grpc::new(ProstCodec::default()).max_decoding_message_size(MESSAGE_BYTES_MAX)
}

fn supported() -> SupportedMethods {
    let method = |name: &str, features: &[&str]| SupportedMethod {
        method: name.to_owned(),
        service: STREAMS.to_owned(),
        features: features.iter().map(|feature| (*feature).to_owned()).collect(),
    };
    let methods = vec![
        method("append", &[]),
        method("batchappend", &["deadline_duration"]),
        method("read", &["position", "events"]),
        method("delete", &[]),
        method("tombstone", &[]),
    ];
    SupportedMethods { methods, server_version: VERSION.to_owned() }
}

/// The cluster, as this node sees it.
fn members(shared: &Shared) -> ClusterInfo {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let member = |(address, state, is_alive): (SocketAddr, NodeState, bool)| MemberInfo {
        instance_id: Some(WireUuid::structured(Uuid::new_v5(&Uuid::nil(), address.to_string().as_bytes()))),
        time_stamp: i64::try_from(since_1970.as_nanos() / 100).unwrap_or(i64::MAX),
        state: state.into(),
        is_alive,
        http_end_point: Some(EndPoint { address: address.ip().to_string(), port: address.port().into() }),
    };
    ClusterInfo { members: shared.membership.members(shared.node).into_iter().map(member).collect() }
}
