//! The frame of every page: navigation, search, what the platform reports of itself, preferences.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, header};
use infra::auth::{Caller, Scope};
use maud::{DOCTYPE, Markup, html};

use super::{
    Provider,
    assets::ADDRESSES,
    url,
    view::{Theme, View},
};

/// Pages load their styles and their script from this server, and nothing else.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
);
/// Zones that the list of zones begins with. Every other one of the IANA database can be typed.
const ZONES: [&str; 12] = [
    "UTC",
    "Europe/London",
    "Europe/Berlin",
    "Europe/Paris",
    "Europe/Warsaw",
    "America/New_York",
    "America/Chicago",
    "America/Los_Angeles",
    "America/Sao_Paulo",
    "Asia/Kolkata",
    "Asia/Tokyo",
    "Australia/Sydney",
];

/// The part of the navigation that a page belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    None,
    Today,
    Orders,
    Stock,
    Payments,
    Stuck,
    System,
    Log,
    Audit,
}

impl Section {
    /// The scope that its pages need.
    fn scope(self) -> Scope {
        match self {
            Self::Log | Self::Audit => Scope::Audit,
            Self::None
            | Self::Today
            | Self::Orders
            | Self::Stock
            | Self::Payments
            | Self::Stuck
            | Self::System => Scope::Read,
        }
    }
}

const SECTIONS: [(Section, &str, &str); 8] = [
    (Section::Today, "Today", "/"),
    (Section::Orders, "Orders", "/orders"),
    (Section::Stock, "Stock", "/stock"),
    (Section::Payments, "Payments", "/payments"),
    (Section::Stuck, "Stuck", "/stuck"),
    (Section::System, "System", "/system"),
    (Section::Log, "Log", "/log"),
    (Section::Audit, "Audit", "/audit"),
];

/// What one page shows inside the frame.
pub(crate) struct Content {
    title: String,
    section: Section,
    main: Markup,
    /// The address of the feed whose events change the page.
    feed: Option<String>,
    /// The same data for programs.
    json: Option<String>,
    /// The same list for spreadsheets.
    csv: Option<String>,
}

impl Content {
    pub fn new(title: impl Into<String>, section: Section, main: Markup) -> Self {
        Self { title: title.into(), section, main, feed: None, json: None, csv: None }
    }

    /// The page follows these events.
    pub fn live(self, feed: impl Into<String>) -> Self {
        Self { feed: Some(feed.into()), ..self }
    }

    pub fn csv(self, address: impl Into<String>) -> Self {
        Self { csv: Some(address.into()), ..self }
    }

    pub fn json(self, address: impl Into<String>) -> Self {
        Self { json: Some(address.into()), ..self }
    }
}

pub(super) fn page(view: &View, content: Content) -> Response {
    let Content { title, section, main, feed, json, csv } = content;
    let theme = (view.theme != Theme::System).then_some(view.theme.as_str());
    let zone = (!view.zone_is_chosen).then_some("");
    let markup = html! {
        (DOCTYPE)
        html lang="en" data-theme=[theme] data-choose-zone=[zone] {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) " · Orderly" }
                link rel="stylesheet" href=(ADDRESSES.style);
                link rel="icon" type="image/svg+xml" href=(ADDRESSES.icon);
                script src=(ADDRESSES.script) defer {}
            }
            body data-feed=[feed] {
                a.skip href="#main" { "Skip to the content" }
                (top(view, section))
                main #main tabindex="-1" { (main) }
                (foot(view, json.as_deref(), csv.as_deref()))
            }
        }
    };
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        // With no-referrer, browsers hide the origin of forms, which the server checks.
        (header::REFERRER_POLICY, HeaderValue::from_static("same-origin")),
        (header::CACHE_CONTROL, HeaderValue::from_static("private, no-store")),
    ];
    (headers, markup.into_string()).into_response()
}

fn top(view: &View, section: Section) -> Markup {
    // A page that admits every caller, such as the log-in, knows no scopes.
    let is_for = |section: Section| view.caller.is_none() || view.may(section.scope());
    html! {
        header.top {
            a.brand href="/" { img src=(ADDRESSES.icon) alt="" width="22" height="22"; "Orderly" }
            nav aria-label="Main" {
                ul {
                    @for (of, name, address) in SECTIONS.into_iter().filter(|(of, ..)| is_for(*of)) {
                        li { a href=(address) aria-current=[(of == section).then_some("page")] { (name) } }
                    }
                }
            }
            form.search role="search" action="/orders" {
                label.visually-hidden for="search" { "Search orders" }
                input #search type="search" name="q" placeholder="Order, customer, SKU or payment"
                    autocomplete="off" spellcheck="false" aria-keyshortcuts="/";
                kbd aria-hidden="true" { "/" }
            }
            (account(view))
        }
        @if view.provider == Provider::Sandbox || !view.conditions.is_empty() {
            div role="region" aria-label="Notices" { (banners(view)) }
        }
    }
}

/// What everybody must know who looks at a page.
fn banners(view: &View) -> Markup {
    html! {
        @if view.provider == Provider::Sandbox {
            p.banner.bad { strong { "Sandbox" } " — the payment provider is a simulator: no real money moves." }
        }
        @if let [first, others @ ..] = view.conditions.as_slice() {
            p.banner.warn role="status" {
                strong { "Needs an operator" }
                " — "
                (first.detail)
                @if !others.is_empty() { " (and " (others.len()) " more)" }
                " "
                a href="/system#health" { "See all" }
            }
        }
    }
}

fn account(view: &View) -> Markup {
    html! {
        div.account {
            @if view.is_open() {
                span.chip.warn title="No API key exists, so this server authenticates nobody and listens on this machine, or ORDERLY_AUTH=off is set." {
                    "No keys: full access"
                }
            } @else if let Some(principal) = view.caller.as_ref().and_then(Caller::principal) {
                span.who title=(principal) {
                    (view.person.as_deref().unwrap_or(principal.as_str()))
                }
                @if view.is_logged_in() {
                    form method="post" action="/logout" { (view.form_token()) button.quiet { "Log out" } }
                }
            }
        }
    }
}

fn foot(view: &View, json: Option<&str>, csv: Option<&str>) -> Markup {
    let kept = || view.parameters(&["tz", "theme"]);
    let themed = |theme: Theme| url::with_query(&view.path, kept().chain([("theme", theme.as_str())]));
    html! {
        footer.foot {
            form.inline action=(view.path) {
                @for (name, value) in kept() { input type="hidden" name=(name) value=(value); }
                label for="zone" { "Times in" }
                input #zone name="tz" list="zones" value=(view.zone_name()) size="18" spellcheck="false";
                datalist #zones { @for zone in ZONES { option value=(zone); } }
                button.quiet { "Change" }
            }
            div.switch role="group" aria-label="Colours" {
                @for theme in Theme::ALL {
                    a href=(themed(theme)) aria-current=[(theme == view.theme).then_some("true")] {
                        (theme.as_str())
                    }
                }
            }
            span.spring {}
            span #live .muted {}
            span #announce .visually-hidden aria-live="polite" {}
            @if let Some(csv) = csv { a href=(csv) { "CSV" } }
            @if let Some(json) = json { a href=(json) { "JSON" } }
            a href="/docs/" { "API" }
            span.muted { "Orderly " (view.version) }
        }
    }
}
