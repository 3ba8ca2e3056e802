"""Imports a large file with broken rows: run by large-import.sh."""

import csv
import os
import sys

from server import Server, until

BINARY, ROWS, ROWS_PER_INVOICE = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
INVOICES = ROWS // ROWS_PER_INVOICE
SKUS = 20
BROKEN = {
    "quantity": ["", "eins", "1,5", "1E+03"],
    "date": ["gestern", "31.02.2011 10:00", "40513,35"],
    "price": ["1_250", "2.5.5", "£2"],
}
FIRST_INVOICE, PRICE_PENCE = 100_000, 125_050


def main():
    broken = [(column, value) for column, values in BROKEN.items() for value in values]
    # Spread over the file, never two in one invoice.
    broken_rows = {(INVOICES * number // len(broken)) * ROWS_PER_INVOICE + number % ROWS_PER_INVOICE: fault
                   for number, fault in enumerate(broken)}
    with Server(BINARY) as server:
        server.start()
        path = os.path.join(server.home, "sales.csv")
        rejects = os.path.join(server.home, "rejects.csv")
        write(path, broken_rows, "windows-1252")
        print(f"{INVOICES * ROWS_PER_INVOICE:,} rows, {os.path.getsize(path) / 2**20:.1f} MiB", flush=True)
        urls = ["--command-url", f"http://127.0.0.1:{server.ports['command']}",
                "--query-url", f"http://127.0.0.1:{server.ports['query']}"]

        code, output, seconds, memory_mib = server.run("import", path, *urls)
        expect("an import that may not skip rows", code, 1)
        expect("an order before the whole file is right", server.query("/v1/orders").body["items"], [])
        print(f"read and refused in {seconds:.1f} s, {memory_mib} MiB", flush=True)

        arguments = ["import", path, "--skip-bad-rows", "--rejects", rejects, *urls]
        code, output, seconds, memory_mib = server.run(*arguments)
        expect(f"the exit code of the import, with {output}", code, 0)
        print(f"imported in {seconds:.1f} s, {memory_mib} MiB", flush=True)
        with open(rejects, encoding="utf-8", newline="") as file:
            listed = [(int(row["line"]), row["reason"]) for row in csv.DictReader(file)]
        expect("the lines of the rejected rows", [line for line, _ in listed], [row + 2 for row in sorted(broken_rows)])
        for line, reason in listed:
            print(f"  line {line}: {reason}")
        placed = INVOICES - len(broken)
        check(server, placed)

        head = server.query("/v1/projections").body["head"]
        write(path, broken_rows, "utf-8-sig")
        code, output, seconds, memory_mib = server.run(*arguments)
        expect(f"the exit code of the second import, with {output}", code, 0)
        expect("events of the second import", server.query("/v1/projections").body["head"] - head, 0)
        print(f"found again in {seconds:.1f} s, {memory_mib} MiB; {placed:,} orders, no new event")


def write(path, broken_rows, encoding):
    with open(path, "w", encoding=encoding, newline="\r\n") as file:
        file.write("InvoiceNo;StockCode;Description;Quantity;InvoiceDate;UnitPrice;CustomerID;Country\n")
        for row in range(INVOICES * ROWS_PER_INVOICE):
            # The rows of ten invoices are mixed.
            block, place = divmod(row, 10 * ROWS_PER_INVOICE)
            invoice = block * 10 + (place % 10 if block * 10 + 10 <= INVOICES else place // ROWS_PER_INVOICE)
            fault, value = broken_rows.get(row, (None, None))
            quantity, date, price = "2", "13.12.2010 08:26", "1.250,50"
            quantity = value if fault == "quantity" else quantity
            date = value if fault == "date" else date
            price = value if fault == "price" else price
            sku = f"SKU {row % SKUS}"
            file.write(f"{FIRST_INVOICE + invoice};{sku};Möbel;{quantity};{date};{price};{invoice};Österreich\n")


def check(server, placed):
    lags = lambda: [row["lag_events"] for row in server.query("/v1/projections").body["projections"]]
    until("the read models are up to date", lambda: not any(lags()), seconds=1800)
    total = server.query("/v1/sales?currency=GBP").body["total"]
    lines = placed * ROWS_PER_INVOICE
    expect("orders, lines, units, gross", [total[name] for name in ("orders", "lines", "units", "gross")],
           [placed, lines, 2 * lines, 2 * lines * PRICE_PENCE])
    for number in range(SKUS):
        stock = server.query(f"/v1/stock/SKU%20{number}").body
        expect(f"units of SKU {number} that no order has", stock["available"], 0)


def expect(what, found, expected):
    if found != expected:
        sys.exit(f"{what}: expected {expected}, found {found}")


main()
