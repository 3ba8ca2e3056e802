"""500 listeners of the feed beside a load of orders: run by feed-listeners.sh."""

import json
import os
import subprocess
import sys

from server import Server

BINARY, SECONDS, PROGRAMS, RATE = sys.argv[1], int(sys.argv[2]), os.path.abspath(sys.argv[3]), int(sys.argv[4])
SINGLE, WHOLE, STUCK = 495, 5, 4
# The server closes a client that reads nothing after 30 s.
STUCK_CLOSED_AFTER_S = 35
ORDER_CLIENTS = 200
MEMORY_GROWTH_MIB_MAX = 128


def orders(server, name, seconds):
    """Places orders at the rate. Returns how many a second were accepted."""
    address = f"127.0.0.1:{server.ports['command']}"
    arguments = ["--address", address, "--seconds", str(seconds), "--name", name, "open", str(ORDER_CLIENTS), str(RATE)]
    output = subprocess.run([f"{PROGRAMS}/overload-clients", *arguments], stdout=subprocess.PIPE, text=True, check=True)
    answers = json.loads(output.stdout)
    print(f"{name}: sent {answers['sent_per_s']:.0f}/s, placed {answers['accepted_per_s']:.0f}/s, "
          f"p50 {answers['p50_ms']:.1f} ms, p99 {answers['p99_ms']:.1f} ms, failed {answers['failed']}", flush=True)
    return answers["accepted_per_s"]


def listeners(server, seconds):
    address = f"127.0.0.1:{server.ports['query']}"
    arguments = ["--address", address, "--seconds", str(seconds), "--single", str(SINGLE), "--whole", str(WHOLE),
                 "--stuck", str(STUCK)]
    process = subprocess.Popen([f"{PROGRAMS}/feed-listeners", *arguments], stdout=subprocess.PIPE, text=True)
    if process.stdout.readline() != "ready\n":
        raise SystemExit("feed-listeners has ended")
    return process


def main():
    with Server(BINARY, {"ORDERLY_PAYMENT_PROVIDER": "none"}) as server:
        server.start()
        server.receive("PLENTY", 1_000_000_000, "plenty")
        orders(server, "warm-up", min(SECONDS, 10))
        alone = orders(server, "alone", SECONDS)
        before_mib = server.memory_mib()
        listening = listeners(server, max(SECONDS, STUCK_CLOSED_AFTER_S) + 10)
        beside = orders(server, "with listeners", SECONDS)
        growth_mib = server.memory_mib("VmHWM") - before_mib
        output, _ = listening.communicate()
        heard = json.loads(output)
        head = server.query("/v1/projections").body["head"]
    share = beside / alone
    print(f"{share:.2f} of the orders without listeners; memory grew by {growth_mib} MiB; {heard}")
    failures = []
    if share < 0.9:
        failures.append(f"with listeners the server places {share:.0%} of the orders")
    if growth_mib > MEMORY_GROWTH_MIB_MAX:
        failures.append(f"the memory grew by {growth_mib} MiB")
    if heard["ended"]:
        failures.append(f"{heard['ended']} listeners that read were ended")
    if heard["events_per_s_max"] > 5:
        failures.append(f"a listener of a stream got {heard['events_per_s_max']} events in a second")
    if heard["whole_gaps"] or any(last != head for last in heard["whole_last"]):
        failures.append(f"listeners of the whole feed missed events: the log ends at {head}")
    if heard["stuck_closed_with_a_place"] != STUCK:
        failures.append(f"{STUCK - heard['stuck_closed_with_a_place']} listeners that do not read were not closed")
    if failures:
        raise SystemExit("\n".join(failures))


if __name__ == "__main__":
    main()
