//! All rows of an empty schema, by COPY in its binary format.

use std::{pin::Pin, sync::Arc};

use domain::Position;
use postgres_types::{Json, ToSql, Type};
use tokio_postgres::{Transaction, binary_copy::BinaryCopyInWriter};

use super::{
    columns::{
        Dimension, Instant, OrderColumns, PaymentColumns, Projection, STOCK_EVENT_COLUMNS, Span,
        signed_position,
    },
    write::{PARK, park},
};
use crate::{
    event_source::Partition,
    read_models::{
        self, OrderRow, OrderStockEvent, PaymentRow, ReadModelError, ReservationRow, SalesKey, SalesTotals,
        StockRow,
        audit::AllRows,
        skus_of,
        spans::{self, by_month},
    },
};

type Written = Result<(), ReadModelError>;

pub(super) async fn write_rows(
    transaction: &Transaction<'_>,
    positions: &[(Partition, Option<Position>)],
    rows: &AllRows,
) -> Written {
    const CHECKPOINTS: &str =
        "INSERT INTO checkpoints (projection, partition, position, log_position, updated_at)
         SELECT projection, $2, $3, $4, now() FROM unnest($1::projection[]) AS projection";
    transaction.execute("UPDATE log SET store_id = $1", &[&rows.store_id]).await?;
    let begin = transaction.prepare(CHECKPOINTS).await?;
    let log_position = signed_position(rows.position);
    for (partition, position) in positions {
        let fed = read_models::Projection::fed_by(partition);
        let projections: Vec<Projection> = fed.iter().copied().map(Projection::from).collect();
        let position = signed_position(*position);
        transaction.execute(&begin, &[&projections, &partition.0, &position, &log_position]).await?;
    }
    park(transaction, &transaction.prepare(PARK).await?, &rows.parked).await?;
    write_stock(transaction, &rows.stock).await?;
    write_reservations(transaction, &rows.reservations).await?;
    write_stock_events(transaction, &rows.order_stock_events).await?;
    write_orders(transaction, &rows.orders).await?;
    write_order_skus(transaction, &rows.orders).await?;
    write_payments(transaction, &rows.payments).await?;
    write_sales(transaction, &rows.sales).await
}

/// A COPY under way.
struct Copy {
    writer: Pin<Box<BinaryCopyInWriter>>,
    rows: u64,
}

impl Copy {
    /// Begins with the rows of a table that was made in the same transaction.
    async fn begin(
        transaction: &Transaction<'_>,
        table: &str,
        columns: &str,
    ) -> Result<Self, ReadModelError> {
        // Tells the types of the columns, some of which the database itself has numbered.
        let described = transaction.prepare(&format!("SELECT {columns} FROM {table}")).await?;
        let types: Vec<Type> = described.columns().iter().map(|column| column.type_().clone()).collect();
        // Frozen: what is written once need not be written again to say that everyone sees it.
        let copy = format!("COPY {table} ({columns}) FROM STDIN WITH (FORMAT binary, FREEZE)");
        let sink = transaction.copy_in(&copy).await?;
        Ok(Self { writer: Box::pin(BinaryCopyInWriter::new(sink, &types)), rows: 0 })
    }

    async fn row(&mut self, values: &[&(dyn ToSql + Sync)]) -> Written {
        self.rows += 1;
        Ok(self.writer.as_mut().write(values).await?)
    }

    async fn finish(mut self) -> Written {
        let written = self.writer.as_mut().finish().await?;
        assert_eq!(written, self.rows, "COPY has not written every row that it was given");
        Ok(())
    }
}

async fn write_stock(transaction: &Transaction<'_>, rows: &[StockRow]) -> Written {
    let mut copy = Copy::begin(transaction, "stock", "sku, on_hand, reserved, revision").await?;
    for row in rows {
        let (on_hand, reserved) = (i64::from(row.on_hand), i64::from(row.reserved));
        copy.row(&[&row.sku.as_str(), &on_hand, &reserved, &row.revision.cast_signed()]).await?;
    }
    copy.finish().await
}

async fn write_reservations(transaction: &Transaction<'_>, rows: &[ReservationRow]) -> Written {
    let mut copy = Copy::begin(transaction, "reservations", "sku, order_id, quantity").await?;
    for row in rows {
        copy.row(&[&row.sku.as_str(), &row.order_id.0, &i64::from(row.quantity)]).await?;
    }
    copy.finish().await
}

async fn write_stock_events(transaction: &Transaction<'_>, events: &[OrderStockEvent]) -> Written {
    let mut copy = Copy::begin(transaction, "order_stock_events", STOCK_EVENT_COLUMNS).await?;
    for OrderStockEvent { order_id, position, sku, revision } in events {
        copy.row(&[&order_id.0, &position.cast_signed(), &sku.as_str(), &revision.cast_signed()]).await?;
    }
    copy.finish().await
}

async fn write_orders(transaction: &Transaction<'_>, rows: &[Arc<OrderRow>]) -> Written {
    let columns = "order_id, revision, recorded_at, updated_at, status, customer_id, placed_at,
        payment_due_at, body";
    let mut copy = Copy::begin(transaction, "orders", columns).await?;
    for row in rows {
        let columns = OrderColumns::of(row)?;
        copy.row(&[
            &row.order_id.0,
            &row.revision.cast_signed(),
            &Instant::from(row.recorded_at),
            &Instant::from(row.updated_at),
            &columns.status,
            &columns.customer_id,
            &columns.placed_at,
            &columns.payment_due_at,
            &Json(&row.order),
        ])
        .await?;
    }
    copy.finish().await
}

async fn write_order_skus(transaction: &Transaction<'_>, rows: &[Arc<OrderRow>]) -> Written {
    let mut copy = Copy::begin(transaction, "order_skus", "sku, status, placed_at, order_id").await?;
    for row in rows {
        let columns = OrderColumns::of(row)?;
        for sku in skus_of(&row.order) {
            copy.row(&[&sku.as_str(), &columns.status, &columns.placed_at, &row.order_id.0]).await?;
        }
    }
    copy.finish().await
}

async fn write_payments(transaction: &Transaction<'_>, rows: &[Arc<PaymentRow>]) -> Written {
    let columns = "payment_id, revision, recorded_at, updated_at, state, awaits_provider_since, body";
    let mut copy = Copy::begin(transaction, "payments", columns).await?;
    for row in rows {
        let columns = PaymentColumns::of(row)?;
        copy.row(&[
            &row.payment_id.0,
            &row.revision.cast_signed(),
            &Instant::from(row.recorded_at),
            &Instant::from(row.updated_at),
            &columns.state,
            &columns.awaits_provider_since,
            &Json(&row.payment),
        ])
        .await?;
    }
    copy.finish().await
}

async fn write_sales(
    transaction: &Transaction<'_>,
    partitions: &[(Partition, Vec<(SalesKey, SalesTotals)>)],
) -> Written {
    let columns = "dimension, span, currency, start, key, partition,
        orders, lines, units, gross, cancelled, refunded";
    let mut copy = Copy::begin(transaction, "sales", columns).await?;
    for (partition, hours) in partitions {
        write_sales_of(&mut copy, partition, hours).await?;
    }
    copy.finish().await
}

async fn write_sales_of(
    copy: &mut Copy,
    partition: &Partition,
    hours: &[(SalesKey, SalesTotals)],
) -> Written {
    let months = by_month(hours);
    let hours = hours.iter().map(|(key, sum)| (spans::Span::Hour, key, sum));
    let months = months.iter().map(|(key, sum)| (spans::Span::Month, key, sum));
    for (span, key, sum) in hours.chain(months) {
        let (dimension, name) = Dimension::of(&key.dimension);
        copy.row(&[
            &dimension,
            &Span::from(span),
            &key.currency.as_str(),
            &key.hour,
            &name,
            &partition.0,
            &sum.orders,
            &sum.lines,
            &sum.units,
            &sum.gross,
            &sum.cancelled,
            &sum.refunded,
        ])
        .await?;
    }
    Ok(())
}
