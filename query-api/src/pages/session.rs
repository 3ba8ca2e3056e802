//! Log-in and log-out, and the tokens of forms.
//!
//! A session is a cookie that has the credential of its caller, sealed by the server. So no store has sessions, a
//! revoked key ends its sessions at once, and every process with the same keys accepts the cookie.

use std::sync::Arc;

use axum::{
    extract::State,
    response::{IntoResponse, Redirect, Response},
};
use domain::{Timestamp, text};
use http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts};
use infra::{
    auth::Scope,
    http::{
        Code, Problem,
        parameters::{FromParameters, Parameters, Params},
    },
    sealing::SecretPlace,
};
use maud::{Markup, html};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    Pages, Refused,
    layout::{Content, Section},
    url,
    view::{Posted, View},
};
use crate::QueryApi;

const COOKIE: &str = "orderly_session";
/// Seconds that a session and a form are valid: a working day.
const LASTS_S: i64 = 12 * 3_600;
/// The most bytes of a credential. Browsers keep at most 4,096 bytes of a sealed one.
const CREDENTIAL_BYTES_MAX: usize = 2_500;
/// The most characters of the name of a person.
const PERSON_CHARS_MAX: usize = 255;

/// The caller that a browser has logged in as.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Session {
    /// Binds forms to the session.
    pub id: Uuid,
    since_s: i64,
    /// The person in front of the browser, whom events store beside the caller.
    pub person: Option<String>,
    pub credential: String,
}

fn place_of_session() -> SecretPlace {
    SecretPlace { column: "pages.session", row: Uuid::nil() }
}

fn place_of_form(session: Uuid) -> SecretPlace {
    SecretPlace { column: "pages.form", row: session }
}

impl Pages {
    /// The session of a request. `None` if it has none, or if the session is over.
    pub(super) fn session(&self, headers: &HeaderMap, now: Timestamp) -> Option<Session> {
        let sealed = cookie(headers, COOKIE)?;
        let text = self.keys.open_from_browser(sealed, place_of_session())?;
        let session: Session = serde_json::from_str(&text).ok()?;
        is_valid(session.since_s, now).then_some(session)
    }

    /// What a form must have so that its request counts as sent by a page of this session.
    pub(super) fn form_token(&self, session: Uuid, now: Timestamp) -> String {
        let since_s = now.as_second().to_string();
        self.keys.seal_for_browser(&since_s, place_of_form(session)).unwrap_or_default()
    }

    pub(super) fn accepts_form(&self, token: &str, session: Uuid, now: Timestamp) -> bool {
        let text = self.keys.open_from_browser(token, place_of_form(session));
        text.and_then(|text| text.parse().ok()).is_some_and(|since_s| is_valid(since_s, now))
    }

    /// The cookie of a new session. `None` without keys.
    fn begin(&self, session: &Session, is_encrypted: bool) -> Option<HeaderValue> {
        let text = serde_json::to_string(session).ok()?;
        let sealed = self.keys.seal_for_browser(&text, place_of_session())?;
        set_cookie(COOKIE, &sealed, LASTS_S, is_encrypted)
    }
}

fn is_valid(since_s: i64, now: Timestamp) -> bool {
    (0..LASTS_S).contains(&now.as_second().saturating_sub(since_s))
}

/// The value of a cookie.
pub(super) fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
    let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(given, _)| *given == name).map(|(_, value)| value)
}

/// A cookie that no script reads, and that no page of another site sends.
pub(super) fn set_cookie(name: &str, value: &str, seconds: i64, is_encrypted: bool) -> Option<HeaderValue> {
    let secure = if is_encrypted { "; Secure" } else { "" };
    let text = format!("{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}");
    HeaderValue::from_str(&text).ok()
}

/// True if the browser sees an encrypted page: the server itself, or a proxy before it, encrypts.
fn is_encrypted(headers: &HeaderMap) -> bool {
    headers.get(header::ORIGIN).is_some_and(|origin| origin.as_bytes().starts_with(b"https://"))
}

/// Where to go after the log-in.
#[derive(Debug)]
pub(super) struct LogInParams {
    next: String,
}

impl FromParameters for LogInParams {
    fn read(parameters: &mut Parameters) -> Option<Self> {
        let next = parameters.optional("next", |text| Ok::<_, &str>(url::local(text)));
        Some(Self { next: next.unwrap_or_else(|| "/".to_owned()) })
    }
}

/// `GET /login`
#[allow(clippy::unused_async, reason = "axum calls async functions")]
pub(super) async fn form(view: View, Params(params): Params<LogInParams>) -> Response {
    view.page(Content::new("Log in", Section::None, log_in_form(&view, &params.next, None)))
}

fn log_in_form(view: &View, next: &str, refusal: Option<&str>) -> Markup {
    html! {
        section.panel.narrow {
            h1 { "Log in" }
            p.lead { "Use an API key of " code { "orderly keys create" } " or a token of your issuer." }
            @if let Some(refusal) = refusal {
                p.notice.bad role="alert" { (refusal) }
            }
            form.stack method="post" action="/login" {
                (view.form_token())
                input type="hidden" name="next" value=(next);
                label for="key" { "API key or token" }
                input #key type="password" name="key" required autocomplete="current-password" autofocus
                    spellcheck="false";
                label for="person" { "Your name " span.muted { "(optional; stored with what you do)" } }
                input #person name="person" maxlength="255" autocomplete="name";
                button.primary { "Log in" }
            }
            p.muted { "The session ends after 12 hours, or when its key is revoked." }
        }
    }
}

/// `POST /login`
pub(super) async fn log_in(State(api): State<Arc<QueryApi>>, posted: Posted) -> Result<Response, Refused> {
    let Posted { view, fields, mut parts } = posted;
    let next = url::local(fields.text("next").unwrap_or("/"));
    let refuse = |refusal: &str, status| {
        let content = log_in_form(&view, &next, Some(refusal));
        let mut response = view.page(Content::new("Log in", Section::None, content));
        *response.status_mut() = status;
        Ok(response)
    };
    let (key, person) = (fields.text("key").unwrap_or_default(), fields.text("person").map(str::to_owned));
    if key.is_empty() || key.len() > CREDENTIAL_BYTES_MAX {
        return refuse(
            "Enter an API key or a token of at most 2,500 characters.",
            StatusCode::UNPROCESSABLE_ENTITY,
        );
    }
    if person.as_deref().is_some_and(|person| text::check_within(person, PERSON_CHARS_MAX).is_err()) {
        return refuse("A name has at most 255 characters.", StatusCode::UNPROCESSABLE_ENTITY);
    }
    if authorize(&mut parts, key).is_none() {
        return refuse("The key has characters that no key has.", StatusCode::UNAUTHORIZED);
    }
    match api.gate.caller(&parts).await {
        Ok(caller) if caller.customer().is_some() || !caller.may(Scope::Read) => {
            return refuse("The key has no scope to read, which the pages need.", StatusCode::FORBIDDEN);
        }
        Ok(_) => {}
        Err(problem) if problem.code == Code::Unauthenticated => {
            return refuse("The key is unknown, revoked or expired.", StatusCode::UNAUTHORIZED);
        }
        Err(problem) => return Err(problem.into()),
    }
    let since_s = view.now.as_second();
    let session = Session { id: Uuid::new_v4(), since_s, person, credential: key.to_owned() };
    let cookie = api.pages.begin(&session, is_encrypted(&parts.headers));
    let cookie = cookie.ok_or_else(|| Problem::new(Code::Internal))?;
    Ok(([(header::SET_COOKIE, cookie)], Redirect::to(&next)).into_response())
}

/// Gives a request a credential. `None` if no header can have it.
pub(super) fn authorize(request: &mut Parts, credential: &str) -> Option<()> {
    let mut value = HeaderValue::from_str(&format!("Bearer {credential}")).ok()?;
    value.set_sensitive(true);
    request.headers.insert(header::AUTHORIZATION, value);
    Some(())
}

/// `POST /logout`
#[allow(clippy::unused_async, reason = "axum calls async functions")]
pub(super) async fn log_out(posted: Posted) -> Response {
    let ended = set_cookie(COOKIE, "", 0, is_encrypted(&posted.parts.headers));
    let cookie = ended.map(|cookie| [(header::SET_COOKIE, cookie)]);
    (cookie.into_iter().flatten().collect::<HeaderMap>(), Redirect::to("/login")).into_response()
}
