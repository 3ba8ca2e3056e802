//! `queries`: the latency of each kind of query, over a short and a long history.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use indicatif::HumanCount;
use serde::{Deserialize, Serialize, de::IgnoredAny};

use super::{
    client::Connection,
    dataset::{CURRENCY, Dataset},
    load::{Latencies, LatencySummary, run_clients},
    server::Server,
    tables::{milliseconds, ratio, table},
};
use crate::{commands::Failure, progress::ProgressDisplay};

/// Clients with one request under way each: enough to keep two cores busy, too few to queue.
const READERS: usize = 2;
/// Items of each measured page.
const PAGE_ITEMS: usize = 50;
/// The query API's limit for a page, used to walk to deep pages.
const STRIDE_ITEMS: usize = 200;
/// The most orders that precede a deep page.
const DEEP_ORDERS_MAX: u64 = 200_000;
const ORDERS_PER_DAY: u64 = 2_880;

/// Latencies of all queries over one history.
#[derive(Debug, Serialize)]
pub struct HistoryLatencies {
    pub orders: u64,
    pub queries: Vec<QueryLatency>,
}

#[derive(Debug, Serialize)]
pub struct QueryLatency {
    pub query: &'static str,
    #[serde(flatten)]
    pub latency: LatencySummary,
}

/// A kind of query. The readers request its paths one after another.
struct QueryKind {
    name: &'static str,
    paths: Vec<String>,
}

/// Runs each kind of query for `duration` over the read models of `dataset`, which must be built already.
pub async fn run(dataset: &Dataset, duration: Duration) -> Result<HistoryLatencies, Failure> {
    let server = Server::query_api(dataset.directory.path()).await?;
    let endpoint = server.target().query;
    let mut connection = Connection::open(endpoint).await?;
    let kinds = all_queries(dataset, &mut connection).await?;
    let progress = ProgressDisplay::start("kinds of queries measured", kinds.len() as u64);
    let mut queries = Vec::new();
    for QueryKind { name, paths } in kinds {
        let paths: Arc<[String]> = paths.into();
        let connections = Connection::open_many(endpoint, READERS).await?;
        let end = Instant::now() + duration;
        let numbered = (0..).zip(connections);
        let readers = numbered.map(|(offset, connection)| read(connection, Arc::clone(&paths), offset, end));
        let mut latencies = Latencies::new();
        for of_reader in run_clients(name, duration, readers).await? {
            latencies.add(&of_reader);
        }
        queries.push(QueryLatency { query: name, latency: latencies.summary() });
        progress.advance();
    }
    server.stop().await?;
    Ok(HistoryLatencies { orders: dataset.orders, queries })
}

async fn read(
    mut connection: Connection,
    paths: Arc<[String]>,
    offset: usize,
    end: Instant,
) -> Result<Latencies, Failure> {
    let mut latencies = Latencies::new();
    let mut next = offset * paths.len() / READERS;
    while Instant::now() < end {
        let sent = Instant::now();
        connection.get(&paths[next % paths.len()]).await?;
        latencies.record(sent.elapsed());
        next += 1;
    }
    Ok(latencies)
}

async fn all_queries(dataset: &Dataset, connection: &mut Connection) -> Result<Vec<QueryKind>, Failure> {
    let orders = dataset.orders;
    let day = |number: u64| Dataset::placed_at(number / ORDERS_PER_DAY * ORDERS_PER_DAY);
    // The day in the middle of the history.
    let (from, to) = (day(orders / 2), day(orders / 2 + ORDERS_PER_DAY));
    let week_later = day(orders / 2 + 7 * ORDERS_PER_DAY);
    let sales = |rest: String| vec![format!("/v1/sales?currency={CURRENCY}&{rest}")];
    let sample = dataset.sample.iter();
    let skus = || (0..Dataset::SKUS).map(Dataset::sku);
    let orders_per_sku = orders * Dataset::LINES_PER_TWO_ORDERS / 2 / Dataset::SKUS as u64;
    let customers = (0..1_000).map(|number| Dataset::customer(orders / 1_000 * number));

    let all = vec!["/v1/orders?".to_owned()];
    let of_status = vec!["/v1/orders?status=cancelled&".to_owned()];
    let of_day = vec![format!("/v1/orders?placed_from={from}&placed_to={to}&")];
    let of_skus: Vec<_> = skus().step_by(10).map(|sku| format!("/v1/orders?sku={sku}&")).collect();
    let (all_deep, of_status_deep, of_day_deep, of_skus_deep) = (
        deep_pages(connection, &all, orders / 2).await?,
        deep_pages(connection, &of_status, orders / Dataset::ORDERS_PER_CANCELLED / 2).await?,
        deep_pages(connection, &of_day, ORDERS_PER_DAY / 2).await?,
        deep_pages(connection, &of_skus, orders_per_sku / 2).await?,
    );
    let query = |name, paths| QueryKind { name, paths };
    Ok(vec![
        query("order by id", sample.clone().map(|id| format!("/v1/orders/{id}")).collect()),
        query("orders, first page", first_pages(&all)),
        query("orders, deep page", all_deep),
        query("orders by status, first page", first_pages(&of_status)),
        query("orders by status, deep page", of_status_deep),
        query("orders of a day, first page", first_pages(&of_day)),
        query("orders of a day, deep page", of_day_deep),
        query("orders by SKU, first page", first_pages(&of_skus)),
        query("orders by SKU, deep page", of_skus_deep),
        query(
            "orders of a customer",
            customers.map(|customer| format!("/v1/orders?customer_id={customer}")).collect(),
        ),
        query("payments of an order", sample.map(|id| format!("/v1/payments?order_id={id}")).collect()),
        query("stock of a SKU", skus().map(|sku| format!("/v1/stock/{sku}")).collect()),
        query("stock running low", vec!["/v1/stock?available_below=10".to_owned()]),
        query("sales of a week by day", sales(format!("group_by=day&from={from}&to={week_later}"))),
        query("sales of a day by SKU", sales(format!("group_by=sku&from={from}&to={to}"))),
        query("all sales by month", sales("group_by=month".to_owned())),
    ])
}

#[derive(Deserialize)]
struct ListPage {
    items: Vec<IgnoredAny>,
    next_cursor: Option<String>,
}

fn first_pages(lists: &[String]) -> Vec<String> {
    lists.iter().map(|list| format!("{list}limit={PAGE_ITEMS}")).collect()
}

/// For each list, the page that begins after `skipped` orders; the last page of a shorter list.
async fn deep_pages(
    connection: &mut Connection,
    lists: &[String],
    skipped: u64,
) -> Result<Vec<String>, Failure> {
    let mut pages = Vec::new();
    for list in lists {
        let mut cursor = String::new();
        let mut seen = 0;
        while seen < skipped.min(DEEP_ORDERS_MAX) {
            let path = format!("{list}limit={STRIDE_ITEMS}{cursor}");
            let page: ListPage = connection.get_json(&path).await?;
            seen += page.items.len() as u64;
            let Some(next) = page.next_cursor else { break };
            cursor = format!("&cursor={next}");
        }
        pages.push(format!("{list}limit={PAGE_ITEMS}{cursor}"));
    }
    Ok(pages)
}

/// One row for each query, with the latencies over the shortest and the longest history side by side.
pub fn tables(histories: &[HistoryLatencies]) -> String {
    let (Some(shortest), Some(longest)) = (histories.first(), histories.last()) else { return String::new() };
    let column =
        |name: &str, history: &HistoryLatencies| format!("{name} ms, {}", HumanCount(history.orders));
    let header = [
        "query, orders".to_owned(),
        column("p50", shortest),
        column("p99", shortest),
        column("p50", longest),
        column("p99", longest),
        "p99 ratio".to_owned(),
    ];
    let rows = shortest.queries.iter().zip(&longest.queries).map(|(short, long)| {
        [
            short.query.to_owned(),
            milliseconds(short.latency.p50_ms),
            milliseconds(short.latency.p99_ms),
            milliseconds(long.latency.p50_ms),
            milliseconds(long.latency.p99_ms),
            ratio(long.latency.p99_ms / short.latency.p99_ms),
        ]
    });
    table(header, rows).to_string()
}
