//! Compares the rows of an invoice with its order, which an earlier import placed.

use std::path::PathBuf;

use domain::{Amount, OrderId, Sku, Timestamp};
use futures::{StreamExt, stream};
use indicatif::HumanCount;
use serde::Deserialize;

use super::{
    client::CommandClient,
    rejects::{RowList, RowListError},
    sales_file::Sale,
};

/// An order as the query API shows it.
#[derive(Debug, Deserialize)]
struct OrderThere {
    customer_id: Option<String>,
    country: Option<String>,
    placed_at: Timestamp,
    lines: Vec<LineThere>,
}

#[derive(Debug, Deserialize)]
struct LineThere {
    line: u64,
    sku: Sku,
    quantity: u32,
    unit_price: Amount,
}

/// One difference between an order and its rows.
#[derive(Debug, PartialEq, Eq)]
struct Change {
    /// Line of the file. For what is missing in the file: that of its first row.
    line: u64,
    what: String,
}

/// Differences of all orders of a file. Writes them to a CSV file as they come.
#[derive(Debug)]
pub struct Changes {
    list: RowList,
    orders: u64,
}

/// The first differences in full, and the number of all.
#[derive(Debug, Default)]
pub struct ChangesFound {
    pub orders: u64,
    rows: u64,
    path: Option<PathBuf>,
}

impl Changes {
    /// The file is made with the first difference.
    pub fn new(path: PathBuf) -> Self {
        Self {
            list: RowList::new(Some(path)).with_headers(&["line", "record", "order_id", "change"]),
            orders: 0,
        }
    }

    /// Adds an order whose differences are not known one by one.
    pub fn add(
        &mut self,
        line: u64,
        record: &str,
        order_id: Option<OrderId>,
        change: &str,
    ) -> Result<(), RowListError> {
        self.orders += 1;
        self.write(line, record, order_id, change)
    }

    /// Adds what the query API shows of the difference between orders and their invoices, `concurrency` orders at
    /// once. Returns the invoices that have the rows of their order in another sequence.
    pub async fn compare<'a>(
        &mut self,
        different: &[(&'a Sale, Option<OrderId>)],
        query: &CommandClient,
        concurrency: usize,
    ) -> Result<Vec<&'a Sale>, RowListError> {
        let comparisons = stream::iter(different).map(async |&(sale, order_id)| {
            let changes = match order_id {
                Some(order_id) => order_there(order_id, query).await.map(|there| changes(sale, &there)),
                None => Err("the command API does not name the order".to_owned()),
            };
            (sale, order_id, changes)
        });
        let mut compared = comparisons.buffered(concurrency);
        let mut equal = Vec::new();
        while let Some((sale, order_id, changes)) = compared.next().await {
            match changes {
                Ok(changes) if changes.is_empty() => equal.push(sale),
                Ok(changes) => {
                    self.orders += 1;
                    for Change { line, what } in changes {
                        self.write(line, &sale.invoice, order_id, &what)?;
                    }
                }
                Err(reason) => {
                    let change =
                        format!("the order differs from the rows; which ones is not known: {reason}");
                    self.add(first_line(sale), &sale.invoice, order_id, &change)?;
                }
            }
        }
        Ok(equal)
    }

    pub fn finish(self) -> Result<ChangesFound, RowListError> {
        let Self { list, orders } = self;
        let (rows, path) = list.finish()?;
        Ok(ChangesFound { orders, rows, path })
    }

    fn write(
        &mut self,
        line: u64,
        record: &str,
        order_id: Option<OrderId>,
        change: &str,
    ) -> Result<(), RowListError> {
        let order_id = order_id.map(|id| id.to_string()).unwrap_or_default();
        self.list.add(&[&line.to_string(), record, &order_id, change], [])
    }
}

impl std::fmt::Display for ChangesFound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} rows of {} orders", HumanCount(self.rows), HumanCount(self.orders))?;
        match &self.path {
            Some(path) => write!(f, ", not applied: see {}", path.display()),
            None => Ok(()),
        }
    }
}

async fn order_there(order_id: OrderId, query: &CommandClient) -> Result<OrderThere, String> {
    let path = format!("/v1/orders/{order_id}?min_revision=0");
    query.get(&path).await.map_err(|error| error.to_string())
}

fn first_line(sale: &Sale) -> u64 {
    sale.lines.first().map_or(0, |line| line.line)
}

/// The differences. Empty if only the sequence of the rows differs.
fn changes(sale: &Sale, there: &OrderThere) -> Vec<Change> {
    let first = first_line(sale);
    let mut found = Vec::new();
    let mut compare = |name: &str, file: &str, order: &str| {
        if file != order {
            found.push(Change {
                line: first,
                what: format!("{name} is {order:?} in the order and {file:?} here"),
            });
        }
    };
    compare(
        "customer",
        sale.customer_id.as_deref().unwrap_or(""),
        there.customer_id.as_deref().unwrap_or(""),
    );
    compare("country", sale.country.as_deref().unwrap_or(""), there.country.as_deref().unwrap_or(""));
    compare("time", &sale.placed_at.to_string(), &there.placed_at.to_string());

    let mut missing: Vec<&LineThere> = there.lines.iter().collect();
    let mut take = |fits: &dyn Fn(&LineThere) -> bool| {
        let index = missing.iter().position(|line| fits(line))?;
        Some(missing.remove(index))
    };
    let changed = sale.lines.iter().filter(|line| {
        let is_same = |there: &LineThere| {
            (&there.sku, there.quantity, there.unit_price) == (&line.sku, line.quantity, line.unit_price)
        };
        take(&is_same).is_none()
    });
    let changed: Vec<_> = changed.collect();
    for line in changed {
        let (sku, quantity, price) = (&line.sku, line.quantity, line.unit_price);
        let what = match take(&|there| there.sku == *sku) {
            Some(there) => {
                let (number, units, old_price) = (there.line, there.quantity, there.unit_price);
                format!(
                    "line {number} of the order has {units} of {sku} at {old_price}, and {quantity} at {price} here"
                )
            }
            None => format!("{quantity} of {sku} at {price} are not in the order"),
        };
        found.push(Change { line: line.line, what });
    }
    found.extend(missing.into_iter().map(|there| {
        let LineThere { line, sku, quantity, unit_price } = there;
        let what =
            format!("line {line} of the order, {quantity} of {sku} at {unit_price}, is not in the file");
        Change { line: first, what }
    }));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sale(lines: &[(&str, u32, i64)]) -> Sale {
        let line =
            |(index, (sku, quantity, price)): (u64, &(&str, u32, i64))| super::super::sales_file::SaleLine {
                row: index,
                line: index + 1,
                sku: Sku::new(sku).unwrap(),
                quantity: *quantity,
                unit_price: Amount::new(*price).unwrap(),
            };
        Sale {
            invoice: "536365".to_owned(),
            customer_id: Some("17850".into()),
            country: None,
            placed_at: "2010-12-01T08:26:00Z".parse().unwrap(),
            lines: (1..).zip(lines).map(line).collect(),
        }
    }

    fn order(lines: &[(&str, u32, i64)]) -> OrderThere {
        let sale = sale(lines);
        let line = |(line, of): (u64, super::super::sales_file::SaleLine)| LineThere {
            line,
            sku: of.sku,
            quantity: of.quantity,
            unit_price: of.unit_price,
        };
        OrderThere {
            customer_id: Some("17850".to_owned()),
            country: None,
            placed_at: sale.placed_at,
            lines: (1..).zip(sale.lines).map(line).collect(),
        }
    }

    #[test]
    fn rows_in_another_sequence_are_no_change() {
        let lines = [("a", 1, 100), ("b", 2, 200), ("a", 1, 100)];
        let there = order(&[lines[1], lines[0], lines[2]]);
        assert_eq!(changes(&sale(&lines), &there), []);
    }

    #[test]
    fn changed_further_and_missing_rows_are_told_with_their_lines() {
        let there = order(&[("a", 1, 100), ("b", 2, 200), ("c", 3, 300)]);
        let found = changes(&sale(&[("a", 1, 100), ("b", 5, 200), ("d", 4, 400)]), &there);
        let expected = [
            (3, "line 2 of the order has 2 of b at 200, and 5 at 200 here"),
            (4, "4 of d at 400 are not in the order"),
            (2, "line 3 of the order, 3 of c at 300, is not in the file"),
        ];
        assert_eq!(found, expected.map(|(line, what)| Change { line, what: what.to_owned() }));
    }

    #[test]
    fn another_customer_country_or_time_is_a_change() {
        let lines = [("a", 1, 100)];
        let mut there = order(&lines);
        there.customer_id = None;
        there.country = Some("France".to_owned());
        there.placed_at = "2010-12-01T09:26:00Z".parse().unwrap();
        let found: Vec<_> = changes(&sale(&lines), &there).into_iter().map(|change| change.what).collect();
        assert_eq!(
            found,
            [
                "customer is \"\" in the order and \"17850\" here",
                "country is \"France\" in the order and \"\" here",
                "time is \"2010-12-01T09:26:00Z\" in the order and \"2010-12-01T08:26:00Z\" here",
            ]
        );
    }
}
