//! Reads a file with the counted units of SKUs.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    io::Read,
    path::Path,
};

use domain::Sku;

use super::{
    cells,
    columns::{self, Column, ColumnChoice},
    decoding::TextEncoding,
    keys::hex_of,
    numbers::Numbers,
    rejects::Rejects,
    sales_file::SalesFileError,
    table::{Dialect, Table, TableError, open},
};

/// A SKU has at most 1,000,000,000 units on hand.
const COUNT_MAX: u32 = 1_000_000_000;

const COLUMNS: [Column; 2] = [
    Column { name: "sku", headers: &["SKU", "StockCode"], can_be_missing: false },
    Column { name: "count", headers: &["Count", "OnHand", "Quantity"], can_be_missing: false },
];

/// The counts of a file.
#[derive(Debug)]
pub struct StockFile {
    /// Identifies the counts: the first 32 hex digits of a hash of all SKUs with their units. Another encoding or
    /// another sequence of the rows does not change it.
    pub content_id: String,
    pub encoding: TextEncoding,
    pub rows: u64,
    pub trimmed: u64,
    pub counts: BTreeMap<Sku, u32>,
}

pub fn read(
    path: &Path,
    dialect: Dialect,
    choices: &[ColumnChoice],
    rejects: &mut Rejects,
) -> Result<StockFile, SalesFileError> {
    parse(open(path)?, dialect, choices, rejects)
}

/// Reads a table of counts. A SKU with a rejected row has no count.
pub fn parse(
    content: impl Read,
    dialect: Dialect,
    choices: &[ColumnChoice],
    rejects: &mut Rejects,
) -> Result<StockFile, SalesFileError> {
    let mut table = Table::new(content, dialect)?;
    let headers = table.headers().to_vec();
    rejects.set_headers(&headers);
    let found = columns::find(&COLUMNS, &headers, choices).map_err(SalesFileError::Unclear)?;
    let [Some(sku_column), Some(count_column)] = found.as_slice() else {
        return Err(TableError::NoHeader.into());
    };
    let mut numbers = Numbers::new(None);
    let mut counts: BTreeMap<Sku, Option<u32>> = BTreeMap::new();
    let (mut rows, mut trimmed) = (0, 0);
    while let Some(row) = table.next_row()? {
        rows += 1;
        let mut cell = |index| {
            let text: &str = row.cell(index);
            trimmed += u64::from(text.trim().len() < text.len());
            text.trim()
        };
        let (sku, count) = (cell(sku_column.index), cell(count_column.index));
        let sku = cells::code(sku)
            .and_then(|code| Sku::new(code).map_err(|error| format!("{code:?}: {error}")))
            .map_err(|reason| sku_column.fault(reason));
        let count = row
            .check_width(&headers)
            .and_then(|()| units(&mut numbers, row.line, count).map_err(|reason| count_column.fault(reason)));
        let reason = match (sku, count) {
            (Err(reason), _) => Some(reason),
            (Ok(sku), count) => match counts.entry(sku) {
                Entry::Vacant(entry) => {
                    entry.insert(count.as_ref().ok().copied());
                    count.err()
                }
                Entry::Occupied(mut entry) => {
                    let reason = format!("{} has a count in an earlier row", entry.key());
                    entry.insert(None);
                    Some(reason)
                }
            },
        };
        if let Some(reason) = reason {
            rejects.add(row.line, &reason, row.cells())?;
        }
    }
    numbers.finish().map_err(SalesFileError::Unclear)?;
    let counts: BTreeMap<Sku, u32> =
        counts.into_iter().filter_map(|(sku, count)| count.map(|count| (sku, count))).collect();
    let listed: String =
        counts.iter().flat_map(|(sku, count)| [sku.to_string(), format!("\n{count}\n")]).collect();
    let content_id = hex_of(listed.as_bytes())[..32].to_owned();
    Ok(StockFile { content_id, encoding: table.finish().encoding, rows, trimmed, counts })
}

/// Whole units, 0 or more. `6.0` is 6.
fn units(numbers: &mut Numbers, line: u64, cell: &str) -> Result<u32, String> {
    let number = numbers.read(line, cell)?;
    let is_whole = number.fract().is_zero();
    let units = u32::try_from(number.trunc()).ok().filter(|units| is_whole && *units <= COUNT_MAX);
    units.ok_or_else(|| format!("{cell:?} is not a whole number of units from 0 to {COUNT_MAX}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> (StockFile, u64) {
        let mut rejects = Rejects::new(None);
        let file = parse(text.as_bytes(), Dialect::default(), &[], &mut rejects).unwrap();
        (file, rejects.finish().unwrap().rows)
    }

    #[test]
    fn the_same_counts_in_another_form_have_the_same_id() {
        let (file, rejected) = parsed("SKU,Count\n85123A,6\n71053,0\n");
        assert_eq!(rejected, 0);
        let counts: Vec<_> = file.counts.iter().map(|(sku, count)| (sku.as_str(), *count)).collect();
        assert_eq!(counts, [("71053", 0), ("85123A", 6)]);
        let same = "\u{feff}Stock Code;Shelf;On_Hand\r\n\"71053\";A;0\r\n85123A ;B;6.0\r\n";
        assert_eq!(parsed(same).0.content_id, file.content_id);
        assert_ne!(parsed("SKU,Count\n85123A,6\n71053,1\n").0.content_id, file.content_id);
    }

    #[test]
    fn rows_without_a_clear_count_are_rejected_and_their_skus_have_none() {
        let text = "sku,count\na,1\nb,-1\nc,1.5\nd,many\ne,1000000001\n8.5E+12,1\n,1\na,2\nf,2,3\ng,4\n";
        let (file, rejected) = parsed(text);
        assert_eq!(rejected, 8);
        let counted: Vec<_> = file.counts.keys().map(Sku::as_str).collect();
        assert_eq!(counted, ["g"]);
    }
}
