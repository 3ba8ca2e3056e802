//! The requests of this process by route, read from its own measurements.

use std::{collections::BTreeMap, fmt, sync::Arc};

use maud::{Markup, html};

use super::format::count;

const BUCKETS: &str = "orderly_http_request_duration_seconds_bucket{";
/// Routes that are shown, those with the most requests.
const ROUTES_MAX: usize = 12;
/// The share of the requests that are at most as slow as shown, in percent.
const SHARE: f64 = 0.99;

/// Gives the measurements of this process, in the text format of Prometheus.
#[derive(Clone)]
pub struct Measurements(Arc<dyn Fn() -> String + Send + Sync>);

impl Measurements {
    pub fn given_by(render: impl Fn() -> String + Send + Sync + 'static) -> Self {
        Self(Arc::new(render))
    }

    /// The requests since the start of the process.
    pub(super) fn table(&self) -> Markup {
        let routes = routes(&(self.0)());
        html! {
            @if routes.is_empty() { p.empty { "No request was answered yet." } }
            @else {
                div.box role="region" aria-label="Requests" tabindex="0" {
                    table {
                        caption.visually-hidden { "Requests since the start of this process, by route" }
                        thead { tr { th { "API" } th { "Route" } th.number { "Requests" } th.number { "99% within" } } }
                        tbody {
                            @for (route, times) in &routes {
                                tr {
                                    td { (route.api) }
                                    td { (route.method) " " (route.path) }
                                    td.number { (count(times.total())) }
                                    td.number { (times.within()) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

impl fmt::Debug for Measurements {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Measurements")
    }
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Route {
    api: String,
    method: String,
    path: String,
}

/// Requests by the time that they took: for each bound in seconds, those that took at most as long.
#[derive(Debug, Default)]
struct Times(Vec<(f64, u64)>);

impl Times {
    fn total(&self) -> u64 {
        self.0.iter().map(|(_, requests)| *requests).max().unwrap_or_default()
    }

    /// The least bound that the share of the requests keeps.
    fn within(&self) -> String {
        #[expect(clippy::cast_precision_loss, reason = "a share needs no exact count")]
        let keeps = |requests: u64| requests as f64 >= self.total() as f64 * SHARE;
        let bound = self.0.iter().find(|(_, requests)| keeps(*requests)).map(|(bound, _)| *bound);
        match bound {
            Some(seconds) if seconds.is_finite() => format!("{} ms", seconds * 1_000.0),
            Some(_) | None => "longer".to_owned(),
        }
    }
}

/// Those with the most requests first.
fn routes(text: &str) -> Vec<(Route, Times)> {
    let mut routes: BTreeMap<Route, Times> = BTreeMap::new();
    for line in text.lines().filter_map(|line| line.strip_prefix(BUCKETS)) {
        let Some((labels, requests)) = line.rsplit_once("} ") else { continue };
        let (Some(bound), Ok(requests)) = (label(labels, "le"), requests.parse()) else { continue };
        let Ok(bound) = bound.trim_start_matches('+').to_ascii_lowercase().parse::<f64>() else { continue };
        let names = ["api", "method", "route"].map(|name| label(labels, name).unwrap_or_default().to_owned());
        let [api, method, path] = names;
        routes.entry(Route { api, method, path }).or_default().0.push((bound, requests));
    }
    let mut routes: Vec<_> = routes.into_iter().collect();
    for (_, Times(bounds)) in &mut routes {
        bounds.sort_by(|(one, _), (other, _)| one.total_cmp(other));
    }
    routes.sort_by_key(|(_, times)| std::cmp::Reverse(times.total()));
    routes.truncate(ROUTES_MAX);
    routes
}

/// The value of a label. No label of these measurements has quotes inside.
fn label<'a>(labels: &'a str, name: &str) -> Option<&'a str> {
    let pairs = labels.split("\",").filter_map(|pair| pair.split_once("=\""));
    pairs
        .map(|(known, value)| (known.trim(), value.trim_end_matches('"')))
        .find(|(known, _)| *known == name)
        .map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_of_a_hundred_requests_is_left_out() {
        let text = r#"
# TYPE orderly_http_request_duration_seconds histogram
orderly_http_request_duration_seconds_bucket{api="query",method="GET",route="/v1/orders",le="0.005"} 98
orderly_http_request_duration_seconds_bucket{api="query",method="GET",route="/v1/orders",le="0.01"} 99
orderly_http_request_duration_seconds_bucket{api="query",method="GET",route="/v1/orders",le="+Inf"} 100
orderly_http_request_duration_seconds_bucket{api="command",method="POST",route="/v1/orders",le="0.005"} 0
orderly_http_request_duration_seconds_bucket{api="command",method="POST",route="/v1/orders",le="+Inf"} 200
orderly_http_requests_total{api="query"} 100
"#;
        let routes = routes(text);
        let shown: Vec<_> =
            routes.iter().map(|(route, times)| (&*route.api, times.total(), times.within())).collect();
        assert_eq!(shown, [("command", 200, "longer".to_owned()), ("query", 100, "10 ms".to_owned())]);
    }
}
