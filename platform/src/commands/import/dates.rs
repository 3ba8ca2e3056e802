//! Dates with times, as exports and spreadsheets write them.
//!
//! `12/1/2010` alone can be two days. So the first date of a file that is one day only decides for all.

use clap::ValueEnum;
use domain::Timestamp;
use jiff::{civil, tz::TimeZone};

/// What comes first in a date such as `12/1/2010`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DateOrder {
    /// Month first: 1 December 2010 is `12/1/2010`.
    Mdy,
    /// Day first: 1 December 2010 is `1/12/2010`.
    Dmy,
}

/// Reads the dates of one file.
#[derive(Debug)]
pub struct Dates {
    /// Of dates without an offset from UTC.
    time_zone: TimeZone,
    order: Option<DateOrder>,
    /// The first date that is one day only, with the order that it shows.
    proof: Option<(DateOrder, Place)>,
    /// The first date that shows the other order.
    contradiction: Option<Place>,
    /// The first date that can be two days.
    open: Option<Place>,
}

/// A cell, for error texts.
#[derive(Debug, Clone)]
struct Place {
    line: u64,
    cell: String,
}

/// The instants that a date can be. `None`: the order makes no date of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Instants {
    month_first: Option<Timestamp>,
    day_first: Option<Timestamp>,
}

impl Instants {
    fn certain(instant: Timestamp) -> Self {
        Self { month_first: Some(instant), day_first: Some(instant) }
    }

    /// The earlier of two dates, for each order.
    pub fn earlier(self, other: Self) -> Self {
        let earlier = |one: Option<Timestamp>, other: Option<Timestamp>| one.into_iter().chain(other).min();
        Self {
            month_first: earlier(self.month_first, other.month_first),
            day_first: earlier(self.day_first, other.day_first),
        }
    }

    /// The instant in the order that [`Dates::finish`] returns.
    pub fn of(self, order: DateOrder) -> Option<Timestamp> {
        match order {
            DateOrder::Mdy => self.month_first,
            DateOrder::Dmy => self.day_first,
        }
    }
}

impl Dates {
    pub fn new(time_zone: TimeZone, named: Option<DateOrder>) -> Self {
        Self { time_zone, order: named, proof: None, contradiction: None, open: None }
    }

    /// The instants of a cell. The error says what is wrong, after the name of the column.
    ///
    /// A local time in the hour that summer time skips is read as winter time. A time in the hour that occurs
    /// twice in autumn is the first of the two.
    pub fn read(&mut self, line: u64, cell: &str) -> Result<Instants, String> {
        if let Ok(instant) = cell.parse::<Timestamp>() {
            return Ok(Instants::certain(instant));
        }
        if has_offset(cell) {
            return Err(format!(
                "{cell:?} is not a time with an offset from UTC, such as 2010-12-01T08:26:00+01:00"
            ));
        }
        if let Ok(local) = cell.parse::<civil::DateTime>() {
            return Ok(Instants::certain(self.instant(local)?));
        }
        let Some(parts) = Parts::of(cell) else { return Err(not_a_date(cell)) };
        if parts.year_first {
            let local = parts.local(parts.first, parts.second).ok_or_else(|| not_a_date(cell))?;
            return Ok(Instants::certain(self.instant(local)?));
        }
        let named = self.order.or(parts.order_by_custom());
        let instant_in = |order: DateOrder| {
            let (month, day) = match order {
                DateOrder::Mdy => (parts.first, parts.second),
                DateOrder::Dmy => (parts.second, parts.first),
            };
            parts.local(month, day).map(|local| self.instant(local)).transpose()
        };
        if let Some(order) = named {
            let instant = instant_in(order)?;
            return instant.map(Instants::certain).ok_or_else(|| not_a_date(cell));
        }
        let instants =
            Instants { month_first: instant_in(DateOrder::Mdy)?, day_first: instant_in(DateOrder::Dmy)? };
        self.note(instants, Place { line, cell: cell.to_owned() })?;
        Ok(instants)
    }

    /// Notes what a date shows about the order.
    fn note(&mut self, instants: Instants, place: Place) -> Result<(), String> {
        let shown = match (instants.month_first, instants.day_first) {
            (None, None) => return Err(not_a_date(&place.cell)),
            (Some(_), None) => DateOrder::Mdy,
            (None, Some(_)) => DateOrder::Dmy,
            (Some(one), Some(other)) => {
                // The first of January is one day in either order.
                if one != other {
                    self.open.get_or_insert(place);
                }
                return Ok(());
            }
        };
        match &self.proof {
            None => self.proof = Some((shown, place)),
            Some((proven, _)) if *proven != shown => drop(self.contradiction.get_or_insert(place)),
            Some(_) => {}
        }
        Ok(())
    }

    fn instant(&self, local: civil::DateTime) -> Result<Timestamp, String> {
        let instant = self.time_zone.to_ambiguous_timestamp(local).compatible();
        instant.map_err(|error| format!("{local}: {error}"))
    }

    /// The order of the file. Fails if its dates leave the order open or contradict each other.
    pub fn finish(self) -> Result<DateOrder, String> {
        const SAY: &str = "say --date-order mdy (month first) or --date-order dmy (day first)";
        if let Some(order) = self.order {
            return Ok(order);
        }
        match (self.proof, self.contradiction, self.open) {
            (Some((_, first)), Some(other), _) => Err(format!(
                "the dates of line {} ({}) and line {} ({}) have different orders of month and day: {SAY}",
                first.line, first.cell, other.line, other.cell
            )),
            (Some((order, _)), None, _) => Ok(order),
            (None, _, Some(Place { line, cell })) => Err(format!(
                "line {line} has {cell}, and no date of the file shows which number is the month: {SAY}"
            )),
            (None, _, None) => Ok(DateOrder::Mdy),
        }
    }
}

/// `2010-12-01` has ten characters; a sign or a letter of a zone after them belongs to an offset.
fn has_offset(cell: &str) -> bool {
    let begins_with_date =
        cell.get(..10).is_some_and(|date| cell.len() > 10 && date.matches('-').count() == 2);
    begins_with_date && cell.bytes().skip(10).any(|byte| matches!(byte, b'+' | b'-' | b'Z' | b'z' | b'['))
}

fn not_a_date(cell: &str) -> String {
    let is_day_number = cell.replace(',', ".").parse::<f64>().is_ok();
    if cell.is_empty() {
        "is empty".to_owned()
    } else if is_day_number {
        format!("{cell:?} is the day number of a spreadsheet: format the column as a date before the export")
    } else {
        format!(
            "{cell:?} is not a date with four digits of the year, such as 2010-12-01 08:26:00 or 12/1/2010 8:26"
        )
    }
}

/// The numbers of a date that jiff does not read: `12/1/2010 8:26`, `01.12.2010 08:26:00`, `2010/12/01 8:26 PM`.
struct Parts {
    separator: char,
    year_first: bool,
    year: i16,
    /// The other two numbers, in the order of the cell.
    first: i8,
    second: i8,
    time: civil::Time,
}

impl Parts {
    fn of(cell: &str) -> Option<Self> {
        let (date, time) = cell.split_once([' ', 'T']).unwrap_or((cell, ""));
        let separator = date.chars().find(|char| !char.is_ascii_digit())?;
        if !['/', '-', '.'].contains(&separator) {
            return None;
        }
        let mut numbers = date.split(separator);
        let (one, two, three) = (numbers.next()?, numbers.next()?, numbers.next()?);
        if numbers.next().is_some() {
            return None;
        }
        let year_first = one.len() == 4;
        let (year, first, second) = if year_first { (one, two, three) } else { (three, one, two) };
        if year.len() != 4 {
            return None;
        }
        Some(Self {
            separator,
            year_first,
            year: number(year)?,
            first: number(first)?,
            second: number(second)?,
            time: time_of(time.trim())?,
        })
    }

    /// No country writes the month first between full stops.
    fn order_by_custom(&self) -> Option<DateOrder> {
        (self.separator == '.').then_some(DateOrder::Dmy)
    }

    fn local(&self, month: i8, day: i8) -> Option<civil::DateTime> {
        Some(civil::Date::new(self.year, month, day).ok()?.to_datetime(self.time))
    }
}

/// `8:26`, `08:26:00` or `8:26 PM`; midnight if empty.
fn time_of(text: &str) -> Option<civil::Time> {
    if text.is_empty() {
        return Some(civil::Time::midnight());
    }
    let upper = text.to_ascii_uppercase();
    let (clock, half) = match (upper.strip_suffix("AM"), upper.strip_suffix("PM")) {
        (Some(clock), _) => (clock.trim_end(), Some(0)),
        (_, Some(clock)) => (clock.trim_end(), Some(12)),
        (None, None) => (upper.as_str(), None),
    };
    let mut numbers = clock.split(':');
    let (hour, minute): (i8, i8) = (number(numbers.next()?)?, number(numbers.next()?)?);
    let second = numbers.next().map_or(Some(0), number)?;
    let hour = match half {
        None => hour,
        Some(offset) if (1..=12).contains(&hour) => hour % 12 + offset,
        Some(_) => return None,
    };
    let is_whole = numbers.next().is_none();
    civil::Time::new(hour, minute, second, 0).ok().filter(|_| is_whole)
}

/// Digits only: `parse` would also accept a sign.
fn number<T: std::str::FromStr>(digits: &str) -> Option<T> {
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| is_number)
}

#[cfg(test)]
mod tests;
