//! Tokens of an issuer: JSON Web Tokens (RFC 7519), checked as RFC 8725 advises.

use std::{fmt, str::FromStr, sync::Arc};

use domain::text;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde_json::{Map, Value};

use super::{
    Caller, Principal, Refusal, Scopes,
    key_set::{KeySet, KeySetError, KeySource, VerificationKey},
};

/// The most that the clocks of issuer and platform may differ.
const LEEWAY_SECONDS: u64 = 30;
/// The types of tokens that are accepted, of those that name a type. Logout tokens and others have types of their own.
const TYPES: [&str; 3] = ["JWT", "at+jwt", "application/at+jwt"];
const SECRET_BYTES_MIN: usize = 32;

/// Whose tokens are accepted.
#[derive(Debug, Clone)]
pub struct TokenOptions {
    /// `iss` of every token.
    pub issuer: String,
    /// One of `aud` of every token.
    pub audience: String,
    /// The claim that names the caller, beside the issuer.
    pub principal_claim: String,
}

/// The secret of tokens that a developer makes. `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct DevelopmentSecret(String);

/// A text that is too short for a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the secret has at least {SECRET_BYTES_MIN} bytes")]
pub struct WeakSecret;

impl FromStr for DevelopmentSecret {
    type Err = WeakSecret;

    fn from_str(text: &str) -> Result<Self, WeakSecret> {
        if text.len() < SECRET_BYTES_MIN { Err(WeakSecret) } else { Ok(Self(text.to_owned())) }
    }
}

impl fmt::Debug for DevelopmentSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DevelopmentSecret(…)")
    }
}

/// Checks tokens.
#[derive(Debug)]
pub struct TokenVerifier {
    options: TokenOptions,
    keys: KeySet,
}

impl TokenVerifier {
    /// Accepts tokens that are signed with a key of the issuer.
    pub async fn of_issuer(options: TokenOptions, keys: KeySource) -> Result<Self, KeySetError> {
        Ok(Self { options, keys: KeySet::open(keys).await? })
    }

    /// Accepts tokens that are signed with a shared secret (HS256).
    pub fn of_development(options: TokenOptions, secret: &DevelopmentSecret) -> Self {
        let key = DecodingKey::from_secret(secret.0.as_bytes());
        Self { options, keys: KeySet::of(VerificationKey { algorithm: Algorithm::HS256, key }) }
    }

    pub(super) async fn caller(&self, token: &str) -> Result<Caller, Refusal> {
        const MALFORMED: Refusal = Refusal::Invalid("the credential is neither an API key nor a valid token");
        const UNTRUSTED: Refusal = Refusal::Invalid("the token is not signed with a key of the issuer");
        let header = decode_header(token).map_err(|_| MALFORMED)?;
        let is_of_type =
            |wanted: &&str| header.typ.as_ref().is_none_or(|typ| typ.eq_ignore_ascii_case(wanted));
        if header.crit.is_some() || !TYPES.iter().any(is_of_type) {
            return Err(MALFORMED);
        }
        let key = self.keys.find(header.kid.as_deref()).await.ok_or(UNTRUSTED)?;
        if header.alg != key.algorithm {
            return Err(UNTRUSTED);
        }
        let checked = decode::<Map<String, Value>>(token, &key.key, &self.validation(key.algorithm));
        let claims = checked.map_err(|error| refusal(error.kind()))?.claims;
        self.caller_of(&claims).ok_or(Refusal::Invalid("a claim of the token is missing or malformed"))
    }

    fn validation(&self, algorithm: Algorithm) -> Validation {
        let mut validation = Validation::new(algorithm);
        validation.leeway = LEEWAY_SECONDS;
        validation.validate_nbf = true;
        validation.set_issuer(&[&self.options.issuer]);
        validation.set_audience(&[&self.options.audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        validation
    }

    /// `None` if a claim is not a text. A malformed `customer_id` must not make a token of a customer one of a service.
    fn caller_of(&self, claims: &Map<String, Value>) -> Option<Caller> {
        // A list of issuers is valid for the library.
        let issuer = claims.get("iss").and_then(Value::as_str)?;
        let subject = claims.get(&self.options.principal_claim).and_then(Value::as_str)?;
        let scopes = match claims.get("scope") {
            Some(scopes) => Scopes::of_claim(scopes.as_str()?),
            None => Scopes::default(),
        };
        let customer: Option<Arc<str>> = match claims.get("customer_id") {
            Some(customer) => Some(customer.as_str().filter(|id| text::check(id).is_ok())?.into()),
            None => None,
        };
        Some(Caller::new(Principal::of_token(issuer, subject)?, scopes, customer))
    }
}

fn refusal(error: &jsonwebtoken::errors::ErrorKind) -> Refusal {
    use jsonwebtoken::errors::ErrorKind;
    Refusal::Invalid(match error {
        ErrorKind::ExpiredSignature => "the token has expired",
        ErrorKind::ImmatureSignature => "the token is not valid yet",
        ErrorKind::InvalidIssuer => "the token is of another issuer",
        ErrorKind::InvalidAudience => "the token is for another audience",
        ErrorKind::MissingRequiredClaim(_) | ErrorKind::InvalidClaimFormat(_) => {
            "a claim of the token is missing or malformed"
        }
        _ => "the token is not signed with a key of the issuer",
    })
}
