//! The actions on an order.

use std::sync::Arc;

use axum::{
    extract::State,
    response::{IntoResponse, Redirect, Response},
};
use domain::{OrderId, Revision};
use infra::{
    auth::Scope,
    http::{Code, Problem, path::Id},
};

use super::{
    OrderAction,
    confirm::{self, Confirmation, Request},
    effects::effects,
    fields::{defaults, fields},
    plan::plan,
};
use crate::{
    QueryApi,
    pages::{
        Refused,
        format::short_id,
        layout::Section,
        order::{Shown, shown_now},
        view::{Fields, Posted, View},
    },
};

/// `GET /orders/{id}/{action}`
pub(in crate::pages) async fn form(
    State(api): State<Arc<QueryApi>>,
    view: View,
    Id((id, action)): Id<(OrderId, OrderAction)>,
) -> Result<Response, Refused> {
    check_scope(&view, action.scope())?;
    let shown = shown_now(&api, id).await?;
    // The defaults count as given, so that a form that is sent unchanged is one whose effects were seen.
    let given = defaults(action, &shown, &Fields::of_view(&view));
    let confirmation = confirmation(&view, action, &shown, &given);
    Ok(confirm::page(&view, &confirmation, &given))
}

/// `POST /orders/{id}/{action}`: shows what happens, or does what the form has shown.
pub(in crate::pages) async fn act(
    State(api): State<Arc<QueryApi>>,
    Id((id, action)): Id<(OrderId, OrderAction)>,
    posted: Posted,
) -> Result<Response, Refused> {
    let Posted { view, fields, parts } = posted;
    check_scope(&view, action.scope())?;
    let shown = shown_now(&api, id).await?;
    let confirmation = confirmation(&view, action, &shown, &fields);
    let Some(request) = Request::sent(&fields) else {
        return Ok(confirm::page(&view, &confirmation, &fields));
    };
    let path = format!("/v1/orders/{id}/{}", action.command());
    match confirm::send(&api, &parts, &path, &request).await? {
        Ok(answer) => {
            let revision: Option<Revision> = answer.json()["revision"].as_u64();
            let fresh = revision.map(|revision| format!("min_revision={revision}&")).unwrap_or_default();
            Ok(Redirect::to(&format!("/orders/{id}?{fresh}done={action}")).into_response())
        }
        Err(outcome) => Ok(confirm::refused(&view, &confirmation, &request, &fields, &outcome)),
    }
}

/// Refuses a caller whose command the command API would refuse.
pub(super) fn check_scope(view: &View, scope: Scope) -> Result<(), Refused> {
    if view.may(scope) {
        return Ok(());
    }
    let problem = Problem::new(Code::Forbidden).detail(format!("the caller lacks the scope {scope}"));
    Err(problem.member("scope", scope.as_str()).into())
}

fn confirmation(view: &View, action: OrderAction, shown: &Shown, given: &Fields) -> Confirmation {
    let id = shown.id;
    let (effects, body) = match plan(action, &shown.order, given, view.now) {
        Ok(plan) => (effects(&shown.order, plan.command).map_err(|refusal| vec![refusal]), Some(plan.body)),
        Err(faults) => (Err(faults), None),
    };
    Confirmation {
        section: Section::Orders,
        title: format!("{}: order {}", action.verb(), short_id(id)),
        address: format!("/orders/{id}/{action}"),
        back: format!("/orders/{id}"),
        fields: fields(action, shown, given),
        effects,
        body,
        button: action.verb().to_owned(),
    }
}
