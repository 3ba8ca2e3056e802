//! Files of `orderly import`: CSV with the columns of Online Retail.
//!
//! A file that is accepted has orders with lines, of which each names a SKU and has units.

use platform::commands::import::sales_file;

const HEADER: &str = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n";

pub fn check(input: &[u8]) {
    let Ok(file) = sales_file::parse(input) else { return };
    for sale in &file.orders {
        assert!(!sale.lines.is_empty(), "an order without lines");
        assert!(sale.lines.iter().all(|line| line.quantity > 0), "a line without units");
        let _ = (sale.units(), sale.gross());
    }
    for credit in file.credits.values() {
        let _ = (credit.units(), credit.unit_price());
    }
    let again = sales_file::parse(input).expect("the same file");
    assert_eq!(again.id, file.id, "the id of the same file");
}

pub fn seeds() -> Vec<Vec<u8>> {
    let rows = [
        "536365,85123A,\"WHITE, HANGING\",6,2010-12-01T08:26:00,2.55,17850,United Kingdom\n",
        "536365,71053,WHITE METAL LANTERN,6,2010-12-01T08:26:00,3.39,17850,United Kingdom\n",
        "C536379,D,Discount,-1,2010-12-01T09:41:00,27.50,14527,United Kingdom\n",
        "A563185,B,Adjust bad debt,1,2011-08-12T14:50:00,11062.06,,United Kingdom\n",
        "536414,22139,,56,2010-12-01T11:52:00,0.0,,United Kingdom\n",
    ];
    let [first, ..] = rows;
    let files = [format!("{HEADER}{}", rows.concat()), format!("{HEADER}{first}")];
    files.map(String::into_bytes).to_vec()
}
