//! A problem as a page.

use axum::response::Response;
use http::StatusCode;
use infra::http::Code;
use maud::{Markup, html};
use serde::Deserialize;

use super::{
    layout::{Content, Section},
    view::View,
};

/// The parts of a problem that people read.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Told {
    pub title: String,
    pub code: String,
    pub detail: Option<String>,
    pub errors: Vec<ToldError>,
}

#[derive(Debug, Deserialize)]
pub(super) struct ToldError {
    pub field: String,
    pub message: String,
}

impl Told {
    pub fn of(problem: &[u8]) -> Self {
        serde_json::from_slice(problem).unwrap_or_default()
    }

    /// The words of the problem, and what its reader can do.
    pub fn words(&self) -> Markup {
        let code = Code::ALL.iter().find(|code| code.as_str() == self.code);
        html! {
            @if let Some(detail) = &self.detail { p { (sentence(detail)) } }
            @if !self.errors.is_empty() {
                ul { @for error in &self.errors { li { code { (error.field) } " " (error.message) } } }
            }
            @if let Some(code) = code {
                p.muted { (code.help()) " " a href={ "/problems/" (code) } { code { (code) } } }
            }
        }
    }
}

/// A detail as a sentence: problems begin in lower case.
pub(super) fn sentence(detail: &str) -> String {
    let mut chars = detail.chars();
    let first = chars.next().map(|first| first.to_uppercase().collect::<String>()).unwrap_or_default();
    let stop = if detail.ends_with(['.', '…', '?', '!']) { "" } else { "." };
    format!("{first}{}{stop}", chars.as_str())
}

pub(super) fn page(view: &View, status: StatusCode, problem: &[u8]) -> Response {
    let told = Told::of(problem);
    let title = match status {
        StatusCode::NOT_FOUND => "There is no such page",
        _ if told.title.is_empty() => "This did not work",
        _ => &told.title,
    };
    let main = html! {
        section.panel.narrow {
            p.muted { (status.as_u16()) }
            h1 { (title) }
            (told.words())
            p.buttons {
                @if status == StatusCode::UNAUTHORIZED { a.button href="/login" { "Log in" } }
                @if status.is_server_error() { a.button href=(view.here()) { "Try again" } }
                a.button href="/orders" { "Orders" }
                a.button href="/" { "Today" }
            }
        }
    };
    view.page(Content::new(title, Section::None, main))
}
