"""What list_times.py measures: each list with each filter that docs/http.md lists, and the pages."""

import json
from datetime import datetime, timedelta, timezone
from urllib.parse import quote

ORDERS_PER_PAGE = 50
# The page of a list that is measured besides the first one. A shorter list has its last page measured.
DEEP_PAGE = 1_000
LARGEST = "largest-customer"
PAYMENT_STATUSES = ["pending", "partially_paid", "partially_refunded", "refunded"]
FULFILMENT_STATUSES = ["partially_shipped", "partially_delivered", "partially_returned", "returned"]
WORK = ["to_ship", "unpaid", "overpaid", "refund_due", "returns", "declined", "overdue"]


class Shop:
    """What the cases need to know of the platform."""

    def __init__(self, server, orders):
        self.server, self.orders = server, orders
        self.latest = self.ids(server, "/v1/orders?limit=200")
        now = datetime.now(timezone.utc)
        # The history has an order every 30 s.
        self.middle = now - timedelta(seconds=15 * orders)
        self.day_ago = now - timedelta(days=1)

    def ids(self, server, path):
        return [order["order_id"] for order in server.query(path).body["items"]]

    def numbers(self, count=40):
        """Numbers of orders, spread over the history."""
        return range(self.orders // count, self.orders, self.orders // count)

    def deep(self, path):
        """The page of a list behind as many others."""
        path = path.rstrip("?")
        joined = path + ("&" if "?" in path else "?")
        cursor, skipped = "", 0
        while skipped < (DEEP_PAGE - 1) * ORDERS_PER_PAGE:
            page = self.server.query(f"{joined}limit=200{cursor}").body
            if not page["next_cursor"]:
                break
            skipped += max(len(page["items"]), 1)
            cursor = f"&cursor={quote(page['next_cursor'])}"
        return f"{joined}limit={ORDERS_PER_PAGE}{cursor}"


def instant(time):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


def ordered_by_index(shop):
    """The filters that have an index, with their lists."""
    day = f"placed_from={instant(shop.middle)}&placed_to={instant(shop.middle + timedelta(days=1))}"
    named = {
        "all": [""],
        "all, the first ones first": ["direction=asc"],
        "status=cancelled": ["status=cancelled"],
        "status=placed": ["status=placed"],
        "two statuses": ["status=expired,rejected"],
        "of a day": [day],
        "the largest customer": [f"customer_id={LARGEST}"],
        "the largest customer, status=cancelled": [f"customer_id={LARGEST}&status=cancelled"],
        "a customer": [f"customer_id=customer-{number // 10}" for number in shop.numbers()],
        "a SKU in a fifth of the orders": ["sku=HOT"],
        "the same, status=cancelled": ["sku=HOT&status=cancelled"],
        "the same, of a day": [f"sku=HOT&{day}"],
        "a SKU": [f"sku=SKU-{number:04}" for number in range(0, 1_000, 25)],
        "terms=net": ["terms=net"],
        "terms=on_shipment, status=allocated": ["terms=on_shipment&status=allocated"],
        "country, in half of the orders": ["country=United%20Kingdom"],
        "country": ["country=Malta"],
        "reference": [f"reference=WEB-{number}" for number in shop.numbers()],
        "sort=updated": ["sort=updated"],
        "sort=updated since the middle, ascending": [f"sort=updated&direction=asc&updated_since={instant(shop.middle)}"],
        "sort=total": ["sort=total&currency=EUR"],
        "payment_reference": [f"payment_reference=ch_{number}" for number in shop.numbers()],
        "q: a reference": [f"q=WEB-{number}" for number in shop.numbers()],
        "q: the beginning of most references": ["q=WEB-1"],
        "q: a beginning of ids": [f"q={number:03x}" for number in range(0, 4_096, 103)],
        "q: the largest customer": [f"q={LARGEST}"],
        "q: a beginning of customers": ["q=customer-1"],
        "q: the beginning of most payment references, status=cancelled": ["q=ch_1&status=cancelled"],
    }
    named |= {f"payment_status={status}": [f"payment_status={status}"] for status in PAYMENT_STATUSES}
    named |= {f"fulfilment_status={status}": [f"fulfilment_status={status}"] for status in FULFILMENT_STATUSES}
    return named | {f"work={work}": [f"work={work}"] for work in WORK}


# Their pages look at 2,000 orders.
CHECKED = {
    "payment_status=paid, fulfilment_status=unfulfilled": "payment_status=paid&fulfilment_status=unfulfilled",
    "the largest customer, a SKU in a fifth of the orders": f"customer_id={LARGEST}&sku=HOT",
    "a SKU in a fifth, country, payment_status=refunded": "sku=HOT&country=Malta&payment_status=refunded",
    "country, status=rejected": "country=United%20Kingdom&status=rejected",
    "terms=prepaid, currency": "terms=prepaid&currency=EUR",
    "sort=updated, status=rejected": "sort=updated&status=rejected",
    "sort=total, country, status=rejected": "sort=total&currency=EUR&country=Malta&status=rejected",
    "work=to_ship, country": "work=to_ship&country=Malta",
    "a filter that nothing passes": "status=allocated&currency=JPY",
}


def lists(shop):
    """Every list, as its name and the paths that are asked in turn."""
    for name, filters in ordered_by_index(shop).items():
        yield f"orders, {name}", [f"/v1/orders?{one}" for one in filters]
        if len(filters) == 1:
            yield f"orders, {name}, page 1000", [shop.deep(f"/v1/orders?{filters[0]}")]
    for name, filters in CHECKED.items():
        yield f"orders, {name}", [f"/v1/orders?{filters}"]
    for name, filters in (ordered_by_index(shop) | {name: [filters] for name, filters in CHECKED.items()}).items():
        yield f"count of orders, {name}", [f"/v1/orders?{one}&limit=1&count=true".replace("?&", "?") for one in filters]
    yield "order", [f"/v1/orders/{order}" for order in shop.latest]
    yield "timeline of an order", [f"/v1/orders/{order}/timeline" for order in shop.latest[:50]]
    yield "stuck orders", ["/v1/orders/stuck"]
    yield from stock_and_payments(shop)
    yield from reports_and_events(shop)


def stock_and_payments(shop):
    for name, path in {
        "stock": "/v1/stock",
        "stock, available_below": "/v1/stock?available_below=10",
        "stock, prefix": "/v1/stock?prefix=SKU-05",
        "stock, q": "/v1/stock?q=77",
        "stock of a SKU in a fifth of the orders": "/v1/stock/HOT",
        "its movements": "/v1/stock/HOT/movements",
        "its movements, page 1000": shop.deep("/v1/stock/HOT/movements"),
        "its reservations": "/v1/stock/HOT/reservations",
        "its reservations, page 1000": shop.deep("/v1/stock/HOT/reservations"),
    }.items():
        yield name, [path]
    for filters in ("", "direction=asc", "status=captured", "status=failed", "status=requested,outcome_unknown",
                    "failure=card_declined", "declined=true", "failure=card_declined&status=captured"):
        yield f"payments, {filters or 'all'}", [f"/v1/payments?{filters}"]
        yield f"payments, {filters or 'all'}, page 1000", [shop.deep(f"/v1/payments?{filters}")]
    yield "payments, reference", [f"/v1/payments?reference=ch_{number}" for number in shop.numbers()]


def reports_and_events(shop):
    today = f"from={instant(shop.day_ago)[:10]}"
    for name, path in {
        "summary": "/v1/summary?time_zone=Europe/London",
        "currencies": "/v1/currencies",
        "sales since yesterday by hour": f"/v1/sales?currency=GBP&group_by=hour&{today}",
        "sales since yesterday by SKU": f"/v1/sales?currency=GBP&group_by=sku&{today}",
        "money since yesterday by hour": f"/v1/money?currency=GBP&group_by=hour&{today}",
        "events": "/v1/events",
        "events, the latest first": "/v1/events?latest_first=true",
        "events since the middle": f"/v1/events?from={instant(shop.middle)}",
        "events of a SKU in a fifth of the orders, the latest first": "/v1/events?stream=stock-HOT&latest_first=true",
        "the same, since the middle": f"/v1/events?stream=stock-HOT&from={instant(shop.middle)}",
        "events of a type, which looks at 10,000": "/v1/events?event_type=order.due_moved.v1&latest_first=true",
        "stock at the middle": f"/v1/stock/HOT?at={instant(shop.middle)}",
    }.items():
        yield name, [path]


def pages(shop, forms):
    named = {
        "/": "/",
        "/orders": "/orders",
        "/orders, the largest customer": f"/orders?customer_id={LARGEST}",
        "/orders, a SKU in a fifth of the orders": "/orders?sku=HOT",
        "/orders, three filters": "/orders?country=Malta&payment_status=paid&sku=HOT",
        "/orders, searched": "/orders?q=WEB-1",
        "/stock": "/stock",
        "/stock, q": "/stock?q=77",
        "/stock of a SKU in a fifth of the orders": "/stock/HOT",
        "/payments": "/payments",
        "/payments, declined": "/payments?declined=true",
        "/stuck": "/stuck",
        "/system": "/system",
    }
    named |= {f"/orders?work={work}": f"/orders?work={work}" for work in WORK}
    for name, path in named.items():
        yield f"page {name}", [path]
    yield "page of an order", [f"/orders/{order}" for order in shop.latest]
    for form in forms:
        yield f"form: {form}", [f"/orders/{order}/{form}" for order in shop.latest]
