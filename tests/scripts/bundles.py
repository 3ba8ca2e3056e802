"""Buyers compete for the last bundle: run by bundles.sh.

In each round, 64 buyers order the same 10 SKUs in random order of lines, and one unit of each SKU is on the shelf. Exactly
one buyer must get the bundle. Between the rounds, a buyer orders all units of one SKU together with a SKU that has none, and
right after the refusal another buyer must get a unit.
"""

import concurrent.futures
import random
import sys
import threading

from server import Server

BINARY, ROUNDS = sys.argv[1], int(sys.argv[2])
BUYERS, SKUS = 64, 10


def main():
    wins, refused = {}, 0
    with Server(BINARY, {"ORDERLY_PAYMENT_PROVIDER": "sandbox"}) as server, \
            concurrent.futures.ThreadPoolExecutor(BUYERS) as pool:
        server.start()
        server.receive("PLENTY", 10, "plenty")
        for number in range(ROUNDS):
            winners = play(server, pool, number)
            wins[winners] = wins.get(winners, 0) + 1
            refused += not served_beside_a_doomed_order(server, number)
        server.stop()
        code, output, *_ = server.run("audit", "verify")
    print(f"{ROUNDS} rounds of {BUYERS} buyers; rounds by number of winners: {wins}")
    print(f"orders refused because of an order that cannot be filled: {refused} of {ROUNDS}")
    if wins != {1: ROUNDS} or refused or code:
        raise SystemExit(f"expected one winner in each round, no refusal, and intact rows\n{output}")


def play(server, pool, number):
    skus = [f"R{number}-{sku}" for sku in range(SKUS)]
    for sku in skus:
        expect(server.receive(sku, 1, f"receipt-{sku}"), 201)
    together = threading.Barrier(BUYERS)

    def buy(buyer):
        lines = random.sample(skus, SKUS)
        together.wait()
        return server.order(lines, f"round-{number}-buyer-{buyer}").status

    statuses = list(pool.map(buy, range(BUYERS)))
    if set(statuses) - {201, 409}:
        raise SystemExit(f"round {number}: {statuses}")
    return statuses.count(201)


def served_beside_a_doomed_order(server, number):
    doomed = {"currency": "EUR", "lines": [{"sku": "PLENTY", "quantity": 10, "unit_price": 100},
                                           {"sku": "NONE", "quantity": 1, "unit_price": 100}]}
    expect(server.command("/v1/orders", doomed, f"doomed-{number}"), 409)
    answer = server.order(["PLENTY"], f"beside-{number}")
    if answer.status != 201:
        return False
    expect(server.command(f"/v1/orders/{answer.body['order_id']}/cancel", {}, f"cancel-{number}"), 200)
    # The answer to the cancellation does not wait for the release.
    while server.query("/v1/stock/PLENTY").body["reserved"]:
        pass
    return True


def expect(answer, status):
    if answer.status != status:
        raise SystemExit(f"expected {status}, got {answer.status}: {answer.body}")


main()
