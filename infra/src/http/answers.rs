//! The error answers of each operation: one list of codes for the handler and for the OpenAPI document.

use std::{any::type_name, collections::BTreeMap, fmt, marker::PhantomData};

use axum::response::{IntoResponse, Response};
pub use utoipa::IntoResponses;
use utoipa::openapi::{self, Content, Ref, RefOr};

use super::{Code, Problem, paging, parameters, path, problem::ProblemBody, stores};

/// The codes that an operation documents. [`problems!`](crate::problems) makes such types.
pub trait Problems {
    /// Lists of codes; a code may be in several.
    const CODES: &'static [&'static [Code]];
}

/// An error with a fixed list of codes.
pub trait ProblemSource {
    const CODES: &'static [Code];

    fn problem(self) -> Problem;
}

/// The code of a [`Problem`] is known only at run time, so it is checked when it is answered.
impl ProblemSource for Problem {
    const CODES: &'static [Code] = &[];

    fn problem(self) -> Problem {
        self
    }
}

/// The error answer of an operation that documents `P`.
///
/// `?` on an error with a code that `P` does not list fails to compile. A [`Problem`] with such a code fails
/// a debug assertion when it is answered.
pub struct Failure<P> {
    problem: Problem,
    documented: PhantomData<fn() -> P>,
}

impl<P> fmt::Debug for Failure<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.problem.fmt(f)
    }
}

impl<P: Problems, E: ProblemSource> From<E> for Failure<P> {
    fn from(error: E) -> Self {
        const { assert!(includes(P::CODES, E::CODES), "the operation must document the codes of this error") };
        Self { problem: error.problem(), documented: PhantomData }
    }
}

/// True if each of `codes` is in one of `lists`.
const fn includes(lists: &[&[Code]], codes: &[Code]) -> bool {
    let mut index = 0;
    while index < codes.len() {
        let (mut list, mut found) = (0, false);
        while list < lists.len() {
            let mut item = 0;
            while item < lists[list].len() {
                found = found || lists[list][item] as usize == codes[index] as usize;
                item += 1;
            }
            list += 1;
        }
        if !found {
            return false;
        }
        index += 1;
    }
    true
}

impl<P: Problems> IntoResponse for Failure<P> {
    fn into_response(self) -> Response {
        let code = self.problem.code;
        let is_documented = P::CODES.iter().any(|codes| codes.contains(&code));
        debug_assert!(is_documented, "add {code} to the documented codes of {}", type_name::<P>());
        self.problem.into_response()
    }
}

/// Makes types that implement [`Problems`] and document their codes in OpenAPI.
///
/// `Name = [LISTS, OF, CODES] Further Codes;`
#[macro_export]
macro_rules! problems {
    ($($(#[$doc:meta])* $visibility:vis $name:ident = [$($codes:path),*] $($code:ident)*;)*) => {$(
        $(#[$doc])*
        #[derive(Debug)]
        $visibility enum $name {}

        impl $crate::http::Problems for $name {
            const CODES: &'static [&'static [$crate::http::Code]] =
                &[$($codes,)* &[$($crate::http::Code::$code),*]];
        }

        impl $crate::http::answers::IntoResponses for $name {
            fn responses() -> $crate::http::answers::Responses {
                $crate::http::answers::described::<Self>()
            }
        }
    )*};
}

problems! {
    /// The codes of a query without a resource in its path.
    pub QueryProblems = [parameters::REJECTIONS, stores::FAILURES] Overloaded;
    /// The codes of a list with pages.
    pub ListProblems = [parameters::REJECTIONS, paging::REJECTIONS, stores::FAILURES] Overloaded;
    /// The codes of a list under a resource that must exist.
    pub SublistProblems =
        [path::REJECTIONS, parameters::REJECTIONS, paging::REJECTIONS, stores::FAILURES] Overloaded;
    /// The codes of one resource, read with `min_revision`.
    pub ResourceProblems =
        [path::REJECTIONS, parameters::REJECTIONS, stores::FAILURES]
        Overloaded RevisionNotReached ProjectionParked;
    /// The codes of the list of a resource's events.
    pub TimelineProblems =
        [path::REJECTIONS, parameters::REJECTIONS, paging::REJECTIONS, stores::FAILURES]
        Overloaded RevisionNotReached ProjectionParked;
    /// The codes of a readiness check.
    pub ReadinessProblems = [stores::FAILURES] NotReady;
}

/// OpenAPI responses by status.
pub type Responses = BTreeMap<String, RefOr<openapi::Response>>;

/// One response for each status, with the example of each code. Its description lists the codes in backticks.
pub fn described<P: Problems>() -> Responses {
    let mut responses = Responses::new();
    P::CODES.iter().copied().flatten().for_each(|code| describe(&mut responses, *code));
    responses
}

/// Adds a code to responses, unless they have it.
pub(super) fn describe(responses: &mut Responses, code: Code) {
    let status = code.status().as_str().to_owned();
    let response = responses.entry(status).or_insert_with(|| RefOr::T(openapi::Response::default()));
    // utoipa makes references only for shared responses, and these exist only in finished documents.
    let RefOr::T(response) = response else { return };
    let body = || Content::builder().schema(Some(Ref::from_schema_name(ProblemBody::SCHEMA))).build();
    let content =
        response.content.entry("application/problem+json".to_owned()).or_insert_with(|| body().into());
    let RefOr::T(content) = content else { return };
    let example = Ref::new(format!("#/components/examples/{code}"));
    if content.examples.insert(code.to_string(), RefOr::Ref(example)).is_none() {
        let space = if response.description.is_empty() { "" } else { " " };
        response.description.push_str(space);
        response.description.push_str(&described_code(code));
    }
}

/// The description of a code in that of a response.
pub(super) fn described_code(code: Code) -> String {
    format!("`{code}`: {}.", code.title())
}
