//! Checks cells for what spreadsheets do to codes.

/// What a spreadsheet shows in place of a value.
const ERRORS: [&str; 7] = ["#N/A", "#REF!", "#VALUE!", "#NAME?", "#DIV/0!", "#NUM!", "#NULL!"];

/// Refuses a cell that a spreadsheet or a program for tables has damaged. The error says what is wrong, after the
/// name of the column.
pub fn undamaged(cell: &str) -> Result<&str, String> {
    if cell.contains('\u{fffd}') {
        return Err(format!(
            "{cell:?} has bytes that are not in the encoding of the file: name it with --encoding"
        ));
    }
    if ERRORS.contains(&cell) {
        return Err(format!("{cell:?} is the error of a spreadsheet"));
    }
    if cell.starts_with('=') {
        return Err(format!("{cell:?} is a formula: export its value"));
    }
    Ok(cell)
}

/// Like [`undamaged`], for codes: invoice numbers, SKUs, customers.
pub fn code(cell: &str) -> Result<&str, String> {
    let cell = undamaged(cell)?;
    if cell.starts_with('\'') {
        return Err(format!(
            "{cell:?} begins with the apostrophe that marks text in a spreadsheet: remove it"
        ));
    }
    if is_scientific(cell) {
        return Err(format!(
            "{cell:?} is in scientific notation: a spreadsheet may have lost digits of the code"
        ));
    }
    Ok(cell)
}

/// The whole number that a program for tables has written with decimals: `77002.0` is 77002. Any other code is
/// itself.
pub fn without_decimals(code: &str) -> &str {
    match code.split_once('.') {
        Some((whole, zeros))
            if is_digits(whole) && !zeros.is_empty() && zeros.bytes().all(|byte| byte == b'0') =>
        {
            whole
        }
        _ => code,
    }
}

/// `8.5123E+12` or `1E+12`: one digit, then decimals or the sign of the exponent. `84029E` and `1E12` are codes.
fn is_scientific(cell: &str) -> bool {
    let Some((mantissa, exponent)) = cell.split_once(['e', 'E']) else { return false };
    let digits = exponent.strip_prefix(['+', '-']);
    let (first, decimals) = mantissa.split_once(['.', ',']).unwrap_or((mantissa, ""));
    let has_mark = mantissa.len() > 1 || digits.is_some();
    first.len() == 1
        && is_digits(first)
        && decimals.bytes().all(|byte| byte.is_ascii_digit())
        && is_digits(digits.unwrap_or(exponent))
        && has_mark
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_that_a_spreadsheet_has_damaged_are_refused() {
        for (cell, reason) in [
            ("8.5123E+12", "scientific notation"),
            ("8,5123e+12", "scientific notation"),
            ("8.5123E12", "scientific notation"),
            ("1E+12", "scientific notation"),
            ("=\"00123\"", "formula"),
            ("=A1", "formula"),
            ("'00123", "apostrophe"),
            ("#N/A", "error of a spreadsheet"),
            ("K\u{fffd}ln", "encoding"),
        ] {
            let error = code(cell).unwrap_err();
            assert!(error.contains(reason), "{cell}: {error}");
        }
    }

    #[test]
    fn codes_with_letters_digits_and_signs_are_accepted() {
        for cell in [
            "85123A",
            "84029E",
            "1E12",
            "15056E4",
            "84E+12",
            "BANK CHARGES",
            "C2",
            "00123",
            "a#1",
            "gift'set",
            "",
        ] {
            assert_eq!(code(cell), Ok(cell));
        }
        assert_eq!(undamaged("'s-Hertogenbosch"), Ok("'s-Hertogenbosch"));
    }

    #[test]
    fn a_whole_number_with_decimals_is_the_number() {
        for (cell, number) in [
            ("77002.0", "77002"),
            ("77002.00", "77002"),
            ("77002", "77002"),
            ("77002.5", "77002.5"),
            ("A.0", "A.0"),
            ("77002.", "77002."),
            (".0", ".0"),
        ] {
            assert_eq!(without_decimals(cell), number);
        }
    }
}
