//! The sandbox over HTTP.

mod extract;
mod operator;

use std::{
    convert::Infallible,
    sync::{Arc, PoisonError, RwLock},
};

use axum::{
    Extension, Json, Router,
    extract::{DefaultBodyLimit, Request, State},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post, put},
};
use domain::{Amount, RefundId};
use http::header;
use tokio::time;

use self::extract::{Body, Charge, ChargeAnd};
use super::{
    account::{Account, Refusal},
    ledger::{Books, ChargeKey, Ledger, LedgerError},
    resource::{ChargeResource, RefundTerms, Terms},
    script::{Ending, Fault, Method, Script},
};
use crate::{
    http::{Code, Problem, problem},
    signature::Secret,
};

const BODY_BYTES_MAX: usize = 64 * 1024;
const METHOD_CHARS_MAX: usize = domain::payment::TOKEN_CHARS_MAX;

/// What the handlers work with. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Api {
    pub ledger: Ledger,
    pub secret: Secret,
    pub script: SharedScript,
}

/// The script as it stands, for all who follow it.
#[derive(Debug, Clone, Default)]
pub struct SharedScript(Arc<RwLock<Script>>);

impl SharedScript {
    pub fn new(script: Script) -> Self {
        Self(Arc::new(RwLock::new(script)))
    }

    pub fn get(&self) -> Script {
        *self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn set(&self, script: Script) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = script;
    }
}

/// Marks an answer that is not to be sent: the connection ends instead.
#[derive(Debug, Clone, Copy)]
pub struct NoAnswer;

/// The connection ends without an answer, as the script has it.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the script has this answer lost")]
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
        .route_layer(middleware::from_fn_with_state(api.clone(), unless_down));
    Router::new()
        .merge(charges)
        .route("/v1/totals", get(operator::totals))
        .route("/v1/script", get(operator::script).put(operator::set_script))
        .route_layer(middleware::from_fn_with_state(api.clone(), authorize))
        .route("/livez", get(|| async { "ok\n" }))
        .merge(problem::pages())
        .fallback(problem::no_such_path)
        .method_not_allowed_fallback(problem::no_such_method)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(api)
}

/// Pretend money, too, is moved only by who may.
async fn authorize(State(api): State<Api>, request: Request, next: Next) -> Response {
    let given = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = given.and_then(|given| given.strip_prefix("Bearer "));
    if token.is_some_and(|token| api.secret.is(token)) {
        next.run(request).await
    } else {
        Problem::new(Code::Unauthorized).into_response()
    }
}

async fn unless_down(State(api): State<Api>, request: Request, next: Next) -> Response {
    if api.script.get().outage {
        return Problem::new(Code::Unavailable).detail("an outage, as the script has it").into_response();
    }
    next.run(request).await
}

async fn charge(
    State(api): State<Api>,
    Charge(key): Charge,
    Body(terms): Body<Terms>,
) -> Result<Response, Problem> {
    if !(1..=METHOD_CHARS_MAX).contains(&terms.method.chars().count()) {
        return Err(Problem::new(Code::InvalidRequest).error("method", "has 1 to 255 characters"));
    }
    let (script, method) = (api.script.get(), Method::of(&terms.method));
    api.ask(key, "charge", method, move |books, known| {
        if let Some(account) = known {
            account.repeat(&terms)?;
            return Ok(account);
        }
        let declined_before =
            method == Method::DeclineOnce && books.has_failed_before(key.payment_id, &terms.method)?;
        let verdict = script.charge(key.occasion("charge", 0), method, declined_before);
        Ok(Account::open((key.payment_id, key.number), terms, verdict, books.now)?)
    })
    .await
}

async fn look_up(State(api): State<Api>, Charge(key): Charge) -> Result<Response, Problem> {
    let script = api.script.get();
    let account = api.ledger.charge(key).await.map_err(problem_of)?;
    let method = account.as_ref().map_or(Method::Other, method_of);
    let attempt = api.attempt(&script, key, "look_up").await?;
    let occasion = key.occasion("look_up", attempt);
    if let Some(fault) = script.before(occasion, method, false) {
        return Ok(broken(fault));
    }
    let ending = script.after(occasion, method, false);
    let account = account.ok_or(Refusal::Unknown.into());
    Ok(answer(ending, account.map(|account| account.charge).map_err(problem_of)).await)
}

async fn capture(State(api): State<Api>, ChargeAnd(key, total): ChargeAnd<i64>) -> Result<Response, Problem> {
    let invalid = |_| Problem::new(Code::InvalidParameter).error("total", "is an amount in minor units");
    let total = Amount::new(total).map_err(invalid)?;
    api.ask(key, &format!("capture {total}"), Method::Other, move |books, known| {
        let mut account = known.ok_or(Refusal::Unknown)?;
        account.capture(total, books.now)?;
        Ok(account)
    })
    .await
}

async fn void(State(api): State<Api>, Charge(key): Charge) -> Result<Response, Problem> {
    api.ask(key, "void", Method::Other, move |books, known| {
        let Some(mut account) = known else {
            return Ok(Account::given_up(key.payment_id, key.number, books.now));
        };
        account.void(books.now);
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
    let drawn_for = operation.clone();
    api.ask(key, &operation, Method::Other, move |books, known| {
        let mut account = known.ok_or(Refusal::Unknown)?;
        let verdict = script.refund(key.occasion(&drawn_for, 0), method_of(&account));
        account.refund(refund_id, amount, verdict, books.now)?;
        books.claim_refund(refund_id, key)?;
        Ok(account)
    })
    .await
}

impl Api {
    /// Does what is asked for, as far as the script lets it, and answers with the charge. `method`: of a charge that is
    /// not known yet.
    async fn ask(
        &self,
        key: ChargeKey,
        operation: &str,
        method: Method,
        change: impl FnOnce(&Books<'_>, Option<Account>) -> Result<Account, LedgerError> + Send + 'static,
    ) -> Result<Response, Problem> {
        let script = self.script.get();
        let known = self.ledger.charge(key).await.map_err(problem_of)?;
        let method = known.as_ref().map_or(method, method_of);
        let occasion = key.occasion(operation, self.attempt(&script, key, operation).await?);
        if let Some(fault) = script.before(occasion, method, known.is_none()) {
            return Ok(broken(fault));
        }
        let asked = self.ledger.change(key, script, change).await;
        // Of those who ask at once for a new charge, one has made it.
        let created = asked.as_ref().is_ok_and(|(_, existed)| !existed);
        let ending = script.after(occasion, method, created);
        let outcome = match asked {
            Ok((account, _)) => Ok(account.charge),
            Err(error) => Err(self.refused(key, error).await),
        };
        Ok(answer(ending, outcome).await)
    }

    /// A refusal for how the charge stands shows how it stands.
    async fn refused(&self, key: ChargeKey, error: LedgerError) -> Problem {
        let for_its_status = matches!(error, LedgerError::Refused(Refusal::Status(_)));
        let problem = problem_of(error);
        if !for_its_status {
            return problem;
        }
        let account = self.ledger.charge(key).await.ok().flatten();
        let charge = account.and_then(|account| serde_json::to_value(account.charge).ok());
        charge.into_iter().fold(problem, |problem, charge| problem.member("charge", charge))
    }

    /// Which attempt this is, where that matters.
    async fn attempt(&self, script: &Script, key: ChargeKey, operation: &str) -> Result<u64, Problem> {
        if !script.disturbs_requests() {
            return Ok(0);
        }
        self.ledger.count_attempt(key, operation).await.map_err(problem_of)
    }
}

fn method_of(account: &Account) -> Method {
    account.charge.terms.as_ref().map_or(Method::Other, |terms| Method::of(&terms.method))
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
        Fault::Dropped => Extension(NoAnswer).into_response(),
        Fault::Error => Problem::new(Code::Internal).detail("as the script has it").into_response(),
    }
}

fn problem_of(error: LedgerError) -> Problem {
    let refusal = match error {
        LedgerError::Refused(refusal) => refusal,
        LedgerError::Unusable(error) => {
            tracing::error!(error, "The ledger of the sandbox cannot be used");
            return Problem::new(Code::Internal);
        }
    };
    match refusal {
        Refusal::Unknown => Problem::new(Code::UnknownCharge),
        Refusal::OtherTerms => Problem::new(Code::TermsDiffer),
        Refusal::TooLarge { .. } => Problem::new(Code::AmountTooLarge),
        Refusal::NoAmount => {
            return Problem::new(Code::InvalidRequest).error("amount", "is a positive number of minor units");
        }
        Refusal::Status(_) => Problem::new(Code::PaymentState),
        Refusal::Settled => Problem::new(Code::RefundSettled),
        Refusal::TooManyRefunds => Problem::new(Code::TooManyParts),
    }
    .detail(refusal.to_string())
}
