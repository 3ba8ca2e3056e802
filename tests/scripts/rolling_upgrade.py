"""Replaces the roles of an earlier build by those of this one: run by rolling-upgrade.sh.

Usage: rolling_upgrade.py BINARY FIXTURE EARLIER_BINARY READ_MODELS BUS
"""

import collections
import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

from prometheus import free_port
from server import Server, event_store, until

BINARY, FIXTURE, EARLIER_BINARY, READ_MODELS, BUS = sys.argv[1:]
BUILDS = {"earlier": EARLIER_BINARY, "this": BINARY}
PLANTED = "order.due_moved.v1"
CLIENTS = 4
# Each client places an order, ships it and makes two queries, again and again with this pause.
PAUSE_S = 0.1
# A partition moves to another process within the session time of Kafka's clients, and a standby relay takes over
# within 12 s.
PATIENCE_S = 90
# The load goes on for so long between two steps.
STEADY_S = 2.0
DUE = "2039-01-01T00:00:00Z"
LINE = {"sku": "A", "quantity": 1, "unit_price": 250}


class Platform(Server):
    """The processes of both builds, each with one role, an API address and an admin address of its own."""

    def __init__(self, settings):
        super().__init__(BINARY, settings)
        self.processes, self.addresses, self.failures, self.sent, self.held_back = {}, {}, [], 0, 0
        # Which process answers for each API: clients send their requests to its address.
        self.front = {"command": ("earlier", "command-api"), "query": ("earlier", "query-api")}

    def __exit__(self, *failure):
        for process in self.processes.values():
            process.kill()
            process.wait()
        if failure[0]:
            for name in sorted(os.listdir(self.home)):
                if name.endswith(".log"):
                    print(f"{name}: {open(os.path.join(self.home, name)).read()[-1500:]}", file=sys.stderr)
        super().__exit__()

    def start_role(self, build, role):
        """Starts a process, and waits until it is ready."""
        address, admin = (f"127.0.0.1:{free_port()}" for _ in range(2))
        self.addresses[build, role] = address
        log = open(os.path.join(self.home, f"{role}-{build}.log"), "ab")
        listen = [f"--{api}-listen={address}" for api in ("command", "query")] + [f"--admin-listen={admin}"]
        process = subprocess.Popen([os.path.abspath(BUILDS[build]), "serve", "--roles", role, *listen],
                                   env=self.environment(), stdout=log, stderr=log)
        self.processes[build, role] = process

        def is_ready():
            if process.poll() is not None:
                raise SystemExit(f"{role} of the {build} build has ended: {open(log.name).read()[-2000:]}")
            try:
                return urllib.request.urlopen(f"http://{admin}/readyz", timeout=5).status == 200
            except OSError:
                return False

        until(f"{role} of the {build} build is ready", is_ready, 60)

    def stop_role(self, build, role):
        process = self.processes.pop((build, role))
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0, f"{role} of the {build} build has failed"

    def replace(self, role):
        self.start_role("this", role)
        time.sleep(STEADY_S)
        self.stop_role("earlier", role)

    def send(self, process, method, path, body=None, key=None):
        """Returns the status and the answer."""
        headers = {"content-type": "application/json"} | ({"idempotency-key": key} if key else {})
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://{self.addresses[process]}{path}", data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as answer:
            return answer.code, answer.read().decode()

    def well(self, api, method, path, body=None, key=None, process=None):
        """Sends a request that must not fail. While projectors restart, the earlier build may refuse some new orders,
        also without an upgrade; they are sent again."""
        while True:
            self.sent += 1
            build, role = process or self.front[api]
            status, answer = self.send((build, role), method, path, body, key)
            if status in (200, 201):
                return answer
            if build == "this" or "projections_behind" not in answer:
                raise OSError(f"{method} {path}: {status} {answer}")
            self.held_back += 1
            time.sleep(1)

    def place(self, key, process=None):
        order = {"currency": "GBP", "terms": "net", "payment_due_at": DUE, "lines": [LINE]}
        return self.well("command", "POST", "/v1/orders", order, key, process)

    def parked_streams(self):
        return {row["stream"] for row in self.well("query", "GET", "/v1/projections")["parked"]}

    def parked_reactions(self):
        page = self.well("command", "GET", "/v1/reactions/parked?limit=200")
        return {row["stream"] for row in page["items"]}

    def drained(self):
        rows = self.well("query", "GET", "/v1/projections")["projections"]
        return bool(rows) and all(row["lag_events"] == 0 for row in rows)


class Receiver(http.server.ThreadingHTTPServer):
    """Counts the webhooks of each type, each event once."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Receiver.Handler)
        self.events = collections.defaultdict(set)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            self.server.events[body["type"]].add(body["data"]["event_id"])
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            pass


class Load:
    """Clients that place orders, ship them and make queries. `orders` has the id and the revision of each."""

    def __init__(self, platform):
        self.platform, self.orders, self.stopped = platform, [], threading.Event()
        self.threads = [threading.Thread(target=self.run, args=(number,)) for number in range(CLIENTS)]
        for thread in self.threads:
            thread.start()

    def run(self, number):
        count = 0
        while not self.stopped.wait(PAUSE_S):
            try:
                self.orders.append(self.one(f"{number}/{count}"))
            except OSError as error:
                self.platform.failures.append(repr(error))
            count += 1

    def one(self, key):
        order_id = self.platform.place(key)["order_id"]
        shipped = self.platform.well("command", "POST", f"/v1/orders/{order_id}/shipments", {}, f"ship {key}")
        self.platform.well("query", "GET", "/v1/orders?limit=5")
        self.platform.well("query", "GET", "/v1/stock/A")
        return order_id, shipped["revision"]

    def end(self):
        self.stopped.set()
        for thread in self.threads:
            thread.join()


class Planting:
    """Orders with an event that the earlier build does not know."""

    def __init__(self, platform):
        self.platform, self.orders, self.worst_s = platform, {}, 0.0

    def streams(self):
        return {f"order-{order_id}" for order_id in self.orders}

    def plant(self, count):
        """The present build stores the event: a canary that has begun before its turn. Returns the streams."""
        canary, planted = ("this", "command-api"), set()
        for _ in range(count):
            key = f"planted {len(self.orders)}"
            order_id = self.platform.place(key, canary)["order_id"]
            due = f"2040-01-01T00:00:{len(self.orders) % 60:02}Z"
            moved = self.platform.well("command", "POST", f"/v1/orders/{order_id}/due", {"payment_due_at": due},
                                       f"due {key}", canary)
            self.orders[order_id] = (due, moved["revision"])
            planted.add(f"order-{order_id}")
        return planted

    def ship(self, streams):
        """Adds events that both builds know behind the planted ones."""
        for stream in streams:
            order_id = stream.removeprefix("order-")
            shipped = self.platform.well("command", "POST", f"/v1/orders/{order_id}/shipments", {},
                                         f"ship planted {order_id}", ("this", "command-api"))
            self.orders[order_id] = (self.orders[order_id][0], shipped["revision"])

    def others_go_on(self):
        """An order of now reaches the rows and the webhooks."""
        begun = time.monotonic()
        order_id = self.platform.place(f"probe {begun}")["order_id"]
        path = f"/v1/orders/{order_id}"
        until("a new order is visible", lambda: self.platform.send(self.platform.front["query"], "GET", path)[0] == 200,
              PATIENCE_S)
        self.worst_s = max(self.worst_s, time.monotonic() - begun)
        self.only_these_are_parked()

    def only_these_are_parked(self):
        for what, parked in (("streams", self.platform.parked_streams()),
                             ("reactions", self.platform.parked_reactions())):
            assert parked <= self.streams(), f"other {what} are parked: {parked - self.streams()}"

    def none_is_parked(self, what, parked):
        begun = time.monotonic()
        until(f"the {what} are resumed", lambda: not parked(), PATIENCE_S)
        print(f"the {what} were resumed within {time.monotonic() - begun:.1f} s")


def main():
    receiver = Receiver()
    with event_store(FIXTURE) as esdb:
        settings = {"ORDERLY_EVENT_STORE": esdb, "ORDERLY_BUS": BUS, "ORDERLY_READ_MODELS": READ_MODELS,
                    "ORDERLY_WEBHOOKS_ALLOW_PRIVATE": "true", "ORDERLY_PAYMENT_PROVIDER": "none"}
        with Platform(settings) as platform:
            for role in ("command-api", "relay", "process-manager", "projectors", "webhooks", "query-api"):
                platform.start_role("earlier", role)
            hook = {"url": f"http://127.0.0.1:{receiver.server_port}/", "event_types": ["order.*"]}
            platform.well("command", "POST", "/v1/webhook-subscriptions", hook, "hook")
            platform.well("command", "POST", "/v1/stock/A/receipts", {"quantity": 1_000_000}, "po-1")
            until("the stock is visible",
                  lambda: platform.send(platform.front["query"], "GET", "/v1/stock/A")[0] == 200, PATIENCE_S)
            load = Load(platform)
            try:
                planting = upgrade(platform, receiver)
            finally:
                load.end()
            check(platform, load, planting, receiver)


def upgrade(platform, receiver):
    planting = Planting(platform)
    time.sleep(STEADY_S)
    platform.start_role("this", "command-api")
    first = planting.plant(4)
    until("the earlier build parks the streams", lambda: platform.parked_streams() == first, PATIENCE_S)
    until("the earlier build parks the reactions", lambda: platform.parked_reactions() == first, PATIENCE_S)
    planting.ship(first)
    until("its webhooks are sent", lambda: len(receiver.events[PLANTED]) == len(first), PATIENCE_S)
    planting.others_go_on()
    print(f"the earlier build has parked the {len(first)} streams with events of the type {PLANTED}")

    platform.start_role("this", "projectors")
    second = planting.plant(12)
    planting.others_go_on()
    print(f"beside each other, the projectors leave {len(platform.parked_streams())} of {len(planting.orders)} streams "
          "parked")
    platform.stop_role("earlier", "projectors")
    planting.none_is_parked("streams", platform.parked_streams)
    # The partitions go back to the earlier build, which applies the later events.
    platform.start_role("earlier", "projectors")
    platform.stop_role("this", "projectors")
    planting.ship(second)
    planting.others_go_on()
    until("the rows have them", lambda: visible(platform, planting), PATIENCE_S)
    assert not platform.parked_streams(), "the earlier build has parked a resumed stream again"
    planting.plant(4)
    planting.others_go_on()
    platform.replace("projectors")
    planting.none_is_parked("streams", platform.parked_streams)

    for role in ("webhooks", "relay"):
        platform.replace(role)
        planting.others_go_on()
    platform.start_role("this", "process-manager")
    planting.plant(12)
    planting.others_go_on()
    print(f"beside each other, the process managers leave {len(platform.parked_reactions())} of {len(planting.orders)} "
          "reactions parked")
    platform.stop_role("earlier", "process-manager")
    planting.none_is_parked("reactions", platform.parked_reactions)
    platform.start_role("this", "query-api")
    platform.front["query"] = ("this", "query-api")
    time.sleep(STEADY_S)
    platform.stop_role("earlier", "query-api")
    platform.front["command"] = ("this", "command-api")
    time.sleep(STEADY_S)
    platform.stop_role("earlier", "command-api")
    planting.others_go_on()
    time.sleep(STEADY_S)
    return planting


def visible(platform, planting):
    """True if the rows have every event of the planted orders."""
    for order_id, (due, revision) in planting.orders.items():
        status, order = platform.send(platform.front["query"], "GET", f"/v1/orders/{order_id}")
        if status != 200 or order["revision"] < revision:
            return False
        assert order["payment_due_at"] == due, order
    return True


def check(platform, load, planting, receiver):
    until("the rows have every event", platform.drained, PATIENCE_S)
    until("the rows have every planted event", lambda: visible(platform, planting), PATIENCE_S)
    placed = {order_id for order_id, _ in load.orders}
    assert not platform.parked_streams() and not platform.parked_reactions()
    until("a webhook was sent for each planted event", lambda: len(receiver.events[PLANTED]) == len(planting.orders),
          PATIENCE_S)
    until("a webhook was sent for each shipment", lambda: len(receiver.events["order.shipped.v1"]) >= len(placed),
          PATIENCE_S)
    assert not platform.failures, f"{len(platform.failures)} requests failed, the first with {platform.failures[0]}"
    code, output, _, _ = platform.run("audit", "verify")
    assert code == 0, output
    print(f"{platform.held_back} new orders were held back by the earlier build for a second")
    print(f"no other request of {platform.sent} failed; {len(placed)} orders beside {len(planting.orders)} with the "
          f"event were visible within {planting.worst_s:.1f} s")
    print(output.strip().splitlines()[-1])


main()
