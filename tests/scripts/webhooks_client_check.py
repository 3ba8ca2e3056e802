"""Receives webhooks of the orderly binary and verifies them with the official library for Standard Webhooks.

Usage: webhooks_client_check.py BINARY
"""

import json
import pathlib
import re
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from standardwebhooks import Webhook
from standardwebhooks.webhooks import WebhookVerificationError

PATIENCE_S = 60


class Receiver:
    """Stores the bytes of each request. Answers 204, or 500 while `failing` is set."""

    def __init__(self):
        self.received = []
        self.failing = False
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                if not receiver.failing:
                    receiver.received.append((dict(self.headers), body))
                self.send_response(500 if receiver.failing else 204)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"

    def until(self, what, condition):
        deadline = time.monotonic() + PATIENCE_S
        while not condition(self.received):
            if time.monotonic() > deadline:
                raise AssertionError(f"not received within {PATIENCE_S} s: {what}; received {self.received}")
            time.sleep(0.02)


class Server:
    def __init__(self, binary, data_dir):
        self.arguments = [binary, "serve", "--data-dir", data_dir, "--webhooks-allow-private", "--log", "warn"]
        self.arguments += ["--command-listen", "127.0.0.1:0", "--query-listen", "127.0.0.1:0"]
        self.start()

    def start(self):
        self.process = subprocess.Popen(self.arguments, stdout=subprocess.PIPE, text=True)
        for line in self.process.stdout:
            found = re.search(r"command API +(http://\S+)", line)
            if found:
                self.url = found.group(1)
                return
        raise AssertionError("the server ended before it printed its address")

    def kill(self):
        self.process.kill()
        self.process.wait()

    def terminate(self):
        self.process.terminate()
        assert self.process.wait(PATIENCE_S) == 0

    def send(self, method, path, key, body=None):
        headers = {"content-type": "application/json", "idempotency-key": key}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            return json.load(answer)

    def order(self, key):
        self.send("POST", "/v1/stock/A/receipts", f"stock {key}", {"quantity": 1})
        line = {"sku": "A", "quantity": 1, "unit_price": 100}
        return self.send("POST", "/v1/orders", key, {"currency": "GBP", "lines": [line]})["order_id"]


def has(order, count):
    def condition(received):
        bodies = [json.loads(body) for _, body in received]
        return sum(body["data"]["order_id"] == order for body in bodies) >= count

    return condition


def refuses(webhook, body, headers):
    try:
        webhook.verify(body, headers)
    except WebhookVerificationError:
        return True
    return False


def main(binary):
    receiver = Receiver()
    with tempfile.TemporaryDirectory() as data_dir:
        server = Server(binary, data_dir)
        try:
            check(server, receiver, binary, data_dir)
        finally:
            server.kill()
    print(f"{len(receiver.received)} webhooks verified with the official Python library")


def check(server, receiver, binary, data_dir):
    wanted = ["order.placed.v2", "order.allocated.v1"]
    body = {"url": receiver.url, "event_types": wanted}
    made = server.send("POST", "/v1/webhook-subscriptions", "subscribe", body)
    path = f"/v1/webhook-subscriptions/{made['subscription_id']}"
    first = Webhook(made["secret"])

    order = server.order("one")
    receiver.until("the first order", has(order, 2))
    for headers, body in receiver.received:
        event = first.verify(body, headers)
        assert event["type"] in wanted and event["data"]["order_id"] == order, event
        assert refuses(first, body.replace(b"order", b"orders", 1), headers)
        assert refuses(first, body, {**headers, "webhook-id": "msg_another"})
        assert refuses(Webhook("whsec_" + "A" * 44), body, headers)

    # For a while after a rotation, both secrets verify.
    rotated = server.send("POST", f"{path}/rotate-secret", "rotate", {})
    second = Webhook(rotated["secret"])
    assert rotated["secret"] != made["secret"]
    order = server.order("two")
    receiver.until("the second order", has(order, 2))
    for headers, body in receiver.received[2:]:
        assert first.verify(body, headers) == second.verify(body, headers)
    assert refuses(second, receiver.received[0][1], receiver.received[0][0])

    # The receiver is down, the server is killed, and the read models are rebuilt.
    receiver.failing = True
    order = server.order("three")
    server.kill()
    rebuilt = subprocess.run([binary, "projections", "rebuild", "--data-dir", data_dir], capture_output=True)
    assert rebuilt.returncode == 0, rebuilt
    receiver.failing = False
    server.start()
    receiver.until("the third order", has(order, 2))
    by_id = {headers["webhook-id"]: first.verify(body, headers) for headers, body in receiver.received}
    numbers = sorted(event["data"]["sequence"] for event in by_id.values() if event["data"]["order_id"] == order)
    assert numbers == [1, 2], numbers
    assert len(by_id) == 6, by_id
    log = server.send("GET", f"{path}/deliveries", "")
    assert {one["delivery_id"] for one in log["items"]} == set(by_id), log
    assert server.send("GET", path, "")["subscription_id"] == made["subscription_id"]
    server.terminate()


if __name__ == "__main__":
    main(str(pathlib.Path(sys.argv[1]).resolve()))
