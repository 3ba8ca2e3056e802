"""Times orders of many lines: run by large-orders.sh.

Each order is on SKUs that earlier orders have reserved from, and is measured twice: with an answer that waits for all
reservations, and with `Prefer: respond-async`.
"""

import sys
import time

from server import Server, event_store, until

BINARY, FIXTURE = sys.argv[1], sys.argv[2]
# The biggest order of the Online Retail data, and the largest that Orderly accepts: lines, SKUs.
SIZES = [(1_114, 1_110), (5_000, 5_000)]
ORDERS = 10
SKUS_PER_RECEIPT = 1_000


def main():
    with event_store(FIXTURE) as url, \
            Server(BINARY, {"ORDERLY_EVENT_STORE": url} if url else {}) as server:
        server.start()
        skus = [f"LARGE-{number}" for number in range(max(count for _, count in SIZES))]
        for first in range(0, len(skus), SKUS_PER_RECEIPT):
            items = [{"sku": sku, "quantity": 1_000_000} for sku in skus[first:first + SKUS_PER_RECEIPT]]
            expect(server.command("/v1/stock/receipts", {"receipts": items}, f"receipt-{first}"), 200)
        print(f"{'lines':>6} {'SKUs':>6} {'201: p50':>10} {'max ms':>8} {'202: p50':>10} {'max ms':>8} {'allocated: p50':>16} {'max ms':>8}")
        for lines, count in SIZES:
            answered, recorded, allocated = [], [], []
            for number in range(ORDERS):
                order = [{"sku": skus[line % count], "quantity": 1, "unit_price": 100} for line in range(lines)]
                body = {"currency": "EUR", "lines": order}
                answer, begun = place(server, body, f"{lines}-{number}")
                expect(answer, 201)
                answered.append(since(begun))
                answer, begun = place(server, body, f"async-{lines}-{number}", {"prefer": "respond-async"})
                expect(answer, 202)
                recorded.append(since(begun))
                path = f"/v1/orders/{answer.body['order_id']}"
                until("the order is allocated", lambda: server.query(path).body.get("status") == "allocated", pause_s=0.002)
                allocated.append(since(begun))
            cells = [f"{sorted(times)[len(times) // 2]:>{width}.0f} {max(times):>8.0f}"
                     for times, width in ((answered, 10), (recorded, 10), (allocated, 16))]
            print(f"{lines:>6} {count:>6} {' '.join(cells)}", flush=True)
        print(f"memory {server.memory_mib()} MiB, highest {server.memory_mib('VmHWM')} MiB")


def place(server, body, key, headers=None):
    """Places an order once the read models are up to date. Returns the answer, and when the request was sent."""
    lags = lambda: [row["lag_events"] for row in server.query("/v1/projections").body["projections"]]
    while True:
        until("the read models are up to date", lambda: not any(lags()))
        begun = time.monotonic()
        answer = server.command("/v1/orders", body, key, headers)
        # The read models have been behind lately: a share of orders is still refused.
        if answer.status != 503:
            return answer, begun


def since(begun):
    return (time.monotonic() - begun) * 1000


def expect(answer, status):
    if answer.status != status:
        raise SystemExit(f"expected {status}, got {answer.status}: {str(answer.body)[:2000]}")


main()
