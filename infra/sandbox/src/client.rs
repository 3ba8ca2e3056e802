//! The adapter of the payment provider port: sends each operation to a sandbox over HTTP.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use domain::{Amount, PaymentId, Timestamp, payment::ProviderReport};
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::Full;
use infra::{
    http::Code,
    payment_provider::{
        Book, BookPage, ChargeAnswer, ChargeRequest, Notice, NoticeContent, NoticeError, PaymentProvider,
        Period, ProviderError, RefundAnswer, RefundRequest,
    },
    signature::{SignatureError, Signed, SigningSecret, verify},
    traces,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    books::{charge_of, page_of},
    http_client::{HttpClient, RequestFailure},
    resource::{ChargePage, ChargeResource, ChargeTerms, NoticeBody, NoticeKind, RefundTerms},
};

/// The name of the provider in commands, in events and in the path of its notices.
pub const NAME: &str = "sandbox";
/// Time limit for a request and its answer together.
const TIME_MAX: Duration = Duration::from_secs(10);
/// Charges of a page of the books: the most that the sandbox lists at once.
const BOOK_PAGE: usize = 200;

/// Implements [`PaymentProvider`] with requests to a sandbox.
#[derive(Debug)]
pub struct SandboxProvider {
    client: HttpClient,
    base_url: String,
    secret: SigningSecret,
}

/// The members of a problem answer that the adapter uses.
#[derive(Debug, Deserialize)]
struct ProblemAnswer {
    code: String,
    title: String,
    #[serde(default)]
    detail: Option<String>,
    /// The current charge, if its status does not allow the request.
    #[serde(default)]
    charge: Option<Box<ChargeResource>>,
}

impl SandboxProvider {
    /// `base_url`: `http://HOST:PORT`.
    pub fn new(base_url: &str, secret: SigningSecret) -> Self {
        let client = HttpClient::new(TIME_MAX);
        Self { client, base_url: base_url.trim_end_matches('/').to_owned(), secret }
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&(impl Serialize + Sync)>,
    ) -> Result<ChargeResource, AskError> {
        self.ask_for(method, path, body).await
    }

    async fn ask_for<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&(impl Serialize + Sync)>,
    ) -> Result<T, AskError> {
        let invalid =
            |error: &dyn std::fmt::Display| AskError::Provider(ProviderError::Refused(error.to_string()));
        let json = body.map(serde_json::to_vec).transpose().map_err(|error| invalid(&error))?;
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base_url))
            .header(header::AUTHORIZATION, format!("Bearer {}", self.secret.reveal()))
            .header(header::CONTENT_TYPE, "application/json");
        let request = match traces::current() {
            Some(trace) => request.header(traces::TRACEPARENT, trace.to_string()),
            None => request,
        };
        let request = request
            .body(Full::new(Bytes::from(json.unwrap_or_default())))
            .map_err(|error| invalid(&error))?;
        let (status, answer) = self.client.send(request).await.map_err(|error| {
            AskError::Provider(match error {
                RequestFailure::NotConnected(why) => ProviderError::Unreachable(why),
                RequestFailure::Lost(why) => ProviderError::OutcomeUnknown(why),
            })
        })?;
        if status.is_success() {
            read(&answer).map_err(AskError::Provider)
        } else {
            Err(error_of(status, &answer))
        }
    }
}

/// Why a request did not return the charge as requested.
enum AskError {
    /// The sandbox has no such charge.
    UnknownCharge,
    /// The status of the charge does not allow the request.
    OtherStatus(Box<ChargeResource>),
    Provider(ProviderError),
}

impl AskError {
    /// The error of an operation that needs an existing charge.
    fn into_error(self) -> ProviderError {
        match self {
            Self::Provider(error) => error,
            Self::UnknownCharge => ProviderError::Refused("the sandbox has no such charge".to_owned()),
            Self::OtherStatus(charge) => {
                ProviderError::Refused(format!("the charge is {:?}", charge.status).to_lowercase())
            }
        }
    }
}

fn read<T: DeserializeOwned>(answer: &[u8]) -> Result<T, ProviderError> {
    let unreadable = |error| ProviderError::OutcomeUnknown(format!("cannot parse the answer: {error}"));
    serde_json::from_slice(answer).map_err(unreadable)
}

fn error_of(status: StatusCode, answer: &[u8]) -> AskError {
    let problem: Option<ProblemAnswer> = serde_json::from_slice(answer).ok();
    let code = problem.as_ref().map(|problem| problem.code.as_str()).unwrap_or_default();
    let is = |expected: Code| code == expected.as_str();
    if is(Code::UnknownCharge) {
        return AskError::UnknownCharge;
    }
    let described = problem.as_ref().map(|problem| match &problem.detail {
        Some(detail) => format!("{}: {detail}", problem.title),
        None => problem.title.clone(),
    });
    let text = described.unwrap_or_else(|| format!("answered with {}", status.as_u16()));
    if is(Code::Unavailable) {
        return AskError::Provider(ProviderError::Unreachable(text));
    }
    if let Some(charge) = problem.and_then(|problem| problem.charge) {
        return AskError::OtherStatus(charge);
    }
    AskError::Provider(match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => ProviderError::Credentials(text),
        // Another server answers at this address.
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => {
            ProviderError::Unreachable(format!("the server is not a sandbox: {text}"))
        }
        status if status.is_client_error() => ProviderError::Refused(text),
        _ => ProviderError::OutcomeUnknown(text),
    })
}

fn path(request: &ChargeRequest) -> String {
    path_of(request.payment_id, request.charge.number)
}

fn path_of(payment_id: PaymentId, charge: u32) -> String {
    format!("/v1/charges/{payment_id}/{charge}")
}

/// The `body` of [`SandboxProvider::ask`] for a request without a body.
const NO_BODY: Option<&()> = None;

#[async_trait]
impl PaymentProvider for SandboxProvider {
    fn name(&self) -> &'static str {
        NAME
    }

    fn captures_in_parts(&self) -> bool {
        true
    }

    async fn charge(&self, request: &ChargeRequest) -> Result<ChargeAnswer, ProviderError> {
        let terms = ChargeTerms {
            amount: request.charge.amount,
            currency: request.currency,
            method: request.charge.method.clone(),
            capture: request.charge.capture,
            order_id: Some(request.order_id),
        };
        let charge = self.ask(Method::PUT, &path(request), Some(&terms)).await;
        charge.map(ChargeAnswer::from).map_err(AskError::into_error)
    }

    async fn capture(
        &self,
        request: &ChargeRequest,
        _amount: Amount,
        total: Amount,
    ) -> Result<ProviderReport, ProviderError> {
        let capture_path = format!("{}/captures/{total}", path(request));
        match self.ask(Method::PUT, &capture_path, NO_BODY).await {
            Ok(charge) => Ok(charge.report()),
            // The charge is failed, voided or pending. The report says so.
            Err(AskError::OtherStatus(charge)) => Ok(charge.report()),
            Err(error) => Err(error.into_error()),
        }
    }

    async fn void(&self, request: &ChargeRequest) -> Result<ProviderReport, ProviderError> {
        let charge = self.ask(Method::POST, &format!("{}/void", path(request)), NO_BODY).await;
        charge.map(|charge| charge.report()).map_err(AskError::into_error)
    }

    async fn look_up(&self, request: &ChargeRequest) -> Result<Option<ChargeAnswer>, ProviderError> {
        match self.ask(Method::GET, &path(request), NO_BODY).await {
            Ok(charge) => Ok(Some(charge.into())),
            Err(AskError::UnknownCharge) => Ok(None),
            Err(error) => Err(error.into_error()),
        }
    }

    async fn look_up_reference(
        &self,
        reference: &str,
    ) -> Result<Option<(PaymentId, ProviderReport)>, ProviderError> {
        let Some((payment_id, charge)) = charge_of(reference) else { return Ok(None) };
        match self.ask(Method::GET, &path_of(payment_id, charge), NO_BODY).await {
            Ok(charge) => Ok(Some((payment_id, charge.report()))),
            Err(AskError::UnknownCharge) => Ok(None),
            Err(error) => Err(error.into_error()),
        }
    }

    async fn read_book(
        &self,
        book: Book,
        period: Period,
        after: Option<&str>,
    ) -> Result<BookPage, ProviderError> {
        let cursor = after.map_or_else(String::new, |after| format!("&cursor={after}"));
        let list_path = format!("/v1/charges?limit={BOOK_PAGE}{cursor}");
        let charges: ChargePage =
            self.ask_for(Method::GET, &list_path, NO_BODY).await.map_err(AskError::into_error)?;
        Ok(page_of(charges, book, period))
    }

    async fn refund(&self, request: &RefundRequest) -> Result<RefundAnswer, ProviderError> {
        let refund_path = format!("{}/refunds/{}", path(&request.charge), request.refund_id);
        let asked = self.ask(Method::PUT, &refund_path, Some(&RefundTerms { amount: request.amount })).await;
        let charge = asked.map_err(AskError::into_error)?;
        let without = || ProviderError::OutcomeUnknown("the answer does not contain the refund".to_owned());
        charge.refund(request.refund_id).map(RefundAnswer::from).ok_or_else(without)
    }

    fn check_notice_headers(&self, headers: &HeaderMap, now: Timestamp) -> Result<(), NoticeError> {
        Signed::read(headers, now).map(drop).map_err(notice_error)
    }

    fn read_notice(&self, headers: &HeaderMap, body: &[u8], now: Timestamp) -> Result<Notice, NoticeError> {
        /// Parses the type first: notices of other types may have any other members.
        #[derive(Deserialize)]
        struct Kind {
            #[serde(rename = "type")]
            kind: serde_json::Value,
        }
        let id = verify(&[&self.secret], headers, body, now).map_err(notice_error)?.to_owned();
        let unreadable = |_| NoticeError::Unreadable;
        let Kind { kind } = serde_json::from_slice(body).map_err(unreadable)?;
        if serde_json::from_value::<NoticeKind>(kind).is_err() {
            return Ok(Notice { id, content: NoticeContent::Other });
        }
        let notice: NoticeBody = serde_json::from_slice(body).map_err(unreadable)?;
        let payment_id = notice.data.payment_id;
        let charge = &notice.data;
        let content = match (notice.refund_id, notice.dispute_id) {
            (Some(refund_id), _) => {
                let refund = charge.refund(refund_id).ok_or(NoticeError::Unreadable)?;
                NoticeContent::Refund { payment_id, report: refund.report(charge.charge) }
            }
            (None, Some(dispute_id)) => {
                let dispute = charge.dispute(&dispute_id).ok_or(NoticeError::Unreadable)?;
                NoticeContent::Dispute { payment_id, report: dispute.report(charge.charge) }
            }
            (None, None) => NoticeContent::Charge { payment_id, report: charge.report() },
        };
        Ok(Notice { id, content })
    }
}

fn notice_error(error: SignatureError) -> NoticeError {
    match error {
        SignatureError::Missing => NoticeError::NoSignature,
        SignatureError::Wrong => NoticeError::WrongSignature,
        SignatureError::Stale => NoticeError::Stale,
    }
}
