//! docs/metrics.md lists every metric. It is made from the catalogue, so it cannot differ from the code.
//! `ORDERLY_WRITE_DOCS=1` writes it.

use std::fmt::Write;

use infra::measurements::{self, Metric};

use crate::events_doc::assert_is_current;

const INTRODUCTION: &str = "\
# Metrics

`ORDERLY_ADMIN_LISTEN=127.0.0.1:8083` opens an address for operators. Without the setting there is none. Each process
has an address of its own, also one without an API. The address has no authentication: keep it on a loopback address or
in a private network.

| path | answer |
| --- | --- |
| `/metrics` | the measurements of this process, in the text format of Prometheus |
| `/livez` | 200 while the process runs |
| `/readyz` | 200 while the process can do its roles, with the conditions that wait for an operator in `degraded`; else 503 |
| `/debug/allocator` | the statistics of the allocator, mimalloc: JSON with the bytes that it has reserved and committed, and with its pages by size of block |

`infra/deploy/prometheus/alerts.yml` has alert rules, and `infra/deploy/grafana/orderly.json` a dashboard. Both expect
that Prometheus scrapes every process:

```yaml
rule_files: [alerts.yml]
scrape_configs:
  - job_name: orderly
    static_configs:
      - targets: [\"127.0.0.1:8083\"]
```

- A process shows the metrics of its own roles. Those of the relay need Kafka, and those of Postgres and EventStoreDB
  need these servers.
- Counters and durations are those of one process: add the processes up. `orderly_follower_lag_*`, `orderly_parked_*`,
  `orderly_stuck_orders` and `orderly_webhook_endpoints*` describe the platform, and several processes may show them:
  take the largest.
- The lags, the sizes of files and the stuck orders are read when `/metrics` is asked. Everything else is counted where
  it happens.
- `process_cpu_seconds_total`, `process_resident_memory_bytes`, `process_open_fds` and others show what the process
  uses, under the names of Prometheus.

To profile a process, use `perf record --call-graph dwarf --pid PID`: released programs keep the names of their
functions. If memory grows, compare two answers of `/debug/allocator`: `page_bins` shows for which sizes of blocks.

A test makes this page from the code and fails if it differs. To change a meaning, edit
`infra/src/measurements/catalogue.rs`.

## All metrics
";

fn page() -> String {
    let mut page =
        format!("{INTRODUCTION}\n| metric | kind | labels | meaning |\n| --- | --- | --- | --- |\n");
    for Metric { name, kind, labels, meaning } in measurements::ALL {
        let labels: Vec<String> = labels.iter().map(|label| format!("`{label}`")).collect();
        let (kind, labels) = (kind.as_str(), labels.join(", "));
        writeln!(page, "| `{name}` | {kind} | {labels} | {meaning} |").unwrap();
    }
    page
}

#[test]
fn the_metrics_page_lists_every_metric() {
    assert_is_current("metrics.md", &page());
}
