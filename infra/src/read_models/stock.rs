//! Stock levels, open reservations, and the stock events of an order.

use async_trait::async_trait;
use domain::{OrderId, Position, Revision, Sku};
use serde::{Deserialize, Serialize};

use super::{ReadModelError, RowPage, SCANNED_MAX, paging::ScannedPage};

/// Levels of one SKU, in units.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StockRow {
    pub sku: Sku,
    pub on_hand: u32,
    pub reserved: u32,
    /// Revision of the stock stream that this row reflects.
    pub revision: Revision,
}

/// An open reservation. The row is deleted when no units are held any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReservationRow {
    pub sku: Sku,
    pub order_id: OrderId,
    /// Units still held, at least 1.
    pub quantity: u32,
}

/// An event of a stock stream that belongs to an order. A stock stream holds the events of every order, so
/// without this row those of one order could be found only by reading all of them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct OrderStockEvent {
    pub order_id: OrderId,
    /// Position in the event log.
    pub position: Position,
    pub sku: Sku,
    /// Revision in the stream of the SKU.
    pub revision: Revision,
}

/// Selects stock levels that pass every filter: by SKU, or the fewest available units first if they are bounded.
#[derive(Debug, Clone, Default)]
pub struct StockFilter {
    /// Only SKUs with fewer than this many units available.
    pub available_below: Option<u64>,
    /// The beginning of the SKU.
    pub prefix: Option<String>,
    /// A part of the SKU. Case of ASCII letters does not matter.
    pub contains: Option<String>,
    /// Continue after this place.
    pub after: Option<StockPlace>,
}

/// The place of a SKU in a list: available units in a list by them, else 0; then the SKU.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StockPlace(pub u32, pub Sku);

/// A page of stock levels.
pub type StockPage = ScannedPage<StockRow, StockPlace>;

impl StockFilter {
    pub fn place(&self, row: &StockRow) -> StockPlace {
        let available = if self.available_below.is_some() { row.on_hand - row.reserved } else { 0 };
        StockPlace(available, row.sku.clone())
    }

    pub fn is_met_by(&self, row: &StockRow) -> bool {
        let sku = row.sku.as_str();
        let part = self.contains.as_ref().map(|part| part.to_ascii_lowercase());
        self.available_below.is_none_or(|below| u64::from(row.on_hand - row.reserved) < below)
            && self.prefix.as_ref().is_none_or(|prefix| sku.starts_with(prefix))
            && part.is_none_or(|part| sku.to_ascii_lowercase().contains(&part))
    }

    /// Where a page of the list by SKU begins, and what ends it.
    pub(super) fn bounds(&self) -> [String; 2] {
        let prefix = self.prefix.clone().unwrap_or_default();
        let end = format!("{prefix}{}", char::MAX);
        // SKUs have no control characters, so no SKU is between one and the same with such a character.
        let begin = self.after.as_ref().map(|StockPlace(_, sku)| format!("{sku}\u{1}"));
        [begin.unwrap_or(prefix), end]
    }

    /// The rows that an adapter reads for a page: one more than the page has, or more if filters are left to check.
    pub(super) fn rows_to_read(&self, limit: usize) -> usize {
        let is_by_sku = self.available_below.is_none();
        let has_all_filters = self.contains.is_none() && (is_by_sku || self.prefix.is_none());
        if has_all_filters { limit.saturating_add(1) } else { SCANNED_MAX }
    }

    /// The page of the first `limit` of the rows that were read which pass all filters.
    pub(super) fn page(&self, rows: Vec<StockRow>, limit: usize) -> StockPage {
        let is_cut = rows.len() >= self.rows_to_read(limit);
        let last = rows.last().filter(|_| is_cut).map(|row| self.place(row));
        let found = rows.into_iter().filter(|row| self.is_met_by(row));
        let found: Vec<StockRow> = found.take(limit.saturating_add(1)).collect();
        ScannedPage::cut(found, limit, |row| self.place(row), last)
    }
}

#[async_trait]
pub trait StockQueries: Send + Sync + 'static {
    async fn stock(&self, sku: &Sku) -> Result<Option<StockRow>, ReadModelError>;

    async fn stock_list(&self, filter: &StockFilter, limit: usize) -> Result<StockPage, ReadModelError>;

    /// Open reservations of a SKU, in ascending order of order id, after `after`.
    async fn reservations(
        &self,
        sku: &Sku,
        after: Option<OrderId>,
        limit: usize,
    ) -> Result<RowPage<ReservationRow>, ReadModelError>;

    /// Stock events of an order, in the order of the log, after position `after`.
    async fn order_stock_events(
        &self,
        id: OrderId,
        after: Option<Position>,
        limit: usize,
    ) -> Result<RowPage<OrderStockEvent>, ReadModelError>;
}
