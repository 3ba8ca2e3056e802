//! Who calls an API: API keys, tokens of an issuer (JWT), and what each caller may do. docs/authentication.md
//! describes it for operators.

pub mod api_key;
mod key_ring;
mod key_set;
mod scope;
mod token;

use std::{fmt, sync::Arc, time::Duration};

use domain::{Actor, text};
use http::{HeaderMap, header};
use tokio::sync::OnceCell;

pub use self::{
    key_ring::KeyRing,
    key_set::{KeySetError, KeySource},
    scope::{Scope, Scopes, UnknownScope},
    token::{DevelopmentSecret, TokenOptions, TokenVerifier, WeakSecret},
};
use crate::{log_limit::LogLimit, operations::OperationsError};

/// The most characters of a principal.
const PRINCIPAL_CHARS_MAX: usize = 512;
/// The longest authorization header that is looked at.
const CREDENTIAL_BYTES_MAX: usize = 8 * 1024;

/// The name of a caller. It outlives the keys and tokens that the caller uses.
///
/// An API key has a name without `:` and `|`. The name of a token is its issuer, `|` and its subject. The
/// parts of Orderly that act by themselves have names with `:`. So no two of these are ever equal.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Principal(Arc<str>);

/// Why a text is not the name of a principal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPrincipal {
    #[error("the name of a principal has 1 to 64 letters, digits, dots, hyphens and underscores")]
    Characters,
    #[error("`anonymous` is the name of callers without credentials; choose another one")]
    Reserved,
}

impl Principal {
    /// The principal of API keys.
    pub fn of_keys(name: &str) -> Result<Self, InvalidPrincipal> {
        let is_valid = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        if !(1..=64).contains(&name.len()) || !name.bytes().all(is_valid) {
            return Err(InvalidPrincipal::Characters);
        }
        if name.eq_ignore_ascii_case(Actor::ANONYMOUS) {
            return Err(InvalidPrincipal::Reserved);
        }
        Ok(Self(name.into()))
    }

    /// The principal of a token. `None` if a part is empty, too long or has control characters.
    fn of_token(issuer: &str, subject: &str) -> Option<Self> {
        let name = format!("{issuer}|{subject}");
        let is_valid = text::check_within(&name, PRINCIPAL_CHARS_MAX).is_ok() && !subject.is_empty();
        is_valid.then(|| Self(name.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who sent a request, and what it may do.
#[derive(Debug, Clone)]
pub struct Caller {
    /// `None`: the platform authenticates no callers.
    principal: Option<Principal>,
    scopes: Scopes,
    customer: Option<Arc<str>>,
    /// Its idempotency keys count as those of callers without credentials.
    inherits: bool,
}

impl Caller {
    /// A caller of a platform that authenticates no callers. It may do everything.
    pub fn anonymous() -> Self {
        Self { principal: None, scopes: Scopes::of([Scope::Admin]), customer: None, inherits: false }
    }

    fn new(principal: Principal, scopes: Scopes, customer: Option<Arc<str>>) -> Self {
        Self { principal: Some(principal), scopes, customer, inherits: false }
    }

    pub fn may(&self, scope: Scope) -> bool {
        self.scopes.permit(scope)
    }

    /// `None` on a platform that authenticates no callers.
    pub fn principal(&self) -> Option<&Principal> {
        self.principal.as_ref()
    }

    /// The customer whose orders the caller may read, and nothing else. `None` for every other caller.
    pub fn customer(&self) -> Option<&str> {
        self.customer.as_deref()
    }

    /// True unless the order belongs to another customer than the one that the caller acts for.
    pub fn may_see_order_of(&self, customer: Option<&str>) -> bool {
        self.customer.is_none() || self.customer() == customer
    }

    /// The caller as events store it. `person`: whom the caller acts for.
    pub fn actor(&self, person: Option<String>) -> Actor {
        let principal = match &self.principal {
            Some(principal) => principal.as_str().to_owned().into(),
            None => Actor::ANONYMOUS.into(),
        };
        Actor { principal, person }
    }

    /// The name under which the caller's idempotency keys are known.
    pub fn idempotency_name(&self) -> &str {
        match &self.principal {
            Some(principal) if !self.inherits => principal.as_str(),
            Some(_) | None => Actor::ANONYMOUS,
        }
    }
}

/// Why a request has no caller.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    #[error("the request has no credentials")]
    Missing,
    /// The text is for the caller. It tells nothing that the caller does not know.
    #[error("{0}")]
    Invalid(&'static str),
    #[error("the API keys cannot be read: {0}")]
    KeysUnavailable(#[from] OperationsError),
}

/// Finds the caller of a request by its `Authorization` header.
#[derive(Debug)]
pub struct Authenticator {
    keys: KeyRing,
    tokens: Option<TokenVerifier>,
    inherits: Option<String>,
    /// Whether callers need no credential, if that is known only when the keys are read first.
    is_open: Option<OnceCell<bool>>,
}

impl Authenticator {
    /// `tokens`: set if an issuer is configured.
    pub fn new(keys: KeyRing, tokens: Option<TokenVerifier>) -> Self {
        Self { keys, tokens, inherits: None, is_open: None }
    }

    /// Names the principal that did what was done before callers were authenticated: a retry of such a command by
    /// it is not carried out again.
    pub fn with_heir(self, principal: Option<String>) -> Self {
        Self { inherits: principal, ..self }
    }

    /// Needs no credentials if there turns out to be no key at all. For a process that could not read the keys at its
    /// start.
    pub fn open_without_keys(self) -> Self {
        Self { is_open: Some(OnceCell::new()), ..self }
    }

    pub async fn authenticate(&self, headers: &HeaderMap) -> Result<Caller, Refusal> {
        if let Some(is_open) = &self.is_open
            && *is_open.get_or_try_init(|| self.keys.is_empty()).await?
        {
            return Ok(Caller::anonymous());
        }
        let credential = credential(headers)?;
        let caller = if api_key::looks_like_one(credential) {
            self.keys.caller(credential).await?
        } else {
            match &self.tokens {
                Some(tokens) => tokens.caller(credential).await?,
                None => return Err(Refusal::Invalid("the credential is not an API key")),
            }
        };
        let inherits = caller.principal.as_ref().map(Principal::as_str) == self.inherits.as_deref();
        Ok(Caller { inherits, ..caller })
    }
}

/// The credential of `Authorization: Bearer`.
fn credential(headers: &HeaderMap) -> Result<&str, Refusal> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next().ok_or(Refusal::Missing)?;
    if values.next().is_some() {
        return Err(Refusal::Invalid("the Authorization header is given more than once"));
    }
    let text = value.to_str().ok().filter(|text| text.len() <= CREDENTIAL_BYTES_MAX);
    let (scheme, credential) = text.and_then(|text| text.split_once(' ')).unwrap_or_default();
    if scheme.eq_ignore_ascii_case("bearer") {
        Ok(credential.trim_matches(' '))
    } else {
        Err(Refusal::Invalid("send `Authorization: Bearer` and an API key or a token"))
    }
}

/// Logs a refusal. Each request can cause one, so most lines are omitted.
pub(crate) fn log_refusal(refusal: &Refusal) {
    static REFUSALS: LogLimit = LogLimit::new(Duration::from_secs(10));
    if let Some(omitted) = REFUSALS.pass() {
        tracing::warn!(%refusal, lines.omitted = omitted, "A request has no valid credentials; it is refused");
    }
}

#[cfg(test)]
mod tests;
