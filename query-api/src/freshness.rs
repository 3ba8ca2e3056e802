//! Lets callers read their own writes: `min_revision`, entity tags and conditional requests.

use std::{convert::Infallible, future::Future};

use axum::{
    Json,
    extract::FromRequestParts,
    response::{IntoResponse, Response},
};
use domain::{Revision, StreamName};
use http::{HeaderMap, StatusCode, header, request::Parts};
use infra::{
    http::{
        etag,
        parameters::{FromParameters, Parameters},
        slots,
    },
    read_models::{OrderRow, PaymentRow, ReadModelError, StockRow},
};
use serde::Serialize;
use tokio::time;
use utoipa::{
    IntoParams, IntoResponses, PartialSchema,
    openapi::path::{Parameter, ParameterBuilder, ParameterIn},
};

use crate::{QueryApi, error::FreshnessError};

/// How fresh the answer must be.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Freshness {
    /// The least revision of the answer, from the `ETag` of a command's answer. Waits up to 2 s for it.
    #[param(value_type = Option<u64>)]
    min_revision: Option<Revision>,
}

impl FromParameters for Freshness {
    fn read(parameters: &mut Parameters) -> Option<Self> {
        let whole = |text: &str| text.parse().map_err(|_| "is not a revision, a whole number from 0");
        Some(Self { min_revision: parameters.optional("min_revision", whole) })
    }
}

/// A row that reflects one stream.
pub trait Revisioned {
    fn revision(&self) -> Revision;
}

macro_rules! revisioned {
    ($($row:ty),*) => {$(
        impl Revisioned for $row {
            fn revision(&self) -> Revision {
                self.revision
            }
        }
    )*};
}
revisioned!(StockRow, OrderRow, PaymentRow);

impl Freshness {
    /// True if the caller asks for a revision.
    pub fn is_wanted(&self) -> bool {
        self.min_revision.is_some()
    }

    /// Reads the row of `stream`. Waits until the row reflects `min_revision`.
    pub async fn read<R, F>(
        &self,
        api: &QueryApi,
        stream: StreamName,
        read: impl Fn() -> F,
    ) -> Result<Option<R>, FreshnessError>
    where
        R: Revisioned,
        F: Future<Output = Result<Option<R>, ReadModelError>>,
    {
        let Some(wanted) = self.min_revision else { return Ok(api.query(read()).await?) };
        // Before the first read: a change right after the read then still ends the wait.
        let mut changes = api.queries.changes_of(&stream);
        let mut reached = None;
        let catching_up = async {
            let mut row = api.query(read()).await?;
            loop {
                reached = row.as_ref().map(R::revision);
                if reached >= Some(wanted) {
                    return Ok(row);
                }
                if api.query_again(api.queries.is_parked(&stream)).await? {
                    return Err(FreshnessError::Parked);
                }
                // The next reads have a limit of their own.
                slots::give_up();
                changes.next().await;
                row = api.query_again(read()).await?;
            }
        };
        let outcome = time::timeout(api.revision_wait_max, catching_up).await;
        outcome.unwrap_or(Err(FreshnessError::NotReached { wanted, reached }))
    }
}

/// The entity tags of the `If-None-Match` header.
#[derive(Debug)]
pub struct IfNoneMatch(HeaderMap);

impl<S: Send + Sync> FromRequestParts<S> for IfNoneMatch {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(parts.headers.clone()))
    }
}

impl IntoParams for IfNoneMatch {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let parameter = ParameterBuilder::new()
            .name("If-None-Match")
            .parameter_in(ParameterIn::Header)
            .description(Some("The `ETag` of an earlier answer."))
            .schema(Some(String::schema()));
        vec![parameter.build()]
    }
}

/// Documents the answer to a caller that already has the revision.
#[derive(IntoResponses)]
#[response(status = 304, description = "The caller already has this answer (`If-None-Match`).")]
pub struct NotModified;

impl IfNoneMatch {
    /// Of a caller that has no answer.
    pub fn nothing() -> Self {
        Self(HeaderMap::new())
    }

    /// Answers with a resource and its entity tag, or with 304 if the caller has this revision.
    pub fn answer<T: Serialize>(&self, revision: Revision, resource: impl FnOnce() -> T) -> Response {
        let tag = etag(revision);
        let known = self.0.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
        let caller_has_it = known
            .flat_map(|value| value.split(','))
            .map(str::trim)
            .any(|known| known == "*" || tag == known.strip_prefix("W/").unwrap_or(known));
        if caller_has_it {
            return (StatusCode::NOT_MODIFIED, [(header::ETAG, tag)]).into_response();
        }
        ([(header::ETAG, tag)], Json(resource())).into_response()
    }
}
