//! Reports of an import, for people and scripts: one `name  value` per line.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    time::Instant,
};

use domain::{Amount, Currency, Sku};
use indicatif::HumanCount;

use super::{
    changes::ChangesFound,
    client::Refusal,
    decoding::TextEncoding,
    refunds_file::{OrderReturns, RefundsFile, Return},
    rejects::Rejected,
    sales_file::{HeldBack, Sale, SalesFile, Skipped},
};

/// Refusals listed in full; all are counted.
const REFUSALS_LISTED_MAX: usize = 20;

/// What was read from a file of any kind.
#[derive(Debug)]
pub struct FileReport {
    pub started: Instant,
    pub id: String,
    /// Where the records come from, as it is in the keys.
    pub source: String,
    pub encoding: Option<TextEncoding>,
    pub rows: u64,
    pub trimmed: u64,
    pub rejected: Rejected,
    pub held_back: HeldBack,
}

impl fmt::Display for FileReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { started, id, source, encoding, rows, trimmed, rejected, held_back } = self;
        writeln!(f, "file         {id} (in {:.1} s)", started.elapsed().as_secs_f64())?;
        writeln!(f, "source       {source}")?;
        match encoding {
            Some(encoding) => writeln!(f, "rows         {} in {encoding}", HumanCount(*rows))?,
            None => writeln!(f, "rows         {}", HumanCount(*rows))?,
        }
        writeln!(f, "trimmed      {} cells", HumanCount(*trimmed))?;
        write!(f, "rejected     {} rows", HumanCount(rejected.rows))?;
        let HeldBack { invoices, rows } = held_back;
        if *invoices > 0 {
            write!(
                f,
                "; with them {} invoices and {} other rows of these",
                HumanCount(*invoices),
                HumanCount(*rows)
            )?;
        }
        write!(f, "\n{rejected}")
    }
}

#[derive(Debug)]
pub struct SalesReport {
    file: FileReport,
    currency: Currency,
    /// True for a SKU of which this run received nothing.
    skus: HashMap<Sku, bool>,
    orders: Count,
    lines: u64,
    units: u64,
    gross: Amount,
    guests: u64,
    skipped: Skipped,
    pub changes: ChangesFound,
    refusals: Refusals,
}

/// Refusals, counted by code; the first ones in full.
#[derive(Debug, Default)]
pub struct Refusals {
    by_code: BTreeMap<String, u64>,
    listed: Vec<String>,
}

impl Refusals {
    pub fn add(&mut self, subject: impl fmt::Display, refusal: &Refusal) {
        if self.listed.len() < REFUSALS_LISTED_MAX {
            self.listed.push(format!("{subject}: {refusal}"));
        }
        *self.by_code.entry(refusal.code.clone()).or_default() += 1;
    }

    pub fn count(&self) -> u64 {
        self.by_code.values().sum()
    }
}

impl fmt::Display for Refusals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", HumanCount(self.count()))?;
        for (code, count) in &self.by_code {
            writeln!(f, "  {code}: {}", HumanCount(*count))?;
        }
        for refusal in &self.listed {
            writeln!(f, "  {refusal}")?;
        }
        Ok(())
    }
}

/// How many exist after this run, and how many of them an earlier run created.
#[derive(Debug, Default)]
pub struct Count {
    pub all: u64,
    before: u64,
}

impl Count {
    pub fn add(&mut self, count: u64, before: bool) {
        self.all += count;
        self.before += if before { count } else { 0 };
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} already there)", HumanCount(self.all), HumanCount(self.before))
    }
}

impl SalesReport {
    pub fn new(file: &SalesFile, currency: Currency, read: FileReport) -> Self {
        Self {
            file: read,
            currency,
            skus: HashMap::new(),
            orders: Count::default(),
            lines: 0,
            units: 0,
            gross: Amount::ZERO,
            guests: 0,
            skipped: file.skipped,
            changes: ChangesFound::default(),
            refusals: Refusals::default(),
        }
    }

    /// Counts a SKU whose stock is there.
    pub fn received(&mut self, sku: &Sku, before: bool) {
        match self.skus.get_mut(sku) {
            Some(known) => *known &= before,
            None => drop(self.skus.insert(sku.clone(), before)),
        }
    }

    /// Counts the SKUs of an order whose stock was received for itself.
    pub fn received_for(&mut self, sale: &Sale, before: bool) {
        sale.lines.iter().for_each(|line| self.received(&line.sku, before));
    }

    /// Counts an order that is placed and paid.
    pub fn imported(&mut self, sale: &Sale, before: bool) {
        self.orders.add(1, before);
        self.lines += sale.lines.len() as u64;
        self.units += sale.units();
        self.gross = self.gross.saturating_add(sale.gross());
        self.guests += u64::from(sale.customer_id.is_none());
    }

    pub fn refuse(&mut self, subject: &str, refusal: &Refusal) {
        self.refusals.add(subject, refusal);
    }

    /// How many receipts and orders the platform refused.
    pub fn refused(&self) -> u64 {
        self.refusals.count()
    }
}

impl fmt::Display for SalesReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let skipped = &self.skipped;
        write!(f, "{}", self.file)?;
        let mut skus = Count::default();
        self.skus.values().for_each(|before| skus.add(1, *before));
        writeln!(f, "SKUs         {skus}")?;
        writeln!(f, "orders       {}", self.orders)?;
        writeln!(f, "lines        {}", HumanCount(self.lines))?;
        writeln!(f, "units        {}", HumanCount(self.units))?;
        let gross = HumanCount(self.gross.minor_units().unsigned_abs());
        match self.currency.as_str() {
            "GBP" => writeln!(f, "gross        {gross} pence")?,
            currency => writeln!(f, "gross        {gross} minor units of {currency}")?,
        }
        writeln!(f, "guests       {}", HumanCount(self.guests))?;
        writeln!(
            f,
            "skipped      {} credits, {} adjustments, {} write-offs, {} without a price, {} unknown",
            HumanCount(skipped.credits),
            HumanCount(skipped.adjustments),
            HumanCount(skipped.write_offs),
            HumanCount(skipped.unpriced),
            HumanCount(skipped.unknown)
        )?;
        writeln!(f, "changed      {}", self.changes)?;
        write!(f, "refused      {}", self.refusals)
    }
}

/// Codes that mean that a credit does not fit its sale: more money than was paid, or more units than were
/// sold. They are expected, because the matches of credits to sales are guesses.
const EXPECTED_REFUSALS: [&str; 2] = ["quantity_unavailable", "refund_too_large"];

/// The platform's answers to the returns of one order.
#[derive(Default)]
pub struct ReturnsOutcome<'a> {
    pub accepted: u64,
    /// How many of the accepted returns an earlier run created.
    pub before: u64,
    pub refunded: Amount,
    /// All shipped units are back.
    pub wholly: bool,
    pub refused: Vec<(&'a Return, Refusal)>,
}

/// What the file credits, and what the platform returned and refunded.
#[derive(Debug)]
pub struct RefundsReport {
    started: Instant,
    /// Orders that the file credits, and how many of them with all units.
    credited: u64,
    credited_wholly: u64,
    /// This figure and the following ones count the answers of the platform.
    returns: Count,
    refunded: u64,
    returned_wholly: u64,
    amount: Amount,
    refusals: Refusals,
}

impl RefundsReport {
    pub fn new(file: &RefundsFile) -> Self {
        let mut refusals = Refusals::default();
        for (subject, refusal) in &file.unfit {
            refusals.add(subject, refusal);
        }
        Self {
            started: Instant::now(),
            credited: file.orders.len() as u64,
            credited_wholly: file.orders.iter().filter(|order| order.wholly).count() as u64,
            returns: Count::default(),
            refunded: 0,
            returned_wholly: 0,
            amount: Amount::ZERO,
            refusals,
        }
    }

    pub fn returned(&mut self, order: &OrderReturns, outcome: &ReturnsOutcome<'_>) {
        self.returns.all += outcome.accepted;
        self.returns.before += outcome.before;
        self.refunded += u64::from(outcome.refunded.is_positive());
        self.returned_wholly += u64::from(outcome.wholly);
        self.amount = self.amount.saturating_add(outcome.refunded);
        for (part, refusal) in &outcome.refused {
            let (invoice, line) = (&order.invoice, part.line);
            let subject =
                format!("{invoice}, line {line}: {} (row {})", part.credit_invoice, part.credit_row);
            self.refusals.add(subject, refusal);
        }
    }

    /// Counts an order whose returns were not sent.
    pub fn refuse(&mut self, invoice: &str, refusal: &Refusal) {
        self.refusals.add(invoice, refusal);
    }

    /// How many refusals have a code outside [`EXPECTED_REFUSALS`].
    pub fn refused_unexpectedly(&self) -> u64 {
        let by_code = self.refusals.by_code.iter();
        by_code.filter(|(code, _)| !EXPECTED_REFUSALS.contains(&code.as_str())).map(|(_, count)| count).sum()
    }
}

impl fmt::Display for RefundsReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.started.elapsed().as_secs_f64();
        let (credited, credited_wholly) = (HumanCount(self.credited), HumanCount(self.credited_wholly));
        writeln!(f, "credited     {credited} orders, {credited_wholly} of them wholly (in {seconds:.1} s)")?;
        writeln!(f, "returns      {}", self.returns)?;
        let (refunded, wholly) = (HumanCount(self.refunded), HumanCount(self.returned_wholly));
        writeln!(f, "refunded     {refunded} orders, {wholly} of them returned wholly")?;
        writeln!(f, "gave back    {} pence", HumanCount(self.amount.minor_units().unsigned_abs()))?;
        write!(f, "turned down  {}", self.refusals)
    }
}
