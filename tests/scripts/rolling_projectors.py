"""The load and the figures of rolling-projectors.sh.

Usage: rolling_projectors.py load COMMAND_URL DIRECTORY
       rolling_projectors.py waits DIRECTORY
"""

import bisect
import collections
import http.client
import json
import os
import sys
import threading
import time

CLIENTS, ORDERS_PER_S = 4, 40
SKUS = [f"SKU-{number}" for number in range(60)]
WAIT_MS_MAX = int(os.environ.get("ORDERLY_WAIT_MS_MAX", "1000"))


def post(connection, path, body, key):
    connection.request("POST", path, json.dumps(body), {"content-type": "application/json", "idempotency-key": key})
    answer = connection.getresponse()
    text = answer.read()
    assert answer.status in (200, 201), (answer.status, text)


def load(url, directory):
    """Places orders at a constant rate until the file `stop` is there."""
    address = url.removeprefix("http://")
    connection = http.client.HTTPConnection(address, timeout=60)
    for sku in SKUS:
        post(connection, f"/v1/stock/{sku}/receipts", {"quantity": 1_000_000}, sku)

    def place(client):
        connection, number, due = http.client.HTTPConnection(address, timeout=60), client, time.monotonic()
        while not os.path.exists(f"{directory}/stop"):
            lines = [{"sku": SKUS[number % len(SKUS)], "quantity": 1, "unit_price": 100}]
            post(connection, "/v1/orders", {"currency": "EUR", "lines": lines}, f"order-{number}")
            number, due = number + CLIENTS, due + CLIENTS / ORDERS_PER_S
            time.sleep(max(0, due - time.monotonic()))

    clients = [threading.Thread(target=place, args=(client,)) for client in range(CLIENTS)]
    for client in clients:
        client.start()
    open(f"{directory}/loaded", "w").close()
    for client in clients:
        client.join()


def waits(directory):
    """Prints, for each phase, how long events waited between their append and the commit of their row."""
    samples = collections.defaultdict(list)
    for line in open(f"{directory}/checkpoints"):
        if line.count("|") == 2:
            at, partition, position = line.strip().split("|")
            samples[partition].append((int(position or -1), float(at)))
    phases = [line.strip().split(" ", 1) for line in open(f"{directory}/phases")]
    begins = [float(begin) for begin, _ in phases]
    found = [collections.defaultdict(list) for _ in phases]
    for line in open(f"{directory}/events"):
        partition, offset, recorded_ms = line.split()
        recorded, phase = int(recorded_ms) / 1000, bisect.bisect(begins, int(recorded_ms) / 1000) - 1
        if phase >= 0:
            commit = bisect.bisect_left(samples[partition], (int(offset), 0))
            found[phase][partition].append(samples[partition][commit][1] - recorded)
    failed = False
    print(f"{'events wait for their rows, in ms, during':<44} {'p50':>6} {'p99':>6} {'longest':>8}  partitions over a second")
    for (_, what), partitions in zip(phases, found):
        if what == "-":
            continue
        every = sorted(wait for waits in partitions.values() for wait in waits)
        longest, slow = every[-1], sum(max(waits) > 1 for waits in partitions.values())
        row = [f"{1000 * wait:.0f}" for wait in (every[len(every) // 2], every[len(every) * 99 // 100], longest)]
        print(f"{what:<44} {row[0]:>6} {row[1]:>6} {row[2]:>8}  {slow} of {len(partitions)}")
        failed |= "restart" in what and longest * 1000 > WAIT_MS_MAX
    if failed:
        raise SystemExit(f"an event waited longer than {WAIT_MS_MAX} ms")


if __name__ == "__main__":
    {"load": load, "waits": waits}[sys.argv[1]](*sys.argv[2:])
