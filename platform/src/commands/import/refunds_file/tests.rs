use super::*;
use crate::commands::import::{
    rejects::Rejects,
    sales_file::{self, SalesFormat},
};

/// Two orders, the first with two equal lines, and the credits of three lines.
const SALES: &str = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n\
    536365,85123A,HOLDER,6,2010-12-01T08:26:00,2.55,17850,United Kingdom\n\
    536365,71053,LANTERN,2,2010-12-01T08:26:00,3.39,17850,United Kingdom\n\
    536365,71053,LANTERN,2,2010-12-01T08:26:00,3.39,17850,United Kingdom\n\
    536366,71053,LANTERN,1,2010-12-01T08:28:00,3.39,,France\n\
    C536400,71053,LANTERN,-3,2010-12-02T08:28:00,3.395,17850,United Kingdom\n\
    C536401,71053,LANTERN,-1,2010-12-02T08:28:00,3.39,,France\n\
    C536402,71053,LANTERN,one,2010-12-02T08:28:00,3.39,,France\n";

fn parsed(rows: &str) -> Result<RefundsFile, String> {
    let format = SalesFormat { keeps_credits: true, ..SalesFormat::new("GBP".parse().unwrap()) };
    let sales = sales_file::parse(SALES.as_bytes(), &format, &mut Rejects::new(None)).unwrap();
    let header = "cancel_row,cancel_invoice,sale_row,sale_invoice,stock_code,units,same_price\n";
    parse(format!("{header}{rows}").as_bytes(), &sales).map_err(|error| error.to_string())
}

#[test]
fn a_credit_line_returns_units_of_several_sale_lines_at_its_own_price() {
    let file = parsed(
        "5,C536400,2,536365,71053,2,0\n\
         6,C536401,4,536366,71053,1,1\n\
         5,C536400,3,536365,71053,1,0\n",
    )
    .unwrap();
    let [first, second] = file.orders.as_slice() else { panic!("{:?}", file.orders) };
    let parts = |order: &OrderReturns| -> Vec<_> {
        let parts = order.returns.iter();
        parts.map(|part| (part.line, part.quantity, part.refund_amount.minor_units())).collect()
    };
    assert_eq!(
        (first.invoice.as_str(), first.wholly, parts(first)),
        ("536365", false, vec![(2, 2, 680), (3, 1, 340)])
    );
    assert_eq!((second.invoice.as_str(), second.wholly, parts(second)), ("536366", true, vec![(1, 1, 339)]));
    assert!(file.unfit.is_empty());
}

#[test]
fn a_row_that_does_not_fit_the_sales_is_listed_and_the_others_count() {
    for (row, code) in [
        ("1,C536400,2,536365,71053,1,1", "credit_line_not_found"),
        ("5,C536401,2,536365,71053,1,1", "credit_line_not_found"),
        ("5,C536400,2,536365,85123A,1,1", "credit_line_not_found"),
        ("5,C536400,1,536365,71053,1,1", "sale_line_not_found"),
        ("5,C536400,4,536365,71053,1,1", "sale_line_not_found"),
        ("5,C536400,2,999999,71053,1,1", "sale_line_not_found"),
        ("5,C536400,2,536365,71053,4,1", "credit_line_exceeded"),
    ] {
        let file = parsed(&format!("{row}\n6,C536401,4,536366,71053,1,1\n")).unwrap();
        let codes: Vec<_> = file.unfit.iter().map(|(_, refusal)| refusal.code.as_str()).collect();
        assert_eq!((codes, file.orders.len()), (vec![code], 1), "{row}");
    }
}

#[test]
fn the_error_for_a_malformed_row_names_its_line() {
    let good = "5,C536400,2,536365,71053,1,1\n";
    for (bad, reason) in [
        (good, "are matched twice"),
        ("7,C536402,4,536366,71053,1,1\n", "Quantity"),
        ("5,C536400,3,536365,71053,-1,1\n", "field 5"),
    ] {
        let error = parsed(&format!("{good}{bad}")).unwrap_err();
        assert!(error.contains("line") && error.contains('3') && error.contains(reason), "{error} for {bad}");
    }
}
