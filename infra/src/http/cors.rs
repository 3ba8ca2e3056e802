//! Which sites' pages may use the APIs (CORS), and the headers that protect pages.

use std::{str::FromStr, sync::Arc, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};
use tower_http::cors::{AllowOrigin, CorsLayer};

/// How long a browser may remember what a site may do.
const REMEMBERED: Duration = Duration::from_mins(10);
/// The headers of requests that the APIs read.
const REQUEST_HEADERS: [HeaderName; 8] = [
    header::AUTHORIZATION,
    header::CONTENT_TYPE,
    header::IF_MATCH,
    header::IF_NONE_MATCH,
    HeaderName::from_static("idempotency-key"),
    HeaderName::from_static("orderly-actor"),
    HeaderName::from_static("prefer"),
    HeaderName::from_static("x-request-id"),
];
/// The headers of answers that a page may read besides the usual ones.
const ANSWER_HEADERS: [HeaderName; 9] = [
    header::ETAG,
    header::LOCATION,
    header::RETRY_AFTER,
    header::WWW_AUTHENTICATE,
    HeaderName::from_static("idempotent-replayed"),
    HeaderName::from_static("preference-applied"),
    HeaderName::from_static("ratelimit"),
    HeaderName::from_static("ratelimit-policy"),
    HeaderName::from_static("x-request-id"),
];

/// The origin of a web page, such as `https://shop.example`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin(HeaderValue);

impl FromStr for Origin {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        const EXPECTED: &str = "expected an origin without a path, such as https://shop.example";
        let url: Uri = text.parse().map_err(|_| EXPECTED)?;
        let is_web = matches!(url.scheme_str(), Some("http" | "https"));
        // A browser compares every character, and writes hosts in lower case.
        let ends_with_host = url.authority().is_some_and(|host| text.ends_with(host.as_str()));
        let is_lower = !text.bytes().any(|byte| byte.is_ascii_uppercase());
        if !is_web || !ends_with_host || !is_lower || text.contains('@') {
            return Err(EXPECTED);
        }
        HeaderValue::from_str(text).map(Self).map_err(|_| EXPECTED)
    }
}

/// The sites whose pages may use an API. No site by default.
#[derive(Debug, Clone, Default)]
pub struct AllowedOrigins(Arc<[Origin]>);

impl FromIterator<Origin> for AllowedOrigins {
    fn from_iter<I: IntoIterator<Item = Origin>>(origins: I) -> Self {
        Self(origins.into_iter().collect())
    }
}

impl AllowedOrigins {
    pub(super) fn contain(&self, origin: &HeaderValue) -> bool {
        self.0.iter().any(|Origin(allowed)| allowed == origin)
    }

    /// Answers the questions of browsers. `None` if no site is allowed.
    ///
    /// Cookies and the credentials of browsers are not allowed: a page sends its credential itself.
    pub(super) fn layer(&self) -> Option<CorsLayer> {
        if self.0.is_empty() {
            return None;
        }
        let origins = self.0.iter().map(|Origin(origin)| origin.clone());
        let layer = CorsLayer::new()
            .allow_origin(AllowOrigin::list(origins))
            .allow_methods([Method::GET, Method::HEAD, Method::POST, Method::PATCH, Method::DELETE])
            .allow_headers(REQUEST_HEADERS)
            .expose_headers(ANSWER_HEADERS)
            .max_age(REMEMBERED);
        Some(layer)
    }
}

/// The policy of answers that are no pages: a browser that shows one loads and runs nothing.
const NO_PAGE: HeaderValue = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
/// The policy of pages whose scripts and styles are files of this server.
pub(super) const PAGE: HeaderValue = HeaderValue::from_static(
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; base-uri 'none'; \
     form-action 'self'; frame-ancestors 'none'",
);

/// Adds the headers that protect browsers. A page may have its own policies.
pub(super) fn protect(headers: &mut HeaderMap, is_encrypted: bool) {
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(NO_PAGE);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(header::REFERRER_POLICY).or_insert(HeaderValue::from_static("no-referrer"));
    if is_encrypted {
        let one_year = HeaderValue::from_static("max-age=31536000");
        headers.insert(header::STRICT_TRANSPORT_SECURITY, one_year);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_has_a_scheme_and_a_host_and_nothing_else() {
        for text in ["https://shop.example", "http://localhost:3000", "https://[::1]:8443"] {
            assert!(text.parse::<Origin>().is_ok(), "{text}");
        }
        for text in [
            "*",
            "null",
            "shop.example",
            "https://shop.example/",
            "https://shop.example/path",
            "https://Shop.example",
            "https://user@shop.example",
            "ftp://shop.example",
            "https://",
        ] {
            assert!(text.parse::<Origin>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_page_keeps_its_own_policies() {
        let mut headers = HeaderMap::new();
        protect(&mut headers, false);
        assert_eq!(headers[header::REFERRER_POLICY], "no-referrer");
        // With no-referrer, browsers hide the origin of forms.
        let mut of_page = HeaderMap::new();
        of_page.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
        of_page.insert(header::CONTENT_SECURITY_POLICY, PAGE);
        protect(&mut of_page, false);
        assert_eq!(of_page[header::REFERRER_POLICY], "same-origin");
        assert_eq!(of_page[header::CONTENT_SECURITY_POLICY], PAGE);
    }
}
