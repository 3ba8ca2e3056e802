//! What a request tells about the browser: its caller, its time zone, its theme, and the form that it sends.

use std::{convert::Infallible, sync::Arc};

use axum::body::to_bytes;
use axum::{
    extract::{FromRequest, FromRequestParts, Request},
    response::Response,
};
use domain::Timestamp;
use http::{HeaderMap, Uri, header, request::Parts};
use infra::{
    auth::{Caller, Scope},
    health::Condition,
    http::{Code, Problem},
};
use jiff::tz::TimeZone;
use maud::{Markup, html};
use uuid::Uuid;

use super::{
    Pages, Provider,
    layout::{self, Content},
    session::{Session, cookie, set_cookie},
    url,
};
use crate::QueryApi;

const ZONE_COOKIE: &str = "orderly_tz";
const THEME_COOKIE: &str = "orderly_theme";
/// Seconds that a browser keeps a preference: a year.
const KEPT_S: i64 = 365 * 24 * 3_600;
/// More than the largest form has: 200 lines with a quantity each.
const FORM_BYTES_MAX: usize = 128 * 1024;

/// The colours that a person has chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Theme {
    /// Those of the operating system.
    System,
    Light,
    Dark,
}

impl Theme {
    pub const ALL: [Self; 3] = [Self::System, Self::Light, Self::Dark];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Light => "light",
            Self::Dark => "dark",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|theme| theme.as_str() == text)
    }
}

/// The browser of a request, and what its page needs besides its content.
#[derive(Debug)]
pub(crate) struct View {
    /// `None` on a page that admits every caller.
    pub caller: Option<Caller>,
    /// The person whom the session names.
    pub person: Option<String>,
    pub zone: TimeZone,
    pub zone_is_chosen: bool,
    pub theme: Theme,
    pub now: Timestamp,
    pub provider: Provider,
    /// What the process reports of itself: the conditions that wait for an operator.
    pub conditions: Vec<Condition>,
    pub version: &'static str,
    pub path: String,
    /// The parameters of the address, decoded.
    pub query: Vec<(String, String)>,
    session: Uuid,
    is_logged_in: bool,
    pages: Arc<Pages>,
}

impl View {
    pub fn of(api: &QueryApi, request: &Parts) -> Self {
        let headers = &request.headers;
        let zone = cookie(headers, ZONE_COOKIE).and_then(zone_of_cookie);
        let session = request.extensions.get::<Session>();
        let conditions = match api.health.readiness() {
            Ok(readiness) => readiness.degraded,
            Err(condition) => vec![condition],
        };
        let query = request.uri.query().unwrap_or_default();
        Self {
            caller: request.extensions.get::<Caller>().cloned(),
            person: session.and_then(|session| session.person.clone()),
            zone_is_chosen: zone.is_some(),
            zone: zone.unwrap_or(TimeZone::UTC),
            theme: cookie(headers, THEME_COOKIE).and_then(Theme::parse).unwrap_or(Theme::System),
            now: api.clock.now(),
            provider: api.pages.platform.provider,
            conditions,
            version: api.version.version,
            path: url::local(request.uri.path()),
            query: form_urlencoded::parse(query.as_bytes()).into_owned().collect(),
            session: session.map_or(Uuid::nil(), |session| session.id),
            is_logged_in: session.is_some(),
            pages: Arc::clone(&api.pages),
        }
    }

    pub fn may(&self, scope: Scope) -> bool {
        self.caller.as_ref().is_some_and(|caller| caller.may(scope))
    }

    /// True if the platform authenticates no callers.
    pub fn is_open(&self) -> bool {
        self.caller.as_ref().is_some_and(|caller| caller.principal().is_none())
    }

    pub fn is_logged_in(&self) -> bool {
        self.is_logged_in
    }

    /// True if the caller may act and there is a command API that carries actions out.
    pub fn can(&self, scope: Scope) -> bool {
        self.may(scope) && self.pages.commands.is_some()
    }

    pub fn zone_name(&self) -> &str {
        self.zone.iana_name().unwrap_or("UTC")
    }

    /// The address of this page.
    pub fn here(&self) -> String {
        url::with_query(&self.path, self.parameters(&[]))
    }

    /// The parameters of this page, without some.
    pub fn parameters<'a>(&'a self, without: &'a [&str]) -> impl Iterator<Item = (&'a str, &'a str)> {
        let given = self.query.iter().filter(move |(name, _)| !without.contains(&name.as_str()));
        given.map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Shows that a form is of a page of this session.
    pub fn form_token(&self) -> Markup {
        html! { input type="hidden" name="form" value=(self.pages.form_token(self.session, self.now)); }
    }

    pub fn page(&self, content: Content) -> Response {
        layout::page(self, content)
    }
}

impl FromRequestParts<Arc<QueryApi>> for View {
    type Rejection = Infallible;

    async fn from_request_parts(request: &mut Parts, api: &Arc<QueryApi>) -> Result<Self, Infallible> {
        Ok(Self::of(api, request))
    }
}

/// A cookie has `/` and `+` of a zone as they are.
fn zone_of_cookie(name: &str) -> Option<TimeZone> {
    TimeZone::get(name).ok()
}

/// Choices that the address of a page has and its browser keeps.
pub(super) struct Preferences {
    /// The cookies.
    pub headers: HeaderMap,
    /// The address without them.
    pub rest: String,
}

impl Preferences {
    /// `None` if the address has none.
    pub fn given(uri: &Uri) -> Option<Self> {
        let query = uri.query().filter(|query| query.contains("tz=") || query.contains("theme="))?;
        let given: Vec<(String, String)> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let mut headers = HeaderMap::new();
        let (kept, rest): (Vec<_>, Vec<_>) =
            given.iter().partition(|(name, _)| matches!(name.as_str(), "tz" | "theme"));
        for (name, value) in &kept {
            let cookie = match name.as_str() {
                "tz" if zone_of_cookie(value).is_some() => set_cookie(ZONE_COOKIE, value, KEPT_S, false),
                "theme" if Theme::parse(value).is_some() => set_cookie(THEME_COOKIE, value, KEPT_S, false),
                _ => None,
            };
            if let Some(cookie) = cookie {
                headers.append(header::SET_COOKIE, cookie);
            }
        }
        let others = rest.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        (!kept.is_empty()).then(|| Self { headers, rest: url::with_query(&url::local(uri.path()), others) })
    }
}

/// The values of a form.
#[derive(Debug, Clone, Default)]
pub(super) struct Fields(Vec<(String, String)>);

impl Fields {
    pub fn of_view(view: &View) -> Self {
        Self(view.query.clone())
    }

    pub fn add(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.0.push((name.into(), value.into()));
    }

    /// A value without white space at its ends. `None` if it is not given or empty.
    pub fn text(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(given, _)| given == name);
        found.map(|(_, value)| value.trim()).filter(|value| !value.is_empty())
    }

    pub fn is_given(&self, name: &str) -> bool {
        self.0.iter().any(|(given, _)| given == name)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

/// A form that a page of this server sent. Every other request is refused.
pub(super) struct Posted {
    pub view: View,
    pub fields: Fields,
    pub parts: Parts,
}

impl FromRequest<Arc<QueryApi>> for Posted {
    type Rejection = Problem;

    async fn from_request(request: Request, api: &Arc<QueryApi>) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        check_site(&parts.headers)?;
        let is_form =
            |kind: &http::HeaderValue| kind.as_bytes().starts_with(b"application/x-www-form-urlencoded");
        if !parts.headers.get(header::CONTENT_TYPE).is_some_and(is_form) {
            let expected = "expected application/x-www-form-urlencoded, which forms of pages send";
            return Err(Problem::invalid_parameter("Content-Type", expected));
        }
        let bytes = to_bytes(body, FORM_BYTES_MAX).await;
        let bytes = bytes.map_err(|_| {
            let limit = format!("a form has at most {FORM_BYTES_MAX} bytes");
            Problem::new(Code::PayloadTooLarge).detail(limit)
        })?;
        let fields = Fields(form_urlencoded::parse(&bytes).into_owned().collect());
        let view = View::of(api, &parts);
        let token = fields.text("form").unwrap_or_default();
        if !api.pages.accepts_form(token, view.session, view.now) {
            let detail = "the form is older than 12 hours, or was loaded before a log-in or a restart; load its page \
                          again. Nothing was done";
            return Err(Problem::new(Code::WrongOrigin).detail(detail));
        }
        Ok(Self { view, fields, parts })
    }
}

/// Refuses a form of a page of another site. A browser that names neither the kind of the site nor the origin sends
/// no form of a page.
fn check_site(headers: &HeaderMap) -> Result<(), Problem> {
    let refused = || Problem::new(Code::WrongOrigin).detail("the form is not of a page of this server");
    if let Some(site) = headers.get("sec-fetch-site") {
        return if site == "same-origin" { Ok(()) } else { Err(refused()) };
    }
    let origin = headers.get(header::ORIGIN).and_then(|origin| origin.to_str().ok());
    let site = origin.and_then(|origin| origin.split_once("://")).map(|(_, site)| site);
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    if site.is_some() && site == host { Ok(()) } else { Err(refused()) }
}
