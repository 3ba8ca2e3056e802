"""Uses the client that openapi-python-client has generated from the combined document, at a running server.

Usage: openapi_client_check.py BINARY DOCUMENT

The generated package is `client`. It places, pays, ships and returns an order, and reads it back. Then every example of a
request in DOCUMENT is sent: none may be refused as malformed. If nginx is installed, all of it goes through the sample proxy
of infra/deploy/nginx, under one host name.
"""

import json
import pathlib
import re
import sys
import urllib.error
import urllib.request
import uuid

from client import Client
from client.api.orders import get_order, list_orders, place_order, return_units, ship_order
from client.api.payments import capture_payment, charge_payment, get_payment
from client.api.stock import get_stock, receive_stock
from client.models import (
    ChargeRequest,
    LineRequest,
    OrderAnswer,
    OrderStatus,
    PaymentState,
    PlaceOrderRequest,
    Problem,
    ProblemCode,
    ReceiptRequest,
    ReturnPart,
    ReturnRequest,
    ShipmentRequest,
)
from one_host import one_host
from server import Server, until

SKU = "85123A"


def an_order_is_placed_paid_shipped_and_returned(commands, queries):
    received = receive_stock.sync_detailed(
        SKU, client=commands, body=ReceiptRequest(quantity=100), idempotency_key="receive"
    )
    assert received.status_code == 201 and received.parsed.available == 100, received
    assert received.headers["etag"] == '"0"' and received.headers["x-request-id"], received.headers

    order = PlaceOrderRequest(currency="GBP", lines=[LineRequest(sku=SKU, quantity=6, unit_price=255)], reference="R-1")
    placed = place_order.sync_detailed(client=commands, body=order, idempotency_key="place")
    assert placed.status_code == 201 and isinstance(placed.parsed, OrderAnswer), placed
    assert placed.parsed.status == OrderStatus.ALLOCATED and placed.parsed.total == 1530, placed.parsed
    again = place_order.sync_detailed(client=commands, body=order, idempotency_key="place")
    assert again.headers["idempotent-replayed"] == "true" and again.parsed == placed.parsed, again
    order_id, payment_id = placed.parsed.order_id, placed.parsed.payment_id

    early = ship_order.sync(order_id, client=commands, body=ShipmentRequest(), idempotency_key="ship")
    assert isinstance(early, Problem) and early.code == ProblemCode.ORDER_NOT_PAID, early

    paid = charge_payment.sync(payment_id, client=commands, body=ChargeRequest(method="ok"), idempotency_key="pay")
    assert paid.status == PaymentState.CAPTURED and paid.captured == 1530, paid
    shipped = ship_order.sync(order_id, client=commands, body=ShipmentRequest(), idempotency_key="ship")
    assert isinstance(shipped, OrderAnswer) and shipped.shipment_id, shipped
    goods = ReturnRequest(lines=[ReturnPart(line=1, quantity=2, restock=True)], reason="too many")
    returned = return_units.sync(order_id, client=commands, body=goods, idempotency_key="return")
    assert [refund.amount for refund in returned.refunds] == [510], returned

    read = get_order.sync(order_id, client=queries, min_revision=returned.revision)
    assert read.lines[0].returned == 2 and read.customer_id is None and read.reference == "R-1", read
    payment = get_payment.sync(payment_id, client=queries)
    assert payment.payment_id == payment_id, payment
    until("the units are back in stock", lambda: get_stock.sync(SKU, client=queries).on_hand == 96, seconds=30)
    listed = list_orders.sync(client=queries, status=[OrderStatus.ALLOCATED], limit=1)
    assert listed.items[0].order_id == order_id and listed.next_cursor is None, listed
    unknown = get_order.sync(uuid.uuid4(), client=queries)
    assert isinstance(unknown, Problem) and unknown.code == ProblemCode.NOT_FOUND, unknown
    return placed.headers["location"]


def all_faults_are_named(commands):
    wrong = PlaceOrderRequest(currency="pounds", lines=[LineRequest(sku="", quantity=0, unit_price=-1)])
    refused = place_order.sync(client=commands, body=wrong, idempotency_key="wrong")
    pointers = {error.pointer for error in refused.errors}
    assert pointers == {"/currency", "/lines/0/sku", "/lines/0/quantity", "/lines/0/unit_price"}, refused


def send(url, method, body, key):
    headers = {"content-type": "application/json", "idempotency-key": key}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def every_example_is_accepted(document, url):
    """An example is understood: it succeeds, or the state of the (unknown) resource forbids it."""
    sent = 0
    for path, item in document["paths"].items():
        for method, operation in item.items():
            content = operation.get("requestBody", {}).get("content", {}).get("application/json")
            if content is None or path == "/v1/webhooks/{provider}":
                continue
            assert "example" in content, f"{method} {path} has no example of a request"
            concrete = re.sub(r"\{(\w+)\}", lambda found: SKU if found[1] == "sku" else str(uuid.uuid4()), path)
            status, body = send(url + concrete, method.upper(), content["example"], f"example of {path}")
            # The host of the example does not exist.
            is_refused_url = b'"webhook_url_refused"' in body
            assert status in (200, 201, 202, 404) or is_refused_url, f"{method} {path}: {status} {body}"
            sent += 1
    return sent


def main(binary, path):
    document = json.loads(pathlib.Path(path).read_text())
    with Server(binary) as server:
        server.start()
        commands, queries = (f"http://127.0.0.1:{server.ports[api]}" for api in ("command", "query"))
        with one_host(server) as (host, _):
            commands, queries = host or commands, host or queries
            with Client(base_url=commands) as client, Client(base_url=queries) as query_client:
                location = an_order_is_placed_paid_shipped_and_returned(client, query_client)
                all_faults_are_named(client)
            sent = every_example_is_accepted(document, commands)
            if host is not None:
                assert send(host + location, "GET", None, "")[0] == 200, location
                for page, wanted in (("/openapi.json", document), ("/docs/", None), ("/problems", None)):
                    status, body = send(host + page, "GET", None, "")
                    assert status == 200 and (wanted is None or json.loads(body) == wanted), page
                assert send(host + "/livez", "GET", None, "")[0] == 404
    through = "through the sample proxy" if host else "without a proxy, because nginx is missing"
    print(f"an order was placed, paid, shipped and returned, and {sent} examples were accepted, {through}")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
