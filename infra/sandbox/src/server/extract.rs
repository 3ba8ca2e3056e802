//! Extractors of path parameters and bodies, with problem answers for malformed ones.

use axum::extract::{FromRequest, FromRequestParts, RawPathParams, Request};
use domain::PaymentId;
use http::request::Parts;
use serde::de::DeserializeOwned;

use super::{super::ledger::ChargeKey, Api};
use infra::http::{Code, Problem};

/// The charge in the path.
pub(super) struct Charge(pub ChargeKey);

/// The charge in the path, and the last path parameter.
pub(super) struct ChargeAnd<T>(pub ChargeKey, pub T);

/// A JSON body. An empty body counts as `{}`.
pub(super) struct Body<T>(pub T);

impl<S: Send + Sync> FromRequestParts<S> for Charge {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let segments = segments(parts, state).await?;
        key(&segments).map(Self)
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for ChargeAnd<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let segments = segments(parts, state).await?;
        let Some((name, text)) = segments.get(2) else { return Err(Problem::new(Code::NotFound)) };
        // A number is parsed as JSON, any other text as a string.
        let value = serde_json::from_str(text)
            .or_else(|_| serde_json::from_value(text.as_str().into()))
            .map_err(|error| invalid(name, &error))?;
        Ok(Self(key(&segments)?, value))
    }
}

impl<T: DeserializeOwned> FromRequest<Api> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, api: &Api) -> Result<Self, Problem> {
        let body = api.bodies.read(request.into_body()).await?;
        let json: &[u8] = if body.is_empty() { b"{}" } else { &body };
        serde_json::from_slice(json).map(Self).map_err(|error| {
            let code = if error.is_data() { Code::InvalidRequest } else { Code::MalformedJson };
            Problem::new(code).detail(error.to_string())
        })
    }
}

/// The parameters of the path in order.
async fn segments<S: Send + Sync>(parts: &mut Parts, state: &S) -> Result<Vec<(String, String)>, Problem> {
    let parameters = RawPathParams::from_request_parts(parts, state)
        .await
        .map_err(|_| Problem::new(Code::InvalidParameter))?;
    Ok(parameters.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}

fn key(segments: &[(String, String)]) -> Result<ChargeKey, Problem> {
    let [(payment, payment_id), (charge, number), ..] = segments else {
        return Err(Problem::new(Code::NotFound));
    };
    let payment_id: PaymentId = payment_id.parse().map_err(|error| invalid(payment, &error))?;
    let number: u32 = number.parse().map_err(|error| invalid(charge, &error))?;
    Ok(ChargeKey { payment_id, number })
}

fn invalid(name: &str, error: &dyn std::fmt::Display) -> Problem {
    Problem::invalid_parameter(name, error.to_string())
}
