//! Stock levels, open reservations, and the stock events of an order.

use async_trait::async_trait;
use deadpool_postgres::{Object, Transaction};
use domain::{OrderId, Position, Sku};
use tokio_postgres::{Client, Row, Statement};
use uuid::Uuid;

use super::{
    PostgresQueries,
    audit::{Scan, Stop},
    copy::Copy,
    values::{all, cell, one, page, quantity, revision, signed_position, sku_of},
};
use crate::read_models::{
    OrderStockEvent, Projection, ReadModelError, ReservationRow, RowKeys, RowPage, Rows, StockFilter,
    StockPage, StockPlace, StockQueries, StockRow, StoredRow,
    encoded::EncodedRows,
    paging::{one_more, sql_limit},
};

pub(super) const SCHEMA: &str = include_str!("stock.sql");

const LEVEL_COLUMNS: &str = "sku, on_hand, reserved, revision";

fn level_row(row: &Row) -> Result<StockRow, ReadModelError> {
    Ok(StockRow {
        sku: sku_of(cell(row, 0)?)?,
        on_hand: quantity(row, 1)?,
        reserved: quantity(row, 2)?,
        revision: revision(row, 3)?,
    })
}

const RESERVATION_COLUMNS: &str = "sku, order_id, quantity";

fn reservation_row(row: &Row) -> Result<ReservationRow, ReadModelError> {
    Ok(ReservationRow {
        sku: sku_of(cell(row, 0)?)?,
        order_id: OrderId(cell(row, 1)?),
        quantity: quantity(row, 2)?,
    })
}

const ORDER_EVENT_COLUMNS: &str = "order_id, position, sku, revision";

fn order_event(row: &Row) -> Result<OrderStockEvent, ReadModelError> {
    Ok(OrderStockEvent {
        order_id: OrderId(cell(row, 0)?),
        position: cell::<i64>(row, 1)?.cast_unsigned(),
        sku: sku_of(cell(row, 2)?)?,
        revision: revision(row, 3)?,
    })
}

pub(super) async fn load_levels(client: &Object, keys: &RowKeys) -> Result<Vec<StockRow>, ReadModelError> {
    if keys.stock.is_empty() {
        return Ok(Vec::new());
    }
    let skus: Vec<&str> = keys.stock.iter().map(Sku::as_str).collect();
    let sql = format!("SELECT {LEVEL_COLUMNS} FROM stock WHERE sku = ANY($1)");
    all(client, &sql, &[&skus], level_row).await
}

pub(super) async fn load_reservations(
    client: &Object,
    keys: &RowKeys,
) -> Result<Vec<ReservationRow>, ReadModelError> {
    if keys.reservations.is_empty() {
        return Ok(Vec::new());
    }
    let (skus, orders) = columns_of(&keys.reservations);
    let sql = format!(
        "SELECT {RESERVATION_COLUMNS} FROM reservations
         JOIN unnest($1::text[], $2::uuid[]) AS wanted (sku, order_id) USING (sku, order_id)"
    );
    all(client, &sql, &[&skus, &orders], reservation_row).await
}

fn columns_of<'k>(keys: impl IntoIterator<Item = &'k (Sku, OrderId)>) -> (Vec<&'k str>, Vec<Uuid>) {
    keys.into_iter().map(|(sku, order)| (sku.as_str(), order.0)).unzip()
}

const UPSERT_LEVELS: &str = "INSERT INTO stock (sku, on_hand, reserved, revision)
     SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[])
     ON CONFLICT (sku) DO UPDATE
     SET on_hand = excluded.on_hand, reserved = excluded.reserved, revision = excluded.revision";
pub(super) const CLOSE_RESERVATIONS: &str = "DELETE FROM reservations
     USING unnest($1::text[], $2::uuid[]) AS closed (sku, order_id)
     WHERE reservations.sku = closed.sku AND reservations.order_id = closed.order_id";
const UPSERT_RESERVATIONS: &str = "INSERT INTO reservations (sku, order_id, quantity)
     SELECT * FROM unnest($1::text[], $2::uuid[], $3::bigint[])
     ON CONFLICT (sku, order_id) DO UPDATE SET quantity = excluded.quantity";
const INSERT_ORDER_EVENTS: &str = "INSERT INTO order_stock_events (order_id, position, sku, revision)
     SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::text[], $4::bigint[])";

/// $1 and $2: available units and SKU after which the list goes on, $3: available units below, $4: how many.
pub(super) const BY_AVAILABLE: &str = "SELECT sku, on_hand, reserved, revision FROM stock
     WHERE (available, sku) > ($1, $2) AND available < $3 ORDER BY available, sku LIMIT $4";
/// $1: the first SKU, $2: the one that ends the list, $3: how many.
pub(super) const BY_SKU: &str = "SELECT sku, on_hand, reserved, revision FROM stock
     WHERE sku >= $1 AND sku < $2 ORDER BY sku LIMIT $3";

/// Writes the rows of a batch. See [`super::write`] for why statements are prepared first.
pub(super) struct Writer<'t> {
    transaction: &'t Transaction<'t>,
    upsert_levels: Statement,
    close_reservations: Statement,
    upsert_reservations: Statement,
    insert_order_events: Statement,
}

impl<'t> Writer<'t> {
    pub(super) async fn prepare(transaction: &'t Transaction<'t>) -> Result<Self, ReadModelError> {
        Ok(Self {
            transaction,
            upsert_levels: transaction.prepare_cached(UPSERT_LEVELS).await?,
            close_reservations: transaction.prepare_cached(CLOSE_RESERVATIONS).await?,
            upsert_reservations: transaction.prepare_cached(UPSERT_RESERVATIONS).await?,
            insert_order_events: transaction.prepare_cached(INSERT_ORDER_EVENTS).await?,
        })
    }

    pub(super) async fn write(&self, rows: &Rows) -> Result<(), ReadModelError> {
        tokio::try_join!(
            biased;
            self.levels(&rows.stock),
            self.close(&rows.reservations_closed),
            self.reservations(&rows.reservations),
            self.order_events(&rows.order_stock_events),
        )?;
        Ok(())
    }

    async fn levels(&self, rows: &[StockRow]) -> Result<(), ReadModelError> {
        if rows.is_empty() {
            return Ok(());
        }
        let skus: Vec<&str> = rows.iter().map(|row| row.sku.as_str()).collect();
        let on_hand: Vec<i64> = rows.iter().map(|row| row.on_hand.into()).collect();
        let reserved: Vec<i64> = rows.iter().map(|row| row.reserved.into()).collect();
        let revisions: Vec<i64> = rows.iter().map(|row| row.revision.cast_signed()).collect();
        self.transaction.execute(&self.upsert_levels, &[&skus, &on_hand, &reserved, &revisions]).await?;
        Ok(())
    }

    async fn close(&self, closed: &[(Sku, OrderId)]) -> Result<(), ReadModelError> {
        if closed.is_empty() {
            return Ok(());
        }
        let (skus, orders) = columns_of(closed);
        self.transaction.execute(&self.close_reservations, &[&skus, &orders]).await?;
        Ok(())
    }

    async fn reservations(&self, rows: &[ReservationRow]) -> Result<(), ReadModelError> {
        if rows.is_empty() {
            return Ok(());
        }
        let skus: Vec<&str> = rows.iter().map(|row| row.sku.as_str()).collect();
        let orders: Vec<Uuid> = rows.iter().map(|row| row.order_id.0).collect();
        let quantities: Vec<i64> = rows.iter().map(|row| row.quantity.into()).collect();
        self.transaction.execute(&self.upsert_reservations, &[&skus, &orders, &quantities]).await?;
        Ok(())
    }

    async fn order_events(&self, events: &[OrderStockEvent]) -> Result<(), ReadModelError> {
        if events.is_empty() {
            return Ok(());
        }
        let orders: Vec<Uuid> = events.iter().map(|event| event.order_id.0).collect();
        let positions: Vec<i64> = events.iter().map(|event| event.position.cast_signed()).collect();
        let skus: Vec<&str> = events.iter().map(|event| event.sku.as_str()).collect();
        let revisions: Vec<i64> = events.iter().map(|event| event.revision.cast_signed()).collect();
        let statement = &self.insert_order_events;
        self.transaction.execute(statement, &[&orders, &positions, &skus, &revisions]).await?;
        Ok(())
    }
}

/// Adds rows of a rebuild.
pub(super) async fn copy(client: &Client, rows: &EncodedRows) -> Result<(), ReadModelError> {
    let mut levels = Copy::begin(client, "stock", LEVEL_COLUMNS).await?;
    for row in &rows.stock {
        let (on_hand, reserved) = (i64::from(row.on_hand), i64::from(row.reserved));
        levels.row(&[&row.sku.as_str(), &on_hand, &reserved, &row.revision.cast_signed()]).await?;
    }
    levels.finish().await?;
    let mut reservations = Copy::begin(client, "reservations", RESERVATION_COLUMNS).await?;
    for row in &rows.reservations {
        reservations.row(&[&row.sku.as_str(), &row.order_id.0, &i64::from(row.quantity)]).await?;
    }
    reservations.finish().await?;
    let mut events = Copy::begin(client, "order_stock_events", ORDER_EVENT_COLUMNS).await?;
    for OrderStockEvent { order_id, position, sku, revision } in &rows.order_stock_events {
        events.row(&[&order_id.0, &position.cast_signed(), &sku.as_str(), &revision.cast_signed()]).await?;
    }
    events.finish().await
}

pub(super) async fn scan<R: From<StoredRow>>(scan: &Scan<'_, R>) -> Result<(), Stop> {
    let levels = format!("SELECT {LEVEL_COLUMNS} FROM stock");
    scan.each(&levels, Projection::Stock, level_row, |row, chunk| {
        chunk.push(StoredRow::Stock(row).into());
    })
    .await?;
    let reservations = format!("SELECT {RESERVATION_COLUMNS} FROM reservations");
    scan.each(&reservations, Projection::Stock, reservation_row, |row, chunk| {
        chunk.push(StoredRow::Reservation(row).into());
    })
    .await?;
    let events = format!("SELECT {ORDER_EVENT_COLUMNS} FROM order_stock_events");
    scan.each(&events, Projection::Stock, order_event, |event, chunk| {
        chunk.push(StoredRow::OrderStockEvent(event).into());
    })
    .await
}

#[async_trait]
impl StockQueries for PostgresQueries {
    async fn stock(&self, sku: &Sku) -> Result<Option<StockRow>, ReadModelError> {
        let sql = format!("SELECT {LEVEL_COLUMNS} FROM stock WHERE sku = $1");
        self.database.run(async |client| one(client, &sql, &[&sku.as_str()], level_row).await).await
    }

    async fn stock_list(&self, filter: &StockFilter, limit: usize) -> Result<StockPage, ReadModelError> {
        let fetched = sql_limit(filter.rows_to_read(limit));
        let after = filter.after.as_ref().map(|StockPlace(units, sku)| (i64::from(*units), sku.as_str()));
        let (units, sku) = after.unwrap_or((-1, ""));
        let [first, end] = filter.bounds();
        let list = async |client: &mut Object| match filter.available_below {
            Some(below) => {
                let below = i64::try_from(below).unwrap_or(i64::MAX);
                all(client, BY_AVAILABLE, &[&units, &sku, &below, &fetched], level_row).await
            }
            None => all(client, BY_SKU, &[&first, &end, &fetched], level_row).await,
        };
        Ok(filter.page(self.database.run(list).await?, limit))
    }

    async fn reservations(
        &self,
        sku: &Sku,
        after: Option<OrderId>,
        limit: usize,
    ) -> Result<RowPage<ReservationRow>, ReadModelError> {
        let after_sql = if after.is_some() { "AND order_id > $3" } else { "AND $3::uuid IS NULL" };
        let sql = format!(
            "SELECT {RESERVATION_COLUMNS} FROM reservations
             WHERE sku = $1 {after_sql} ORDER BY order_id LIMIT $2"
        );
        let (after, fetched) = (after.map(|id| id.0), one_more(limit));
        let list = async |client: &mut Object| {
            page(client, &sql, &[&sku.as_str(), &fetched, &after], limit, reservation_row).await
        };
        self.database.run(list).await
    }

    async fn order_stock_events(
        &self,
        id: OrderId,
        after: Option<Position>,
        limit: usize,
    ) -> Result<RowPage<OrderStockEvent>, ReadModelError> {
        let sql = format!(
            "SELECT {ORDER_EVENT_COLUMNS} FROM order_stock_events
             WHERE order_id = $1 AND position > $2 ORDER BY position LIMIT $3"
        );
        let (after, fetched) = (signed_position(after).unwrap_or(-1), one_more(limit));
        let list = async |client: &mut Object| {
            page(client, &sql, &[&id.0, &after, &fetched], limit, order_event).await
        };
        self.database.run(list).await
    }
}
