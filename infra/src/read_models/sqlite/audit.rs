//! Every row of a file, in one read transaction, with what stands beside the rows checked against them.

use std::{collections::BTreeMap, path::Path};

use domain::{Position, Timestamp};
use rusqlite::{Connection, Row, params};
use tokio::sync::{mpsc, oneshot};

use super::{
    columns::{
        ORDER_COLUMNS, OrderColumns, PAYMENT_COLUMNS, RESERVATION_COLUMNS, STOCK_COLUMNS,
        STOCK_EVENT_COLUMNS, dimension_of, is_final_code, order_row, payment_row, position, reservation_row,
        span_code, state_code, stock_event, stock_row, totals,
    },
    connections::open_reader,
};
use crate::{
    event_source::Partition,
    read_models::{
        Projection, ReadModelError, ReservationRow, SalesKey, SalesTotals,
        audit::{Stored, StoredRow},
        awaits_provider_since, skus_of,
        spans::{Span, month_of},
    },
};

const ROWS_PER_CHUNK: usize = 1_000;
const CHUNKS_AHEAD: usize = 4;

type LogPositions = Vec<(Partition, Option<Position>)>;

pub(super) async fn stored(path: &Path) -> Result<Stored, ReadModelError> {
    let path = path.to_owned();
    let (begun, log_positions) = oneshot::channel();
    let (chunks, rows) = mpsc::channel(CHUNKS_AHEAD);
    // Ends by itself when the receiver is dropped.
    drop(tokio::task::spawn_blocking(move || read(&path, begun, Sink { chunk: Vec::new(), chunks })));
    let ended = |_| ReadModelError::Unavailable("the reading of all rows has ended".into());
    Ok(Stored { log_positions: log_positions.await.map_err(ended)??, rows })
}

fn read(path: &Path, begun: oneshot::Sender<Result<LogPositions, ReadModelError>>, mut sink: Sink) {
    let opened = open_reader(path).map_err(ReadModelError::from).and_then(|connection| {
        connection.execute_batch("BEGIN")?;
        let log_positions = log_positions(&connection)?;
        Ok((connection, log_positions))
    });
    let connection = match opened {
        Ok((connection, log_positions)) => {
            if begun.send(Ok(log_positions)).is_err() {
                return;
            }
            connection
        }
        Err(error) => {
            // An error means that nobody waits for it any more.
            let _ = begun.send(Err(error));
            return;
        }
    };
    if let Err(Stop::Failed(error)) = read_all(&connection, &mut sink) {
        let _ = sink.chunks.blocking_send(Err(error));
    }
}

fn log_positions(connection: &Connection) -> Result<LogPositions, ReadModelError> {
    const SELECT: &str =
        "SELECT DISTINCT partition, position, log_position FROM checkpoints ORDER BY partition";
    let mut statement = connection.prepare(SELECT)?;
    let rows = statement.query_map([], |row| Ok((Partition(row.get(0)?), position(row, 2)?)))?;
    let log_positions: LogPositions = rows.collect::<rusqlite::Result<_>>()?;
    match log_positions.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        None => Ok(log_positions),
        Some(pair) => {
            let text = format!("the projections of partition {} stand at different positions", pair[0].0.0);
            Err(ReadModelError::Corrupt(text.into()))
        }
    }
}

enum Stop {
    NobodyReads,
    Failed(ReadModelError),
}

impl From<rusqlite::Error> for Stop {
    fn from(error: rusqlite::Error) -> Self {
        Self::Failed(error.into())
    }
}

/// Where rows go, in chunks.
struct Sink {
    chunk: Vec<StoredRow>,
    chunks: mpsc::Sender<Result<Vec<StoredRow>, ReadModelError>>,
}

impl Sink {
    fn push(&mut self, row: StoredRow) -> Result<(), Stop> {
        self.chunk.push(row);
        if self.chunk.len() < ROWS_PER_CHUNK { Ok(()) } else { self.flush() }
    }

    fn broken(&mut self, projection: Projection, key: String, fault: String) -> Result<(), Stop> {
        self.push(StoredRow::Broken { projection, key, fault })
    }

    fn flush(&mut self) -> Result<(), Stop> {
        let chunk = std::mem::take(&mut self.chunk);
        self.chunks.blocking_send(Ok(chunk)).map_err(|_| Stop::NobodyReads)
    }
}

fn read_all(connection: &Connection, sink: &mut Sink) -> Result<(), Stop> {
    let stock = format!("SELECT {STOCK_COLUMNS} FROM stock");
    each(connection, sink, &stock, Projection::Stock, stock_row, |sink, row| {
        sink.push(StoredRow::Stock(row))
    })?;
    read_reservations(connection, sink)?;
    let events = format!("SELECT {STOCK_EVENT_COLUMNS} FROM order_stock_events");
    each(connection, sink, &events, Projection::Stock, stock_event, |sink, event| {
        sink.push(StoredRow::OrderStockEvent(event))
    })?;
    read_orders(connection, sink)?;
    read_payments(connection, sink)?;
    read_sales(connection, sink)?;
    sink.flush()
}

/// Calls `take` with every row. One that cannot be read is reported by its first column, and passed over.
fn each<T>(
    connection: &Connection,
    sink: &mut Sink,
    sql: &str,
    projection: Projection,
    read: impl Fn(&Row<'_>) -> rusqlite::Result<T>,
    mut take: impl FnMut(&mut Sink, T) -> Result<(), Stop>,
) -> Result<(), Stop> {
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        match read(row) {
            Ok(row) => take(sink, row)?,
            Err(error) => sink.broken(projection, format!("{:?}", row.get_ref(0)?), error.to_string())?,
        }
    }
    Ok(())
}

fn read_reservations(connection: &Connection, sink: &mut Sink) -> Result<(), Stop> {
    let sql = format!(
        "SELECT {RESERVATION_COLUMNS}, order_ended, (SELECT status FROM orders WHERE order_id = held.order_id)
         FROM reservations AS held"
    );
    let read = |row: &Row<'_>| {
        let ended: bool = row.get(3)?;
        let status: Option<i64> = row.get(4)?;
        Ok((reservation_row(row)?, ended == status.is_some_and(is_final_code)))
    };
    each(connection, sink, &sql, Projection::Stock, read, |sink, (row, marked_rightly)| {
        if !marked_rightly {
            let ReservationRow { sku, order_id, .. } = &row;
            let fault = "order_ended does not say whether the order has ended".to_owned();
            sink.broken(Projection::Stock, format!("{sku} held by order {order_id}"), fault)?;
        }
        sink.push(StoredRow::Reservation(row))
    })
}

fn read_orders(connection: &Connection, sink: &mut Sink) -> Result<(), Stop> {
    const SKU: &str = "SELECT EXISTS (SELECT 1 FROM order_skus
         WHERE sku = ?1 AND status = ?2 AND placed_at = ?3 AND order_id = ?4)";
    let mut sku_listed = connection.prepare(SKU)?;
    let mut skus_expected: i64 = 0;
    let sql = format!(
        "SELECT {ORDER_COLUMNS}, status, customer_id, placed_at, payment_due_at FROM orders ORDER BY row_no"
    );
    let read = |row: &Row<'_>| {
        let order = order_row(row)?;
        let stored = OrderColumns {
            status: row.get(5)?,
            customer_id: row.get_ref(6)?.as_str_or_null()?,
            placed_at: row.get(7)?,
            payment_due_at: row.get(8)?,
        };
        let columns_fit = OrderColumns::of(&order.order).is_some_and(|expected| expected == stored);
        Ok((order, stored.status, stored.placed_at, columns_fit))
    };
    each(connection, sink, &sql, Projection::Orders, read, |sink, (row, status, placed_at, columns_fit)| {
        let id = row.order_id;
        if !columns_fit {
            let fault = "status, customer_id, placed_at or payment_due_at is not that of the order";
            sink.broken(Projection::Orders, id.to_string(), fault.to_owned())?;
        }
        for sku in skus_of(&row.order) {
            skus_expected += 1;
            let key = params![sku.as_str(), status, placed_at, id.0];
            if !sku_listed.query_row(key, |found| found.get::<_, bool>(0))? {
                let fault = format!("order_skus does not list it under {sku}");
                sink.broken(Projection::Orders, id.to_string(), fault)?;
            }
        }
        sink.push(StoredRow::Order(Box::new(row)))
    })?;
    // Every entry expected is there; so if the numbers agree, no other one is.
    let skus_stored: i64 = connection.query_row("SELECT count(*) FROM order_skus", [], |row| row.get(0))?;
    if skus_stored != skus_expected {
        let fault = format!("it has {skus_stored} entries, and the orders have {skus_expected} SKUs");
        sink.broken(Projection::Orders, "order_skus".to_owned(), fault)?;
    }
    Ok(())
}

fn read_payments(connection: &Connection, sink: &mut Sink) -> Result<(), Stop> {
    let sql = format!("SELECT {PAYMENT_COLUMNS}, state, awaits_provider_since FROM payments ORDER BY row_no");
    let read = |row: &Row<'_>| Ok((payment_row(row)?, row.get::<_, i64>(5)?, row.get::<_, Option<i64>>(6)?));
    each(connection, sink, &sql, Projection::Payments, read, |sink, (row, state, awaits_since)| {
        let awaits_expected = awaits_provider_since(&row).map(Timestamp::as_microsecond);
        if (state, awaits_since) != (state_code(row.payment.state()), awaits_expected) {
            let fault = "state or awaits_provider_since is not that of the payment".to_owned();
            sink.broken(Projection::Payments, row.payment_id.to_string(), fault)?;
        }
        sink.push(StoredRow::Payment(row))
    })
}

fn read_sales(connection: &Connection, sink: &mut Sink) -> Result<(), Stop> {
    // By the hour first: the months are sums of them.
    let sql = |span| {
        let span = span_code(span);
        format!(
            "SELECT dimension, key, currency, start,
                 sum(orders), sum(lines), sum(units), sum(gross), sum(cancelled), sum(refunded)
             FROM sales WHERE span = {span} GROUP BY dimension, currency, start, key"
        )
    };
    let read = |row: &Row<'_>| {
        let dimension = dimension_of(row.get(0)?, row.get_ref(1)?.as_str()?)?;
        let currency = row.get_ref(2)?.as_str()?.parse();
        let currency = currency.map_err(|error| {
            rusqlite::Error::FromSqlConversionFailure(2, rusqlite::types::Type::Text, Box::new(error))
        })?;
        Ok((SalesKey { dimension, currency, hour: row.get(3)? }, totals(row, 4)?))
    };
    let mut months: BTreeMap<SalesKey, SalesTotals> = BTreeMap::new();
    each(connection, sink, &sql(Span::Hour), Projection::Sales, read, |sink, (key, sum)| {
        let month = SalesKey { hour: month_of(key.hour), ..key.clone() };
        months.entry(month).or_default().add(&sum);
        sink.push(StoredRow::Sales(key, sum))
    })?;
    each(connection, sink, &sql(Span::Month), Projection::Sales, read, |sink, (key, sum)| {
        if months.remove(&key) == Some(sum) {
            return Ok(());
        }
        let fault = "the sum of the month is not the sum of its hours".to_owned();
        sink.broken(Projection::Sales, format!("{key:?}"), fault)
    })?;
    for key in months.into_keys() {
        sink.broken(Projection::Sales, format!("{key:?}"), "the month has no sum".to_owned())?;
    }
    Ok(())
}
