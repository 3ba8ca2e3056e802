"""Places orders through a failing provider on a platform that is killed: run by payment-faults.sh.

Talks to `orderly serve` and to its sandbox over HTTP only. Places ORDERS orders, every fifth with two payments; cancels,
ships and takes back some of the paid ones; refunds 5% of the paid charges at the provider and disputes 5%, half of which
are lost; kills the server, with the sandbox in it, KILLS times meanwhile. Waits until nothing is open. Then compares the
captures, refunds and disputes of the sandbox, charge by charge, with orders and payments.
"""

import concurrent.futures
import http.client
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time

BINARY, DATA_DIR, ORDERS, KILLS = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
SCRIPT = "seed=7,declines=0.2,lost_answers=0.2,duplicate_webhooks=0.2,reordered_webhooks=0.2,webhook_delay_ms=20"
PORTS = {"command": 18580, "query": 18581, "sandbox": 18582}
SKUS = [f"SKU-{number}" for number in range(50)]
PATIENCE_S = 600
CONNECTION = threading.local()


class Server:
    """The platform and its sandbox: one process."""

    def start(self):
        listen = lambda name: f"127.0.0.1:{PORTS[name]}"
        self.log = open(os.path.join(DATA_DIR, "..", "serve.log"), "a")
        self.process = subprocess.Popen(
            [BINARY, "serve", "--data-dir", DATA_DIR, "--command-listen", listen("command"), "--query-listen", listen("query"),
             "--sandbox-listen", listen("sandbox"), "--sandbox-script", SCRIPT, "--log", "error"],
            stdout=self.log, stderr=self.log)
        until("the server is ready", lambda: ask("GET", "query", "/readyz", once=True)[0] == 200
              and ask("GET", "command", "/readyz", once=True)[0] == 200)

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.start()


def ask(method, api, path, body=None, key=None, once=False):
    """Repeats a request until the answer is not 503. The platform may be down for a while."""
    give_up_at = time.monotonic() + PATIENCE_S
    headers = {"Content-Type": "application/json"}
    if key:
        headers["Idempotency-Key"] = key
    if api == "sandbox":
        headers["Authorization"] = "Bearer " + open(os.path.join(DATA_DIR, "sandbox.secret")).read().strip()
    while True:
        connections = CONNECTION.__dict__
        try:
            connection = connections.get(api) or http.client.HTTPConnection("127.0.0.1", PORTS[api], timeout=60)
            connections[api] = connection
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            text = answer.read()
            if answer.status != 503 or once:
                is_json = "json" in answer.headers.get("Content-Type", "")
                return answer.status, json.loads(text) if is_json and text else None
        except (OSError, http.client.HTTPException):
            connections.pop(api, None)
            if once:
                return 0, None
        if time.monotonic() > give_up_at:
            sys.exit(f"no answer within {PATIENCE_S} s: {method} {path}")
        time.sleep(0.05)


def until(what, holds):
    give_up_at = time.monotonic() + PATIENCE_S
    while not holds():
        if time.monotonic() > give_up_at:
            sys.exit(f"not reached within {PATIENCE_S} s: {what}")
        time.sleep(0.2)


def listed(api, path):
    """Yields every item of a paged list."""
    separator, cursor = ("&" if "?" in path else "?"), None
    while True:
        page = ask("GET", api, path + separator + "limit=100" + (f"&cursor={cursor}" if cursor else ""))[1]
        yield from page["items"]
        cursor = page.get("next_cursor")
        if not cursor:
            return


def place(number):
    """Places an order of two lines, paid by one or two cards to which the sandbox's script applies."""
    draw = random.Random(number)
    lines = [{"sku": draw.choice(SKUS), "quantity": draw.randint(1, 3), "unit_price": draw.randint(1, 5000)} for _ in range(2)]
    body = {"currency": "GBP", "lines": lines}
    total = sum(line["quantity"] * line["unit_price"] for line in lines)
    if number % 5 == 4 and total > 1:
        deposit = draw.randint(1, total - 1)
        body["payments"] = [{"amount": deposit, "method": f"card-{number}"}, {"amount": total - deposit, "method": f"gift-{number}"}]
    else:
        body["payment"] = {"method": f"card-{number}"}
    status, order = ask("POST", "command", "/v1/orders", body, f"order-{number}")
    assert status == 201, (status, order)
    return order["order_id"]


def own_move(number):
    """What the provider does to the charge of an order by itself: nothing for nine in ten."""
    roll = random.Random(f"own move {number}").random()
    return "disputes" if roll < 0.05 else "refunds" if roll < 0.1 else None


def move_at_provider(number, order, what):
    """Refunds or disputes a part of a paid charge at the sandbox. Returns how the dispute ends, as a function."""
    draw = random.Random(f"part {number}")
    payment = order["payments"][-1]
    charge = f"/v1/charges/{payment['payment_id']}/1"
    amount = draw.randint(1, payment["captured"])
    status, after = ask("POST", "sandbox", f"{charge}/{what}", {"amount": amount})
    # A kill may have cut off the answer to an earlier attempt, which took the money.
    assert status in (200, 409), (number, status, after)
    if what == "refunds" or status == 409:
        return lambda: None
    dispute = after["disputes"][-1]["dispute_id"]
    decision = draw.choice(["win", "lose"])
    return lambda: ask("POST", "sandbox", f"{charge}/disputes/{dispute}/{decision}", {})


def settle(numbered):
    """Ships, cancels or takes back a paid order, by its number."""
    number, order_id = numbered
    post = lambda path, body: ask("POST", "command", f"/v1/orders/{order_id}/{path}", body, f"{path}-{number}")
    order = ask("GET", "query", f"/v1/orders/{order_id}")[1]
    if order["status"] != "allocated":
        return order["status"]
    if order["payment_status"] != "paid":
        # One of its two cards was declined for good.
        status, answer = post("cancel", {})
        assert status == 200, (number, status, answer)
        return "cancelled"
    moved = own_move(number) if order["captured"] else None
    decide = move_at_provider(number, order, moved) if moved else lambda: None
    if number % 5 == 0:
        status, answer = post("cancel", {})
    else:
        status, answer = post("shipments", {"lines": [{"line": 1, "quantity": 1}]} if number % 5 == 1 else {})
        if number % 5 == 1:
            status, answer = post("cancel", {}) if status == 201 else (status, answer)
        elif number % 5 == 2 and status == 201:
            status, answer = post("returns", {"lines": [{"line": 2, "quantity": 1}]})
    # The provider may have taken what the platform would ship for or refund.
    if moved and status == 409:
        status, answer = post("cancel", {})
    assert status in (200, 201) or (moved and status == 409), (number, status, answer)
    decide()
    return "paid"


def nothing_is_open():
    return not ask("GET", "query", "/v1/orders/stuck?older_than=0&limit=1")[1]["items"]


def drained():
    projections = ask("GET", "query", "/v1/projections")[1]["projections"]
    return projections and all(projection["lag_events"] == 0 for projection in projections)


def no_webhook_waits():
    return ask("GET", "sandbox", "/v1/totals")[1]["webhooks"]["waiting"] == 0


def all_quiet():
    """Looks twice, because the read models may still lack the effects of the last answer."""
    if not (drained() and nothing_is_open() and no_webhook_waits()):
        return False
    time.sleep(1)
    return drained() and nothing_is_open() and no_webhook_waits()


def main():
    server = Server()
    server.start()
    for sku in SKUS:
        assert ask("POST", "command", f"/v1/stock/{sku}/receipts", {"quantity": ORDERS}, f"in-{sku}")[0] == 201
    began = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        placing = [pool.submit(place, number) for number in range(ORDERS)]
        for kill in range(1, KILLS + 1):
            concurrent.futures.wait([placing[ORDERS * kill // (KILLS + 1) - 1]])
            server.kill()
        order_ids = [one.result() for one in placing]
        print(f"{ORDERS} orders placed in {time.monotonic() - began:.1f} s, {KILLS} kills")
        until("every order is paid or declined", all_quiet)
        print(f"paid or declined after {time.monotonic() - began:.1f} s")
        settling = [pool.submit(settle, numbered) for numbered in enumerate(order_ids)]
        if KILLS:
            concurrent.futures.wait([settling[ORDERS // 2]])
            server.kill()
        outcomes = [one.result() for one in settling]
    until("everything is settled", all_quiet)
    print(f"settled after {time.monotonic() - began:.1f} s")
    compare(order_ids, outcomes)
    server.process.send_signal(signal.SIGTERM)
    server.process.wait()


def compare(order_ids, outcomes):
    captured, refunded, disputed, captures = {}, {}, {}, {}
    for charge in listed("sandbox", "/v1/charges"):
        moved = lambda kind: sum(move["amount"] for move in charge["movements"] if move["type"] == kind)
        payment = charge["payment_id"]
        captured[payment] = captured.get(payment, 0) + moved("capture")
        refunded[payment] = refunded.get(payment, 0) + moved("refund") - moved("refund_reversal")
        disputed[payment] = disputed.get(payment, 0) + moved("dispute") - moved("dispute_reversal")
        captures[payment] = captures.get(payment, 0) + sum(move["type"] == "capture" for move in charge["movements"])
    charged_twice = [payment for payment, count in captures.items() if count > 1]
    assert not charged_twice, f"charged twice: {charged_twice[:5]}"
    numbers = {order_id: number for number, order_id in enumerate(order_ids)}
    sum_of_orders = sum_of_payments = 0
    orders = {order["order_id"]: order for order in listed("query", "/v1/orders")}
    assert set(orders) == set(order_ids) and len(orders) == ORDERS
    for order in orders.values():
        for payment in order["payments"]:
            found = tuple(money.get(payment["payment_id"], 0) for money in (captured, refunded, disputed))
            assert found == (payment["captured"], payment["refunded"], payment["disputed"]), (found, order)
        for kind in ("captured", "refunded"):
            assert order[kind] == sum(payment[kind] for payment in order["payments"]), order
        assert order["status"] != "placed"
        kept = order["captured"] - order["refunded"] - sum(payment["disputed"] for payment in order["payments"])
        if order["status"] == "cancelled" and order["captured"]:
            # What was disputed or refunded at the provider is not refunded again.
            assert kept <= order["owed"] if own_move(numbers[order["order_id"]]) else kept == order["owed"], order
        sum_of_orders += kept
    for payment in listed("query", "/v1/payments"):
        found = (payment["captured"], payment["refunded"], payment["disputed"])
        sum_of_payments += found[0] - found[1] - found[2]
        id = payment["payment_id"]
        assert found == (captured.get(id, 0), refunded.get(id, 0), disputed.get(id, 0)), payment
    money = sum(captured.values()) - sum(refunded.values()) - sum(disputed.values())
    assert money == sum_of_orders == sum_of_payments, (money, sum_of_orders, sum_of_payments)
    reserved = sum(stock["reserved"] for stock in listed("query", "/v1/stock"))
    assert reserved == 0, f"{reserved} units are still reserved"
    totals = ask("GET", "sandbox", "/v1/totals")[1]
    declined = outcomes.count("cancelled")
    print(f"{ORDERS - declined} paid, {declined} declined; captured {sum(captured.values())}, refunded {sum(refunded.values())}, "
          f"disputed {sum(disputed.values())}: "
          f"{money} pence, equal in orders and payments; no customer charged twice; no unit reserved")
    print(f"sandbox: {json.dumps(totals)}")


main()
