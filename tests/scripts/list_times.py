"""Times of lists, counts and pages with few and with many orders: run by list-times.sh."""

import contextlib
import html
import http.client
import multiprocessing
import os
import re
import subprocess
import sys
import time
from urllib.parse import urlencode, urlsplit, urlunsplit

from list_cases import Shop, lists, pages
from server import Server, percentile

BINARY, DIRECTORY, STORES = sys.argv[1], sys.argv[2], sys.argv[3].split(",")
FEW, MANY = (int(number) for number in sys.argv[4:6])
CLIENTS = 8
REQUESTS_MAX, SECONDS_MAX = 150, 0.8
# A p99 of many orders is refused if it is above both: this time, and twice that of few orders.
P99_MS_MAX, RATIO_MAX = 50, 2
FORMS = ["ship", "cancel", "refund"]
SHIPPED = 60


class Connection:
    """Keeps one connection alive, and measures whole answers."""

    def __init__(self, port):
        self.http = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self.cookies = {}

    def send(self, method, path, body=None, headers=None):
        """Returns the milliseconds until the last byte, the status and the body."""
        sent = {"cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items())} if self.cookies else {}
        begun = time.perf_counter()
        self.http.request(method, path, body, sent | (headers or {}))
        answer = self.http.getresponse()
        content = answer.read()
        took_ms = (time.perf_counter() - begun) * 1_000
        for cookie in answer.headers.get_all("set-cookie") or []:
            name, value = cookie.split(";")[0].split("=", 1)
            self.cookies[name] = value
        return took_ms, answer.status, content

    def get(self, path):
        took_ms, status, content = self.send("GET", path)
        if status != 200:
            raise SystemExit(f"{path} is answered with {status}: {content[:300]}")
        return took_ms, content


def read(port, paths, offset):
    """The times of these paths, one after another, on a connection of its own."""
    connection, times = Connection(port), []
    connection.get(paths[offset % len(paths)])
    end = time.monotonic() + SECONDS_MAX
    while len(times) < REQUESTS_MAX and time.monotonic() < end:
        times.append(connection.get(paths[(offset + len(times)) % len(paths)])[0])
    return times


def measure(pool, port, paths):
    """p50 and p99 of one client, and of eight at a time."""
    alone = read(port, paths, 0)
    together = sum(pool.starmap(read, [(port, paths, 7 * client) for client in range(CLIENTS)]), [])
    return [percentile(times, share) for times in (alone, together) for share in (0.5, 0.99)]


@contextlib.contextmanager
def running(settings, roles):
    with Server(BINARY, settings | ({"ORDERLY_ROLES": roles} if roles else {})) as server:
        server.start()
        yield server
        server.stop()


def fill(settings, orders):
    """Writes the history, unless an earlier run has left it there, and builds the read models."""
    done = os.path.join(settings["ORDERLY_DATA_DIR"], f"filled-{settings['STORE']}")
    if os.path.exists(done):
        return
    environment = os.environ | settings | {"ORDERLY_DEV": "1", "ORDERLY_LOG": "warn"}
    for arguments in (["dev", "write-history", "--orders", str(orders)], ["projections", "rebuild"]):
        print(f"{settings['STORE']}, {orders:,} orders: orderly {' '.join(arguments)}", flush=True)
        begun = time.monotonic()
        subprocess.run([BINARY, *arguments], env=environment, check=True)
        print(f"    took {time.monotonic() - begun:.0f} s", flush=True)
    open(done, "w").close()


def settings_of(store, orders):
    data_dir = os.path.join(DIRECTORY, str(orders))
    settings = {"ORDERLY_DATA_DIR": data_dir, "ORDERLY_PAYMENT_PROVIDER": "none", "STORE": store}
    if store == "postgres":
        server = os.environ["ORDERLY_TEST_POSTGRES"]
        name = f"list_times_{orders}"
        if not os.path.exists(os.path.join(data_dir, f"filled-{store}")):
            for statement in (f"DROP DATABASE IF EXISTS {name} WITH (FORCE)", f"CREATE DATABASE {name}"):
                subprocess.run(["psql", "-q", server, "-c", statement], check=True)
        parts = urlsplit(server)
        settings["ORDERLY_READ_MODELS"] = urlunsplit(parts._replace(path=f"/{name}"))
    return settings


def form_of(page):
    """The address and the fields of the form of an action."""
    form = re.search(r'<form class="stack" method="post" action="([^"]+)".*?</form>', page, re.S)
    fields = {}
    for field in re.findall(r"<input [^>]+>", form[0]):
        name, value = (re.search(f' {attribute}="([^"]*)"', field) for attribute in ("name", "value"))
        fields[name[1]] = html.unescape(value[1])
    return html.unescape(form[1]), fields


def ship(port, orders):
    """The times of the form and of the action, for each of these orders."""
    connection, forms, actions = Connection(port), [], []
    for order in orders:
        took_ms, page = connection.get(f"/orders/{order}/ship")
        forms.append(took_ms)
        address, fields = form_of(page.decode())
        headers = {"content-type": "application/x-www-form-urlencoded", "origin": f"http://127.0.0.1:{port}"}
        took_ms, status, content = connection.send("POST", address, urlencode(fields), headers)
        if status != 303:
            raise SystemExit(f"{address} is answered with {status}: {content[-2_000:]}")
        actions.append(took_ms)
    return forms, actions


def times_of(store, orders, pool):
    """The times of every case, in the order of the cases."""
    settings = settings_of(store, orders)
    fill(settings, orders)
    times = {}
    # Without the process manager, the latest orders stay as they are, and no page waits for the processor while it works
    # off the overdue orders of the whole history. Forms are shown without a call to the command API.
    with running(settings | {"ORDERLY_COMMAND_URL": "http://127.0.0.1:9"}, "query-api") as server:
        shop, port = Shop(server, orders), server.ports["query"]
        for name, paths in [*lists(shop), *pages(shop, FORMS)]:
            times[name] = measure(pool, port, paths)
            report(store, orders, name, times[name])
    with running(settings, None) as server:
        port = server.ports["query"]
        to_ship = shop.ids(server, "/v1/orders?work=to_ship&limit=200")[:SHIPPED]
        for name, taken in zip(("form of a shipment, then sent", "shipment from its page"), ship(port, to_ship)):
            times[name] = [percentile(taken, 0.5), percentile(taken, 0.99), None, None]
            report(store, orders, name, times[name])
    return times


def report(store, orders, name, times):
    cells = ["-" if one is None else f"{one:.1f}" for one in times]
    print(f"    {store} {orders:>9,} {name:<62} {' '.join(f'{cell:>7}' for cell in cells)}", flush=True)


def table(store, few, many):
    """Prints the table, and returns the cases that fail."""
    failures = []
    print(f"\n{store}: ms with {FEW:,} orders, with {MANY:,}, and the ratio of the p99")
    print(f"{'':<62} {'p50':>7} {'p99':>7} {'p50':>8} {'p99':>7} {'ratio':>6}   8 clients: {'p99':>7} {'p99':>7} {'ratio':>6}")
    for name, (p50, p99, _, p99_of_8) in many.items():
        p50_few, p99_few, _, p99_of_8_few = few[name]
        row = f"{name:<62} {p50_few:>7.1f} {p99_few:>7.1f} {p50:>8.1f} {p99:>7.1f} {p99 / p99_few:>6.1f}"
        if p99_of_8 is not None:
            row += f"{'':>14} {p99_of_8_few:>7.1f} {p99_of_8:>7.1f} {p99_of_8 / p99_of_8_few:>6.1f}"
        if p99 > P99_MS_MAX and p99 > RATIO_MAX * p99_few:
            failures.append(f"{store}: {name}: p99 of {p99:.1f} ms, {p99 / p99_few:.1f} times that of few orders")
            row += "  FAILS"
        print(row)
    return failures


def main():
    failures = []
    with multiprocessing.Pool(CLIENTS) as pool:
        for store in STORES:
            few, many = times_of(store, FEW, pool), times_of(store, MANY, pool)
            failures += table(store, few, many)
    if failures:
        raise SystemExit("\n".join(failures))


if __name__ == "__main__":
    main()
