//! `orderly import`: receives the stock that a sales file needs, places its orders with their original times
//! and records their payments, all over HTTP. With `--refunds`, ships the orders that are credited later and
//! refunds them.
//!
//! Every request carries an idempotency key made from the file's content, so a second run, also after a
//! crash, finds the earlier results and changes nothing.

pub(super) mod client;
mod refunds;
mod refunds_file;
mod report;
pub mod sales_file;

use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
};

use clap::Args;
use domain::{Amount, OrderId, PaymentId, Sku, Timestamp};
use futures::{StreamExt, stream};
use serde::{Deserialize, Serialize, de::IgnoredAny};

use self::{
    client::{Answer, CommandClient, PostError, Refusal},
    refunds_file::RefundsFile,
    report::{RefundsReport, SalesReport},
    sales_file::{Sale, SaleLine, SalesFile},
};
use super::Failure;
use crate::{
    config::{CallerSettings, ClientUrl},
    progress::ProgressDisplay,
};

/// The currency of these files.
const CURRENCY: &str = "GBP";
/// The command API's limit for the receipts of one request.
const RECEIPTS_MAX: usize = 1_000;

#[derive(Debug, Args)]
pub struct ImportOptions {
    /// CSV file with the Online Retail columns, plain or compressed (`.zst`).
    file: PathBuf,

    /// CSV file that matches the credit lines of FILE to sale lines, plain or compressed (`.zst`). These
    /// orders are shipped, and the credited units are returned and refunded.
    #[arg(long, value_name = "MATCHES")]
    refunds: Option<PathBuf>,

    /// Requests under way at once.
    #[arg(
        long,
        value_name = "N",
        default_value = "32",
        value_parser = clap::value_parser!(u16).range(1..=1024)
    )]
    concurrency: u16,

    /// URL of the command API.
    #[arg(long, env = "ORDERLY_COMMAND_URL", value_name = "URL", default_value = "http://127.0.0.1:8080")]
    command_url: ClientUrl,

    #[command(flatten)]
    caller: CallerSettings,
}

/// Imports a file. Fails if a request was refused, except for the expected refusals of refunds.
pub async fn run(options: ImportOptions) -> Result<(), Failure> {
    let client = CommandClient::new(&options.command_url, &options.caller, options.concurrency.into())?;
    client.check().await?;
    let concurrency = usize::from(options.concurrency);
    let (file, refunds) = tokio::task::spawn_blocking(move || read(&options)).await??;

    let mut report = SalesReport::new(&file);
    let import = Import { client, key_prefix: format!("import/{}", file.id) };
    import.receive_stock(&file, &mut report).await?;
    let orders = import.place_orders(&file, concurrency, &mut report).await?;
    print!("{report}");
    let mut refused = report.refused();
    if let Some(refunds) = refunds {
        let mut refunds_report = RefundsReport::new(&refunds);
        import.refund(&refunds, &orders, concurrency, &mut refunds_report).await?;
        print!("{refunds_report}");
        refused += refunds_report.refused_unexpectedly();
    }
    match refused {
        0 => Ok(()),
        count => Err(Failure::new(format!("{count} requests were refused"))),
    }
}

fn read(options: &ImportOptions) -> Result<(SalesFile, Option<RefundsFile>), Failure> {
    let parsed = sales_file::read(&options.file);
    let file = parsed.map_err(|error| Failure::new(format!("{}: {error}", options.file.display())))?;
    let refunds = options.refunds.as_ref().map(|path| {
        let parsed = refunds_file::read(path, &file);
        parsed.map_err(|error| Failure::new(format!("{}: {error}", path.display())))
    });
    Ok((file, refunds.transpose()?))
}

struct Import {
    client: CommandClient,
    key_prefix: String,
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
    currency: &'static str,
    country: &'a str,
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
struct Everything {}

#[derive(Deserialize)]
struct ReceiptsAnswer {
    receipts: Vec<IgnoredAny>,
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
struct PlacedOrder {
    order_id: OrderId,
    /// `None` if the order's total is 0.
    payment_id: Option<PaymentId>,
}

impl Import {
    /// Receives the units that all sales of the file need.
    async fn receive_stock(&self, file: &SalesFile, report: &mut SalesReport) -> Result<(), Failure> {
        let mut needed: BTreeMap<&Sku, u64> = BTreeMap::new();
        for line in file.orders.iter().flat_map(|sale| &sale.lines) {
            *needed.entry(&line.sku).or_default() += u64::from(line.quantity);
        }
        let reference = self.key_prefix.as_str();
        let receipts: Vec<_> = needed.into_iter().collect();
        for (number, part) in (1..).zip(receipts.chunks(RECEIPTS_MAX)) {
            let receipts = part.iter().map(|&(sku, quantity)| ReceiptBody { sku, quantity, reference });
            let body = ReceiptsBody { receipts: receipts.collect() };
            let key = format!("{}/receipts/{number}", self.key_prefix);
            match self.client.post("/v1/stock/receipts", &key, &body).await {
                Ok(Answer { body: ReceiptsAnswer { receipts, refused }, replayed }) => {
                    report.received(receipts.len(), replayed);
                    for RefusedReceipt { field: sku, message: detail } in refused {
                        report.refuse(&sku, &Refusal { code: "receipt_refused".to_owned(), detail });
                    }
                }
                Err(PostError::Refused(refusal)) => report.refuse("stock receipts", &refusal),
                Err(unreachable @ PostError::Unreachable { .. }) => return Err(unreachable.into()),
            }
        }
        Ok(())
    }

    /// Places the orders and returns the placed ones by invoice number.
    async fn place_orders(
        &self,
        file: &SalesFile,
        concurrency: usize,
        report: &mut SalesReport,
    ) -> Result<HashMap<String, PlacedOrder>, Failure> {
        let mut placed = HashMap::with_capacity(file.orders.len());
        let progress = ProgressDisplay::start("orders placed and paid", file.orders.len() as u64);
        let imports = stream::iter(&file.orders).map(|sale| async move { (sale, self.import(sale).await) });
        let mut outcomes = imports.buffer_unordered(concurrency);
        while let Some((sale, outcome)) = outcomes.next().await {
            progress.advance();
            match outcome {
                Ok(Answer { body: order, replayed }) => {
                    report.imported(sale, replayed);
                    placed.insert(sale.invoice.clone(), order);
                }
                Err(PostError::Refused(refusal)) => report.refuse(&sale.invoice, &refusal),
                Err(unreachable @ PostError::Unreachable { .. }) => return Err(unreachable.into()),
            }
        }
        Ok(placed)
    }

    /// Places an order, then authorizes and captures its payment.
    async fn import(&self, sale: &Sale) -> Result<Answer<PlacedOrder>, PostError> {
        let key = format!("{}/{}", self.key_prefix, sale.invoice);
        let order = self.client.post::<OrderAnswer>("/v1/orders", &key, &OrderBody::of(sale)).await?;
        let OrderAnswer { order_id, payment_id, total } = order.body;
        if total != sale.gross() {
            let detail =
                format!("order {order_id} has a total of {total}, but the file has {}", sale.gross());
            return Err(Refusal { code: "total_differs".to_owned(), detail }.into());
        }
        if let Some(payment_id) = payment_id {
            for step in ["authorize", "capture"] {
                let path = format!("/v1/payments/{payment_id}/{step}");
                self.client.post::<IgnoredAny>(&path, &format!("{key}/{step}"), &Everything {}).await?;
            }
        }
        Ok(Answer { body: PlacedOrder { order_id, payment_id }, replayed: order.replayed })
    }
}

impl<'a> OrderBody<'a> {
    fn of(sale: &'a Sale) -> Self {
        let line = |line: &'a SaleLine| LineBody {
            sku: &line.sku,
            quantity: line.quantity,
            unit_price: line.unit_price,
        };
        Self {
            customer_id: sale.customer_id.as_deref(),
            currency: CURRENCY,
            country: &sale.country,
            reference: &sale.invoice,
            placed_at: sale.placed_at,
            payment_due_at: None,
            lines: sale.lines.iter().map(line).collect(),
        }
    }
}
