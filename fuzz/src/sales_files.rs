//! Files of `orderly import`: tables with the columns of Online Retail, in any encoding.
//!
//! A file that is accepted has orders with lines, of which each names a SKU and has units. It is read in the same way
//! every time.

use platform::commands::import::{
    rejects::Rejects,
    sales_file::{self, SalesFile, SalesFormat},
};

const HEADER: &str = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n";

fn parsed(input: &[u8]) -> Option<(SalesFile, u64)> {
    let format =
        SalesFormat { keeps_credits: true, ..SalesFormat::new("GBP".parse().expect("an ISO 4217 code")) };
    let mut rejects = Rejects::new(None);
    let file = sales_file::parse(input, &format, &mut rejects).ok()?;
    Some((file, rejects.finish().expect("no file is written").rows))
}

pub fn check(input: &[u8]) {
    let Some((file, rejected)) = parsed(input) else { return };
    assert!(rejected <= file.rows, "more rows rejected than read");
    for sale in &file.orders {
        assert!(!sale.lines.is_empty(), "an order without lines");
        assert!(sale.lines.iter().all(|line| line.quantity > 0), "a line without units");
        let _ = (sale.units(), sale.gross());
    }
    let (again, rejected_again) = parsed(input).expect("the same file");
    assert_eq!(
        (&again.id, &again.orders, rejected_again),
        (&file.id, &file.orders, rejected),
        "the same file"
    );
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
    let semicolons = "\u{feff}sep=;\r\nInvoice;StockCode;Quantity;InvoiceDate;Price;Customer ID;Country\r\n\
         536365;85123A ;1.000;13.12.2010 8:26;1.234,56;17850.0;\"Côte d\"\"Ivoire\"\r\n536366;'1;1;1/2/2010 8 PM;1_250;;";
    let utf_16 = semicolons.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let files = [format!("{HEADER}{}", rows.concat()), format!("{HEADER}{first}"), semicolons.to_owned()];
    files.map(String::into_bytes).into_iter().chain([utf_16]).collect()
}
