//! The methods of the server.

use std::{
    future::ready,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use http::{Request, Response};
use prost::Message;
use tonic::{Status, body::Body, server::Grpc};
use tonic_prost::ProstCodec;
use tower::service_fn;
use uuid::Uuid;

use super::{
    errors,
    faults::Faults,
    log::Log,
    messages::{ClusterInfo, EndPoint, MemberInfo, ReadRequest, SupportedMethod, SupportedMethods, WireUuid},
    reading, writing,
};

const VERSION: &str = "24.10.0";
const STREAMS: &str = "event_store.client.streams.streams";
/// The largest message that the server accepts, in bytes.
const MESSAGE_BYTES_MAX: usize = 17 << 20;
/// The state of the leader in gossip.
const LEADER: i32 = 8;

/// The state that all connections share.
#[derive(Debug)]
pub struct Shared {
    pub log: Arc<Mutex<Log>>,
    pub faults: Arc<Faults>,
    pub append_bytes_max: usize,
    pub address: SocketAddr,
}

pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub async fn answer(shared: Arc<Shared>, request: Request<Body>) -> Response<Body> {
    match request.uri().path().to_owned().as_str() {
        "/event_store.client.streams.Streams/Append" => {
            let append = service_fn(move |request| writing::append(shared.clone(), request));
            grpc().client_streaming(append, request).await
        }
        "/event_store.client.streams.Streams/BatchAppend" => {
            let append = service_fn(move |request| ready(Ok(writing::batch_append(&shared, request))));
            grpc().streaming(append, request).await
        }
        "/event_store.client.streams.Streams/Read" => {
            let read = service_fn(move |request: tonic::Request<ReadRequest>| {
                let options = request.into_inner().options.ok_or_else(|| errors::missing("options"));
                let responses = options.and_then(|options| reading::read(&shared, &options));
                async move { responses.map(tonic::Response::new) }
            });
            grpc().server_streaming(read, request).await
        }
        "/event_store.client.streams.Streams/Tombstone" => {
            let tombstone = service_fn(move |request| ready(writing::tombstone(&shared, request)));
            grpc().unary(tombstone, request).await
        }
        "/event_store.client.server_features.ServerFeatures/GetSupportedMethods" => {
            let methods = service_fn(|_: tonic::Request<()>| async { Ok(tonic::Response::new(supported())) });
            grpc().unary(methods, request).await
        }
        "/event_store.client.gossip.Gossip/Read" => {
            let members = tonic::Response::new(members(shared.address));
            let gossip = service_fn(move |_: tonic::Request<()>| {
                let members = members.get_ref().clone();
                async move { Ok(tonic::Response::new(members)) }
            });
            grpc().unary(gossip, request).await
        }
        _ => Status::unimplemented("this server has no such method").into_http(),
    }
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
        method("tombstone", &[]),
    ];
    SupportedMethods { methods, server_version: VERSION.to_owned() }
}

/// A cluster with this node only.
fn members(address: SocketAddr) -> ClusterInfo {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let node = MemberInfo {
        instance_id: Some(WireUuid::structured(Uuid::nil())),
        time_stamp: i64::try_from(since_1970.as_nanos() / 100).unwrap_or(i64::MAX),
        state: LEADER,
        is_alive: true,
        http_end_point: Some(EndPoint { address: address.ip().to_string(), port: address.port().into() }),
    };
    ClusterInfo { members: vec![node] }
}
