//! The write side: what a batch touches is loaded, what it changes is written in one transaction.
//!
//! Statements of a transaction are sent one after another without waiting for answers; the server works through
//! them in that order.

use std::sync::Arc;

use deadpool_postgres::{Object, Transaction};
use domain::{OrderId, Position, Sku, StreamName};
use postgres_types::{Json, ToSql};
use tokio_postgres::Statement;
use uuid::Uuid;

use super::{
    columns::{
        Dimension, Instant, ORDER_COLUMNS, OrderColumns, PARKED_COLUMNS, PAYMENT_COLUMNS, PaymentColumns,
        Projection, RESERVATION_COLUMNS, STOCK_COLUMNS, Span, cell, order_row, parked_row, payment_row,
        position, reservation_row, signed_position, stock_row,
    },
    schema::SCHEMA_VERSION,
};
use crate::{
    event_source::Partition,
    postgres::Fault,
    read_models::{
        BindError, Changes, Generation, OrderRow, ParkedStream, ReadModelError, RowKeys, Rows, SalesKey,
        SalesTotals, skus_of,
        spans::{self, by_month},
    },
};

/// What a commit tells other processes on.
pub(super) const CHANGES_CHANNEL: &str = "orderly_read_models";

pub(super) async fn bind(client: &Object, store_id: Uuid) -> Result<(), BindError> {
    const BIND: &str = "UPDATE log SET store_id = $1 WHERE store_id IS NULL";
    let bound = async {
        client.execute(BIND, &[&store_id]).await.map_err(Fault::from)?;
        let row = client.query_one("SELECT store_id FROM log", &[]).await.map_err(Fault::from)?;
        cell::<Uuid>(&row, 0)
    };
    let bound = bound.await?;
    if bound == store_id { Ok(()) } else { Err(BindError::OtherLog { bound, given: store_id }) }
}

pub(super) async fn generation(client: &Object) -> Result<Generation, ReadModelError> {
    let statement = client.prepare_cached("SELECT generation, schema_version FROM log").await?;
    let row = client.query_one(&statement, &[]).await?;
    // A newer program may have rebuilt the rows under this one.
    match cell::<i32>(&row, 1)? {
        SCHEMA_VERSION => Ok(Generation(cell(&row, 0)?)),
        found => {
            let text = format!("they have schema version {found}, and this program has {SCHEMA_VERSION}");
            Err(ReadModelError::Corrupt(text.into()))
        }
    }
}

pub(super) async fn checkpoint(
    client: &Object,
    partition: &Partition,
) -> Result<Option<Position>, ReadModelError> {
    // All projections of a partition move together; any one stands for them, and commits check each.
    const SELECT: &str = "SELECT position FROM checkpoints WHERE partition = $1 LIMIT 1";
    let statement = client.prepare_cached(SELECT).await?;
    match client.query_opt(&statement, &[&partition.0]).await? {
        None => Ok(None),
        Some(row) => position(&row, 0),
    }
}

pub(super) async fn load(client: &Object, keys: &RowKeys) -> Result<Rows, ReadModelError> {
    let skus: Vec<&str> = keys.stock.iter().map(Sku::as_str).collect();
    let orders: Vec<Uuid> = keys.orders.iter().map(|id| id.0).collect();
    let payments: Vec<Uuid> = keys.payments.iter().map(|id| id.0).collect();
    let held: (Vec<&str>, Vec<Uuid>) =
        keys.reservations.iter().map(|(sku, order)| (sku.as_str(), order.0)).unzip();
    let stock = format!("SELECT {STOCK_COLUMNS} FROM stock WHERE sku = ANY($1)");
    let reservations = format!(
        "SELECT {RESERVATION_COLUMNS} FROM reservations
         JOIN unnest($1::text[], $2::uuid[]) AS wanted (sku, order_id) USING (sku, order_id)"
    );
    let order = format!("SELECT {ORDER_COLUMNS} FROM orders WHERE order_id = ANY($1)");
    let payment = format!("SELECT {PAYMENT_COLUMNS} FROM payments WHERE payment_id = ANY($1)");
    let keys: [&[&(dyn ToSql + Sync)]; 4] = [&[&skus], &[&held.0, &held.1], &[&orders], &[&payments]];
    let (stock, reservations, orders, payments) = tokio::try_join!(
        select(client, &stock, skus.is_empty(), keys[0], stock_row),
        select(client, &reservations, held.0.is_empty(), keys[1], reservation_row),
        select(client, &order, orders.is_empty(), keys[2], order_row),
        select(client, &payment, payments.is_empty(), keys[3], payment_row),
    )?;
    Ok(Rows { stock, reservations, orders, payments })
}

async fn select<T>(
    client: &Object,
    sql: &str,
    nothing: bool,
    keys: &[&(dyn ToSql + Sync)],
    read: fn(&tokio_postgres::Row) -> Result<T, ReadModelError>,
) -> Result<Vec<T>, ReadModelError> {
    if nothing {
        return Ok(Vec::new());
    }
    let statement = client.prepare_cached(sql).await?;
    client.query(&statement, keys).await?.iter().map(read).collect()
}

pub(super) async fn commit(client: &mut Object, changes: &Changes) -> Result<(), ReadModelError> {
    let transaction = client.transaction().await?;
    let statements = Statements::prepare(&transaction).await?;
    let write = Write { transaction: &transaction, statements: &statements, changes };
    // The checkpoint comes first: its row lock lets one owner at a time go on, and what follows sees all that the
    // one before has written.
    tokio::try_join!(
        biased;
        write.move_checkpoints(),
        write.expect_skipped_parked(),
        write.unpark(),
        write.park(),
        write.stock(),
        write.order_skus(),
        write.orders(),
        write.close_reservations(),
        write.reservations(),
        write.stock_events(),
        write.payments(),
        write.sales(),
        write.tell(),
    )?;
    Ok(transaction.commit().await?)
}

/// Prepared beforehand, so that a statement is sent when it is first polled.
struct Statements {
    begin: Statement,
    advance: Statement,
    count_parked: Statement,
    unpark: Statement,
    park: Statement,
    stock: Statement,
    order_skus: Statement,
    orders: Statement,
    close_reservations: Statement,
    reservations: Statement,
    stock_events: Statement,
    payments: Statement,
    sales: Statement,
    tell: Statement,
}

impl Statements {
    async fn prepare(transaction: &Transaction<'_>) -> Result<Self, ReadModelError> {
        Ok(Self {
            begin: transaction.prepare_cached(BEGIN).await?,
            advance: transaction.prepare_cached(ADVANCE).await?,
            count_parked: transaction.prepare_cached(COUNT_PARKED).await?,
            unpark: transaction.prepare_cached(UNPARK).await?,
            park: transaction.prepare_cached(PARK).await?,
            stock: transaction.prepare_cached(UPSERT_STOCK).await?,
            order_skus: transaction.prepare_cached(MOVE_ORDER_SKUS).await?,
            orders: transaction.prepare_cached(UPSERT_ORDERS).await?,
            close_reservations: transaction.prepare_cached(CLOSE_RESERVATIONS).await?,
            reservations: transaction.prepare_cached(UPSERT_RESERVATIONS).await?,
            stock_events: transaction.prepare_cached(INSERT_STOCK_EVENTS).await?,
            payments: transaction.prepare_cached(UPSERT_PAYMENTS).await?,
            sales: transaction.prepare_cached(ADD_SALES).await?,
            tell: transaction.prepare_cached(TELL).await?,
        })
    }
}

struct Write<'a> {
    transaction: &'a Transaction<'a>,
    statements: &'a Statements,
    changes: &'a Changes,
}

type Written = Result<(), ReadModelError>;

/// GREATEST passes over what is NULL.
const BEGIN: &str = "INSERT INTO checkpoints (projection, partition, position, log_position, updated_at)
     SELECT projection, $2, $3, $4, now() FROM unnest($1::projection[]) AS projection
     WHERE $5::bigint IS NULL OR $5 = (SELECT generation FROM log)
     ON CONFLICT (projection, partition) DO UPDATE SET position = excluded.position,
         log_position = greatest(checkpoints.log_position, excluded.log_position), updated_at = now()
     WHERE checkpoints.position IS NULL";
const ADVANCE: &str = "UPDATE checkpoints
     SET position = $3, log_position = greatest(log_position, $4), updated_at = now()
     WHERE ($5::bigint IS NULL OR $5 = (SELECT generation FROM log))
     AND projection = ANY($1) AND partition = $2 AND position = $6";
const COUNT_PARKED: &str = "SELECT count(*) FROM parked
     JOIN unnest($1::projection[], $2::text[]) AS wanted (projection, stream) USING (projection, stream)";
const UNPARK: &str = "DELETE FROM parked
     USING unnest($1::projection[], $2::text[], $3::bigint[], $4::timestamptz[])
         AS taken_up (projection, stream, revision, parked_at)
     WHERE parked.projection = taken_up.projection AND parked.stream = taken_up.stream
     AND parked.revision = taken_up.revision AND parked.parked_at = taken_up.parked_at
     AND parked.retry_requested";
pub(super) const PARK: &str = "INSERT INTO parked
         (projection, stream, partition, event_id, revision, position, reason, parked_at)
     SELECT * FROM unnest($1::projection[], $2::text[], $3::text[], $4::uuid[], $5::bigint[], $6::bigint[],
         $7::text[], $8::timestamptz[])
     ON CONFLICT (projection, stream) DO UPDATE SET partition = excluded.partition,
         event_id = excluded.event_id, revision = excluded.revision, position = excluded.position,
         reason = excluded.reason, parked_at = excluded.parked_at, retry_requested = false";
const UPSERT_STOCK: &str = "INSERT INTO stock (sku, on_hand, reserved, revision)
     SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[])
     ON CONFLICT (sku) DO UPDATE
     SET on_hand = excluded.on_hand, reserved = excluded.reserved, revision = excluded.revision";
/// Comes before the orders are written: it looks up which status each had. SKUs hold no control characters.
pub(super) const MOVE_ORDER_SKUS: &str = "WITH changed AS MATERIALIZED (
         SELECT now.order_id, now.status, now.placed_at, now.skus, before.status AS old_status
         FROM unnest($1::uuid[], $2::order_status[], $3::timestamptz[], $4::text[])
             AS now (order_id, status, placed_at, skus)
         LEFT JOIN orders AS before ON before.order_id = now.order_id
         WHERE before.status IS DISTINCT FROM now.status
     ), entry AS MATERIALIZED (
         SELECT sku, status, old_status, placed_at, order_id
         FROM changed CROSS JOIN unnest(string_to_array(skus, chr(31))) AS sku
     ), moved AS (
         DELETE FROM order_skus AS old USING entry
         WHERE old.sku = entry.sku AND old.status = entry.old_status
         AND old.placed_at = entry.placed_at AND old.order_id = entry.order_id
     )
     INSERT INTO order_skus (sku, status, placed_at, order_id)
     SELECT sku, status, placed_at, order_id FROM entry";
const SKU_SEPARATOR: &str = "\u{1f}";
/// The customer of an order never changes, nor does its time.
const UPSERT_ORDERS: &str = "INSERT INTO orders
         (order_id, revision, recorded_at, updated_at, status, customer_id, placed_at, payment_due_at, body)
     SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::timestamptz[], $4::timestamptz[],
         $5::order_status[], $6::text[], $7::timestamptz[], $8::timestamptz[], $9::json[])
     ON CONFLICT (order_id) DO UPDATE SET revision = excluded.revision, updated_at = excluded.updated_at,
         status = excluded.status, payment_due_at = excluded.payment_due_at, body = excluded.body";
pub(super) const CLOSE_RESERVATIONS: &str = "DELETE FROM reservations
     USING unnest($1::text[], $2::uuid[]) AS closed (sku, order_id)
     WHERE reservations.sku = closed.sku AND reservations.order_id = closed.order_id";
const UPSERT_RESERVATIONS: &str = "INSERT INTO reservations (sku, order_id, quantity)
     SELECT * FROM unnest($1::text[], $2::uuid[], $3::bigint[])
     ON CONFLICT (sku, order_id) DO UPDATE SET quantity = excluded.quantity";
const INSERT_STOCK_EVENTS: &str = "INSERT INTO order_stock_events (order_id, position, sku, revision)
     SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::text[], $4::bigint[])";
const UPSERT_PAYMENTS: &str = "INSERT INTO payments
         (payment_id, revision, recorded_at, updated_at, state, awaits_provider_since, body)
     SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::timestamptz[], $4::timestamptz[],
         $5::payment_state[], $6::timestamptz[], $7::json[])
     ON CONFLICT (payment_id) DO UPDATE SET revision = excluded.revision,
         recorded_at = excluded.recorded_at, updated_at = excluded.updated_at,
         state = excluded.state, awaits_provider_since = excluded.awaits_provider_since,
         body = excluded.body";
const ADD_SALES: &str = "INSERT INTO sales (dimension, span, currency, start, key, partition,
         orders, lines, units, gross, cancelled, refunded)
     SELECT dimension, span, currency, start, key, $12, orders, lines, units, gross, cancelled, refunded
     FROM unnest($1::sales_dimension[], $2::sales_span[], $3::text[], $4::bigint[], $5::text[],
         $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[])
         AS added (dimension, span, currency, start, key, orders, lines, units, gross, cancelled, refunded)
     ON CONFLICT (dimension, span, currency, start, key, partition) DO UPDATE
     SET orders = sales.orders + excluded.orders, lines = sales.lines + excluded.lines,
         units = sales.units + excluded.units, gross = sales.gross + excluded.gross,
         cancelled = sales.cancelled + excluded.cancelled, refunded = sales.refunded + excluded.refunded";
const TELL: &str = "SELECT pg_notify($1, '')";

impl Write<'_> {
    async fn execute(
        &self,
        statement: &Statement,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<u64, ReadModelError> {
        Ok(self.transaction.execute(statement, values).await?)
    }

    async fn move_checkpoints(&self) -> Written {
        let Changes { projections, partition, generation, from, to, .. } = self.changes;
        let projections: Vec<Projection> = projections.iter().copied().map(Projection::from).collect();
        let generation = generation.map(|generation| generation.0);
        let (from, to) = (signed_position(*from), signed_position(*to));
        let log_position = signed_position(self.changes.log_position);
        let mut values: Vec<&(dyn ToSql + Sync)> =
            vec![&projections, &partition.0, &to, &log_position, &generation];
        let moved = match &from {
            None => self.execute(&self.statements.begin, &values).await?,
            Some(from) => {
                values.push(from);
                self.execute(&self.statements.advance, &values).await?
            }
        };
        expect(moved, projections.len())
    }

    async fn expect_skipped_parked(&self) -> Written {
        let skipped = &self.changes.skipped;
        if skipped.is_empty() {
            return Ok(());
        }
        let projections: Vec<Projection> =
            skipped.iter().map(|(projection, _)| (*projection).into()).collect();
        let streams: Vec<String> = skipped.iter().map(|(_, stream)| stream.to_string()).collect();
        let row =
            self.transaction.query_one(&self.statements.count_parked, &[&projections, &streams]).await?;
        expect(cell::<i64>(&row, 0)?.cast_unsigned(), skipped.len())
    }

    async fn unpark(&self) -> Written {
        let retried = &self.changes.retried;
        if retried.is_empty() {
            return Ok(());
        }
        let projections: Vec<Projection> = retried.iter().map(|row| row.projection.into()).collect();
        let streams: Vec<String> = retried.iter().map(|row| row.stream.to_string()).collect();
        let revisions: Vec<i64> = retried.iter().map(|row| row.revision.cast_signed()).collect();
        let times: Vec<Instant> = retried.iter().map(|row| row.parked_at.into()).collect();
        let unparked =
            self.execute(&self.statements.unpark, &[&projections, &streams, &revisions, &times]).await?;
        expect(unparked, retried.len())
    }

    async fn park(&self) -> Written {
        let parked = &self.changes.parked;
        if parked.is_empty() {
            return Ok(());
        }
        park(self.transaction, &self.statements.park, parked).await
    }

    async fn stock(&self) -> Written {
        let rows = &self.changes.stock;
        if rows.is_empty() {
            return Ok(());
        }
        let skus: Vec<&str> = rows.iter().map(|row| row.sku.as_str()).collect();
        let on_hand: Vec<i64> = rows.iter().map(|row| row.on_hand.into()).collect();
        let reserved: Vec<i64> = rows.iter().map(|row| row.reserved.into()).collect();
        let revisions: Vec<i64> = rows.iter().map(|row| row.revision.cast_signed()).collect();
        self.execute(&self.statements.stock, &[&skus, &on_hand, &reserved, &revisions]).await.map(drop)
    }

    async fn order_skus(&self) -> Written {
        let rows = &self.changes.orders;
        if rows.is_empty() {
            return Ok(());
        }
        let columns = columns_of(rows)?;
        let ids: Vec<Uuid> = rows.iter().map(|row| row.order_id.0).collect();
        let statuses: Vec<_> = columns.iter().map(|columns| columns.status).collect();
        let times: Vec<Instant> = columns.iter().map(|columns| columns.placed_at).collect();
        let skus: Vec<String> = rows.iter().map(|row| joined_skus(row)).collect();
        self.execute(&self.statements.order_skus, &[&ids, &statuses, &times, &skus]).await.map(drop)
    }

    async fn orders(&self) -> Written {
        let rows = &self.changes.orders;
        if rows.is_empty() {
            return Ok(());
        }
        let columns = columns_of(rows)?;
        let ids: Vec<Uuid> = rows.iter().map(|row| row.order_id.0).collect();
        let revisions: Vec<i64> = rows.iter().map(|row| row.revision.cast_signed()).collect();
        let recorded: Vec<Instant> = rows.iter().map(|row| row.recorded_at.into()).collect();
        let updated: Vec<Instant> = rows.iter().map(|row| row.updated_at.into()).collect();
        let statuses: Vec<_> = columns.iter().map(|columns| columns.status).collect();
        let customers: Vec<Option<&str>> = columns.iter().map(|columns| columns.customer_id).collect();
        let placed: Vec<Instant> = columns.iter().map(|columns| columns.placed_at).collect();
        let due: Vec<Option<Instant>> = columns.iter().map(|columns| columns.payment_due_at).collect();
        let bodies: Vec<_> = rows.iter().map(|row| Json(&row.order)).collect();
        let values: [&(dyn ToSql + Sync); 9] =
            [&ids, &revisions, &recorded, &updated, &statuses, &customers, &placed, &due, &bodies];
        self.execute(&self.statements.orders, &values).await.map(drop)
    }

    async fn close_reservations(&self) -> Written {
        let closed = &self.changes.reservations_closed;
        if closed.is_empty() {
            return Ok(());
        }
        let (skus, orders): (Vec<&str>, Vec<Uuid>) =
            closed.iter().map(|(sku, OrderId(order))| (sku.as_str(), *order)).unzip();
        self.execute(&self.statements.close_reservations, &[&skus, &orders]).await.map(drop)
    }

    async fn reservations(&self) -> Written {
        let rows = &self.changes.reservations;
        if rows.is_empty() {
            return Ok(());
        }
        let skus: Vec<&str> = rows.iter().map(|row| row.sku.as_str()).collect();
        let orders: Vec<Uuid> = rows.iter().map(|row| row.order_id.0).collect();
        let quantities: Vec<i64> = rows.iter().map(|row| row.quantity.into()).collect();
        self.execute(&self.statements.reservations, &[&skus, &orders, &quantities]).await.map(drop)
    }

    async fn stock_events(&self) -> Written {
        let events = &self.changes.order_stock_events;
        if events.is_empty() {
            return Ok(());
        }
        let orders: Vec<Uuid> = events.iter().map(|event| event.order_id.0).collect();
        let positions: Vec<i64> = events.iter().map(|event| event.position.cast_signed()).collect();
        let skus: Vec<&str> = events.iter().map(|event| event.sku.as_str()).collect();
        let revisions: Vec<i64> = events.iter().map(|event| event.revision.cast_signed()).collect();
        let values: [&(dyn ToSql + Sync); 4] = [&orders, &positions, &skus, &revisions];
        self.execute(&self.statements.stock_events, &values).await.map(drop)
    }

    async fn payments(&self) -> Written {
        let rows = &self.changes.payments;
        if rows.is_empty() {
            return Ok(());
        }
        let ids: Vec<Uuid> = rows.iter().map(|row| row.payment_id.0).collect();
        let revisions: Vec<i64> = rows.iter().map(|row| row.revision.cast_signed()).collect();
        let recorded: Vec<Instant> = rows.iter().map(|row| row.recorded_at.into()).collect();
        let updated: Vec<Instant> = rows.iter().map(|row| row.updated_at.into()).collect();
        let columns = rows.iter().map(|row| PaymentColumns::of(row)).collect::<Result<Vec<_>, _>>()?;
        let states: Vec<_> = columns.iter().map(|columns| columns.state).collect();
        let waiting: Vec<_> = columns.iter().map(|columns| columns.awaits_provider_since).collect();
        let bodies: Vec<_> = rows.iter().map(|row| Json(&row.payment)).collect();
        let values: [&(dyn ToSql + Sync); 7] =
            [&ids, &revisions, &recorded, &updated, &states, &waiting, &bodies];
        self.execute(&self.statements.payments, &values).await.map(drop)
    }

    /// Adds to the hours, and to the months they lie in.
    async fn sales(&self) -> Written {
        let hours = &self.changes.sales;
        if hours.is_empty() {
            return Ok(());
        }
        let months = by_month(hours);
        let hours = hours.iter().map(|(key, sum)| (spans::Span::Hour, key, sum));
        let months = months.iter().map(|(key, sum)| (spans::Span::Month, key, sum));
        let rows: Vec<(spans::Span, &SalesKey, &SalesTotals)> = hours.chain(months).collect();
        let (dimensions, names): (Vec<Dimension>, Vec<&str>) =
            rows.iter().map(|(_, key, _)| Dimension::of(&key.dimension)).unzip();
        let spans: Vec<Span> = rows.iter().map(|(span, ..)| (*span).into()).collect();
        let currencies: Vec<&str> = rows.iter().map(|(_, key, _)| key.currency.as_str()).collect();
        let starts: Vec<i64> = rows.iter().map(|(_, key, _)| key.hour).collect();
        let column =
            |value: fn(&SalesTotals) -> i64| rows.iter().map(|(_, _, sum)| value(sum)).collect::<Vec<_>>();
        let values: [&(dyn ToSql + Sync); 12] = [
            &dimensions,
            &spans,
            &currencies,
            &starts,
            &names,
            &column(|sum| sum.orders),
            &column(|sum| sum.lines),
            &column(|sum| sum.units),
            &column(|sum| sum.gross),
            &column(|sum| sum.cancelled),
            &column(|sum| sum.refunded),
            &self.changes.partition.0,
        ];
        self.execute(&self.statements.sales, &values).await.map(drop)
    }

    /// Delivered when, and if, the transaction is committed.
    async fn tell(&self) -> Written {
        self.transaction.query_one(&self.statements.tell, &[&CHANGES_CHANNEL]).await?;
        Ok(())
    }
}

/// Every row that should have been there was.
fn expect(met: u64, expected: usize) -> Written {
    if met == expected as u64 { Ok(()) } else { Err(ReadModelError::CheckpointMoved) }
}

fn columns_of(rows: &[Arc<OrderRow>]) -> Result<Vec<OrderColumns<'_>>, ReadModelError> {
    rows.iter().map(|row| OrderColumns::of(row)).collect()
}

fn joined_skus(row: &OrderRow) -> String {
    skus_of(&row.order).into_iter().map(Sku::as_str).collect::<Vec<_>>().join(SKU_SEPARATOR)
}

pub(super) async fn park(
    transaction: &tokio_postgres::Transaction<'_>,
    statement: &Statement,
    rows: &[ParkedStream],
) -> Written {
    let projections: Vec<Projection> = rows.iter().map(|row| row.projection.into()).collect();
    let streams: Vec<String> = rows.iter().map(|row| row.stream.to_string()).collect();
    let partitions: Vec<&str> = rows.iter().map(|row| row.partition.0.as_str()).collect();
    let events: Vec<Uuid> = rows.iter().map(|row| row.event_id.0).collect();
    let revisions: Vec<i64> = rows.iter().map(|row| row.revision.cast_signed()).collect();
    let positions: Vec<i64> = rows.iter().map(|row| row.position.cast_signed()).collect();
    let reasons: Vec<&str> = rows.iter().map(|row| row.reason.as_str()).collect();
    let times: Vec<Instant> = rows.iter().map(|row| row.parked_at.into()).collect();
    let values: [&(dyn ToSql + Sync); 8] =
        [&projections, &streams, &partitions, &events, &revisions, &positions, &reasons, &times];
    transaction.execute(statement, &values).await?;
    Ok(())
}

pub(super) async fn parked(client: &Object, condition: &str) -> Result<Vec<ParkedStream>, ReadModelError> {
    let sql = format!("SELECT {PARKED_COLUMNS} FROM parked WHERE {condition} ORDER BY projection, stream");
    let statement = client.prepare_cached(&sql).await?;
    client.query(&statement, &[]).await?.iter().map(parked_row).collect()
}

pub(super) async fn request_retry(client: &Object, stream: &StreamName) -> Result<bool, ReadModelError> {
    const REQUEST: &str = "UPDATE parked SET retry_requested = true WHERE stream = $1";
    Ok(client.execute(REQUEST, &[&stream.to_string()]).await? > 0)
}
