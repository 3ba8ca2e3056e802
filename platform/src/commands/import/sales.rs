//! Places the orders of a sales file with their own times, receives the stock that they need, and records their
//! payments.

use std::collections::{BTreeMap, HashMap};

use command_api::error::Refusal as _;
use domain::{
    Amount, Currency, Decider, OrderId, PaymentId, Sku, Timestamp,
    order::{NewLine, Order, OrderCommand, OrderDecider, PaymentTerms, PlaceOrder},
};
use futures::{StreamExt, stream};
use serde::{Deserialize, Serialize, de::IgnoredAny};
use uuid::Uuid;

use super::{
    client::{Answer, CommandClient, Known, PostError, Refusal},
    keys::Keys,
    report::SalesReport,
    sales_file::{Sale, SaleLine, SalesFile},
};
use crate::{commands::Failure, progress::ProgressDisplay};

/// The command API's limit for the receipts of one request.
const RECEIPTS_MAX: usize = 1_000;

/// How the records of a file become commands.
#[derive(Debug)]
pub(super) struct Import {
    pub client: CommandClient,
    pub keys: Keys,
    /// An earlier version imported this very file, under keys of its content, and received all its stock at once.
    pub is_of_earlier_version: bool,
    pub currency: Currency,
}

#[derive(Serialize)]
struct ReceiptsBody<'a> {
    receipts: Vec<ReceiptBody<'a>>,
}

#[derive(Serialize)]
struct ReceiptBody<'a> {
    sku: &'a Sku,
    quantity: u64,
    reference: &'a str,
}

#[derive(Serialize)]
struct OrderBody<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    customer_id: Option<&'a str>,
    currency: Currency,
    #[serde(skip_serializing_if = "Option::is_none")]
    country: Option<&'a str>,
    reference: &'a str,
    placed_at: Timestamp,
    /// Always null: an imported order never expires.
    payment_due_at: Option<Timestamp>,
    lines: Vec<LineBody<'a>>,
}

#[derive(Serialize)]
struct LineBody<'a> {
    sku: &'a Sku,
    quantity: u32,
    unit_price: Amount,
}

/// An empty body, `{}`: authorize, capture or ship everything.
#[derive(Serialize)]
pub(super) struct Everything {}

#[derive(Deserialize)]
struct ReceiptsAnswer {
    refused: Vec<RefusedReceipt>,
}

#[derive(Deserialize)]
struct RefusedReceipt {
    /// The SKU.
    field: String,
    message: String,
}

#[derive(Deserialize)]
struct OrderAnswer {
    order_id: OrderId,
    payment_id: Option<PaymentId>,
    total: Amount,
}

/// The platform's ids for an order of the file.
#[derive(Debug)]
pub(super) struct PlacedOrder {
    pub order_id: OrderId,
    /// `None` if the order's total is 0.
    pub payment_id: Option<PaymentId>,
}

/// What became of an invoice.
enum Imported {
    /// Its order is there, and was before this run or not.
    There { order: PlacedOrder, before: bool },
    /// Its order is there, with other rows.
    Differs(Option<OrderId>),
}

/// What became of all invoices of a file.
#[derive(Debug, Default)]
pub(super) struct ImportedSales<'a> {
    /// By invoice number.
    pub orders: HashMap<&'a str, PlacedOrder>,
    /// Those that are there with other rows.
    pub different: Vec<(&'a Sale, Option<OrderId>)>,
}

impl Import {
    /// Imports under the keys of a source, unless an earlier version has begun to import this very file.
    pub async fn of(
        file: &SalesFile,
        client: CommandClient,
        keys: Keys,
        currency: Currency,
    ) -> Result<Self, Failure> {
        let by_content = Keys::of_earlier_import(&file.id);
        let is_of_earlier_version = began_earlier(file, &client, &by_content).await?;
        let keys = if is_of_earlier_version { by_content } else { keys };
        Ok(Self { client, keys, is_of_earlier_version, currency })
    }

    pub async fn import<'a>(
        &self,
        file: &'a SalesFile,
        concurrency: usize,
        report: &mut SalesReport,
    ) -> Result<ImportedSales<'a>, Failure> {
        if self.is_of_earlier_version {
            self.receive_all_stock(file, report).await?;
        }
        let mut imported = ImportedSales::default();
        let progress = ProgressDisplay::start("orders placed and paid", file.orders.len() as u64);
        let imports =
            stream::iter(&file.orders).map(|sale| async move { (sale, self.import_one(sale).await) });
        let mut outcomes = imports.buffer_unordered(concurrency);
        while let Some((sale, outcome)) = outcomes.next().await {
            progress.advance();
            match outcome {
                Ok(Imported::There { order, before }) => {
                    if !self.is_of_earlier_version {
                        report.received_for(sale, before);
                    }
                    report.imported(sale, before);
                    imported.orders.insert(&sale.invoice, order);
                }
                Ok(Imported::Differs(order_id)) => imported.different.push((sale, order_id)),
                Err(PostError::Refused(refusal)) => report.refuse(&sale.invoice, &refusal),
                Err(unreachable @ PostError::Unreachable { .. }) => return Err(unreachable.into()),
            }
        }
        imported.different.sort_by_key(|(sale, _)| &sale.invoice);
        Ok(imported)
    }

    /// Receives the stock of an order and places it, unless it is there, then authorizes and captures its payment.
    async fn import_one(&self, sale: &Sale) -> Result<Imported, PostError> {
        const PATH: &str = "/v1/orders";
        let key = self.keys.record(&sale.invoice);
        let body = OrderBody::of(sale, self.currency);
        let (order, before) = match self.client.look_up::<OrderAnswer>(PATH, &key, &body).await? {
            Known::Same(order) => (order, true),
            Known::Other(order_id) => return Ok(Imported::Differs(order_id)),
            Known::New => {
                if !self.is_of_earlier_version {
                    check(sale, self.currency)?;
                    self.receive_stock(sale, &key).await?;
                }
                let Answer { body: order, replayed } = self.client.post(PATH, &key, &body).await?;
                (order, replayed)
            }
        };
        let OrderAnswer { order_id, payment_id, total } = order;
        if total != sale.gross() {
            let detail =
                format!("order {order_id} has a total of {total}, but the file has {}", sale.gross());
            return Err(Refusal::new("total_differs", detail).into());
        }
        if let Some(payment_id) = payment_id {
            for step in ["authorize", "capture"] {
                let path = format!("/v1/payments/{payment_id}/{step}");
                self.client.post::<IgnoredAny>(&path, &format!("{key}/{step}"), &Everything {}).await?;
            }
        }
        Ok(Imported::There { order: PlacedOrder { order_id, payment_id }, before })
    }

    /// Receives the units of one order, once: also if the import ends before it places the order.
    async fn receive_stock(&self, sale: &Sale, key: &str) -> Result<(), PostError> {
        let units: Vec<_> = sale.units_by_sku().into_iter().collect();
        for (number, part) in (1..).zip(units.chunks(RECEIPTS_MAX)) {
            let received = self.receive(&format!("{key}/stock/{number}"), key, part).await;
            match received {
                Ok(_) => {}
                Err(PostError::Refused(refusal)) if refusal.code == "idempotency_key_reused" => {
                    let detail = "an import that ended early received the stock of other rows of this invoice: import \
                                  that file once more, which places its order";
                    return Err(Refusal::new("stock_of_other_rows", detail).into());
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Receives the units that all sales of the file need, as earlier versions did.
    async fn receive_all_stock(&self, file: &SalesFile, report: &mut SalesReport) -> Result<(), Failure> {
        let units = units_of_all(file);
        for (number, part) in (1..).zip(units.chunks(RECEIPTS_MAX)) {
            let received =
                self.receive(&self.keys.stock_part(number), self.keys.stock_reference(), part).await;
            let before = match received {
                Ok(before) => before,
                // That version read some cells of the file in another way.
                Err(PostError::Refused(refusal)) if refusal.code == "idempotency_key_reused" => true,
                Err(PostError::Refused(refusal)) => {
                    report.refuse("stock receipts", &refusal);
                    continue;
                }
                Err(unreachable @ PostError::Unreachable { .. }) => return Err(unreachable.into()),
            };
            for (sku, _) in part {
                report.received(sku, before);
            }
        }
        Ok(())
    }

    /// Receives some SKUs under one key. True if an earlier request has.
    async fn receive(&self, key: &str, reference: &str, units: &[(&Sku, u64)]) -> Result<bool, PostError> {
        let body = ReceiptsBody::of(units, reference);
        let Answer { body: ReceiptsAnswer { refused }, replayed } =
            self.client.post("/v1/stock/receipts", key, &body).await?;
        match refused.first() {
            None => Ok(replayed),
            Some(RefusedReceipt { field: sku, message }) => {
                Err(Refusal::new("receipt_refused", format!("{sku}: {message}")).into())
            }
        }
    }
}

/// Decides an order by the rules of the platform, so that no stock is received for an order that it refuses.
fn check(sale: &Sale, currency: Currency) -> Result<(), Refusal> {
    let line = |line: &SaleLine| NewLine {
        sku: line.sku.clone(),
        quantity: line.quantity,
        unit_price: line.unit_price,
        stocked: true,
        adjustments: Vec::new(),
    };
    let place = PlaceOrder {
        order_id: OrderId(Uuid::nil()),
        customer_id: sale.customer_id.as_deref().map(str::to_owned),
        currency,
        country: sale.country.as_deref().map(str::to_owned),
        lines: sale.lines.iter().map(line).collect(),
        adjustments: Vec::new(),
        prices_include_tax: false,
        reference: Some(sale.invoice.clone()),
        metadata: BTreeMap::new(),
        placed_at: sale.placed_at,
        now: Timestamp::now(),
        payment_due_at: None,
        terms: PaymentTerms::default(),
        captures_in_parts: true,
        payment: None,
        payments: Vec::new(),
    };
    let decided = OrderDecider::decide(&Order::default(), OrderCommand::Place(Box::new(place)));
    decided.map(drop).map_err(|refusal| Refusal::new(refusal.problem().code.as_str(), refusal.to_string()))
}

/// Asks for the first thing that an earlier version did: the receipt of the first part of the stock.
async fn began_earlier(file: &SalesFile, client: &CommandClient, keys: &Keys) -> Result<bool, PostError> {
    let Some(first) = file.orders.iter().flat_map(|sale| &sale.lines).map(|line| &line.sku).min() else {
        return Ok(false);
    };
    let body = ReceiptsBody::of(&[(first, 1)], keys.stock_reference());
    let known = client.look_up::<IgnoredAny>("/v1/stock/receipts", &keys.stock_part(1), &body).await?;
    Ok(match known {
        Known::New => false,
        Known::Same(_) | Known::Other(_) => true,
    })
}

fn units_of_all(file: &SalesFile) -> Vec<(&Sku, u64)> {
    let mut needed: BTreeMap<&Sku, u64> = BTreeMap::new();
    for line in file.orders.iter().flat_map(|sale| &sale.lines) {
        *needed.entry(&line.sku).or_default() += u64::from(line.quantity);
    }
    needed.into_iter().collect()
}

impl<'a> ReceiptsBody<'a> {
    fn of(units: &[(&'a Sku, u64)], reference: &'a str) -> Self {
        let receipts = units.iter().map(|&(sku, quantity)| ReceiptBody { sku, quantity, reference });
        Self { receipts: receipts.collect() }
    }
}

impl<'a> OrderBody<'a> {
    fn of(sale: &'a Sale, currency: Currency) -> Self {
        let line = |line: &'a SaleLine| LineBody {
            sku: &line.sku,
            quantity: line.quantity,
            unit_price: line.unit_price,
        };
        Self {
            customer_id: sale.customer_id.as_deref(),
            currency,
            country: sale.country.as_deref(),
            reference: &sale.invoice,
            placed_at: sale.placed_at,
            payment_due_at: None,
            lines: sale.lines.iter().map(line).collect(),
        }
    }
}
