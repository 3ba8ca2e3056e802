"""Restarts the processes behind HAProxy while clients send requests: run by rolling-restart.sh."""

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

from server import until

CONFIG = "infra/deploy/haproxy/haproxy.cfg"
# Debian installs it in a directory that users may not search.
HAPROXY = shutil.which("haproxy", path=f"{os.environ['PATH']}:/usr/sbin")
OWNER = "command-api,process-manager,projectors,webhooks,sandbox"
CLIENTS = 4
# The load goes on for so long before and after each restart.
STEADY_S = 1.0


def free_address():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


class Process:
    """One `orderly serve` with an address that stays the same over restarts."""

    def __init__(self, binary, home, roles, address, settings):
        self.address, self.log = address, open(f"{home}/{roles[:9]}-{address[10:]}.log", "ab")
        self.command = [os.path.abspath(binary), "serve", "--roles", roles]
        api = "QUERY" if roles == "query-api" else "COMMAND"
        self.environment = {**os.environ, "ORDERLY_DATA_DIR": f"{home}/data", "ORDERLY_LOG": "warn",
                            f"ORDERLY_{api}_LISTEN": address, **settings}

    def start(self):
        self.process = subprocess.Popen(self.command, env=self.environment, stdout=self.log, stderr=self.log)
        until("the process is ready", self.is_ready, 30)

    def is_ready(self):
        if self.process.poll() is not None:
            raise SystemExit("a process has ended: " + open(self.log.name).read()[-2000:])
        try:
            return urllib.request.urlopen(f"http://{self.address}/readyz", timeout=5).status == 200
        except OSError:
            return False

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(60) == 0


class Load:
    """Clients that send requests one after another, on connections that stay open, and send no request again."""

    def __init__(self, send):
        self.send, self.stopped = send, threading.Event()
        self.answers, self.failures = [], []
        self.threads = [threading.Thread(target=self.run, args=(number,)) for number in range(CLIENTS)]
        for thread in self.threads:
            thread.start()

    def run(self, number):
        count = 0
        while not self.stopped.is_set():
            begun = time.monotonic()
            try:
                status, result = self.send(number, count)
                if status not in (200, 201):
                    self.failures.append(f"{status}: {result}")
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(repr(error))
                result = None
            self.answers.append((time.monotonic() - begun, f"{number}/{count}", result))
            count += 1

    def end(self):
        self.stopped.set()
        for thread in self.threads:
            thread.join()

    def longest_s(self):
        return max(seconds for seconds, _, _ in self.answers)


class Client:
    """Sends requests to one address; each thread has its own connection."""

    def __init__(self, address):
        self.address, self.connections = address, threading.local()

    def send(self, method, path, body=None, key=None):
        connection = self.connections.__dict__.get("one")
        if connection is None:
            connection = http.client.HTTPConnection(self.address, timeout=60)
            self.connections.one = connection
        headers = {"content-type": "application/json"} | ({"idempotency-key": key} if key else {})
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read()), answer.headers
        except (OSError, http.client.HTTPException):
            del self.connections.one
            raise


def restart(process, what, load):
    time.sleep(STEADY_S)
    before, begun = len(load.answers), time.monotonic()
    process.stop()
    stopped = time.monotonic()
    process.start()
    ready = time.monotonic()
    print(f"{what}: stopped within {stopped - begun:.1f} s, ready {ready - stopped:.1f} s later, "
          f"{len(load.answers) - before} requests meanwhile")


def measured(status, series):
    """A value that HAProxy shows. None while it starts."""
    try:
        text = urllib.request.urlopen(f"http://{status}/metrics").read().decode()
    except OSError:
        return None
    return next((float(line.split()[-1]) for line in text.splitlines() if line.startswith(series + " ")), None)


def until_up(status, server):
    """Waits until HAProxy sends requests to a server of the query APIs."""
    series = f'haproxy_server_status{{proxy="queries",server="{server}",state="UP"}}'
    until(f"HAProxy uses {server}", lambda: measured(status, series) == 1, 30)


def main():
    binary = sys.argv[1]
    addresses = {name: free_address() for name in
                 ("QUERY_LISTEN", "QUERY_1", "QUERY_2", "COMMAND_LISTEN", "COMMAND", "STATUS_LISTEN")}
    home = tempfile.mkdtemp(prefix="orderly-")
    writer = Process(binary, home, OWNER, addresses["COMMAND"], {"ORDERLY_SANDBOX_LISTEN": "127.0.0.1:0"})
    drain = {"ORDERLY_DRAIN_DELAY": "2s"}
    queries = {name: Process(binary, home, "query-api", addresses[address], drain)
               for name, address in (("one", "QUERY_1"), ("two", "QUERY_2"))}
    started = []
    try:
        for process in (writer, *queries.values()):
            process.start()
            started.append(process)
        haproxy = subprocess.Popen([HAPROXY, "-db", "-f", CONFIG], env={**os.environ, **addresses})
        started.append(haproxy)
        for name in queries:
            until_up(addresses["STATUS_LISTEN"], name)
        check(Client(addresses["COMMAND_LISTEN"]), Client(addresses["QUERY_LISTEN"]), writer, queries,
              addresses["STATUS_LISTEN"])
    finally:
        for process in reversed(started):
            process = getattr(process, "process", process)
            process.kill()
            process.wait()
        shutil.rmtree(home, ignore_errors=True)


def check(command, query, writer, queries, status):
    command.send("POST", "/v1/stock/A/receipts", {"quantity": 1_000_000}, "po-1")
    until("the stock is visible", lambda: query.send("GET", "/v1/stock/A")[0] == 200, 30)
    order = {"currency": "GBP", "lines": [{"sku": "A", "quantity": 1, "unit_price": 250}]}
    reads = Load(lambda number, count: query.send("GET", "/v1/stock/A")[:2])
    orders = Load(lambda number, count: command.send("POST", "/v1/orders", order, f"{number}/{count}")[:2])
    try:
        for name, process in queries.items():
            restart(process, f"query API {name}", reads)
            until_up(status, name)
        restart(writer, "writer", orders)
        time.sleep(STEADY_S)
    finally:
        reads.end()
        orders.end()
    print(f"{len(reads.answers)} queries, the longest {reads.longest_s():.1f} s; {len(orders.answers)} orders, the "
          f"longest {orders.longest_s():.1f} s")
    failures = reads.failures + orders.failures
    assert not failures, f"{len(failures)} requests failed, the first with {failures[0]}"
    for kind in ("retry", "redispatch"):
        repeated = measured(status, f'haproxy_backend_{kind}_warnings_total{{proxy="queries"}}')
        assert repeated == 0, f"HAProxy sent {repeated} queries again: a query API went before HAProxy knew that"
    # Each order was placed once: a retry finds it, and the stock has lost one unit for each.
    for _, key, placed in orders.answers[:: max(1, len(orders.answers) // 200)]:
        again, found, headers = command.send("POST", "/v1/orders", order, key)
        assert (again, found, headers["idempotent-replayed"]) == (201, placed, "true"), key
    until("the stock has every order", lambda: query.send("GET", "/v1/stock/A")[1]["reserved"] == len(orders.answers), 30)
    print("no request failed, and each order was placed once")


main()
