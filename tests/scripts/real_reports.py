"""Places the orders of the Online Retail file over HTTP, with their returns: run by real-reports.sh.

Every third order has a voucher of 20% and a tax of 20%, and the prices of every sixth include the tax. Computes all shares,
refunds and reports again, by rules of its own, and compares them to the penny.
"""

import collections
import concurrent.futures
import csv
import datetime
import subprocess
import sys

from server import Server, until

BINARY, FILE, MATCHES = sys.argv[1:4]
ORDERS_MAX = int(sys.argv[4]) if len(sys.argv) > 4 else None
CLIENTS, SHIPPING = 16, 490
# A zone without summer time, whose days begin at a half hour of UTC.
ZONE, OFFSET = "Asia/Kolkata", datetime.timedelta(hours=5, minutes=30)
COLUMNS = ["orders", "lines", "units", "gross", "discounts", "tax", "shipping", "fees", "cancelled", "refunded", "net"]
MONEY = ["captured", "refunded", "disputed", "net"]


def rows_of(path):
    text = subprocess.run(["zstd", "-dcf", path], check=True, capture_output=True, text=True).stdout
    return csv.DictReader(text.splitlines())


def spread(amount, weights):
    """The largest remainder method; of equal remainders the first one wins."""
    whole, total = abs(amount), sum(weights)
    parts = [whole * weight // total for weight in weights]
    by_remainder = sorted(range(len(weights)), key=lambda index: -(whole * weights[index] % total))
    for index in by_remainder[: whole - sum(parts)]:
        parts[index] += 1
    return [part if amount >= 0 else -part for part in parts]


class Line:
    def __init__(self, row, sale):
        self.row, self.sku, self.quantity = row, sale["StockCode"], int(sale["Quantity"])
        pounds, _, part = sale["UnitPrice"].partition(".")
        mills = int(pounds) * 1000 + int((part + "000")[:3])
        self.price, self.discount, self.tax, self.returned = (mills + 5) // 10, 0, 0, 0

    def value(self):
        return self.quantity * self.price

    def worth(self, units):
        """What the first units to leave are worth, rounded half up."""
        return (2 * self.total * units + self.quantity) // (2 * self.quantity)


class Order:
    def __init__(self, number, invoice, sale):
        self.number, self.invoice, self.country, self.lines = number, invoice, sale["Country"], []
        self.placed_at = datetime.datetime.fromisoformat(sale["InvoiceDate"])
        self.returns, self.captured, self.refunded = [], 0, 0

    def finish(self):
        """Computes the adjustments, and what becomes of the order."""
        value = sum(line.value() for line in self.lines)
        self.adjustments, self.includes_tax, self.shipping = [], self.number % 6 == 5, 0
        if self.number % 3 == 2 and value > 0:
            voucher = -(value // 5)
            tax = (value + voucher) // 6 if self.includes_tax else (value + voucher) // 5
            self.shipping = SHIPPING
            self.adjustments = [
                {"kind": "discount", "code": "VOUCHER20", "amount": voucher},
                {"kind": "tax", "code": "VAT20", "amount": tax},
                {"kind": "shipping", "code": "DHL", "amount": SHIPPING},
            ]
            values = [line.value() for line in self.lines]
            for line, discount in zip(self.lines, spread(voucher, values)):
                line.discount = discount
            weights = [line.value() + line.discount for line in self.lines] if self.includes_tax else values
            for line, tax in zip(self.lines, spread(tax, weights)):
                line.tax = tax
        for line in self.lines:
            line.total = line.value() + line.discount + (0 if self.includes_tax else line.tax)
        self.total = sum(line.total for line in self.lines) + self.shipping
        fates = {7: "cancelled unpaid", 8: "cancelled paid"}
        self.fate = fates.get(self.number % 10, "sold") if not self.returns else "sold"

    def body(self):
        lines = [{"sku": line.sku, "quantity": line.quantity, "unit_price": line.price, "stocked": False}
                 for line in self.lines]
        included = {"prices_include_tax": True} if self.includes_tax else {}
        return {"currency": "GBP", "country": self.country, "placed_at": self.placed_at.isoformat() + "Z", "lines": lines,
                "adjustments": self.adjustments, "payment_due_at": None, **included}


def read_orders():
    orders, lines = {}, {}
    for row, sale in enumerate(rows_of(FILE), 1):
        if len(sale["InvoiceNo"]) != 6 or int(sale["Quantity"]) <= 0 or float(sale["UnitPrice"]) <= 0:
            continue
        order = orders.get(sale["InvoiceNo"])
        if order is None:
            if ORDERS_MAX and len(orders) == ORDERS_MAX:
                continue
            order = orders[sale["InvoiceNo"]] = Order(len(orders), sale["InvoiceNo"], sale)
        order.lines.append(Line(row, sale))
        lines[row] = (order, len(order.lines))
    for match in rows_of(MATCHES):
        order, line = lines.get(int(match["sale_row"]), (None, None))
        if order:
            order.returns.append((line, int(match["units"])))
    for order in orders.values():
        order.finish()
    return list(orders.values())


def expect(answer, status):
    if answer.status != status:
        raise SystemExit(f"expected {status}, got {answer.status}: {answer.body}")
    return answer.body


def run(server, order):
    """Sends all commands of an order, and checks each answer."""
    placed = expect(server.command("/v1/orders", order.body(), f"place {order.number}"), 201)
    order.id, payment = placed["order_id"], placed["payment_id"]
    same(f"total of {order.invoice}", placed["total"], order.total)
    path = f"/v1/orders/{order.id}"
    if payment and order.fate != "cancelled unpaid":
        for step in ("authorize", "capture"):
            expect(server.command(f"/v1/payments/{payment}/{step}", {}, step), 200)
        order.captured = order.total
    if order.fate != "sold":
        cancelled = expect(server.command(f"{path}/cancel", {}, "cancel"), 200)
        refund(server, order, payment, cancelled["refunds"], order.captured)
    if order.returns:
        expect(server.command(f"{path}/shipments", {}, "ship"), 201)
    for number, (position, units) in enumerate(order.returns):
        line = order.lines[position - 1]
        body = {"lines": [{"line": position, "quantity": units, "restock": False}]}
        answer = server.command(f"{path}/returns", body, f"return {number}")
        if line.returned + units > line.quantity:
            expect(answer, 409)
            continue
        worth = line.worth(line.returned + units) - line.worth(line.returned)
        line.returned += units
        refund(server, order, payment, expect(answer, 201)["refunds"], worth)


def refund(server, order, payment, refunds, amount):
    same(f"refund of {order.invoice}", sum(part["amount"] for part in refunds), amount)
    for part in refunds:
        path = f"/v1/payments/{payment}/refunds/{part['refund_id']}"
        # The payment gets the refund after the answer.
        until(f"the refund {path}", lambda: server.command(f"{path}/succeed", {}, part["refund_id"]).status == 200, 60)
    order.refunded += amount


def same(what, found, expected):
    if found != expected:
        raise SystemExit(f"{what}: {found} instead of {expected}")


def sums_of(order):
    """What the order adds to the sales, by SKU; None for what belongs to no line."""
    sums = collections.defaultdict(collections.Counter)
    unpaid = order.fate == "cancelled unpaid"
    paid_back = order.fate == "cancelled paid"
    for line in order.lines:
        refunded = line.total if paid_back else line.worth(line.returned)
        sums[line.sku]["orders"] = 1
        sums[line.sku].update({
            "lines": 1, "units": line.quantity, "gross": line.value() - (line.tax if order.includes_tax else 0),
            "discounts": line.discount, "tax": line.tax, "cancelled": line.total if unpaid else 0, "refunded": refunded,
        })
    if order.shipping:
        sums[""].update({"shipping": order.shipping, "cancelled": order.shipping if unpaid else 0,
                         "refunded": order.shipping if paid_back else 0})
    return sums


def report(sums):
    sums = {name: sums[name] for name in COLUMNS}
    added = sum(sums[name] for name in ("gross", "discounts", "tax", "shipping", "fees"))
    return {**sums, "net": added - sums["cancelled"] - sums["refunded"]}


def groups(server, query):
    found, cursor = {}, ""
    while cursor is not None:
        page = expect(server.query(f"{query}&limit=200{cursor}"), 200)
        found.update({group.pop("key"): group for group in page["groups"]})
        cursor = page["next_cursor"] and f"&cursor={page['next_cursor']}"
    return found


def check_reports(server, orders):
    total, by = collections.Counter(), collections.defaultdict(lambda: collections.defaultdict(collections.Counter))
    for order in orders:
        of_order = collections.Counter()
        for sku, sums in sums_of(order).items():
            by["group_by=sku"][sku].update(sums)
            of_order.update(sums)
        of_order["orders"] = 1
        total.update(of_order)
        by["group_by=country"][order.country].update(of_order)
        by["group_by=month"][order.placed_at.strftime("%Y-%m")].update(of_order)
        by[f"group_by=day&time_zone={ZONE}"][(order.placed_at + OFFSET).strftime("%Y-%m-%d")].update(of_order)
    until("the sales are those of the orders",
          lambda: server.query("/v1/sales?currency=GBP").body["total"] == report(total), 60)
    for query, expected in by.items():
        found = groups(server, f"/v1/sales?currency=GBP&{query}")
        same(f"groups of {query}", sorted(found), sorted(expected))
        for key, sums in expected.items():
            same(f"{query}, {key!r}", found[key], report(sums))
    captured, refunded = sum(order.captured for order in orders), sum(order.refunded for order in orders)
    books = dict(zip(MONEY, (captured, refunded, 0, captured - refunded)))
    same("money", server.query("/v1/money?currency=GBP").body["total"], books)
    days = groups(server, f"/v1/money?currency=GBP&group_by=day&time_zone={ZONE}").values()
    same("money by day", {name: sum(day[name] for day in days) for name in MONEY}, books)
    same("net sales", report(total)["net"], books["net"])
    same("currencies", server.query("/v1/currencies").body, {"items": [{"currency": "GBP"}]})
    return report(total)


def check_shares(server, order):
    shown = expect(server.query(f"/v1/orders/{order.id}"), 200)
    for line, found in zip(order.lines, shown["lines"]):
        shares = {"discount": line.discount, "tax": line.tax, "shipping": 0, "fee": 0}
        same(f"shares of line {line.row}", (found["shares"], found["total"]), (shares, line.total))


def main():
    orders = read_orders()
    with Server(BINARY) as server, concurrent.futures.ThreadPoolExecutor(CLIENTS) as pool:
        server.start()
        list(pool.map(lambda order: run(server, order), orders))
        total = check_reports(server, orders)
        adjusted = [order for order in orders if order.adjustments]
        list(pool.map(lambda order: check_shares(server, order), adjusted))
        server.stop()
        code, output, *_ = server.run("audit", "verify")
    if code:
        raise SystemExit(output)
    print(f"{len(orders)} orders, {len(adjusted)} with voucher and tax: shares, refunds and reports are exact: {total}")
    print(output.strip().splitlines()[-1])


main()
