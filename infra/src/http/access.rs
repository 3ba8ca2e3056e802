//! Which callers an endpoint admits. A router of an API has no route without this declaration.

use std::{fmt, sync::Arc};

use axum::{
    extract::{FromRequestParts, Request, State},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::MethodRouter,
};
use http::{HeaderValue, header, request::Parts};
use utoipa::openapi::{
    self, Components,
    path::{Operation, Paths},
    security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme},
};
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter};

use super::{
    Code, Document, Problem,
    answers::describe,
    body,
    rate_limit::{Allowance, RateLimits},
};
use crate::auth::{self, Authenticator, Caller, Refusal, Scope};

/// The name of the credentials in OpenAPI documents.
const SECURITY_SCHEME: &str = "credentials";
/// The codes that every endpoint can answer with, before or after its handler runs.
const EVERYWHERE: [Code; 8] = [
    Code::MalformedRequest,
    Code::WrongOrigin,
    Code::MethodNotAllowed,
    Code::RequestTimeout,
    Code::UriTooLong,
    Code::WrongHost,
    Code::HeadersTooLarge,
    Code::Internal,
];
/// The codes of answers to callers that an endpoint does not admit.
const REFUSALS: [Code; 6] = [
    Code::Unauthenticated,
    Code::Forbidden,
    Code::NotFound,
    Code::RateLimited,
    Code::Overloaded,
    Code::Unavailable,
];

/// Authenticates the callers of an API, and counts their requests. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Gate {
    authenticator: Option<Arc<Authenticator>>,
    limits: Option<Arc<RateLimits>>,
}

impl Gate {
    /// Every caller may do everything.
    pub fn open() -> Self {
        Self::default()
    }

    pub fn guarded(authenticator: Authenticator) -> Self {
        Self { authenticator: Some(Arc::new(authenticator)), limits: None }
    }

    /// The caller of a request, without a check of its scopes. The log-in page needs it.
    pub async fn caller(&self, request: &Parts) -> Result<Caller, Problem> {
        authenticated(self, request).await
    }

    /// Limits the requests of each caller. Clones of the gate share the limits.
    pub fn with_limits(self, limits: RateLimits) -> Self {
        Self { limits: Some(Arc::new(limits)), ..self }
    }
}

/// Whom an endpoint admits.
#[derive(Debug, Clone, Copy)]
struct Access {
    scope: Scope,
    /// Its handler answers a customer with the customer's own resources only.
    customers: bool,
}

/// The routes of an API, each with the callers that it admits, and their OpenAPI document.
pub struct GuardedRoutes<S> {
    gate: Gate,
    router: OpenApiRouter<S>,
}

impl<S> fmt::Debug for GuardedRoutes<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuardedRoutes").field("gate", &self.gate).finish_non_exhaustive()
    }
}

impl<S: Clone + Send + Sync + 'static> GuardedRoutes<S> {
    pub fn new(gate: Gate, mut document: openapi::OpenApi) -> Self {
        let description = "A key of `orderly keys create`, or a token (JWT) of the configured issuer. A platform \
                           without keys and without an issuer needs none.";
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(description)).build();
        let components = document.components.get_or_insert_with(Components::new);
        components.add_security_scheme(SECURITY_SCHEME, SecurityScheme::Http(scheme));
        Self { gate, router: OpenApiRouter::with_openapi(document) }
    }

    /// Adds an endpoint that admits every caller, also without credentials.
    pub fn open(self, (schemas, mut paths, methods): UtoipaMethodRouter<S>) -> Self {
        for operation in operations(&mut paths) {
            for code in EVERYWHERE {
                describe(&mut operation.responses.responses, code);
            }
        }
        Self { router: self.router.routes((schemas, paths, methods)), ..self }
    }

    /// Adds an endpoint for callers with a scope. To a customer it does not exist.
    pub fn with(self, scope: Scope, routes: UtoipaMethodRouter<S>) -> Self {
        self.guarded(Access { scope, customers: false }, routes)
    }

    /// Adds an endpoint for callers with a scope, customers included. Its handler takes the [`Caller`] and shows a
    /// customer no resource of another one.
    pub fn with_customers(self, scope: Scope, routes: UtoipaMethodRouter<S>) -> Self {
        self.guarded(Access { scope, customers: true }, routes)
    }

    /// Adds a web page for callers with a scope. To a customer it does not exist. The document describes no pages.
    pub fn page(self, scope: Scope, path: &str, methods: MethodRouter<S>) -> Self {
        let access = Access { scope, customers: false };
        let gate = middleware::from_fn_with_state((self.gate.clone(), access), guard);
        self.open_page(path, methods.route_layer(gate))
    }

    /// Adds a web page, or a file of pages, that admits every caller.
    pub fn open_page(self, path: &str, methods: MethodRouter<S>) -> Self {
        Self { router: self.router.route(path, methods), ..self }
    }

    fn guarded(self, access: Access, (schemas, mut paths, methods): UtoipaMethodRouter<S>) -> Self {
        for operation in operations(&mut paths) {
            operation.security =
                Some(vec![SecurityRequirement::new(SECURITY_SCHEME, [access.scope.as_str()])]);
            for code in REFUSALS {
                describe(&mut operation.responses.responses, code);
            }
        }
        let methods: MethodRouter<S> =
            methods.route_layer(middleware::from_fn_with_state((self.gate.clone(), access), guard));
        self.open((schemas, paths, methods))
    }

    pub fn into_router(self) -> axum::Router<S> {
        self.router.split_for_parts().0
    }

    /// `examples` as of [`Document`]: JSON with the `request` and the `answer` of operations.
    pub fn into_document(self, examples: &str) -> Document {
        Document::new(&self.router.into_openapi(), examples)
    }
}

/// Admits the caller of a request or answers it. The handler finds the [`Caller`] in the request.
async fn guard(State((gate, access)): State<(Gate, Access)>, request: Request, next: Next) -> Response {
    let (mut parts, content) = request.into_parts();
    let (admitted, allowance) = admitted(&gate, access, &parts).await;
    let mut response = match admitted {
        Ok(caller) => {
            parts.extensions.insert(caller);
            next.run(Request::from_parts(parts, content)).await
        }
        Err(problem) => {
            body::discard(Request::from_parts(parts, content)).await;
            problem.into_response()
        }
    };
    if let Some(allowance) = allowance {
        allowance.show(response.headers_mut());
    }
    response
}

/// The caller, if it is admitted, and what it has left.
async fn admitted(
    gate: &Gate,
    access: Access,
    request: &Parts,
) -> (Result<Caller, Problem>, Option<Allowance>) {
    let caller = match authenticated(gate, request).await {
        Ok(caller) => caller,
        Err(problem) => return (Err(problem), None),
    };
    match gate.limits.as_ref().map(|limits| limits.admit(&caller, request)).transpose() {
        Ok(allowance) => (permitted(access, caller), allowance.flatten()),
        Err(limited) => (Err(limited), None),
    }
}

async fn authenticated(gate: &Gate, request: &Parts) -> Result<Caller, Problem> {
    let Some(authenticator) = &gate.authenticator else { return Ok(Caller::anonymous()) };
    match authenticator.authenticate(&request.headers).await {
        Ok(caller) => Ok(caller),
        Err(refusal) => {
            auth::log_refusal(&refusal);
            if let Some(limits) = &gate.limits {
                limits.admit_stranger(request)?;
            }
            Err(refused(&refusal))
        }
    }
}

fn permitted(access: Access, caller: Caller) -> Result<Caller, Problem> {
    if caller.customer().is_some() && !access.customers {
        return Err(Problem::new(Code::NotFound));
    }
    require(&caller, access.scope)?;
    Ok(caller)
}

/// Refuses a caller without a scope, for an endpoint that needs a further scope for a part of what it does.
pub fn require(caller: &Caller, scope: Scope) -> Result<(), Problem> {
    if !caller.may(scope) {
        let challenge = format!(r#"Bearer realm="orderly", error="insufficient_scope", scope="{scope}""#);
        let problem = Problem::new(Code::Forbidden).detail(format!("the caller lacks the scope {scope}"));
        return Err(challenged(problem.member("scope", scope.as_str()), &challenge));
    }
    Ok(())
}

fn refused(refusal: &Refusal) -> Problem {
    let problem = Problem::new(Code::Unauthenticated);
    match refusal {
        Refusal::Missing => challenged(problem, r#"Bearer realm="orderly""#),
        Refusal::Invalid(reason) => {
            challenged(problem.detail(*reason), r#"Bearer realm="orderly", error="invalid_token""#)
        }
        Refusal::KeysUnavailable(_) => {
            Problem::new(Code::Unavailable).detail("the API keys cannot be read now")
        }
    }
}

fn challenged(problem: Problem, challenge: &str) -> Problem {
    match HeaderValue::from_str(challenge) {
        Ok(challenge) => problem.header(header::WWW_AUTHENTICATE, challenge),
        Err(_) => problem,
    }
}

/// The caller of a request. Only guarded endpoints have one.
impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts.extensions.get::<Self>().cloned().ok_or_else(|| {
            tracing::error!(
                "A handler needs a caller, but its route is open to every caller; the request fails"
            );
            Problem::new(Code::Internal)
        })
    }
}

fn operations(paths: &mut Paths) -> impl Iterator<Item = &mut Operation> {
    paths.paths.values_mut().flat_map(|item| {
        let all = [&mut item.get, &mut item.post, &mut item.put, &mut item.patch, &mut item.delete];
        all.into_iter().filter_map(Option::as_mut)
    })
}

#[cfg(test)]
mod tests;
