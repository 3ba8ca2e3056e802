//! Parked reactions: an operator lists them, and has them run again.

use std::fmt;

use axum::{Json, extract::State};
use domain::{StreamName, Timestamp};
use http::StatusCode;
use infra::{
    http::{
        Failure, Problem,
        paging::{self, Listing, Paging},
        parameters::{self, Params},
        path::{self, Id, NoSuch, PathId},
        stores,
        vocabulary::RevisionValue,
    },
    operations::parked::ParkedReaction,
};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{CommandApi, SharedApi};

/// A reaction that failed, with the later ones of its order, payment, receipt or exchange. `orderly reactions list` shows the
/// reason.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ParkedReactionAnswer {
    /// The order, payment, receipt or exchange.
    #[schema(value_type = String, example = "order-0d3c6f1e-5d0a-5c2b-9f7e-0123456789ab")]
    stream: StreamName,
    /// The event whose reaction failed.
    event_id: Uuid,
    #[schema(example = "order.placed.v2")]
    event_type: String,
    #[schema(value_type = RevisionValue)]
    revision: u64,
    /// Revision of the last event that waits.
    #[schema(value_type = RevisionValue)]
    last_revision: u64,
    #[schema(value_type = String, format = DateTime)]
    parked_at: Timestamp,
    /// Failed attempts, from the one that parked the reaction.
    attempts: u32,
    #[schema(value_type = String, format = DateTime)]
    next_attempt_at: Timestamp,
    /// True if a retry was requested and not made yet.
    retry_requested: bool,
}

impl ParkedReactionAnswer {
    fn new(parked: &ParkedReaction) -> Self {
        Self {
            stream: parked.stream.clone(),
            event_id: parked.event_id.0,
            event_type: parked.event_type.clone(),
            revision: parked.revision,
            last_revision: parked.last_revision,
            parked_at: parked.parked_at,
            attempts: parked.attempts,
            next_attempt_at: parked.next_attempt_at,
            retry_requested: parked.retry_requested,
        }
    }
}

/// The id of an order, of a payment, of a receipt, of an exchange, or of the event whose reaction failed.
#[derive(Debug, Clone, Copy)]
pub(super) struct ParkedId(Uuid);

impl fmt::Display for ParkedId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl PathId for ParkedId {
    const RESOURCE: &'static str = "parked reaction";

    fn parse(segment: &str) -> Result<Self, Problem> {
        Uuid::try_parse(segment).map(Self).map_err(|_| Problem::no_such(Self::RESOURCE))
    }
}

infra::problems! {
    pub(in crate::http) ReactionListProblems = [parameters::REJECTIONS, paging::REJECTIONS, stores::FAILURES];
    pub(in crate::http) RetryReactionProblems = [path::REJECTIONS, stores::FAILURES];
}

/// List the parked reactions
///
/// A reaction is parked if it keeps failing. The later reactions of its order, payment, receipt or exchange wait behind it; all
/// others continue.
#[utoipa::path(get, path = "/v1/reactions/parked", operation_id = "listParkedReactions", tag = "reactions", params(Paging),
    responses(
        (status = 200, description = "In the order of their streams.", body = Listing<ParkedReactionAnswer>),
        ReactionListProblems,
    ))]
pub(super) async fn list_parked(
    State(api): State<SharedApi>,
    Params(paging): Params<Paging>,
) -> Result<Json<Listing<ParkedReactionAnswer>>, Failure<ReactionListProblems>> {
    let rows = api.parked.0.list(store_id(&api), paging.after()?, paging.limit + 1).await?;
    Ok(Json(paging.listing_of_one_more(&rows, ParkedReactionAnswer::new, |row| row.stream.clone())))
}

/// Run a parked reaction again
///
/// The process manager runs it within about a second, and then those behind it.
#[utoipa::path(post, path = "/v1/reactions/{id}/retry", operation_id = "retryReaction", tag = "reactions",
    params(("id" = Uuid, Path, description = "Of the order, payment, receipt or exchange, or of the event whose reaction failed.")),
    responses((status = 202, description = "The retry is requested.", body = ParkedReactionAnswer), RetryReactionProblems))]
pub(super) async fn retry(
    State(api): State<SharedApi>,
    Id(ParkedId(id)): Id<ParkedId>,
) -> Result<(StatusCode, Json<ParkedReactionAnswer>), Failure<RetryReactionProblems>> {
    let (store_id, now) = (store_id(&api), super::now(&api));
    let parked = api.parked.0.find(store_id, id).await?.ok_or(NoSuch(ParkedId::RESOURCE))?;
    api.parked.0.request_retry(store_id, Some(&parked.stream), now).await?;
    let parked = ParkedReaction { next_attempt_at: now, retry_requested: true, ..parked };
    Ok((StatusCode::ACCEPTED, Json(ParkedReactionAnswer::new(&parked))))
}

fn store_id(api: &CommandApi) -> Uuid {
    api.checkout.store().log().store_id()
}
