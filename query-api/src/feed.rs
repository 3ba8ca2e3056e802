//! `/v1/feed`: events as they are recorded, as server-sent events.
//!
//! A listener of the whole log gets every event. A listener of one stream, or of the tiles of a page, gets the newest
//! one, at most four a second: its page asks for the rest. Every frame has the position of its event as its id, after
//! which a listener goes on when it connects again.

mod hub;
mod listener;
mod window;

use std::{convert::Infallible, fmt, sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::{FromRequestParts, State},
    response::{IntoResponse, Response},
};
use domain::{Position, StreamName};
use http::{HeaderName, header, request::Parts};
use infra::{
    auth::{Caller, Scope},
    http::{
        Code, Failure, Problem, access,
        parameters::{self, FromParameters, Parameters, Params, one_of},
        slots, stores,
    },
};
use tokio_util::sync::CancellationToken;
use utoipa::{
    IntoParams, PartialSchema,
    openapi::path::{Parameter, ParameterBuilder, ParameterIn},
};

use self::{
    hub::{Hub, NoSeat, Subject},
    listener::Listener,
};
use crate::{LogAccess, QueryApi};

infra::problems! {
    /// The codes of the feed.
    pub FeedProblems = [parameters::REJECTIONS, stores::FAILURES] Overloaded Forbidden;
}

/// Limits of the feed.
#[derive(Debug, Clone, Copy)]
pub struct FeedOptions {
    /// Concurrent listeners. One more is answered with 503 `overloaded`.
    pub listeners_max: usize,
    /// Bytes of the last events in memory, for all listeners together.
    pub window_bytes_max: usize,
    /// The shortest time between two updates of one stream or of the tiles.
    pub update_every: Duration,
    /// A comment goes out after so long without an event, so that proxies keep the connection.
    pub heartbeat_every: Duration,
    /// An answer ends after so long, so that the credential of its caller is checked again.
    pub renewed_after: Duration,
}

impl Default for FeedOptions {
    fn default() -> Self {
        Self {
            listeners_max: 512,
            window_bytes_max: 8 << 20,
            update_every: Duration::from_millis(250),
            heartbeat_every: Duration::from_secs(10),
            renewed_after: Duration::from_mins(15),
        }
    }
}

/// The listeners of a process.
#[derive(Clone)]
pub(crate) struct Feed(Arc<Hub>);

impl fmt::Debug for Feed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Feed").field("options", &self.0.options).finish_non_exhaustive()
    }
}

impl Feed {
    /// Ends all listeners at `stop`.
    pub fn new(log: Arc<LogAccess>, options: FeedOptions, stop: CancellationToken) -> Self {
        Self(Arc::new(Hub::new(log, options, stop)))
    }

    pub fn options(&self) -> FeedOptions {
        self.0.options
    }
}

/// The events to listen to.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct FeedParams {
    /// The newest event of this stream, such as `order-UUID` or `stock-SKU`, at most four a second.
    #[param(value_type = Option<String>)]
    stream: Option<StreamName>,
    /// `tiles`: the newest event of the log, at most four a second.
    #[param(value_type = Option<String>)]
    topic: Option<Topic>,
    /// Begin after this position; 0: at the beginning. If omitted: at the end of the log. `Last-Event-ID` takes
    /// precedence.
    #[param(value_type = Option<u64>)]
    after: Option<Position>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Topic {
    Tiles,
}

impl FromParameters for FeedParams {
    fn read(parameters: &mut Parameters) -> Option<Self> {
        let stream = parameters.optional("stream", str::parse);
        let topic = parameters.optional("topic", |text| one_of(text, &[Topic::Tiles], |_| "tiles"));
        if stream.is_some() && topic.is_some() {
            parameters.refuse("topic", "cannot be combined with stream");
        }
        Some(Self { stream, topic, after: parameters.optional("after", position) })
    }
}

fn position(text: &str) -> Result<Position, &'static str> {
    text.parse().map_err(|_| "is not a position, a whole number from 0")
}

impl FeedParams {
    fn subject(self) -> Subject {
        match (self.stream, self.topic) {
            (Some(stream), _) => Subject::Stream(stream),
            (None, Some(Topic::Tiles)) => Subject::Tiles,
            (None, None) => Subject::WholeLog,
        }
    }
}

/// Where a browser goes on when it connects again.
#[derive(Debug)]
pub struct LastEventId(Option<Position>);

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

impl<S: Send + Sync> FromRequestParts<S> for LastEventId {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let Some(value) = parts.headers.get(LAST_EVENT_ID) else { return Ok(Self(None)) };
        let parsed = position(value.to_str().unwrap_or_default());
        parsed.map(|after| Self(Some(after))).map_err(|why| Problem::invalid_parameter("Last-Event-ID", why))
    }
}

impl IntoParams for LastEventId {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let parameter = ParameterBuilder::new()
            .name("Last-Event-ID")
            .parameter_in(ParameterIn::Header)
            .description(Some("The id of the last event that was received."))
            .schema(Some(u64::schema()));
        vec![parameter.build()]
    }
}

impl From<NoSeat> for Problem {
    fn from(reason: NoSeat) -> Self {
        match reason {
            NoSeat::Full => Self::new(Code::Overloaded).detail("the feed has no place for another listener"),
            NoSeat::Log(error) => error.into(),
        }
    }
}

/// Events as they are recorded
///
/// Server-sent events. `recorded` has a `LogEvent` as its data and the position as its id. `dropped` comes before the
/// server ends the answer; its data has the position to go on `after`. Comments keep the connection open. The whole
/// log needs the scope `audit`. Without it, events of a stream and of the tiles have no actor, no key and no data.
#[utoipa::path(
    get, path = "/v1/feed", operation_id = "followFeed", tag = "events",
    params(FeedParams, LastEventId),
    responses(
        (status = 200, description = "The events.", body = String, content_type = "text/event-stream"),
        FeedProblems,
    ),
)]
pub async fn feed(
    State(api): State<Arc<QueryApi>>,
    caller: Caller,
    LastEventId(last): LastEventId,
    Params(wanted): Params<FeedParams>,
) -> Result<Response, Failure<FeedProblems>> {
    let after = last.or(wanted.after);
    let (subject, shows_content) = (wanted.subject(), caller.may(Scope::Audit));
    if subject == Subject::WholeLog {
        access::require(&caller, Scope::Audit)?;
    }
    let hub = &api.feed.0;
    if hub.went_back.is_cancelled() {
        return Err(Problem::new(Code::LogWentBack).into());
    }
    // The listeners have a limit of their own.
    slots::give_up();
    let seat = hub.join(subject).await.map_err(Problem::from)?;
    let reached = *hub.reached().borrow();
    let (position, missed) = match after {
        None => (reached, None),
        Some(after) => {
            // The follower can be a moment behind what another process has sent.
            if after > reached && after > hub.end_of_log().await? {
                let why = "is after the last event of the log";
                return Err(Problem::invalid_parameter("after", why).into());
            }
            (after, hub.missed_since(after, seat.subject()).await?)
        }
    };
    let listener = Listener::new(seat, position, missed, shows_content);
    let frames = futures::stream::unfold(listener, |mut listener| async move {
        let frames = listener.next().await?;
        Some((Ok::<_, Infallible>(frames), listener))
    });
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store"),
        // A proxy that collects an answer before it sends it would hold events back.
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    Ok((headers, Body::from_stream(frames)).into_response())
}
