//! The form of an action, and what becomes of its request.

use axum::response::Response;
use http::{StatusCode, request::Parts};
use maud::{Markup, html};
use serde_json::Value;
use uuid::Uuid;

use crate::{
    QueryApi,
    pages::{
        Refused,
        commands::{CallerHeaders, CommandAnswer},
        errors::{Told, sentence},
        layout::{Content, Section},
        view::{Fields, View},
    },
};
use infra::http::{Code, Problem};

/// Fields of every form. They are no part of what it asks for.
const OF_EVERY_FORM: [&str; 5] = ["form", "key", "seen", "body", "preview"];

/// What a form shows.
pub(super) struct Confirmation {
    pub section: Section,
    pub title: String,
    /// Where the form is sent.
    pub address: String,
    /// Where its reader goes who does nothing.
    pub back: String,
    pub fields: Markup,
    /// What happens, or why it cannot.
    pub effects: Result<Vec<Markup>, Vec<String>>,
    /// The body of the command. `None` if the fields are no command.
    pub body: Option<Value>,
    pub button: String,
}

/// The request that a form carries. Its body was made when the form was shown: a second copy that arrives when the order
/// has changed is the same command.
pub(super) struct Request {
    /// The same for every copy of one request, so that a double click is one command.
    key: String,
    body: Value,
}

impl Request {
    /// `None` if the reader of the form has not seen what these fields do.
    pub fn sent(fields: &Fields) -> Option<Self> {
        let seen = fields.text("seen").and_then(|text| Uuid::try_parse(text).ok());
        if seen != Some(digest(fields)) || fields.is_given("preview") {
            return None;
        }
        let key = fields.text("key").and_then(|key| Uuid::try_parse(key).ok())?.to_string();
        let body = serde_json::from_str(fields.text("body")?).ok()?;
        Some(Self { key, body })
    }
}

fn digest(fields: &Fields) -> Uuid {
    let mut asked: Vec<_> =
        fields.iter().filter(|(name, value)| !OF_EVERY_FORM.contains(name) && !value.is_empty()).collect();
    asked.sort_unstable();
    let text = serde_json::to_vec(&asked).unwrap_or_default();
    Uuid::new_v5(&Uuid::NAMESPACE_URL, &text)
}

/// The page with the form. It asks for a new command.
pub(super) fn page(view: &View, confirmation: &Confirmation, fields: &Fields) -> Response {
    let key = Uuid::new_v4().to_string();
    shown(view, confirmation, (&key, confirmation.body.as_ref(), fields), None)
}

fn shown(
    view: &View,
    confirmation: &Confirmation,
    (key, body, given): (&str, Option<&Value>, &Fields),
    notice: Option<Markup>,
) -> Response {
    let Confirmation { section, title, address, back, fields, effects, button, .. } = confirmation;
    let main = html! {
        section.panel.narrow {
            h1 { (title) }
            @if let Some(notice) = notice { div.notice.bad role="alert" { (notice) } }
            form.stack method="post" action=(address) data-preview {
                (view.form_token())
                (fields)
                div #effects.effects data-live aria-live="polite" {
                    input type="hidden" name="key" value=(key);
                    input type="hidden" name="seen" value=(digest(given));
                    @if let Some(body) = body { input type="hidden" name="body" value=(body); }
                    @match effects {
                        Ok(effects) => {
                            h2 { "What happens" }
                            ul { @for effect in effects { li { (effect) } } }
                        },
                        Err(reasons) => {
                            @for reason in reasons { p.notice.warn { (sentence(reason)) } }
                        },
                    }
                    div.buttons {
                        button.primary disabled[effects.is_err()] { (button) }
                        button name="preview" value="1" formnovalidate { "Show what happens" }
                        a.button.quiet href=(back) { "Back" }
                    }
                }
            }
        }
    };
    view.page(Content::new(title.clone(), *section, main))
}

/// The page again, because the request was refused, or because nobody knows whether it was carried out.
pub(super) fn refused(
    view: &View,
    confirmation: &Confirmation,
    request: &Request,
    fields: &Fields,
    answer: &Outcome,
) -> Response {
    let (status, notice) = match answer {
        Outcome::Refused(answer) => {
            let told = Told::of(&answer.body);
            let title = if told.title.is_empty() { "The command was refused" } else { &told.title };
            (answer.status, html! { p { strong { (title) } } (told.words()) })
        }
        Outcome::Unknown => {
            let notice = html! {
                p { strong { "The command API has not answered." } }
                p { "The command may have been carried out or not. Send it again: it is carried out once in any case." }
            };
            (StatusCode::BAD_GATEWAY, notice)
        }
    };
    // A refusal is final, and the next attempt is a new command.
    let new_key = Uuid::new_v4().to_string();
    let (key, body) = match answer {
        Outcome::Unknown => (&request.key, Some(&request.body)),
        Outcome::Refused(_) => (&new_key, confirmation.body.as_ref()),
    };
    let mut response = shown(view, confirmation, (key, body, fields), Some(notice));
    *response.status_mut() = status;
    response
}

/// A request that has no answer of success.
pub(super) enum Outcome {
    Refused(CommandAnswer),
    Unknown,
}

/// Sends the request of a form. The answer of the command API, if it is one of success.
pub(super) async fn send(
    api: &QueryApi,
    parts: &Parts,
    path: &str,
    request: &Request,
) -> Result<Result<CommandAnswer, Outcome>, Refused> {
    let detail = "this server knows no command API; its operator can set ORDERLY_COMMAND_URL";
    let commands = api.pages.commands.as_ref();
    let commands = commands.ok_or_else(|| Problem::new(Code::NotFound).detail(detail))?;
    let sent = commands.send(path, &CallerHeaders::of(parts), &request.key, &request.body).await;
    Ok(match sent {
        Ok(answer) if answer.status.is_success() => Ok(answer),
        // The command API gives up on a command whose outcome it does not know.
        Ok(answer) if answer.status.is_server_error() && answer.status != StatusCode::SERVICE_UNAVAILABLE => {
            Err(Outcome::Unknown)
        }
        Ok(answer) => Err(Outcome::Refused(answer)),
        Err(error) => {
            tracing::warn!(%error, path, "Cannot forward a command; its outcome is unknown");
            Err(Outcome::Unknown)
        }
    })
}
