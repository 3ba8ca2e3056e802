//! Requests by route, and by groups of routes.

use std::collections::BTreeMap;

use infra::measurements::HTTP_REQUEST_SECONDS;

use super::Series;

/// Routes that are shown, those with the most requests.
const ROUTES_MAX: usize = 12;
/// The share of the requests that are at most as slow as shown, in percent.
const SHARE: f64 = 0.99;

/// A route, or a group of routes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::pages) struct Route {
    pub api: String,
    /// `GET /v1/orders/{id}`, or in a group `/v1/orders`, `pages` or `other`.
    pub name: String,
}

/// Requests by the time that they took: for each bound in seconds, those that took at most as long.
#[derive(Debug, Default)]
pub(in crate::pages) struct Times(BTreeMap<Bound, f64>);

/// Nanoseconds, so that bounds are sorted.
type Bound = u64;
const NO_BOUND: Bound = Bound::MAX;

impl Times {
    pub fn total(&self) -> f64 {
        self.0.values().copied().fold(0.0, f64::max)
    }

    /// The least bound that the share of the requests keeps.
    pub fn within(&self) -> String {
        let keeps = |requests: f64| requests >= self.total() * SHARE;
        match self.0.iter().find(|(_, requests)| keeps(**requests)) {
            Some((&bound, _)) if bound != NO_BOUND => {
                #[expect(clippy::cast_precision_loss, reason = "bounds have few digits")]
                let milliseconds = bound as f64 / 1e6;
                format!("{milliseconds} ms")
            }
            Some(_) | None => "longer".to_owned(),
        }
    }

    fn add(&mut self, bound: Bound, requests: f64) {
        *self.0.entry(bound).or_default() += requests;
    }
}

/// Those with the most requests first.
pub(in crate::pages) fn by_route(series: &Series) -> Vec<(Route, Times)> {
    let mut routes = collect(series, |method, path| format!("{method} {path}"));
    routes.truncate(ROUTES_MAX);
    routes
}

/// Requests by API and kind of resource, those with the most requests first.
pub(in crate::pages) fn by_group(series: &Series) -> Vec<(Route, Times)> {
    collect(series, |_, path| group_of(path))
}

fn group_of(path: &str) -> String {
    let mut parts = path.split('/').skip(1);
    match (parts.next(), parts.next()) {
        (Some("v1"), Some(resource)) => format!("/v1/{resource}"),
        (
            Some("" | "orders" | "stock" | "payments" | "stuck" | "system" | "reconciliations" | "login"),
            _,
        ) => "pages".to_owned(),
        _ => "other".to_owned(),
    }
}

fn collect(series: &Series, name: impl Fn(&str, &str) -> String) -> Vec<(Route, Times)> {
    let mut routes: BTreeMap<Route, Times> = BTreeMap::new();
    for (labels, requests) in series.of(&format!("{}_bucket", HTTP_REQUEST_SECONDS.name())) {
        let Some(bound) = bound_of(labels.get("le")) else { continue };
        let name = name(labels.get("method"), labels.get("route"));
        routes.entry(Route { api: labels.get("api").to_owned(), name }).or_default().add(bound, requests);
    }
    let mut routes: Vec<_> = routes.into_iter().collect();
    routes.sort_by(|(_, one), (_, other)| other.total().total_cmp(&one.total()));
    routes
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a bound is at most 30 s")]
fn bound_of(seconds: &str) -> Option<Bound> {
    match seconds {
        "+Inf" => Some(NO_BOUND),
        seconds => seconds.parse::<f64>().ok().map(|seconds| (seconds * 1e9).round() as Bound),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
# TYPE orderly_http_request_duration_seconds histogram
orderly_http_request_duration_seconds_bucket{api="query",method="GET",route="/v1/orders",le="0.005"} 98
orderly_http_request_duration_seconds_bucket{api="query",method="GET",route="/v1/orders",le="0.01"} 99
orderly_http_request_duration_seconds_bucket{api="query",method="GET",route="/v1/orders",le="+Inf"} 100
orderly_http_request_duration_seconds_bucket{api="query",method="GET",route="/v1/orders/{id}",le="0.005"} 1
orderly_http_request_duration_seconds_bucket{api="query",method="GET",route="/v1/orders/{id}",le="0.01"} 1
orderly_http_request_duration_seconds_bucket{api="query",method="GET",route="/v1/orders/{id}",le="+Inf"} 80
orderly_http_request_duration_seconds_bucket{api="command",method="POST",route="/v1/orders",le="0.005"} 0
orderly_http_request_duration_seconds_bucket{api="command",method="POST",route="/v1/orders",le="+Inf"} 200
orderly_http_request_duration_seconds_bucket{api="query",method="GET",route="/",le="0.005"} 3
orderly_http_request_duration_seconds_bucket{api="query",method="GET",route="/",le="+Inf"} 3
orderly_http_requests_total{api="query"} 100
"#;

    fn shown(routes: &[(Route, Times)]) -> Vec<(&str, &str, f64, String)> {
        routes
            .iter()
            .map(|(route, times)| (&*route.api, &*route.name, times.total(), times.within()))
            .collect()
    }

    #[test]
    fn the_slowest_of_a_hundred_requests_is_left_out() {
        let routes = by_route(&Series::parse(TEXT));
        assert_eq!(
            shown(&routes)[..2],
            [
                ("command", "POST /v1/orders", 200.0, "longer".to_owned()),
                ("query", "GET /v1/orders", 100.0, "10 ms".to_owned()),
            ]
        );
    }

    #[test]
    fn the_routes_of_a_resource_are_one_group() {
        let groups = by_group(&Series::parse(TEXT));
        assert_eq!(
            shown(&groups),
            [
                ("command", "/v1/orders", 200.0, "longer".to_owned()),
                ("query", "/v1/orders", 180.0, "longer".to_owned()),
                ("query", "pages", 3.0, "5 ms".to_owned()),
            ]
        );
    }
}
