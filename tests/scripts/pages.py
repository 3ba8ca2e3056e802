"""Fills a platform with orders in every state and runs pages_check.js against its pages. pages.sh describes the check."""

import datetime
import os
import subprocess
import sys

from server import Server, until

SKUS = {"85123A": 255, "71053": 339, "84406B": 275, "22752": 765, "21730": 425}


def place(server, number, **fields):
    sku = list(SKUS)[number % len(SKUS)]
    body = {
        "currency": "GBP", "customer_id": str(17850 + number % 7), "country": "United Kingdom", "reference": f"W-{number}",
        "lines": [{"sku": sku, "quantity": 1 + number % 3, "unit_price": SKUS[sku]}],
        "adjustments": [{"kind": "shipping", "code": "MAIL", "amount": 390}], "payment": {"method": "ok"}, **fields,
    }
    return server.command("/v1/orders", body, f"order-{number}").body


def paid(server, order):
    path = f"/v1/orders/{order['order_id']}"
    until("an order is paid", lambda: server.query(path).body.get("payment_status") == "paid")
    return order["order_id"]


def subscribe(server):
    """A subscriber that nobody answers for, so that its deliveries fail."""
    body = {"url": "http://127.0.0.1:9/hook", "event_types": ["order.*"]}
    return server.command("/v1/webhook-subscriptions", body, "subscriber").body["subscription_id"]


def fill(server):
    subscription = subscribe(server)
    for sku in SKUS:
        server.receive(sku, 40, f"stock-{sku}")
    orders = [place(server, number) for number in range(24)]
    for number, order in enumerate(orders[:16]):
        paid(server, order)
        shipment = server.command(f"/v1/orders/{order['order_id']}/shipments", {"carrier": "DPD"}, f"ship-{number}").body
        if number < 8:
            body = {"shipment_id": shipment["shipment_id"]}
            server.command(f"/v1/orders/{order['order_id']}/deliveries", body, f"deliver-{number}")
        if number < 2:
            body = {"lines": [{"line": 1, "quantity": 1}], "reason": "too small"}
            server.command(f"/v1/orders/{order['order_id']}/returns", body, f"return-{number}")
    server.command(f"/v1/orders/{orders[17]['order_id']}/cancel", {}, "cancel")
    place(server, 90, lines=[{"sku": "71053", "quantity": 5_000, "unit_price": 339}])
    declined = place(server, 91, payment={"method": "decline_soft"})
    until("a charge is declined", lambda: server.query(f"/v1/payments/{declined['payment_id']}").body.get("retryable"))
    to_ship, live = paid(server, orders[20]), paid(server, orders[21])
    day = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
    server.run("payments", "reconcile", "--day", day, "--sandbox-listen", f"127.0.0.1:{server.ports['sandbox']}")
    return {
        "returned": orders[0]["order_id"], "declined": declined["order_id"], "to_ship": to_ship, "live": live,
        "subscription": subscription,
    }


def key_of(server, principal, scopes):
    code, output, *_ = server.run("keys", "create", "--principal", principal, "--scopes", scopes)
    found = [word for word in output.split() if word.startswith("ork_")]
    if code != 0 or not found:
        raise SystemExit(f"orderly keys create: {output}")
    return found[0]


def main(binary, chromium, screenshots):
    script = os.path.join(os.path.dirname(__file__), "pages_check.js")
    with Server(binary, {"ORDERLY_WEBHOOKS_ALLOW_PRIVATE": "true"}) as server:
        server.start()
        orders = fill(server)
        environment = {
            **os.environ, "CHROMIUM": chromium, "SCREENSHOTS": screenshots, "QUERY": f"http://127.0.0.1:{server.ports['query']}",
            "RETURNED": orders["returned"], "DECLINED": orders["declined"], "TO_SHIP": orders["to_ship"],
            "LIVE": orders["live"], "COMMAND": f"http://127.0.0.1:{server.ports['command']}",
            "SUBSCRIPTION": orders["subscription"],
        }
        subprocess.run(["node", script, "open"], env=environment, check=True)
        keys = {"DESK": key_of(server, "desk", "read,audit,orders:write"), "READER": key_of(server, "reader", "read")}
        server.stop()
        server.start()
        environment |= keys | {"QUERY": f"http://127.0.0.1:{server.ports['query']}"}
        subprocess.run(["node", script, "guarded"], env=environment, check=True)


main(*sys.argv[1:4])
