//! Reading one's own writes: `min_revision`, entity tags and conditional requests.

use std::future::Future;

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use domain::{Revision, StreamName};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use infra::read_models::{OrderRow, PaymentRow, ReadModelError, StockRow};
use serde::Serialize;
use tokio::time;
use utoipa::IntoParams;

use crate::{
    QueryApi,
    error::QueryError,
    parameters::{FromParameters, Parameters},
};

/// How fresh the answer has to be.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Freshness {
    /// Answer only from this revision on, as the `ETag` of a command's answer tells it; waits up to 2 s for it.
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
    /// The revision that the row reflects.
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
    /// Reads the row of `stream`, waiting for it to reflect the revision that is wanted.
    pub async fn read<R, F>(
        &self,
        api: &QueryApi,
        stream: StreamName,
        read: impl Fn() -> F,
    ) -> Result<Option<R>, QueryError>
    where
        R: Revisioned,
        F: Future<Output = Result<Option<R>, ReadModelError>>,
    {
        let Some(wanted) = self.min_revision else { return api.query(read()).await };
        // Watched from before the first read: a change that the read just misses then ends the wait.
        let mut changes = api.queries.changed();
        let mut reached = None;
        let catching_up = async {
            let mut row = api.query(read()).await?;
            loop {
                reached = row.as_ref().map(R::revision);
                if reached >= Some(wanted) {
                    return Ok(row);
                }
                if api.query_in_turn(api.queries.is_parked(&stream)).await? {
                    return Err(QueryError::ProjectionParked);
                }
                if changes.changed().await.is_err() {
                    // The read models are closing: nothing will change any more.
                    return Err(QueryError::RevisionNotReached { wanted, reached });
                }
                row = api.query_in_turn(read()).await?;
            }
        };
        let outcome = time::timeout(api.revision_wait_max, catching_up).await;
        outcome.unwrap_or(Err(QueryError::RevisionNotReached { wanted, reached }))
    }
}

/// Answers with a resource and its entity tag, or with 304 where the caller has this revision already.
pub fn tagged<T: Serialize>(
    request: &HeaderMap,
    revision: Revision,
    resource: impl FnOnce() -> T,
) -> Response {
    let tag = format!("\"{revision}\"");
    let caller_has_it = request
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag);
    let tag = HeaderValue::from_str(&tag).expect("digits and quotes are visible ASCII");
    if caller_has_it {
        return (StatusCode::NOT_MODIFIED, [(header::ETAG, tag)]).into_response();
    }
    ([(header::ETAG, tag)], Json(resource())).into_response()
}
