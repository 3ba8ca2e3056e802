//! Numbers as people and spreadsheets write them: `1234.56`, `1,234.56`, `1.234,56`.
//!
//! `1.234` alone can be two numbers. So the first number of a file that can be read in one way only decides for
//! all: it shows whether the file has decimal points or decimal commas.

use clap::ValueEnum;
use rust_decimal::Decimal;

/// The character before the decimals. The other one of the two may separate thousands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DecimalMark {
    Point,
    Comma,
}

/// Reads the numbers of one file.
#[derive(Debug)]
pub struct Numbers {
    mark: Option<DecimalMark>,
    /// What decided the mark, for error texts.
    decided_by: String,
    /// The first number that was read with a decimal point while the mark was open, and could have had a decimal
    /// comma.
    assumed: Option<Assumed>,
    /// The first of these that has a comma: it needs a decision.
    open: Option<Assumed>,
    contradiction: Option<String>,
}

#[derive(Debug, Clone)]
struct Assumed {
    line: u64,
    cell: String,
}

impl Numbers {
    pub fn new(named: Option<DecimalMark>) -> Self {
        let decided_by = "--decimal".to_owned();
        Self { mark: named, decided_by, assumed: None, open: None, contradiction: None }
    }

    /// The number of a cell, which may have a sign. The error says what is wrong, after the name of the column.
    pub fn read(&mut self, line: u64, cell: &str) -> Result<Decimal, String> {
        let unsigned = cell.strip_prefix(['+', '-']).unwrap_or(cell);
        let (point, comma) = (plain(unsigned, '.', ','), plain(unsigned, ',', '.'));
        let text = match (self.mark, point, comma) {
            (_, None, None) => return Err(not_a_number(cell)),
            (Some(DecimalMark::Point), Some(plain), _) | (Some(DecimalMark::Comma), _, Some(plain)) => plain,
            (Some(mark), _, _) => return Err(self.has_other_mark(cell, mark)),
            (None, Some(plain), None) => {
                self.decide(DecimalMark::Point, line, cell);
                plain
            }
            (None, None, Some(plain)) => {
                self.decide(DecimalMark::Comma, line, cell);
                plain
            }
            (None, Some(point), Some(comma)) => {
                if point != comma {
                    self.assume(line, cell);
                }
                point
            }
        };
        let number = Decimal::from_str_exact(&text).map_err(|error| format!("{cell:?}: {error}"))?;
        Ok(if cell.starts_with('-') { -number } else { number })
    }

    fn assume(&mut self, line: u64, cell: &str) {
        let assumed = || Assumed { line, cell: cell.to_owned() };
        self.assumed.get_or_insert_with(assumed);
        if cell.contains(',') {
            self.open.get_or_insert_with(assumed);
        }
    }

    fn decide(&mut self, mark: DecimalMark, line: u64, cell: &str) {
        self.mark = Some(mark);
        self.decided_by = format!("line {line} ({cell})");
        if mark == DecimalMark::Comma {
            self.contradiction = self.assumed.take().map(|Assumed { line: before, cell: assumed }| {
                format!(
                    "line {before} has {assumed}, which can be two numbers, before line {line} with {cell}: say \
                     --decimal comma or --decimal point"
                )
            });
        }
    }

    fn has_other_mark(&self, cell: &str, mark: DecimalMark) -> String {
        let (has, other) = match mark {
            DecimalMark::Point => ("points", "comma"),
            DecimalMark::Comma => ("commas", "point"),
        };
        let by = &self.decided_by;
        format!("{cell:?} does not fit the decimal {has} of {by}; if these are wrong, say --decimal {other}")
    }

    /// Fails if the whole file leaves open what one of its numbers is.
    pub fn finish(self) -> Result<(), String> {
        if let Some(contradiction) = self.contradiction {
            return Err(contradiction);
        }
        match self.open.filter(|_| self.mark.is_none()) {
            None => Ok(()),
            Some(Assumed { line, cell }) => Err(format!(
                "line {line} has {cell}, and no number of the file shows whether the comma separates thousands or \
                 decimals: say --decimal point or --decimal comma"
            )),
        }
    }
}

/// A number without a sign as digits with a decimal point; `None` if it is none with this decimal mark.
fn plain(text: &str, decimal: char, group: char) -> Option<String> {
    let (whole, fraction) = match text.split_once(decimal) {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (text, None),
    };
    let are_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if fraction.is_some_and(|fraction| fraction.is_empty() || !are_digits(fraction)) {
        return None;
    }
    let mut groups = whole.split(group);
    let first = groups.next().unwrap_or("");
    let is_grouped = whole.contains(group);
    let first_fits = if is_grouped {
        (1..=3).contains(&first.len()) && !first.starts_with('0')
    } else {
        !first.is_empty() || fraction.is_some()
    };
    if !first_fits || !are_digits(first) || !groups.all(|group| group.len() == 3 && are_digits(group)) {
        return None;
    }
    let whole = if first.is_empty() { "0".to_owned() } else { whole.replace(group, "") };
    Some(match fraction {
        Some(fraction) => format!("{whole}.{fraction}"),
        None => whole,
    })
}

fn not_a_number(cell: &str) -> String {
    if cell.is_empty() {
        return "is empty".to_owned();
    }
    let is_scientific = cell.contains(['e', 'E']) && cell.bytes().any(|byte| byte.is_ascii_digit());
    if is_scientific {
        format!("{cell:?} is in scientific notation: a spreadsheet may have lost digits")
    } else {
        format!("{cell:?} is not a number")
    }
}

#[cfg(test)]
mod tests;
