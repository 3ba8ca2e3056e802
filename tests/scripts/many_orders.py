"""Memory and speed at different numbers of orders: run by many-orders.sh.

Each argument after the binary is the duration of a load: `orderly bench hot` places orders on 1,000 SKUs for this time, and
then for as long on one SKU.
"""

import json
import os
import sys

from server import Server, until

BINARY, DURATIONS = sys.argv[1], sys.argv[2:]


def main():
    print(f"{'orders':>10} {'serve MiB':>10} {'peak':>6} {'restart s':>10} "
          f"{'rebuild s':>10} {'events/s':>9} {'peak MiB':>9} {'verify s':>9} {'events/s':>9} {'peak MiB':>9}")
    for duration in DURATIONS:
        with Server(BINARY, {"ORDERLY_PAYMENT_PROVIDER": "none"}) as server:
            print(measure(server, duration))


def measure(server, duration):
    report = os.path.join(server.home, "bench.json")
    url = lambda api: f"http://127.0.0.1:{server.ports[api]}"
    server.start()
    code, output, *_ = server.run("bench", "hot", "--duration", duration, "--dir", server.home, "--json", report,
                                  "--command-url", url("command"), "--query-url", url("query"))
    if code:
        raise SystemExit(output)
    state = lambda: server.query("/v1/projections").body
    until("the projections are up to date", lambda: all(row["lag_events"] == 0 for row in state()["projections"]))
    loads = json.load(open(report))["hot"]
    orders = loads["spread"]["count"] + loads["hot"]["count"] + loads["sell_out"]["sold"] + loads["sell_out"]["refused"]
    events = state()["head"]
    memory, peak = server.memory_mib(), server.memory_mib("VmHWM")
    server.stop()
    restart_s = server.start()
    server.stop()
    rebuild, verify = server.run("projections", "rebuild"), server.run("audit", "verify")
    for code, output, *_ in (rebuild, verify):
        if code:
            raise SystemExit(output)
    cells = [f"{orders:>10} {memory:>10} {peak:>6} {restart_s:>10.2f}"]
    for _, _, seconds, peak_mib in (rebuild, verify):
        cells.append(f"{seconds:>10.1f} {events / seconds:>9.0f} {peak_mib:>9}")
    return " ".join(cells)


main()
