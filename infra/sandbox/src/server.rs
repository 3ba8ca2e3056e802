//! The HTTP API of the sandbox.

mod extract;
mod operator;

use std::{
    convert::Infallible,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use axum::{
    Extension, Json, Router,
    extract::{Request, State},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post, put},
};
use domain::{Amount, RefundId};
use http::header;
use tokio::time;

use self::extract::{Body, Charge, ChargeAnd};
use super::{
    account::{Account, ChargeRefusal},
    ledger::{ChargeKey, Ledger, LedgerError, LedgerView},
    resource::{ChargeResource, ChargeTerms, RefundTerms},
    script::{Ending, Fault, SandboxScript, TestMethod},
};
use infra::{
    http::{
        Code, Problem,
        body::{BodyLimits, BodyReader},
        problem,
    },
    signature::SigningSecret,
};

const BODY_LIMITS: BodyLimits = BodyLimits {
    bytes_max: 64 * 1024,
    read_timeout: Duration::from_secs(30),
    shared_bytes_max: 16 * 1024 * 1024,
};
const METHOD_CHARS_MAX: usize = domain::payment::TOKEN_CHARS_MAX;

/// The state of the handlers.
#[derive(Debug, Clone)]
pub struct Api {
    pub ledger: Ledger,
    pub secret: SigningSecret,
    pub script: SharedScript,
    bodies: BodyReader,
}

impl Api {
    pub fn new(ledger: Ledger, secret: SigningSecret, script: SandboxScript) -> Self {
        Self { ledger, secret, script: SharedScript::new(script), bodies: BodyReader::new(BODY_LIMITS) }
    }
}

/// The current script, shared by all tasks.
#[derive(Debug, Clone, Default)]
pub struct SharedScript(Arc<RwLock<SandboxScript>>);

impl SharedScript {
    pub fn new(script: SandboxScript) -> Self {
        Self(Arc::new(RwLock::new(script)))
    }

    pub fn get(&self) -> SandboxScript {
        *self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn set(&self, script: SandboxScript) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = script;
    }
}

/// Marks an answer that must not be sent. The server closes the connection instead.
#[derive(Debug, Clone, Copy)]
pub struct DropConnection;

/// Makes the server close the connection without an answer, as the script demands.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the script drops this answer")]
pub struct AnswerLost;

impl From<Infallible> for AnswerLost {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

/// Every route of the sandbox.
pub fn router(api: Api) -> Router {
    let charges = Router::new()
        .route("/v1/charges", get(operator::list))
        .route("/v1/charges/{payment_id}/{charge}", put(charge).get(look_up))
        .route("/v1/charges/{payment_id}/{charge}/captures/{total}", put(capture))
        .route("/v1/charges/{payment_id}/{charge}/void", post(void))
        .route("/v1/charges/{payment_id}/{charge}/refunds/{refund_id}", put(refund))
        .route("/v1/charges/{payment_id}/{charge}/complete", post(operator::complete))
        .route("/v1/charges/{payment_id}/{charge}/abandon", post(operator::abandon))
        .route(
            "/v1/charges/{payment_id}/{charge}/refunds/{refund_id}/complete",
            post(operator::complete_refund),
        )
        .route(
            "/v1/charges/{payment_id}/{charge}/refunds/{refund_id}/abandon",
            post(operator::abandon_refund),
        )
        .route("/v1/charges/{payment_id}/{charge}/refunds", post(operator::refund))
        .route("/v1/charges/{payment_id}/{charge}/disputes", post(operator::dispute))
        .route("/v1/charges/{payment_id}/{charge}/disputes/{dispute_id}/win", post(operator::win_dispute))
        .route("/v1/charges/{payment_id}/{charge}/disputes/{dispute_id}/lose", post(operator::lose_dispute))
        .route_layer(middleware::from_fn_with_state(api.clone(), refuse_in_outage));
    Router::new()
        .merge(charges)
        .route("/v1/totals", get(operator::totals))
        .route("/v1/script", get(operator::script).put(operator::set_script))
        .route_layer(middleware::from_fn_with_state(api.clone(), authorize))
        .route("/livez", get(|| async { "ok\n" }))
        .merge(problem::pages())
        .fallback(problem::no_such_path)
        .method_not_allowed_fallback(problem::no_such_method)
        .with_state(api)
}

/// Answers 401 to a request without the bearer token of the sandbox.
async fn authorize(State(api): State<Api>, request: Request, next: Next) -> Response {
    let given = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = given.and_then(|given| given.strip_prefix("Bearer "));
    if token.is_some_and(|token| api.secret.is(token)) {
        next.run(request).await
    } else {
        Problem::new(Code::Unauthorized).into_response()
    }
}

async fn refuse_in_outage(State(api): State<Api>, request: Request, next: Next) -> Response {
    if api.script.get().outage {
        return Problem::new(Code::Unavailable).detail("the script has an outage").into_response();
    }
    next.run(request).await
}

async fn charge(
    State(api): State<Api>,
    Charge(key): Charge,
    Body(terms): Body<ChargeTerms>,
) -> Result<Response, Problem> {
    if !(1..=METHOD_CHARS_MAX).contains(&terms.method.chars().count()) {
        return Err(Problem::new(Code::InvalidRequest).error("method", "must have 1 to 255 characters"));
    }
    let (script, method) = (api.script.get(), TestMethod::of(&terms.method));
    api.apply(key, "charge", method, move |view, known| {
        if let Some(account) = known {
            account.repeat(&terms)?;
            return Ok(account);
        }
        let declined_before =
            method == TestMethod::DeclineOnce && view.has_failed_before(key.payment_id, &terms.method)?;
        let verdict = script.charge(key.draw_key("charge", 0), method, declined_before);
        Ok(Account::open((key.payment_id, key.number), terms, verdict, view.now)?)
    })
    .await
}

async fn look_up(State(api): State<Api>, Charge(key): Charge) -> Result<Response, Problem> {
    let script = api.script.get();
    let account = api.ledger.charge(key).await.map_err(problem_of)?;
    let method = account.as_ref().map_or(TestMethod::Other, method_of);
    let attempt = api.attempt(&script, key, "look_up").await?;
    let draw_key = key.draw_key("look_up", attempt);
    if let Some(fault) = script.before(draw_key, method, false) {
        return Ok(broken(fault));
    }
    let ending = script.after(draw_key, method, false);
    let charge = account.map(|account| account.charge).ok_or(LedgerError::from(ChargeRefusal::Unknown));
    Ok(answer(ending, charge.map_err(problem_of)).await)
}

async fn capture(State(api): State<Api>, ChargeAnd(key, total): ChargeAnd<i64>) -> Result<Response, Problem> {
    let invalid = |_| Problem::invalid_parameter("total", "must be an amount in minor units");
    let total = Amount::new(total).map_err(invalid)?;
    api.apply(key, &format!("capture {total}"), TestMethod::Other, move |view, known| {
        let mut account = known.ok_or(ChargeRefusal::Unknown)?;
        account.capture(total, view.now)?;
        Ok(account)
    })
    .await
}

async fn void(State(api): State<Api>, Charge(key): Charge) -> Result<Response, Problem> {
    api.apply(key, "void", TestMethod::Other, move |view, known| {
        let Some(mut account) = known else {
            return Ok(Account::voided_before_request(key.payment_id, key.number, view.now));
        };
        account.void(view.now);
        Ok(account)
    })
    .await
}

async fn refund(
    State(api): State<Api>,
    ChargeAnd(key, refund_id): ChargeAnd<RefundId>,
    Body(RefundTerms { amount }): Body<RefundTerms>,
) -> Result<Response, Problem> {
    let (script, operation) = (api.script.get(), format!("refund {refund_id}"));
    let drawn_operation = operation.clone();
    api.apply(key, &operation, TestMethod::Other, move |view, known| {
        let mut account = known.ok_or(ChargeRefusal::Unknown)?;
        let verdict = script.refund(key.draw_key(&drawn_operation, 0), method_of(&account));
        account.refund(refund_id, amount, verdict, view.now)?;
        view.claim_refund(refund_id, key)?;
        Ok(account)
    })
    .await
}

impl Api {
    /// Applies `change` unless the script lets the request fail, and answers with the charge. The payment
    /// method decides about faults: that of the charge, or `new_method` if the charge does not exist yet.
    async fn apply(
        &self,
        key: ChargeKey,
        operation: &str,
        new_method: TestMethod,
        change: impl FnOnce(&LedgerView<'_>, Option<Account>) -> Result<Account, LedgerError> + Send + 'static,
    ) -> Result<Response, Problem> {
        let script = self.script.get();
        let known = self.ledger.charge(key).await.map_err(problem_of)?;
        let method = known.as_ref().map_or(new_method, method_of);
        let draw_key = key.draw_key(operation, self.attempt(&script, key, operation).await?);
        if let Some(fault) = script.before(draw_key, method, known.is_none()) {
            return Ok(broken(fault));
        }
        let changed = self.ledger.change(key, script, change).await;
        // Of several concurrent requests for a new charge, only one has created it.
        let created = changed.as_ref().is_ok_and(|(_, existed)| !existed);
        let ending = script.after(draw_key, method, created);
        let outcome = match changed {
            Ok((account, _)) => Ok(account.charge),
            Err(error) => Err(self.refused(key, error).await),
        };
        Ok(answer(ending, outcome).await)
    }

    /// The answer to a refused request. If the status of the charge is the reason, it contains the charge.
    async fn refused(&self, key: ChargeKey, error: LedgerError) -> Problem {
        let for_its_status = matches!(error, LedgerError::Refused(ChargeRefusal::Status(_)));
        let problem = problem_of(error);
        if !for_its_status {
            return problem;
        }
        let account = self.ledger.charge(key).await.ok().flatten();
        let charge = account.and_then(|account| serde_json::to_value(account.charge).ok());
        charge.into_iter().fold(problem, |problem, charge| problem.member("charge", charge))
    }

    /// The number of this attempt, or 0 if the script does not need it.
    async fn attempt(&self, script: &SandboxScript, key: ChargeKey, operation: &str) -> Result<u64, Problem> {
        if !script.disturbs_requests() {
            return Ok(0);
        }
        self.ledger.count_attempt(key, operation).await.map_err(problem_of)
    }
}

fn method_of(account: &Account) -> TestMethod {
    account.charge.terms.as_ref().map_or(TestMethod::Other, |terms| TestMethod::of(&terms.method))
}

async fn answer(ending: Ending, outcome: Result<ChargeResource, Problem>) -> Response {
    time::sleep(ending.delay).await;
    match ending.fault {
        Some(fault) => broken(fault),
        None => outcome.map(Json).into_response(),
    }
}

fn broken(fault: Fault) -> Response {
    match fault {
        Fault::Dropped => Extension(DropConnection).into_response(),
        Fault::Error => {
            Problem::new(Code::Internal).detail("the script lets this request fail").into_response()
        }
    }
}

fn problem_of(error: LedgerError) -> Problem {
    let refusal = match error {
        LedgerError::Refused(refusal) => refusal,
        LedgerError::Unusable(error) => {
            tracing::error!(error, "Cannot use the ledger of the sandbox");
            return Problem::new(Code::Internal);
        }
    };
    match refusal {
        ChargeRefusal::Unknown => Problem::new(Code::UnknownCharge),
        ChargeRefusal::OtherTerms => Problem::new(Code::TermsDiffer),
        ChargeRefusal::TooLarge { .. } => Problem::new(Code::AmountTooLarge),
        ChargeRefusal::NoAmount => {
            return Problem::new(Code::InvalidRequest)
                .error("amount", "must be a positive number of minor units");
        }
        ChargeRefusal::Status(_) => Problem::new(Code::PaymentState),
        ChargeRefusal::Settled => Problem::new(Code::RefundSettled),
        ChargeRefusal::TooManyRefunds => Problem::new(Code::TooManyParts),
    }
    .detail(refusal.to_string())
}
