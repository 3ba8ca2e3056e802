"""Compares a SKU that has a long stream with a new one: run by long-stream.sh.

Writes EVENTS events into one stream: reservations and releases, and at the end RECEIPTS keyed receipts. Then sends
receipts, repeated receipts and orders, in turns to this SKU and to a new one, while other clients order other SKUs.
With FIXTURE, the path of `eventstoredb-fixture`, the events are in EventStoreDB.
"""

import itertools
import json
import os
import random
import sys
import threading
import time
import uuid

from server import Server, event_store, percentile, until

BINARY, EVENTS, RECEIPTS, FIXTURE = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
SAMPLES, OTHERS = 2_000, 20
# An append has at most 1 MiB.
EVENTS_PER_APPEND = 1_000
RANDOM = random.Random(1)


def main():
    with event_store(FIXTURE) as url, Server(BINARY, {"ORDERLY_EVENT_STORE": url} if url else {}) as server:
        server.start()
        for sku, quantity in [("LONG", 1_000_000), ("NEW", 1_000_000)] + [(f"OTHER-{n}", 1_000_000) for n in range(OTHERS)]:
            receive(server, sku, quantity, f"first-{sku}")
        server.stop()
        begun = time.monotonic()
        revision = write_events(server)
        print(f"{revision + 1} events in the stream, written in {time.monotonic() - begun:.0f} s")
        print(f"first start: {server.start():.2f} s")
        until("the read models are up to date", lambda: server.query("/v1/stock/LONG").body["revision"] == revision)
        first = timed(lambda: receive(server, "LONG", 1, "after the start"))
        print(f"first receipt, which reads the stream: {first:.0f} ms; memory {server.memory_mib()} MiB")
        server.stop()
        print(f"second start: {server.start():.2f} s")
        print(f"first receipt after it: {timed(lambda: receive(server, 'LONG', 1, 'again')):.1f} ms")
        measure(server)
        print(f"memory {server.memory_mib()} MiB")


def write_events(server):
    """Returns the revision of the last event."""
    if url := server.settings.get("ORDERLY_EVENT_STORE"):
        append_events(url)
    else:
        path = os.path.join(server.home, "events.jsonl")
        with open(path, "w") as file:
            for event in long_stream():
                file.write(json.dumps({"stream": "stock-LONG", **event}) + "\n")
        server.settings["ORDERLY_DEV"] = "1"
        code, output, *_ = server.run("dev", "write-event", "--file", path)
        if code:
            raise SystemExit(output)
    return 2 * ((EVENTS - RECEIPTS) // 2) + RECEIPTS


def append_events(url):
    # Installed only for runs over EventStoreDB.
    from kurrentdbclient import KurrentDBClient, NewEvent
    client, version, events = KurrentDBClient(url), 0, long_stream()
    encoded = lambda value: json.dumps(value, separators=(",", ":")).encode()
    while some := list(itertools.islice(events, EVENTS_PER_APPEND)):
        some = [NewEvent(type=event["type"], data=encoded(event["data"]), metadata=encoded(event["metadata"])) for event in some]
        client.append_to_stream("stock-LONG", current_version=version, events=some)
        version += len(some)
    client.close()


def long_stream():
    """The events after the first receipt."""
    identify = lambda: str(uuid.UUID(int=RANDOM.getrandbits(128), version=4))
    event = lambda kind, data, metadata: {"type": f"stock.{kind}.v1", "data": data, "metadata": metadata}
    for _ in range((EVENTS - RECEIPTS) // 2):
        order, caused = identify(), {"correlation_id": identify(), "causation_id": identify()}
        data = {"order_id": order, "quantity": 1}
        yield event("reserved", data, {"command_id": identify(), "command": "stock.reserve", **caused})
        yield event("released", data, {"command_id": identify(), "command": "stock.release", **caused})
    for number in range(RECEIPTS):
        command_id = identify()
        idempotency = {"key": command_id, "fingerprint": f"{number:064x}", "schema": 1}
        yield event("received", {"quantity": 1}, {"command_id": command_id, "command": "stock.receive",
                                                  "correlation_id": identify(), "idempotency": idempotency})


def measure(server):
    stopping, others = threading.Event(), []

    def order_others():
        number = 0
        while not stopping.is_set():
            number += 1
            sku = f"OTHER-{number % OTHERS}"
            others.append(timed(lambda: order(server, sku, f"{threading.get_ident()}-{number}")))

    threads = [threading.Thread(target=order_others) for _ in range(4)]
    for thread in threads:
        thread.start()
    figures = {}
    for number in range(SAMPLES):
        for sku in ("LONG", "NEW"):
            add = lambda kind, work: figures.setdefault(kind, {}).setdefault(sku, []).append(timed(work))
            add("receipt", lambda: receive(server, sku, 1, f"sample-{sku}-{number}"))
            add("repeated receipt", lambda: receive(server, sku, 1, f"sample-{sku}-{number // 2}"))
            add("order", lambda: order(server, sku, f"sample-{sku}-{number}"))
    stopping.set()
    for thread in threads:
        thread.join()
    print(f"{'':18} {'long: p50':>10} {'p99 ms':>8} {'new: p50':>10} {'p99 ms':>8} {'p99 ratio':>10}")
    for kind, by_sku in figures.items():
        row = [percentile(by_sku[sku], share) for sku in ("LONG", "NEW") for share in (0.5, 0.99)]
        print(f"{kind:18} {row[0]:10.2f} {row[1]:8.2f} {row[2]:10.2f} {row[3]:8.2f} {row[1] / row[3]:10.2f}")
    print(f"orders of other SKUs meanwhile: p50 {percentile(others, 0.5):.2f} ms, p99 {percentile(others, 0.99):.2f} ms")


def timed(work):
    begun = time.monotonic()
    work()
    return (time.monotonic() - begun) * 1000


def receive(server, sku, quantity, key):
    expect(server.receive(sku, quantity, f"{sku}/{key}"))


def order(server, sku, key):
    expect(server.order([sku], key))


def expect(answer):
    if answer.status != 201:
        raise SystemExit(f"expected 201, got {answer.status}: {answer.body}")


main()
