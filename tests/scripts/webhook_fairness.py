"""Nine receivers of webhooks, of which eight never answer: run by webhook-fairness.sh.

Usage: webhook_fairness.py BINARY WORK_DIR EVENTS_PER_S SECONDS
"""

import asyncio
import datetime
import json
import multiprocessing
import pathlib
import re
import sqlite3
import subprocess
import sys
import time

BINARY, WORK_DIR = sys.argv[1], pathlib.Path(sys.argv[2])
EVENTS_PER_S, SECONDS = int(sys.argv[3]), int(sys.argv[4])
DEAD = 8
# 1,000 that are due, and a few that wait for a retry.
QUEUED_MAX = 1_050
MEMORY_MAX_MB = 512
CONNECTIONS = 16
PATIENCE_S = 900
EMPTY_ANSWER = b"HTTP/1.1 204 No Content\r\n\r\n"


class Receiver:
    """An HTTP server that stores the id of each event and the time from its recording to its arrival."""

    def __init__(self, answers):
        self.answers, self.delays_s = answers, {}

    async def start(self):
        server = await asyncio.start_server(self.serve, "127.0.0.1", 0, backlog=1024)
        self.port = server.sockets[0].getsockname()[1]

    async def serve(self, reader, writer):
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(re.search(rb"content-length: (\d+)", head, re.IGNORECASE).group(1))
                body = json.loads(await reader.readexactly(length))
                if not self.answers:
                    await reader.read()
                    break
                recorded_at = datetime.datetime.fromisoformat(body["timestamp"]).timestamp()
                self.delays_s.setdefault(body["data"]["event_id"], time.time() - recorded_at)
                writer.write(EMPTY_ANSWER)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


async def receive(pipe):
    """Runs the receivers. Obeys `recover`, `count` and `take`, which empties the healthy receiver."""
    receivers = [Receiver(True)] + [Receiver(False) for _ in range(DEAD)]
    for receiver in receivers:
        await receiver.start()
    pipe.send([receiver.port for receiver in receivers])
    while True:
        while not pipe.poll():
            await asyncio.sleep(0.05)
        command = pipe.recv()
        if command == "recover":
            for receiver in receivers:
                receiver.answers = True
            pipe.send(None)
        elif command == "count":
            pipe.send([len(receiver.delays_s) for receiver in receivers])
        elif command == "take":
            pipe.send(receivers[0].delays_s)
            receivers[0].delays_s = {}


class Receivers:
    def __init__(self):
        self.pipe, theirs = multiprocessing.Pipe()
        run = lambda pipe: asyncio.run(receive(pipe))
        multiprocessing.get_context("fork").Process(target=run, args=(theirs,), daemon=True).start()
        self.ports = self.pipe.recv()

    def ask(self, command):
        self.pipe.send(command)
        return self.pipe.recv()


class Server:
    def __init__(self):
        arguments = [BINARY, "serve", "--data-dir", str(WORK_DIR / "data"), "--webhooks-allow-private", "--log", "error"]
        arguments += ["--command-listen", "127.0.0.1:0", "--query-listen", "127.0.0.1:0"]
        self.process = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
        for line in self.process.stdout:
            found = re.search(r"command API +http://127.0.0.1:(\d+)", line)
            if found:
                self.port = int(found.group(1))
                return
        sys.exit("the server ended before it printed its address")

    def memory_mb(self):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status).group(1)) / 1024

    def queued(self):
        """The pending deliveries of each subscription."""
        database = sqlite3.connect(f"file:{WORK_DIR}/data/operations.db?mode=ro", uri=True, timeout=60)
        rows = database.execute(
            "SELECT number, (SELECT count(*) FROM webhook_deliveries"
            " WHERE subscription_id = webhook_subscriptions.id AND status = 'pending')"
            " FROM webhook_subscriptions ORDER BY number").fetchall()
        database.close()
        return [count for _, count in rows]


class Client:
    """One connection to the command API."""

    def __init__(self, port):
        self.port, self.reader = port, None

    async def post(self, path, key, body):
        if self.reader is None:
            self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        data = json.dumps(body).encode()
        head = (f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                f"Idempotency-Key: {key}\r\nContent-Length: {len(data)}\r\n\r\n")
        self.writer.write(head.encode() + data)
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = int(re.search(rb"content-length: (\d+)", head, re.IGNORECASE).group(1))
        answer = await self.reader.readexactly(length)
        if not re.match(rb"HTTP/1.1 2", head):
            sys.exit(f"POST {path}: {head.decode()}{answer.decode()}")
        return json.loads(answer)


LINE = {"sku": "A", "quantity": 1, "unit_price": 5, "stocked": False}
ORDER = {"currency": "GBP", "payment_due_at": None, "lines": [LINE]}


async def place_orders(port, name, rate, seconds, look):
    """Places orders at a fixed rate, and calls `look` once per second. Returns their number."""
    clients = [Client(port) for _ in range(CONNECTIONS)]
    begin, orders = time.monotonic(), int(rate * seconds)

    async def run(first):
        for number in range(first, orders, CONNECTIONS):
            await asyncio.sleep(max(0, begin + number / rate - time.monotonic()))
            await clients[first].post("/v1/orders", f"{name}-{number}", ORDER)

    async def watch():
        while True:
            await asyncio.sleep(1)
            await asyncio.to_thread(look)

    watching = asyncio.create_task(watch())
    await asyncio.gather(*(run(first) for first in range(CONNECTIONS)))
    watching.cancel()
    took = time.monotonic() - begin
    if took > seconds * 1.1:
        sys.exit(f"cannot place {rate:.0f} orders/s on this machine: {orders} took {took:.0f} s")
    return orders


def until(what, holds):
    give_up_at = time.monotonic() + PATIENCE_S
    while not holds():
        if time.monotonic() > give_up_at:
            sys.exit(f"not reached within {PATIENCE_S} s: {what}")
        time.sleep(0.2)


def quantile_ms(delays_s, share):
    ordered = sorted(delays_s)
    return 1_000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def show(name, delays_s):
    p50, p99 = quantile_ms(delays_s, 0.5), quantile_ms(delays_s, 0.99)
    print(f"{name}: {len(delays_s)} events, p50 {p50:.1f} ms, p99 {p99:.1f} ms", flush=True)
    return p99


def check(what, holds):
    print(f"{'ok' if holds else 'FAILED'}: {what}", flush=True)
    return holds


def subscribe(server, port):
    url = {"url": f"http://127.0.0.1:{port}/hook"}
    asyncio.run(Client(server.port).post("/v1/webhook-subscriptions", f"hook-{port}", url))


def main():
    receivers, server = Receivers(), Server()
    try:
        return run(receivers, server)
    finally:
        server.process.terminate()
        server.process.wait(60)


def run(receivers, server):
    healthy = lambda: receivers.ask("count")[0]
    subscribe(server, receivers.ports[0])
    asyncio.run(Client(server.port).post("/v1/orders", "first", ORDER))
    until("the first order has arrived", lambda: healthy() > 0)
    time.sleep(3)
    events_per_order = healthy()
    rate = EVENTS_PER_S / events_per_order
    receivers.ask("take")

    orders = asyncio.run(place_orders(server.port, "alone", rate, SECONDS, lambda: None))
    until("the receiver has all events", lambda: healthy() >= orders * events_per_order)
    alone_ms = show("alone", receivers.ask("take").values())

    for port in receivers.ports[1:]:
        subscribe(server, port)
    memory_mb, queued = [server.memory_mb()], [server.queued()]

    def look():
        memory_mb.append(server.memory_mb())
        queued.append(server.queued())

    orders = asyncio.run(place_orders(server.port, "beside", rate, SECONDS, look))
    expected = orders * events_per_order
    until("the healthy receiver has all events", lambda: healthy() >= expected)
    look()
    of_healthy = dict(receivers.ask("take"))
    beside_ms = show("beside eight that never answer", of_healthy.values())
    longest = max(max(counts[1:]) for counts in queued)
    print(f"memory {memory_mb[0]:.0f} MB before, {max(memory_mb):.0f} MB at most; longest queue {longest}", flush=True)

    recovered_at = time.monotonic()
    receivers.ask("recover")
    until("all receivers have all events", lambda: min(receivers.ask("count")[1:]) >= expected)
    print(f"all events {time.monotonic() - recovered_at:.0f} s after the eight answered again", flush=True)
    counts = receivers.ask("count")[1:]
    return all([
        check("p99 of the healthy receiver is at most twice that of the receiver alone", beside_ms <= 2 * alone_ms),
        check(f"each queue has at most {QUEUED_MAX} deliveries", longest <= QUEUED_MAX),
        check(f"memory grows by less than {MEMORY_MAX_MB} MB", max(memory_mb) - memory_mb[0] < MEMORY_MAX_MB),
        check("each of the eight has every event", set(counts) == {expected}),
    ])


if __name__ == "__main__":
    sys.exit(0 if main() else 1)
