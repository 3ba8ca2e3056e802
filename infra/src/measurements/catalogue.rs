//! The list of all metrics. docs/metrics.md is made from it.

use super::{Counters, Gauges, Kind, Metric, Seconds, Sizes};

/// Makes a constant of each family, and [`ALL`].
macro_rules! catalogue {
    ($($kind:ident $constant:ident $name:literal [$($label:ident),*] $meaning:literal;)*) => {
        $(
            #[doc = $meaning]
            pub const $constant: $kind<{ <[&str]>::len(&[$(stringify!($label)),*]) }> =
                $kind::new($name, [$(stringify!($label)),*]);
        )*

        /// Every metric of the platform.
        pub const ALL: &[Metric] = &[$(
            Metric { name: $name, kind: Kind::$kind, labels: &[$(stringify!($label)),*], meaning: $meaning }
        ),*];
    };
}

catalogue! {
    // The process.
    Gauges BUILD_INFO "orderly_build_info" [version]
        "1, with the version of this program";
    Gauges ROLE_INFO "orderly_role_info" [role]
        "1 for each role of this process";
    Gauges STORES_INFO "orderly_stores_info" [event_store, bus, read_models, payment_provider]
        "1, with the kinds of the stores and of the payment provider";
    Gauges READY "orderly_ready" []
        "1 while this process can do its roles, 0 while `/readyz` answers 503";
    Gauges CONDITION "orderly_condition" [condition]
        "A condition that `/readyz` shows: 1 while a part of the work waits for an operator (`degraded`), 2 while the \
         process cannot do its roles, 0 once it has passed";
    Gauges DATA_DIR_FREE_BYTES "orderly_data_dir_free_bytes" []
        "Free bytes of the file system of the data directory";
    Gauges DATA_DIR_SIZE_BYTES "orderly_data_dir_size_bytes" []
        "All bytes of the file system of the data directory";
    Gauges SQLITE_DATABASE_BYTES "orderly_sqlite_database_bytes" [database]
        "Size of an embedded file";
    Gauges SQLITE_WAL_BYTES "orderly_sqlite_wal_bytes" [database]
        "Size of the write-ahead log of an embedded file";
    Counters MEASUREMENT_FAILURES "orderly_measurement_failures_total" [measurement]
        "Measurements that could not be read when `/metrics` was asked: `disk`, `lag`, `stuck_orders`. Their gauges keep \
         their last values";

    // HTTP.
    Counters HTTP_REQUESTS "orderly_http_requests_total" [api, method, route, status]
        "Requests that were answered, by API (`command`, `query`) and template of the route. `unmatched`: no such path";
    Seconds HTTP_REQUEST_SECONDS "orderly_http_request_duration_seconds" [api, method, route]
        "Time from the head of a request to its answer";
    Gauges HTTP_REQUESTS_UNDER_WAY "orderly_http_requests_under_way" [api]
        "Requests without an answer yet";
    Gauges FEED_LISTENERS "orderly_feed_listeners" [subject]
        "Listeners of `/v1/feed`, up to 512 in all: of one `stream`, of the `tiles` of a page, or of the whole `log`";
    Counters HTTP_REQUESTS_SHED "orderly_http_requests_shed_total" [kind]
        "Requests (`reads`, `writes`) that got 503 because too many others were worked on. They are not in \
         `orderly_http_requests_total` unless a part of their body was read";
    Gauges HTTP_SLOTS_IN_USE "orderly_http_slots_in_use" [kind]
        "Requests that are worked on, up to ORDERLY_CONCURRENT_READS and ORDERLY_CONCURRENT_WRITES";
    Counters RATE_LIMITED_REQUESTS "orderly_rate_limited_requests_total" [limit]
        "Requests that got 429, by limit: `reads`, `writes`, or `public` for customers and for requests without a valid \
         credential";
    Gauges HTTP_CONNECTIONS "orderly_http_connections" [server]
        "Open connections of a server (`command`, `query`, `admin`), up to 4,096";
    Counters HTTP_CONNECTIONS_CLOSED "orderly_http_connections_closed_total" [server, reason]
        "Connections that were closed because of their clients: `address_limit` (too many of one address, or too \
         many slow ones while all places were taken), `evicted` (all places were taken), \
         `head_timeout`, `idle_timeout`, `answer_timeout`, `answer_evicted` (unread answers filled their memory) or \
         `tls_failed`";
    Gauges TLS_CERTIFICATE_EXPIRES "orderly_tls_certificate_expires_seconds" []
        "When the certificate of the APIs expires, in seconds since 1970";
    Counters TLS_RELOADS "orderly_tls_reloads_total" [outcome]
        "Changed certificates: `changed`, or `failed` every 10 s while the files cannot be used";
    Gauges NEW_ORDERS_ADMITTED "orderly_new_orders_admitted_ratio" []
        "Share of new orders that is executed; below 1 while projectors fall behind";

    // Commands.
    Counters COMMAND_ATTEMPTS "orderly_command_attempts_total" [aggregate, outcome]
        "Attempts at commands, by their outcome. `conflict` and `superseded` are repeated, up to 5 attempts; `overloaded` \
         is refused at once";
    Gauges COMMANDS_UNDER_WAY "orderly_commands_under_way" [aggregate]
        "Attempts at commands without an outcome yet. Up to 8,192 of clients for each kind of aggregate";
    Sizes APPEND_COMMANDS "orderly_append_commands" [aggregate]
        "Commands that share one append";
    Sizes APPEND_EVENTS "orderly_append_events" [aggregate]
        "Events of one append";
    Seconds APPEND_SECONDS "orderly_append_duration_seconds" [aggregate]
        "Time from the submission of an append until it is durable or refused";
    Counters EVENTS_APPENDED "orderly_events_appended_total" [aggregate]
        "Events that this process has made durable";
    Counters APPENDS_SENT_AGAIN "orderly_appends_sent_again_total" [aggregate]
        "Appends that were sent again because their outcome was unknown";
    Seconds LOAD_SECONDS "orderly_aggregate_load_duration_seconds" [aggregate]
        "Time to load an aggregate from its snapshot and its events";
    Gauges CACHE_BYTES "orderly_aggregate_cache_bytes" [aggregate]
        "Memory of the cached aggregates";
    Counters CACHE_HITS "orderly_aggregate_cache_hits_total" [aggregate]
        "Commands and reads that found their aggregate in memory";
    Counters CACHE_MISSES "orderly_aggregate_cache_misses_total" [aggregate]
        "Commands and reads that waited for a load. New aggregates count neither as a hit nor as a miss";
    Counters CACHE_EVICTIONS "orderly_aggregate_cache_evictions_total" [aggregate]
        "Aggregates that left the cache because it was full";
    Gauges UNREADABLE_STREAMS "orderly_unreadable_streams" []
        "Streams that this version cannot decode; their commands fail";

    // Event stores.
    Seconds COMMIT_SECONDS "orderly_event_store_commit_duration_seconds" []
        "Time of a commit of the embedded event store, which includes its disk flush";
    Sizes COMMIT_APPENDS "orderly_event_store_commit_appends" []
        "Appends that share one commit of the embedded event store";
    Gauges COMMIT_QUEUE "orderly_event_store_queue_appends" []
        "Appends that wait for the writer of the embedded event store";
    Counters COMMIT_FAILURES "orderly_event_store_commit_failures_total" []
        "Commits of the embedded event store that failed, for example because the disk is full";
    Counters EVENTSTOREDB_CALLS "orderly_eventstoredb_calls_total" [kind]
        "Requests to EventStoreDB, repeated ones too: `append`, `batch`, `stream_read`, `all_read`, `subscription`. A \
         `batch` is a call that carries many appends, which count as `append`";

    // Followers of the log.
    Gauges FOLLOWER_LAG_EVENTS "orderly_follower_lag_events" [follower]
        "Events of the log that a follower (`projections`, `process-manager`, `webhooks`, `relay`) has not handled, as a \
         difference of positions. EventStoreDB counts bytes";
    Gauges FOLLOWER_LAG_SECONDS "orderly_follower_lag_seconds" [follower]
        "Age of the oldest event that a follower has not handled; 0 without one. Over Kafka, the partition that is \
         furthest ahead counts";

    // Relay.
    Gauges RELAY_PUBLISHING "orderly_relay_publishing" []
        "1 while the relay of this process publishes, 0 while it is interrupted or stands by";
    Counters RELAY_EVENTS "orderly_relay_events_total" []
        "Events that the relay has published";
    Seconds RELAY_TRANSACTION_SECONDS "orderly_relay_transaction_duration_seconds" []
        "Time of a transaction of the relay, with its repetitions";
    Counters RELAY_FAILURES "orderly_relay_failures_total" []
        "Transactions of the relay that failed, and interruptions";
    Gauges RELAY_WITHHELD_STREAMS "orderly_relay_withheld_streams" []
        "Streams that the relay withholds from a damaged event on";

    // Projectors.
    Counters PROJECTED_EVENTS "orderly_projected_events_total" []
        "Events that the projectors of this process have committed";
    Sizes PROJECTION_BATCH_EVENTS "orderly_projection_batch_events" []
        "Events of one batch of a projector";
    Seconds PROJECTION_COMMIT_SECONDS "orderly_projection_commit_duration_seconds" []
        "Time to commit the rows of a batch";
    Seconds PROJECTION_DELAY_SECONDS "orderly_projection_delay_seconds" []
        "Time from the recording of the first event of a batch until its rows are visible";
    Counters PROJECTION_FAILURES "orderly_projection_failures_total" []
        "Failures that a projector repeats, such as an unreachable database";
    Gauges PARKED_STREAMS "orderly_parked_streams" [projection]
        "Streams that wait for `orderly projections retry`";
    Gauges ROW_CACHE_BYTES "orderly_row_cache_bytes" [row]
        "Memory of the rows that a projector keeps";
    Counters ROW_CACHE_HITS "orderly_row_cache_hits_total" [row]
        "Rows that a projector found in memory";
    Counters ROW_CACHE_MISSES "orderly_row_cache_misses_total" [row]
        "Rows that a projector looked up in the read models";

    // Process manager.
    Gauges REACTIONS "orderly_reactions" [state]
        "Reactions in memory: `ready`, `running`, `paused` after a failure, `waiting` behind another one of their stream";
    Gauges REACTIONS_BYTES "orderly_reactions_bytes" []
        "Memory of these reactions; at 64 MiB no further event is read";
    Counters REACTION_ATTEMPTS "orderly_reaction_attempts_total" [outcome]
        "Attempts at reactions: `done`, `failed` (repeated soon) or `parked`";
    Seconds REACTION_SECONDS "orderly_reaction_duration_seconds" []
        "Time of an attempt at a reaction";
    Gauges PARKED_REACTIONS "orderly_parked_reactions" []
        "Orders, payments, receipts and exchanges with parked reactions";
    Counters DUE_WORK_ATTEMPTS "orderly_due_work_attempts_total" [work, outcome]
        "Attempts at work that a time makes due: `done`, or `waits` for another attempt";
    Gauges STUCK_ORDERS "orderly_stuck_orders" [reason]
        "Waits that are older than 60 s, up to 1,000 in all: `allocation`, `expiry`, `release`, or `provider`, which \
         includes payments whose customer has to confirm";

    // Payment provider.
    Counters PROVIDER_CALLS "orderly_provider_calls_total" [provider, operation, outcome]
        "Calls to the payment provider. `not_sent`: the breaker is open, or too many calls are under way";
    Seconds PROVIDER_CALL_SECONDS "orderly_provider_call_duration_seconds" [provider, operation]
        "Time of a call that was sent";
    Gauges PROVIDER_CALLS_UNDER_WAY "orderly_provider_calls_under_way" [provider]
        "Calls without an answer yet, up to 64";
    Gauges BREAKER_STATE "orderly_provider_breaker_state" [provider, state]
        "1 for the state of the circuit breaker: `closed` (calls are sent), `open` or `half_open` (one call probes)";

    // Webhooks.
    Counters WEBHOOK_ATTEMPTS "orderly_webhook_attempts_total" [outcome]
        "Attempts to deliver: `delivered`, `failed`, `gone`, `unreadable` (the event cannot be read) or `abandoned` (the \
         log or the store failed)";
    Seconds WEBHOOK_ATTEMPT_SECONDS "orderly_webhook_attempt_duration_seconds" []
        "Time of an attempt, with the read of its event";
    Gauges WEBHOOK_LEASES "orderly_webhook_leases" []
        "Groups of up to 16 deliveries that are being sent";
    Gauges WEBHOOK_ENDPOINTS "orderly_webhook_endpoints" [state]
        "Subscriptions: `working`, `failing` (tested with one request at a time), `disabled` because the receiver failed \
         for days, or `off` (by their owner, or after 410)";
    Gauges WEBHOOK_ENDPOINTS_BEHIND "orderly_webhook_endpoints_behind" []
        "Subscriptions whose queue is full, so that their further events wait in the log";

    // Postgres.
    Gauges POSTGRES_CONNECTIONS_MAX "orderly_postgres_connections_max" []
        "Connections that this process may open";
    Gauges POSTGRES_CONNECTIONS_IN_USE "orderly_postgres_connections_in_use" []
        "Connections that an operation uses now";
    Gauges POSTGRES_CONNECTION_WAITS "orderly_postgres_connection_waits" []
        "Operations that wait for a connection";
    Counters POSTGRES_CONNECTION_FAILURES "orderly_postgres_connection_failures_total" []
        "Operations that got no connection within 5 s, whose connection failed, or that were not tried because the last \
         three had failed";

    // Traces.
    Counters TRACE_SPANS "orderly_trace_spans_total" [outcome]
        "Spans that ended: `exported`, `failed` (the collector did not accept them) or `dropped` (the queue of 4,096 was \
         full). The last two are lost";

    // Backups.
    Gauges BACKUP_LAST_GOOD_SECONDS "orderly_backup_last_good_timestamp_seconds" []
        "When the last good backup was begun, in seconds since 1970. Of the process that makes backups by a schedule, as \
         all metrics of backups are";
    Gauges BACKUP_INTERVAL_SECONDS "orderly_backup_interval_seconds" []
        "Time from one backup to the next";
    Gauges BACKUP_BYTES "orderly_backup_bytes" []
        "Size of the last good backup";
    Counters BACKUPS "orderly_backups_total" [outcome]
        "Backups of the schedule: `good` or `failed`";
}
