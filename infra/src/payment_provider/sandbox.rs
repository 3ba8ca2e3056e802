//! The embedded default: a payment provider that moves no money and goes wrong as its script says. Beside its adapter is
//! the provider itself ([`Sandbox`]); the two speak HTTP, also within one process.

mod account;
mod http_client;
mod ledger;
pub mod resource;
pub mod script;
pub mod secret_file;
mod server;
mod service;
mod webhooks;

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use domain::{Amount, Timestamp, payment::ProviderReport};
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::Full;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use self::{
    http_client::{HttpClient, NoAnswer},
    resource::{ChargeResource, Event, EventKind, RefundTerms, Terms},
};
pub use self::{
    ledger::OpenError,
    service::{Sandbox, SandboxOptions},
};
use super::{
    ChargeAnswer, ChargeRequest, Notice, NoticeContent, NoticeError, PaymentProvider, ProviderError,
    RefundAnswer, RefundRequest,
};
use crate::{
    http::Code,
    signature::{Secret, SignatureError, verify},
};

/// Its name in commands, in events and in the path of its webhooks.
pub const NAME: &str = "sandbox";
/// For a request and its answer.
const TIME_MAX: Duration = Duration::from_secs(10);

/// See [`PaymentProvider`].
#[derive(Debug)]
pub struct SandboxProvider {
    client: HttpClient,
    base_url: String,
    secret: Secret,
}

/// An error of the sandbox, as far as it matters here.
#[derive(Debug, Deserialize)]
struct Refused {
    code: String,
    title: String,
    #[serde(default)]
    detail: Option<String>,
    /// Where a charge does not allow what is asked for: how it stands.
    #[serde(default)]
    charge: Option<Box<ChargeResource>>,
}

impl SandboxProvider {
    /// `base_url`: `http://HOST:PORT`.
    pub fn new(base_url: &str, secret: Secret) -> Self {
        let base_url = base_url.trim_end_matches('/').to_owned();
        Self { client: HttpClient::new(TIME_MAX), base_url, secret }
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&(impl Serialize + Sync)>,
    ) -> Result<ChargeResource, Failed> {
        let wrong =
            |error: &dyn std::fmt::Display| Failed::Provider(ProviderError::Refused(error.to_string()));
        let body = body.map(serde_json::to_vec).transpose().map_err(|error| wrong(&error))?;
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base_url))
            .header(header::AUTHORIZATION, format!("Bearer {}", self.secret.reveal()))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body.unwrap_or_default())))
            .map_err(|error| wrong(&error))?;
        let (status, answer) = self.client.send(request).await.map_err(|error| {
            Failed::Provider(match error {
                NoAnswer::NotConnected(why) => ProviderError::Unreachable(why),
                NoAnswer::Lost(why) => ProviderError::OutcomeUnknown(why),
            })
        })?;
        if status.is_success() {
            read(&answer).map_err(Failed::Provider)
        } else {
            Err(failed(status, &answer))
        }
    }
}

/// Why a question has no answer that says how a charge stands.
enum Failed {
    /// There is no such charge.
    Unknown,
    /// It stands otherwise than what is asked for needs.
    StandsOtherwise(Box<ChargeResource>),
    Provider(ProviderError),
}

impl Failed {
    /// Where the charge has to be there.
    fn error(self) -> ProviderError {
        match self {
            Self::Provider(error) => error,
            Self::Unknown => ProviderError::Refused("there is no such charge".to_owned()),
            Self::StandsOtherwise(charge) => {
                ProviderError::Refused(format!("the charge is {:?}", charge.status).to_lowercase())
            }
        }
    }
}

fn read<T: DeserializeOwned>(answer: &[u8]) -> Result<T, ProviderError> {
    let unreadable = |error| ProviderError::OutcomeUnknown(format!("the answer cannot be read: {error}"));
    serde_json::from_slice(answer).map_err(unreadable)
}

fn failed(status: StatusCode, answer: &[u8]) -> Failed {
    let refused: Option<Refused> = serde_json::from_slice(answer).ok();
    let code = refused.as_ref().map(|refused| refused.code.as_str()).unwrap_or_default();
    let is = |expected: Code| code == expected.as_str();
    if is(Code::UnknownCharge) {
        return Failed::Unknown;
    }
    let said = refused.as_ref().map(|refused| match &refused.detail {
        Some(detail) => format!("{}: {detail}", refused.title),
        None => refused.title.clone(),
    });
    let said = said.unwrap_or_else(|| format!("answered with {}", status.as_u16()));
    if is(Code::Unavailable) {
        return Failed::Provider(ProviderError::Unreachable(said));
    }
    if let Some(charge) = refused.and_then(|refused| refused.charge) {
        return Failed::StandsOtherwise(charge);
    }
    Failed::Provider(match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => ProviderError::Credentials(said),
        // Something else answers there.
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => {
            ProviderError::Unreachable(format!("this is no sandbox: {said}"))
        }
        status if status.is_client_error() => ProviderError::Refused(said),
        _ => ProviderError::OutcomeUnknown(said),
    })
}

fn path(request: &ChargeRequest) -> String {
    format!("/v1/charges/{}/{}", request.payment_id, request.charge.number)
}

/// What to send where nothing is to be said.
const NOTHING: Option<&()> = None;

#[async_trait]
impl PaymentProvider for SandboxProvider {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn charge(&self, request: &ChargeRequest) -> Result<ChargeAnswer, ProviderError> {
        let terms = Terms {
            amount: request.charge.amount,
            currency: request.currency,
            method: request.charge.method.clone(),
            capture: request.charge.capture,
            order_id: Some(request.order_id),
        };
        let charge = self.ask(Method::PUT, &path(request), Some(&terms)).await;
        charge.map(ChargeAnswer::from).map_err(Failed::error)
    }

    async fn capture(
        &self,
        request: &ChargeRequest,
        _amount: Amount,
        total: Amount,
    ) -> Result<ProviderReport, ProviderError> {
        let path = format!("{}/captures/{total}", path(request));
        match self.ask(Method::PUT, &path, NOTHING).await {
            Ok(charge) => Ok(charge.report()),
            // What there is to say of it is how it stands.
            Err(Failed::StandsOtherwise(charge)) => Ok(charge.report()),
            Err(failed) => Err(failed.error()),
        }
    }

    async fn void(&self, request: &ChargeRequest) -> Result<ProviderReport, ProviderError> {
        let charge = self.ask(Method::POST, &format!("{}/void", path(request)), NOTHING).await;
        charge.map(|charge| charge.report()).map_err(Failed::error)
    }

    async fn look_up(&self, request: &ChargeRequest) -> Result<Option<ChargeAnswer>, ProviderError> {
        match self.ask(Method::GET, &path(request), NOTHING).await {
            Ok(charge) => Ok(Some(charge.into())),
            Err(Failed::Unknown) => Ok(None),
            Err(failed) => Err(failed.error()),
        }
    }

    async fn refund(&self, request: &RefundRequest) -> Result<RefundAnswer, ProviderError> {
        let path = format!("{}/refunds/{}", path(&request.charge), request.refund_id);
        let charge = self.ask(Method::PUT, &path, Some(&RefundTerms { amount: request.amount })).await;
        let charge = charge.map_err(Failed::error)?;
        let without = || ProviderError::OutcomeUnknown("the answer says nothing of the refund".to_owned());
        charge.refund(request.refund_id).map(RefundAnswer::from).ok_or_else(without)
    }

    fn read_notice(&self, headers: &HeaderMap, body: &[u8], now: Timestamp) -> Result<Notice, NoticeError> {
        /// The type alone: of other types nothing else is expected.
        #[derive(Deserialize)]
        struct Kind {
            #[serde(rename = "type")]
            kind: serde_json::Value,
        }
        let id = verify(&[&self.secret], headers, body, now)?.to_owned();
        let unreadable = |_| NoticeError::Unreadable;
        let Kind { kind } = serde_json::from_slice(body).map_err(unreadable)?;
        if serde_json::from_value::<EventKind>(kind).is_err() {
            return Ok(Notice { id, content: NoticeContent::Other });
        }
        let event: Event = serde_json::from_slice(body).map_err(unreadable)?;
        let payment_id = event.data.payment_id;
        let content = match event.refund_id {
            None => NoticeContent::Charge { payment_id, report: event.data.report() },
            Some(refund_id) => {
                let refund = event.data.refund(refund_id).ok_or(NoticeError::Unreadable)?;
                NoticeContent::Refund { payment_id, refund_id, answer: refund.into() }
            }
        };
        Ok(Notice { id, content })
    }
}

impl From<SignatureError> for NoticeError {
    fn from(error: SignatureError) -> Self {
        match error {
            SignatureError::Missing => Self::NoSignature,
            SignatureError::Wrong => Self::WrongSignature,
            SignatureError::Stale => Self::Stale,
        }
    }
}
