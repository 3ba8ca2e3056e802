//! The files of the pages, which are inside the binary.

use std::sync::LazyLock;

use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use infra::http::{Problem, path::Id};
use uuid::Uuid;

/// A file, and the hash of its content in its address. So a browser keeps it for a year, and gets a new one at once.
struct Asset {
    name: &'static str,
    content_type: &'static str,
    content: &'static str,
}

const ASSETS: [Asset; 3] = [
    Asset {
        name: "style.css",
        content_type: "text/css; charset=utf-8",
        content: include_str!("assets/style.css"),
    },
    Asset {
        name: "script.js",
        content_type: "text/javascript; charset=utf-8",
        content: include_str!("assets/script.js"),
    },
    Asset { name: "icon.svg", content_type: "image/svg+xml", content: include_str!("assets/icon.svg") },
];

/// The addresses that pages name.
pub(super) struct Addresses {
    pub style: String,
    pub script: String,
    pub icon: String,
}

pub(super) static ADDRESSES: LazyLock<Addresses> = LazyLock::new(|| {
    let [style, script, icon] = ASSETS.map(|asset| {
        let hash = Uuid::new_v5(&Uuid::NAMESPACE_URL, asset.content.as_bytes()).simple();
        format!("/assets/{}?{hash}", asset.name)
    });
    Addresses { style, script, icon }
});

/// `GET /assets/{name}`
#[allow(clippy::unused_async, reason = "axum calls async functions")]
pub(super) async fn asset(Id(name): Id<String>) -> Result<Response, Problem> {
    let asset = ASSETS.iter().find(|asset| asset.name == name).ok_or_else(|| Problem::no_such("file"))?;
    let headers =
        [(CONTENT_TYPE, asset.content_type), (CACHE_CONTROL, "public, max-age=31536000, immutable")];
    Ok((headers, asset.content).into_response())
}
