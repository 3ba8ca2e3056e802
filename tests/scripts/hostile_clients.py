"""Hostile clients beside well-behaved ones: run by hostile-clients.sh.

The server runs on the first processor, all clients on the others. Everything stays on 127.0.0.1. Each attack is a process of
its own, and opens a closed connection again.
"""

import http.client
import json
import multiprocessing
import os
import resource
import socket
import sys
import threading
import time

from server import Server, percentile

BINARY, SECONDS = sys.argv[1], float(sys.argv[2])
BUYERS = 4
MEMORY_MIB_MAX = 512
LARGE = b"GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: localhost\r\n\r\n"
POST = b"POST /v1/orders HTTP/1.1\r\nHost: localhost\r\nIdempotency-Key: a\r\nContent-Type: application/json\r\nContent-Length: 2097152\r\n\r\n"


def main():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    processors = sorted(os.sched_getaffinity(0))
    with Server(BINARY, {"ORDERLY_PAYMENT_PROVIDER": "none"}) as server:
        server.start()
        # Threads that exist already keep their processors unless each is moved.
        for thread in os.listdir(f"/proc/{server.process.pid}/task"):
            os.sched_setaffinity(int(thread), processors[:1])
        os.sched_setaffinity(0, processors[1:] or processors)
        server.receive("PLENTY", 1_000_000_000, "plenty")
        measure(server, "warm-up", None)
        idle_mib = server.memory_mib()
        base_ms, _, _ = measure(server, "no attack", None)
        failures = []
        for name, attack in (("byte by byte on 1,000 connections", byte_by_byte),
                             ("2,000 pipelined requests on each of 100 connections", pipelined),
                             ("4,000 connections that never read", never_reading)):
            p99_ms, peak_mib, failed = measure(server, name, attack)
            if peak_mib - idle_mib > MEMORY_MIB_MAX:
                failures.append(f"{name}: {peak_mib - idle_mib} MiB more than idle")
            if p99_ms > 2 * base_ms:
                failures.append(f"{name}: p99 {p99_ms:.1f} ms, without attack {base_ms:.1f} ms")
            if failed:
                failures.append(f"{name}: orders without an answer of 201: {failed}")
    if failures:
        raise SystemExit("\n".join(failures))


def measure(server, name, attack):
    """Places orders for some seconds. Returns their p99, the highest memory in MiB, and the failed orders."""
    stop = multiprocessing.Event()
    attacker = None
    if attack:
        attacker = multiprocessing.Process(target=attack, args=(server.ports["command"], stop), daemon=True)
        attacker.start()
        time.sleep(2)
    end, times, failed, peak_mib = time.monotonic() + SECONDS, [], [], 0
    buyers = [threading.Thread(target=buy, args=(server.ports["command"], f"{name}-{buyer}", end, times, failed))
              for buyer in range(BUYERS)]
    for buyer in buyers:
        buyer.start()
    while time.monotonic() < end:
        peak_mib = max(peak_mib, server.memory_mib())
        time.sleep(0.1)
    for buyer in buyers:
        buyer.join()
    if attacker:
        stop.set()
        attacker.join(10)
        attacker.kill()
    p99_ms = percentile(times, 0.99) * 1_000
    print(f"{name}: {len(times)} orders, p50 {percentile(times, 0.5) * 1_000:.1f} ms, p99 {p99_ms:.1f} ms, "
          f"memory at most {peak_mib} MiB, failed {len(failed)} {failed[:1]}", flush=True)
    return p99_ms, peak_mib, len(failed)


def buy(port, name, end, times, failed):
    order = json.dumps({"currency": "EUR", "lines": [{"sku": "PLENTY", "quantity": 1, "unit_price": 100}]})
    connection, number = http.client.HTTPConnection("127.0.0.1", port, timeout=30), 0
    while time.monotonic() < end:
        number += 1
        begun = time.monotonic()
        try:
            headers = {"Content-Type": "application/json", "Idempotency-Key": f"{name}-{number}"}
            connection.request("POST", "/v1/orders", order, headers)
            answer = connection.getresponse()
            body = answer.read()
            if answer.status != 201:
                failed.append(f"{answer.status} {body[:200]}")
        except (OSError, http.client.HTTPException) as error:
            failed.append(repr(error))
            connection.close()
        times.append(time.monotonic() - begun)


def connected(port, first, receive_buffer=None, source="127.0.0.1"):
    client = socket.socket()
    client.bind((source, 0))
    if receive_buffer:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    client.settimeout(10)
    client.connect(("127.0.0.1", port))
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    client.setblocking(False)
    try:
        client.send(first)
    except OSError:
        pass
    return client


def byte_by_byte(port, stop):
    """20,000 segments of one byte in a second, over 1,000 connections."""
    clients = [connected(port, POST) for _ in range(1_000)]
    begun, sent = time.monotonic(), 0
    while not stop.is_set():
        for number, client in enumerate(clients):
            try:
                client.send(b" ")
            except BlockingIOError:
                pass
            except OSError:
                client.close()
                clients[number] = connected(port, POST)
            sent += 1
            if sent % 100 == 0:
                time.sleep(max(0, begun + sent / 20_000 - time.monotonic()))


def hold(port, stop, connections, requests):
    """Keeps connections open and never reads their answers."""
    def open_one(number):
        # An address may have 1,024 connections.
        return connected(port, requests, receive_buffer=4_096, source=f"127.3.0.{1 + number % 10}")

    clients = [open_one(number) for number in range(connections)]
    while not stop.is_set():
        for number, client in enumerate(clients):
            # The server has reset the connection: a read would take a part of the answer.
            if client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                client.close()
                clients[number] = open_one(number)
        time.sleep(0.1)


def pipelined(port, stop):
    hold(port, stop, 100, LARGE * 2_000)


def never_reading(port, stop):
    hold(port, stop, 4_000, LARGE)


if __name__ == "__main__":
    main()
