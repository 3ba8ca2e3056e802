//! Lists and totals for operators and tests.

use domain::{Amount, Currency};
use rusqlite::{Transaction, params};

use super::{Ledger, LedgerError};
use crate::{
    account::Account,
    resource::{ChargePage, CurrencyTotals, LedgerTotals},
};

impl Ledger {
    /// At most `limit` charges, oldest first, after the cursor of an earlier page.
    pub async fn page(&self, after: i64, limit: usize) -> Result<ChargePage, LedgerError> {
        const SELECT: &str =
            "SELECT sequence, account FROM charges WHERE sequence > ?1 ORDER BY sequence LIMIT ?2";
        self.with(move |transaction| {
            let mut select = transaction.prepare_cached(SELECT)?;
            let rows_max = i64::try_from(limit + 1).unwrap_or(i64::MAX);
            let mut rows = select.query(params![after, rows_max])?;
            let (mut items, mut last, mut next_cursor) = (Vec::new(), after, None);
            while let Some(row) = rows.next()? {
                if items.len() == limit {
                    next_cursor = Some(last.to_string());
                    break;
                }
                last = row.get(0)?;
                items.push(serde_json::from_str::<Account>(&row.get::<_, String>(1)?)?.charge);
            }
            Ok(ChargePage { items, next_cursor })
        })
        .await
    }

    pub async fn totals(&self) -> Result<LedgerTotals, LedgerError> {
        self.with(|transaction| {
            const CHARGES: &str = "SELECT count(*) FROM charges";
            const WAITING: &str = "SELECT count(*) FROM webhooks";
            const ENDED: &str = "SELECT coalesce(sum(count), 0) FROM webhooks_ended WHERE outcome = ?1";
            let mut totals =
                LedgerTotals { charges: count(transaction, CHARGES, [])?, ..LedgerTotals::default() };
            add_movements(transaction, &mut totals)?;
            totals.webhooks.waiting = count(transaction, WAITING, [])?;
            totals.webhooks.delivered = count(transaction, ENDED, ["delivered"])?;
            totals.webhooks.given_up = count(transaction, ENDED, ["given_up"])?;
            Ok(totals)
        })
        .await
    }
}

fn count(
    transaction: &Transaction<'_>,
    select: &str,
    parameters: impl rusqlite::Params,
) -> Result<u64, LedgerError> {
    let count: i64 = transaction.prepare_cached(select)?.query_row(parameters, |row| row.get(0))?;
    Ok(u64::try_from(count).unwrap_or_default())
}

fn add_movements(transaction: &Transaction<'_>, totals: &mut LedgerTotals) -> Result<(), LedgerError> {
    const SELECT: &str =
        "SELECT currency, kind, count(*), sum(amount) FROM movements GROUP BY currency, kind";
    let unusable = |what: &dyn std::fmt::Display| LedgerError::Unusable(what.to_string());
    let mut select = transaction.prepare_cached(SELECT)?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        let currency: Currency = row.get::<_, String>(0)?.parse().map_err(|error| unusable(&error))?;
        let kind: String = row.get(1)?;
        let count = u64::try_from(row.get::<_, i64>(2)?).unwrap_or_default();
        let amount = Amount::new(row.get(3)?).map_err(|error| unusable(&error))?;
        let sums: &mut CurrencyTotals = totals.currencies.entry(currency).or_default();
        let (of_count, of_amount) = match kind.as_str() {
            "authorization" => (&mut sums.authorizations, &mut sums.authorized),
            "capture" => (&mut sums.captures, &mut sums.captured),
            "release" => (&mut sums.releases, &mut sums.released),
            "refund" => (&mut sums.refunds, &mut sums.refunded),
            "refund_reversal" => (&mut sums.refund_reversals, &mut sums.refunds_reversed),
            "dispute" => (&mut sums.disputes, &mut sums.disputed),
            "dispute_reversal" => (&mut sums.dispute_reversals, &mut sums.disputes_reversed),
            other => return Err(unusable(&format_args!("{other:?} is not a kind of movement"))),
        };
        (*of_count, *of_amount) = (count, amount);
    }
    Ok(())
}
