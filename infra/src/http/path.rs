//! The ids in a request's path.

use std::fmt::Display;

use axum::extract::{FromRequestParts, RawPathParams, rejection::RawPathParamsRejection};
use domain::{OrderId, PaymentId, RefundId, ShipmentId, Sku};
use http::request::Parts;

use super::{Code, Problem, ProblemSource};

/// The codes of a path that names no resource.
pub const REJECTIONS: &[Code] = &[Code::InvalidParameter, Code::NotFound];

/// The id, or the ids, in the path.
#[derive(Debug)]
pub struct Id<T>(pub T);

/// A resource that does not exist; the text names its kind.
#[derive(Debug, Clone, Copy)]
pub struct NoSuch(pub &'static str);

impl ProblemSource for NoSuch {
    const CODES: &'static [Code] = &[Code::NotFound];

    fn problem(self) -> Problem {
        Problem::no_such(self.0)
    }
}

/// One id in a path.
pub trait PathId: Sized + Display {
    /// The kind of resource, for error answers.
    const RESOURCE: &'static str;

    /// A malformed id names no resource: 404, as for a missing one.
    fn parse(segment: &str) -> Result<Self, Problem>;
}

macro_rules! path_ids {
    ($($id:ty = $resource:literal),*) => {$(
        impl PathId for $id {
            const RESOURCE: &'static str = $resource;

            fn parse(segment: &str) -> Result<Self, Problem> {
                segment.parse().map_err(|_| Problem::no_such(Self::RESOURCE))
            }
        }
    )*};
}
path_ids!(OrderId = "order", PaymentId = "payment", RefundId = "refund", ShipmentId = "shipment");

/// A name in a path. Every text is valid.
impl PathId for String {
    const RESOURCE: &'static str = "resource";

    fn parse(segment: &str) -> Result<Self, Problem> {
        Ok(segment.to_owned())
    }
}

impl PathId for Sku {
    const RESOURCE: &'static str = "SKU";

    fn parse(segment: &str) -> Result<Self, Problem> {
        Self::new(segment).map_err(|_| Problem::no_such(Self::RESOURCE))
    }
}

/// All ids in a path, in order.
pub trait PathIds: Sized {
    fn parse(segments: &[&str]) -> Result<Self, Problem>;
    /// The ids as canonical paths show them.
    fn canonical(&self) -> Vec<String>;
}

/// A path without ids.
impl PathIds for () {
    fn parse(_: &[&str]) -> Result<Self, Problem> {
        Ok(())
    }

    fn canonical(&self) -> Vec<String> {
        Vec::new()
    }
}

impl<A: PathId> PathIds for A {
    fn parse(segments: &[&str]) -> Result<Self, Problem> {
        let [id] = segments else { return Err(mismatch()) };
        <A as PathId>::parse(id)
    }

    fn canonical(&self) -> Vec<String> {
        vec![self.to_string()]
    }
}

impl<A: PathId, B: PathId> PathIds for (A, B) {
    fn parse(segments: &[&str]) -> Result<Self, Problem> {
        let [first, second] = segments else { return Err(mismatch()) };
        Ok((<A as PathId>::parse(first)?, <B as PathId>::parse(second)?))
    }

    fn canonical(&self) -> Vec<String> {
        vec![self.0.to_string(), self.1.to_string()]
    }
}

/// 500: a handler extracts another number of ids than its route has.
fn mismatch() -> Problem {
    tracing::error!("A route and its handler have different numbers of path ids; the request fails");
    Problem::new(Code::Internal)
}

impl<S: Send + Sync, T: PathIds> FromRequestParts<S> for Id<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let segments = Segments::from_request_parts(parts, state).await?;
        segments.ids().map(Self)
    }
}

/// The variable segments of a path, percent-decoded.
#[derive(Debug)]
pub struct Segments(RawPathParams);

impl<S: Send + Sync> FromRequestParts<S> for Segments {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match RawPathParams::from_request_parts(parts, state).await {
            Ok(segments) => Ok(Self(segments)),
            Err(RawPathParamsRejection::InvalidUtf8InPathParam(_)) => {
                Err(Problem::invalid_parameter("path", "is not UTF-8 or not percent-encoded"))
            }
            Err(_) => Err(mismatch()),
        }
    }
}

impl Segments {
    pub fn ids<T: PathIds>(&self) -> Result<T, Problem> {
        let segments: Vec<&str> = self.0.iter().map(|(_, segment)| segment).collect();
        T::parse(&segments)
    }
}

/// The path of `route` (such as `/v1/orders/{id}/cancel`) with its variables replaced by `ids`, not encoded.
pub fn canonical(route: &str, ids: &impl PathIds) -> String {
    let mut ids = ids.canonical().into_iter();
    let segments = route.split('/').map(|segment| match segment.strip_prefix('{') {
        Some(_) => ids.next().unwrap_or_default(),
        None => segment.to_owned(),
    });
    segments.collect::<Vec<_>>().join("/")
}
