//! `orderly import`: places the orders of a sales file over HTTP, each at its own time, with the stock they
//! need and their payments.
//!
//! Every request carries a key made from the file's content, so a second run, or one after a crash half-way,
//! finds what is there already and changes nothing.

mod client;
mod report;
pub mod sales_file;

use std::{collections::BTreeMap, path::PathBuf};

use clap::Args;
use domain::{Amount, OrderId, PaymentId, Sku, Timestamp};
use futures::{StreamExt, stream};
use serde::{Deserialize, Serialize, de::IgnoredAny};

use self::{
    client::{Answer, Client, PostError, Refusal},
    report::Report,
    sales_file::{Sale, SaleLine, SalesFile},
};
use super::Failure;
use crate::{config::ApiUrl, progress::Progress};

/// The currency of these files.
const CURRENCY: &str = "GBP";
/// The most receipts that the command API takes in one request.
const RECEIPTS_MAX: usize = 1_000;

#[derive(Debug, Args)]
pub struct ImportOptions {
    /// CSV of the Online Retail columns, plain or compressed (`.zst`).
    file: PathBuf,

    /// How many requests are under way at once.
    #[arg(long, value_name = "N", default_value = "32", value_parser = clap::value_parser!(u16).range(1..=1024))]
    concurrency: u16,

    /// Where the command API is.
    #[arg(long, env = "ORDERLY_COMMAND_URL", value_name = "URL", default_value = "http://127.0.0.1:8080")]
    command_url: ApiUrl,
}

/// Imports a file; fails where anything of it was refused.
pub async fn run(options: ImportOptions) -> Result<(), Failure> {
    let client = Client::new(&options.command_url, options.concurrency.into())?;
    client.check().await?;
    let path = options.file.clone();
    let file = tokio::task::spawn_blocking(move || sales_file::read(&path)).await?;
    let file = file.map_err(|error| Failure::new(format!("{}: {error}", options.file.display())))?;

    let mut report = Report::new(&file);
    let import = Import { client, key_prefix: format!("import/{}", file.id) };
    import.receive_stock(&file, &mut report).await?;
    import.place_orders(&file, usize::from(options.concurrency), &mut report).await?;
    print!("{report}");
    match report.refused() {
        0 => Ok(()),
        count => Err(Failure::new(format!("{count} requests were refused"))),
    }
}

struct Import {
    client: Client,
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
    /// Null: an order of the past never falls due.
    payment_due_at: Option<Timestamp>,
    lines: Vec<LineBody<'a>>,
}

#[derive(Serialize)]
struct LineBody<'a> {
    sku: &'a Sku,
    quantity: u32,
    unit_price: Amount,
}

/// All of what is there to authorize or to capture.
#[derive(Serialize)]
struct FullAmount {}

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

impl Import {
    /// Puts on hand what the file's sales need in all.
    async fn receive_stock(&self, file: &SalesFile, report: &mut Report) -> Result<(), Failure> {
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

    async fn place_orders(
        &self,
        file: &SalesFile,
        concurrency: usize,
        report: &mut Report,
    ) -> Result<(), Failure> {
        let progress = Progress::start("orders placed and paid", file.orders.len() as u64);
        let imports = stream::iter(&file.orders).map(|sale| async move { (sale, self.import(sale).await) });
        let mut outcomes = imports.buffer_unordered(concurrency);
        while let Some((sale, outcome)) = outcomes.next().await {
            progress.advance();
            match outcome {
                Ok(replayed) => report.imported(sale, replayed),
                Err(PostError::Refused(refusal)) => report.refuse(&sale.invoice, &refusal),
                Err(unreachable @ PostError::Unreachable { .. }) => return Err(unreachable.into()),
            }
        }
        Ok(())
    }

    /// Places an order and settles its payment. Whether the order was there before.
    async fn import(&self, sale: &Sale) -> Result<bool, PostError> {
        let key = format!("{}/{}", self.key_prefix, sale.invoice);
        let order = self.client.post::<OrderAnswer>("/v1/orders", &key, &OrderBody::of(sale)).await?;
        let OrderAnswer { order_id, payment_id, total } = order.body;
        if total != sale.gross() {
            let detail = format!("order {order_id} has a total of {total}, the file's is {}", sale.gross());
            return Err(Refusal { code: "total_differs".to_owned(), detail }.into());
        }
        if let Some(payment_id) = payment_id {
            for step in ["authorize", "capture"] {
                let path = format!("/v1/payments/{payment_id}/{step}");
                self.client.post::<IgnoredAny>(&path, &format!("{key}/{step}"), &FullAmount {}).await?;
            }
        }
        Ok(order.replayed)
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
