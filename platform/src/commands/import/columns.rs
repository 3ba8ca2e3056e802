//! Finds the columns of a table by their headers.

use std::{fmt::Display, str::FromStr};

/// A column that an import reads.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    /// Its name for `--column`.
    pub name: &'static str,
    /// Headers by which it is found. Case, white space and underscores are ignored.
    pub headers: &'static [&'static str],
    /// A file may be without it, if the operator says so.
    pub can_be_missing: bool,
}

/// The argument of `--column`: `quantity=Qty`. An empty header: the file does not have the column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnChoice {
    name: String,
    header: String,
}

impl FromStr for ColumnChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || "expected NAME=HEADER, for example quantity=\"Qty\"".to_owned();
        let (name, header) = text.split_once('=').ok_or_else(expected)?;
        Ok(Self { name: name.trim().to_ascii_lowercase(), header: header.trim().to_owned() })
    }
}

/// Where a column is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub index: usize,
    /// As the file writes it.
    pub header: String,
    /// Found by one of [`Column::headers`], not by `--column`.
    pub is_known: bool,
}

impl Found {
    /// An error text: what is wrong with a cell of this column.
    pub fn fault(&self, reason: impl Display) -> String {
        format!("{} {reason}", self.header)
    }
}

/// Finds each of `columns` in the headers of a file, in the same order. `None`: the operator says that the file
/// does not have it.
pub fn find(
    columns: &[Column],
    headers: &[String],
    choices: &[ColumnChoice],
) -> Result<Vec<Option<Found>>, String> {
    for (index, ColumnChoice { name, .. }) in choices.iter().enumerate() {
        if !columns.iter().any(|column| column.name == name) {
            let names: Vec<_> = columns.iter().map(|column| column.name).collect();
            return Err(format!(
                "--column {name}=…: there is no such column: the names are {}",
                names.join(", ")
            ));
        }
        if choices[..index].iter().any(|earlier| earlier.name == *name) {
            return Err(format!("--column {name}=… is given twice"));
        }
    }
    columns.iter().map(|column| find_one(column, headers, choices)).collect()
}

fn find_one(column: &Column, headers: &[String], choices: &[ColumnChoice]) -> Result<Option<Found>, String> {
    let name = column.name;
    let choice = choices.iter().find(|choice| choice.name == name).map(|choice| choice.header.as_str());
    if choice == Some("") && !column.can_be_missing {
        return Err(format!("--column {name}=: an import needs this column"));
    }
    let wanted: Vec<String> = match choice {
        Some("") => return Ok(None),
        Some(header) => vec![simplified(header)],
        None => column.headers.iter().map(|header| simplified(header)).collect(),
    };
    let mut found = headers.iter().enumerate().filter(|(_, header)| wanted.contains(&simplified(header)));
    let Some((index, header)) = found.next() else { return Err(missing(column, headers, choice)) };
    if let Some((_, other)) = found.next() {
        return Err(format!(
            "the columns {header:?} and {other:?} can both be the {name}: rename one, or name the other with --column"
        ));
    }
    Ok(Some(Found { index, header: header.clone(), is_known: choice.is_none() }))
}

fn missing(column: &Column, headers: &[String], choice: Option<&str>) -> String {
    let Column { name, headers: known, can_be_missing } = column;
    let wanted = match choice {
        Some(header) => format!("no column {header:?}"),
        None => format!("no column for the {name} ({})", known.join(", ")),
    };
    let listed: Vec<_> = headers.iter().map(|header| format!("{header:?}")).collect();
    let fix = match (headers.len(), can_be_missing) {
        (1, _) => "name the character between columns with --separator".to_owned(),
        (_, true) => {
            format!("name it with --column {name}=\"HEADER\", or say --column {name}= if the file has none")
        }
        (_, false) => format!("name it with --column {name}=\"HEADER\""),
    };
    format!("the file has {wanted}; its columns are {}: {fix}", listed.join(", "))
}

fn simplified(header: &str) -> String {
    let kept = header.chars().filter(|char| !char.is_whitespace() && *char != '_');
    kept.flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 2] = [
        Column { name: "quantity", headers: &["Quantity"], can_be_missing: false },
        Column { name: "customer", headers: &["CustomerID", "Customer ID"], can_be_missing: true },
    ];

    fn found(headers: &[&str], choices: &[&str]) -> Result<Vec<Option<usize>>, String> {
        let headers: Vec<String> = headers.iter().map(|header| (*header).to_owned()).collect();
        let choices: Vec<ColumnChoice> = choices.iter().map(|choice| choice.parse().unwrap()).collect();
        let found = find(&COLUMNS, &headers, &choices)?;
        Ok(found.into_iter().map(|found| found.map(|found| found.index)).collect())
    }

    #[test]
    fn case_white_space_and_underscores_of_headers_are_ignored() {
        for customer in ["CustomerID", "Customer ID", "customer_id", "CUSTOMERID", " Customer  Id "] {
            assert_eq!(found(&["QUANTITY", customer], &[]).unwrap(), [Some(0), Some(1)], "{customer}");
        }
    }

    #[test]
    fn a_column_is_found_by_the_name_that_the_operator_gives() {
        assert_eq!(
            found(&["Buyer", "Qty"], &["quantity=Qty", "Customer=buyer"]).unwrap(),
            [Some(1), Some(0)]
        );
        assert_eq!(found(&["Quantity"], &["customer="]).unwrap(), [Some(0), None]);
    }

    #[test]
    fn the_error_for_a_missing_column_names_the_columns_and_the_option() {
        for (headers, choices, parts) in [
            (
                &["Qty", "Customer ID"][..],
                &[][..],
                ["quantity", "\"Qty\", \"Customer ID\"", "--column quantity="],
            ),
            (
                &["Quantity", "Buyer"],
                &[],
                ["customer", "\"Buyer\"", "--column customer= if the file has none"],
            ),
            (&["Quantity", "Buyer"], &["customer=Who"], ["\"Who\"", "\"Buyer\"", "--column customer="]),
            (&["Quantity;CustomerID"], &[], ["quantity", "\"Quantity;CustomerID\"", "--separator"]),
            (&["Quantity", "quantity "], &[], ["quantity", "both", "--column"]),
            (&["Quantity"], &["quantity="], ["--column quantity=", "needs", "column"]),
            (&["Quantity"], &["price=P"], ["price", "quantity, customer", "no such column"]),
            (&["A", "B"], &["quantity=A", "quantity=B"], ["--column", "quantity", "twice"]),
        ] {
            let error = found(headers, choices).unwrap_err();
            for part in parts {
                assert!(error.contains(part), "{part} is not in {error}");
            }
        }
        assert!("quantity".parse::<ColumnChoice>().is_err());
    }
}
