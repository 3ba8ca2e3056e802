#!/usr/bin/env python3
"""Writes a data directory with one build of Orderly, for later builds to open.

Usage: tests/earlier-builds/write.py BINARY NAME

Writes compressed files to tests/earlier-builds/NAME/. They hold every kind of event, orders and payments in every
state, a stream of 10,500 receipts, an order of 1,200 lines, webhook subscriptions with deliveries, and work that is
unfinished because the process was killed. `requests.json` lists keyed requests with the answers that the same build
gives to their retries. `expected.json` holds the answers of that build's query API after it has finished the work.
Needs Python 3 and zstd.

Run it once for a release. Do not replace its files later: they show that files of that release stay readable.
"""
import concurrent.futures, http.client, json, os, re, signal, sqlite3, subprocess, sys, tempfile, time

BINARY = os.path.abspath(sys.argv[1])
FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), sys.argv[2])
# Files that each start creates again, so they are not kept.
NOT_KEPT = re.compile(r"-shm$|\.lock$|^log\.txt$|^out\.txt$")
RECEIPTS = 10_500
KINDS = {".".join(name.split(".")[:3]) for name in os.listdir(os.path.join(os.path.dirname(FOLDER), "../../domain/golden"))
         if name.endswith(".json")}
LINES = 1_200


class Server:
    """`orderly serve` on free ports."""

    def __init__(self, folder):
        self.folder = folder
        os.makedirs(folder, exist_ok=True)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("ORDERLY_")}
        environment |= {
            "ORDERLY_DATA_DIR": folder,
            "ORDERLY_COMMAND_LISTEN": "127.0.0.1:0",
            "ORDERLY_QUERY_LISTEN": "127.0.0.1:0",
            "ORDERLY_SANDBOX_LISTEN": "127.0.0.1:0",
            "ORDERLY_WEBHOOKS_ALLOW_PRIVATE": "true",
        }
        self.output = open(os.path.join(folder, "out.txt"), "w+")
        log = open(os.path.join(folder, "log.txt"), "ab")
        self.process = subprocess.Popen(
            [BINARY, "serve"], env=environment, stdout=self.output, stderr=log)
        deadline = time.time() + 60
        while True:
            text = open(self.output.name).read()
            self.ports = {name.lower(): int(port) for name, port in
                          re.findall(r"(command|query|sandbox)[^\n]*?127\.0\.0\.1:(\d+)", text, re.I)}
            if len(self.ports) == 3:
                return
            if self.process.poll() is not None or time.time() > deadline:
                sys.exit(f"the server did not start: {open(log.name).read()[-2000:]}")
            time.sleep(0.05)

    def call(self, api, method, path, body=None, headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.ports[api], timeout=60)
        sent = {"Content-Type": "application/json"} | (headers or {})
        connection.request(method, path, None if body is None else json.dumps(body), sent)
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        return answer.status, json.loads(text) if text[:1] in (b"{", b"[") else text.decode()

    def query(self, path):
        status, answer = self.call("query", "GET", path)
        assert status == 200, (path, status, answer)
        return answer

    def pages(self, path):
        items, cursor = [], None
        while True:
            page = self.query(path + ("?" if "?" not in path else "&") + "limit=200" + (f"&cursor={cursor}" if cursor else ""))
            items += page["items"]
            cursor = page["next_cursor"]
            if cursor is None:
                return items

    def sandbox(self, method, path, body=None):
        secret = open(os.path.join(self.folder, "sandbox.secret")).read().strip()
        status, answer = self.call("sandbox", method, path, body, {"Authorization": f"Bearer {secret}"})
        assert status < 300, (path, status, answer)
        return answer

    def stop(self, signal_number):
        self.process.send_signal(signal_number)
        self.process.wait(60)


class Shop:
    """Sends keyed requests and remembers them."""

    def __init__(self, server):
        self.server = server
        self.requests = []

    def post(self, path, body, *, expect=(200, 201), remember=True, headers=None):
        key = f"earlier-{len(self.requests) + 1:05}"
        sent = {"Idempotency-Key": key} | (headers or {})
        status, answer = self.server.call("command", "POST", path, body, sent)
        assert status in expect, (path, body, status, answer)
        if remember:
            self.requests.append({"path": path, "key": key, "body": body})
        return answer

    def receive(self, sku, quantity):
        return self.post(f"/v1/stock/{sku}/receipts", {"quantity": quantity, "reference": f"po/{sku}"})

    def order(self, *lines, expect=(201,), headers=None, **members):
        body = {"currency": "GBP", "payment_due_at": None} | members
        body["lines"] = [{"sku": line[0], "quantity": line[1], "unit_price": line[2]} | (line[3] if len(line) > 3 else {})
                         for line in lines]
        return self.post("/v1/orders", body, expect=expect, headers=headers)

    def paid(self, *lines, **members):
        order = self.order(*lines, **members)
        self.pay(order)
        return order

    def pay(self, order):
        self.money(order, "authorize")
        self.money(order, "capture")
        self.wait_for(order, payment_status="paid")

    def at(self, order, action, body=None, expect=(200, 201)):
        return self.post(f"/v1/orders/{order['order_id']}/{action}", body or {}, expect=expect)

    def money(self, order, action, body=None, expect=(200, 201)):
        return self.post(f"/v1/payments/{order['payment_id']}/{action}", body or {}, expect=expect)

    def wait_for(self, order, **members):
        path = f"/v1/orders/{order['order_id']}"
        deadline = time.time() + 60
        while True:
            status, now = self.server.call("query", "GET", path)
            if status == 200 and all(now[name] == value for name, value in members.items()):
                return now
            assert time.time() < deadline, (members, now)
            time.sleep(0.05)


def stock(shop):
    for sku in ("A", "B", "C", "D"):
        shop.receive(sku, 1_000)
    shop.post("/v1/stock/A/adjustments", {"delta": -3, "reason": "damaged"})
    shop.post("/v1/stock/A/adjustments", {"delta": 5})
    shop.post("/v1/stock/receipts", {"receipts": [
        {"sku": f"BULK-{n}", "quantity": n + 1, "reference": "bulk"} for n in range(200)]}, expect=(200,))
    many = [{"sku": f"L{n}", "quantity": 5} for n in range(LINES)]
    for start in range(0, LINES, 600):
        shop.post("/v1/stock/receipts", {"receipts": many[start:start + 600]}, expect=(200,))


def long_stream(shop):
    """Sends more keyed commands to one SKU than a build remembers (10,000)."""
    first = len(shop.requests)
    requests = [{"path": "/v1/stock/LONG/receipts", "key": f"earlier-{first + 1 + n:05}", "body": {"quantity": 1 + n % 7}}
                for n in range(RECEIPTS)]
    def send(request):
        status, answer = shop.server.call(
            "command", "POST", request["path"], request["body"], {"Idempotency-Key": request["key"]})
        assert status == 201, answer
    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        list(pool.map(send, requests))
    shop.requests += requests


def orders(shop):
    """Creates orders and payments in every state that does not change with time."""
    shop.order(("A", 3, 255), customer_id="17850", country="United Kingdom", reference="allocated",
               metadata={"channel": "web"})
    shop.order(("A", 10_000, 255), ("B", 1, 100), expect=(409,))
    shop.order(("B", 1, 0), reference="free")
    shop.order(("B", 2, 500), ("POST", 1, 395, {"stocked": False}), reference="adjusted",
               adjustments=[{"code": "ten-off", "amount": -100}, {"code": "vat", "amount": 180}])
    shop.order(("A", 1, 100), ("A", 2, 90), ("C", 1, 100), customer_id="12345", placed_at="2010-12-01T08:26:00Z")
    shop.paid(("C", 4, 250), customer_id="17850", reference="paid")

    part = shop.paid(("C", 4, 250), ("D", 2, 100), reference="shipped in part")
    shop.at(part, "shipments", {"lines": [{"line": 1, "quantity": 3}], "carrier": "Royal Mail", "tracking_number": "RM1"})
    cut = shop.paid(("C", 4, 250), reference="shipped in part, rest cancelled")
    shop.at(cut, "shipments", {"lines": [{"line": 1, "quantity": 1}]})
    shop.at(cut, "cancel", {"note": "the rest is not wanted"})
    whole = shop.paid(("D", 2, 700), reference="shipped")
    shop.at(whole, "shipments")
    delivered = shop.paid(("D", 2, 700), reference="delivered")
    shipment = shop.at(delivered, "shipments")
    shop.at(delivered, "deliveries", {"shipment_id": shipment["shipment_id"]})
    returned = shop.paid(("D", 2, 700), ("C", 1, 50), reference="returned in part")
    shop.at(returned, "shipments")
    shop.at(returned, "returns", {"lines": [{"line": 1, "quantity": 1}], "reason": "too small"})
    shop.at(returned, "returns", {"lines": [{"line": 2, "quantity": 1, "restock": False}], "refund_amount": 20})
    all_back = shop.order(("D", 1, 700), reference="returned", payment={"method": "ok"})
    shop.wait_for(all_back, payment_status="paid")
    shop.at(all_back, "shipments")
    shop.at(all_back, "returns", {"lines": [{"line": 1, "quantity": 1}]})
    goodwill = shop.paid(("D", 1, 700), reference="refunded without a return")
    shop.at(goodwill, "refunds", {"amount": 100, "reason": "late"})
    for outcome, body in (("fail", {"reason": "account closed"}), ("succeed", {"reference": "cheque 1"})):
        settled = shop.paid(("D", 1, 700), reference=f"refund settled by hand: {outcome}")
        refund = shop.at(settled, "refunds", {"amount": 50})
        shop.money(settled, f"refunds/{refund['refund_id']}/{outcome}", body)

    shop.at(shop.order(("B", 1, 300), reference="cancelled unpaid"), "cancel", {"note": "changed my mind"})
    shop.at(shop.paid(("B", 1, 300), reference="cancelled paid"), "cancel")
    late = shop.order(("B", 1, 300), reference="expired", payment_due_at="2020-01-01T00:00:00Z")
    shop.wait_for(late, status="expired")

    big = [(f"L{n}", 1 + n % 3, n) for n in range(LINES)]
    shipped = shop.paid(*big, reference="long")
    for line in range(1, 41):
        shop.at(shipped, "shipments", {"lines": [{"line": line, "quantity": 1}]})


def payments(shop):
    by_hand = shop.order(("A", 1, 900), reference="authorized by hand")
    shop.money(by_hand, "authorize", {"amount": 900, "reference": "slip 1"})
    in_parts = shop.order(("A", 1, 900), reference="captured in parts")
    shop.money(in_parts, "authorize", {"amount": 900})
    shop.money(in_parts, "capture", {"amount": 400})
    shop.money(in_parts, "capture", {"amount": 100})
    voided = shop.order(("A", 1, 900), reference="voided by hand")
    shop.money(voided, "authorize")
    shop.money(voided, "void", {"reason": "asked for"})
    shop.wait_for(voided, status="cancelled")
    again = shop.order(("A", 1, 900), reference="failed, may be retried")
    shop.money(again, "fail", {"reason": "expired card", "retryable": True})
    failed = shop.order(("A", 1, 900), reference="failed for good")
    shop.money(failed, "fail", {"reason": "stolen"})
    shop.wait_for(failed, status="cancelled")

    for method in ("ok", "decline", "decline_soft", "needs_action", "slow", "lost_answer", "error_after"):
        shop.order(("B", 1, 450), reference=f"charged with {method}", payment={"method": method}, expect=(201,))
    once = shop.order(("B", 1, 450), reference="charged twice")
    shop.money(once, "charge", {"method": "decline_once"}, expect=(200, 202))
    shop.money(once, "charge", {"method": "decline_once"}, expect=(200, 202))
    held = shop.order(("B", 2, 450), reference="held by the provider", payment={"method": "ok", "capture": "manual"})
    shop.wait_for(held, status="allocated")
    taken = shop.order(("B", 2, 450), reference="captured at the provider in parts")
    shop.money(taken, "charge", {"method": "ok", "capture": "manual"})
    shop.money(taken, "capture", {"amount": 300})
    given_up = shop.order(("B", 2, 450), reference="voided at the provider")
    shop.money(given_up, "charge", {"method": "ok", "capture": "manual"})
    shop.money(given_up, "void", expect=(200, 202))
    shop.wait_for(given_up, status="cancelled")
    for method in ("refund_fails", "refund_pending"):
        order = shop.order(("B", 1, 450), reference=method)
        shop.money(order, "charge", {"method": method})
        shop.at(order, "refunds", {"amount": 200})
    cancelled = shop.order(("B", 1, 450), reference="cancelled after a charge")
    shop.money(cancelled, "charge", {"method": "ok"})
    shop.at(cancelled, "cancel")
    time.sleep(5)


def subscriptions(shop):
    """Creates four subscriptions without a running receiver: two stay enabled, one is disabled, one is deleted."""
    ids = []
    for number, types in enumerate((["order.*"], ["*"], ["payment.captured.v1"], ["order.placed.v1"])):
        body = {"url": f"http://127.0.0.1:{9 + number}/hooks", "event_types": types, "description": f"number {number}"}
        ids.append(shop.post("/v1/webhook-subscriptions", body)["subscription_id"])
    path = "/v1/webhook-subscriptions/"
    assert shop.server.call("command", "PATCH", path + ids[2], {"enabled": False})[0] == 200
    assert shop.server.call("command", "DELETE", path + ids[3])[0] == 204
    assert shop.server.call("command", "POST", path + f"{ids[0]}/rotate-secret", {},
                            {"Idempotency-Key": "earlier-rotation"})[0] == 200


def unfinished(shop):
    """Requests charges that the provider does not answer, so they are in doubt when the process is killed."""
    shop.server.sandbox("PUT", "/v1/script", {"outage": True})
    for number in range(3):
        order = shop.order(("A", 1, 450), reference=f"in doubt {number}")
        shop.money(order, "charge", {"method": "ok"}, expect=(202,))
    doubt = shop.paid(("A", 1, 450), reference="cancelled while a refund is open")
    shop.at(doubt, "cancel")
    time.sleep(1)


def left_placed(shop, data):
    """Places orders and kills the process before it allocates or rejects them."""
    everything = [(f"L{n}", 1, n) for n in range(LINES)]
    shop.order(*everything, reference="left placed", expect=(202,), headers={"Prefer": "respond-async"})
    shop.order(("A", 2, 10**6), ("NONE", 1, 1), reference="left placed, short", expect=(202,),
               headers={"Prefer": "respond-async"})
    shop.server.stop(signal.SIGKILL)
    with sqlite3.connect(f"file:{data}/events.db?mode=ro", uri=True) as log:
        last = "SELECT type FROM events e WHERE revision = (SELECT max(revision) FROM events WHERE stream_no = e.stream_no)"
        placed = [row for row in log.execute(last) if row[0] == "order.placed.v1"]
        kinds = {row[0] for row in log.execute("SELECT DISTINCT type FROM events")}
    assert placed, "the process manager was faster than the kill: run this again"
    print(f"{len(placed)} orders left placed, {len(kinds)} kinds of events")
    missing = KINDS - kinds
    assert not missing, missing


def expected(server):
    """Reads the answers that do not depend on the clock."""
    order = ("order_id", "status", "payment_status", "fulfilment_status", "total", "captured", "refunded", "reference")
    payment = ("payment_id", "order_id", "status", "amount", "authorized", "captured", "refunded")
    pick = lambda row, names: {name: row.get(name) for name in names}
    by = lambda rows, name: sorted(rows, key=lambda row: row[name])
    return {
        "orders": by([pick(row, order) for row in server.pages("/v1/orders")], "order_id"),
        "payments": by([pick(row, payment) for row in server.pages("/v1/payments")], "payment_id"),
        "stock": by(server.pages("/v1/stock"), "sku"),
        "sales": server.query("/v1/sales?currency=GBP")["total"],
    }


def drained(server):
    deadline = time.time() + 120
    while True:
        listed = server.pages("/v1/orders")
        waiting = [row for row in listed if row["status"] == "placed" or row["reference"] and
                   row["reference"].startswith("in doubt") and row["payment_status"] != "paid"]
        if not waiting:
            break
        assert time.time() < deadline, waiting
        time.sleep(0.2)
    time.sleep(3)


def main():
    assert not os.path.exists(FOLDER), f"{FOLDER} exists already"
    with tempfile.TemporaryDirectory() as scratch:
        data = os.path.join(scratch, "data")
        shop = Shop(Server(data))
        stock(shop)
        long_stream(shop)
        subscriptions(shop)
        orders(shop)
        payments(shop)
        unfinished(shop)
        left_placed(shop, data)

        os.makedirs(FOLDER)
        total = 0
        for path in sorted(os.path.join(parent, name) for parent, _, names in os.walk(data) for name in names):
            name = os.path.relpath(path, data)
            if NOT_KEPT.search(name):
                continue
            target = os.path.join(FOLDER, "data", name + ".zst")
            os.makedirs(os.path.dirname(target), exist_ok=True)
            subprocess.run(["zstd", "-q", "-19", path, "-o", target], check=True)
            total += os.path.getsize(target)
            print(f"{name}: {os.path.getsize(path)} bytes, {os.path.getsize(target)} compressed")
        print("total", total)

        server = Server(data)
        drained(server)
        kept = [request for request in shop.requests if request["path"] != "/v1/stock/LONG/receipts"]
        long = [request for request in shop.requests if request["path"] == "/v1/stock/LONG/receipts"]
        kept += long[:20] + long[len(long) // 2:len(long) // 2 + 20] + long[-20:]
        for request in kept:
            request["status"], request["answer"] = server.call(
                "command", "POST", request["path"], request["body"], {"Idempotency-Key": request["key"]})
        answers = {"requests.json": kept, "expected.json": expected(server)}
        server.stop(signal.SIGTERM)
        for name, content in answers.items():
            target = os.path.join(FOLDER, name + ".zst")
            subprocess.run(["zstd", "-q", "-19", "-o", target], input=json.dumps(content, indent=1).encode(), check=True)
        print(f"{len(shop.requests)} requests, {len(kept)} kept with their answers")


main()
