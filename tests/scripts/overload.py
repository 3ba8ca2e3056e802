"""Slow connections and four times the load that the server can carry: run by overload.sh.

The server runs on the first processor, all clients on the second one, in the run without attack too. Everything stays on 127.0.0.0/8.
"""

import http.client
import json
import os
import resource
import subprocess
import sys
import threading
import time

from server import Server

BINARY, SECONDS, CLIENTS = sys.argv[1], int(sys.argv[2]), os.path.abspath(sys.argv[3])
SLOW, ADDRESSES = 5_000, 100
OVERLOAD = 4
# The orders that the clients of the run without attack have under way.
PEAK_CLIENTS = 256
# An address may have 1,024 connections.
OPEN_CLIENTS = 1_000
MEMORY_MIB_MAX = 768


def main():
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    processors = sorted(os.sched_getaffinity(0))
    if len(processors) < 2:
        raise SystemExit("two processors are needed")
    # The server inherits it, and makes its threads for one processor.
    os.sched_setaffinity(0, processors[:1])
    with Server(BINARY, {"ORDERLY_PAYMENT_PROVIDER": "none"}) as server:
        server.start()
        os.sched_setaffinity(0, processors[1:2])
        server.receive("PLENTY", 1_000_000_000, "plenty")
        report("warm-up", run(server, "warm-up", min(SECONDS, 10), "closed", PEAK_CLIENTS))
        idle_mib = server.memory_mib()
        peaks = [measure_peak(server, "peak")]
        rate = int(OVERLOAD * peaks[0]["accepted_per_s"])
        slow = start(server, "slow", SECONDS + 15, "slow", SLOW, ADDRESSES)
        time.sleep(10)
        with Watch(server) as watch:
            overload = report("overload", run(server, "overload", SECONDS, "open", OPEN_CLIENTS, rate))
        closed = finished(slow)["closed"]
        # The disk and the processors of a machine are not equally fast at all times.
        peaks.append(measure_peak(server, "peak again"))
    peak = {name: sum(peak[name] for peak in peaks) / len(peaks) for name in ["accepted_per_s", "p99_ms"]}
    share = overload["accepted_per_s"] / peak["accepted_per_s"]
    print(f"wanted {OVERLOAD} times the peak, sent {overload['sent_per_s'] / peak['accepted_per_s']:.1f} times (a client sends nothing "
          f"while it waits for its answer); goodput {share:.0%} of the peak; "
          f"p99 {overload['p99_ms'] / peak['p99_ms']:.2f} times that of the peak")
    print(f"slow connections closed {closed}; memory {idle_mib} MiB idle, at most {watch.peak_mib} MiB; "
          f"health checks {watch.asked}, slowest {watch.slowest_ms:.0f} ms, failed {len(watch.failed)} {watch.failed[:1]}")
    failures = []
    if share < 0.9:
        failures.append(f"goodput is {share:.0%} of the peak")
    if overload["p99_ms"] > 2 * peak["p99_ms"]:
        failures.append(f"p99 {overload['p99_ms']:.1f} ms, at the peak {peak['p99_ms']:.1f} ms")
    if overload["other"] or overload["failed"]:
        failures.append(f"answers other than 201 and 503: {overload['other']}, none: {overload['failed']}")
    if watch.peak_mib > MEMORY_MIB_MAX:
        failures.append(f"memory {watch.peak_mib} MiB")
    if watch.failed:
        failures.append(f"health checks without an answer: {len(watch.failed)}, {watch.failed[0]}")
    if failures:
        raise SystemExit("\n".join(failures))


def measure_peak(server, name):
    # First the read models fall as far behind as they may: until then, orders take less of the processor.
    run(server, name.replace(" ", "-") + "-run-in", min(SECONDS, 20), "closed", PEAK_CLIENTS)
    return report(name, run(server, name.replace(" ", "-"), min(SECONDS, 30), "closed", PEAK_CLIENTS))


def start(server, name, seconds, *clients):
    address = f"127.0.0.1:{server.ports['command']}"
    arguments = [CLIENTS, "--address", address, "--seconds", str(seconds), "--name", name, *map(str, clients)]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)


def finished(process):
    output, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"overload-clients has ended with {process.returncode}")
    return json.loads(output)


def run(*arguments):
    return finished(start(*arguments))


def report(name, answers):
    print(f"{name}: sent {answers['sent_per_s']:.0f}/s, placed {answers['accepted_per_s']:.0f}/s, p50 {answers['p50_ms']:.1f} ms, "
          f"p99 {answers['p99_ms']:.1f} ms, shed {answers['shed']}, other {answers['other']}, failed {answers['failed']}", flush=True)
    return answers


class Watch:
    """Watches the memory of the server, and asks for its health on new connections from an address of its own."""

    def __init__(self, server):
        self.server, self.peak_mib, self.asked, self.slowest_ms, self.failed = server, 0, 0, 0.0, []
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.watch)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        self.thread.join()

    def watch(self):
        while not self.stopping.wait(0.2):
            self.peak_mib = max(self.peak_mib, self.server.memory_mib())
            begun = time.monotonic()
            connection = http.client.HTTPConnection("127.0.0.1", self.server.ports["command"], timeout=10,
                                                    source_address=("127.2.0.1", 0))
            try:
                connection.request("GET", "/livez")
                status = connection.getresponse().status
                if status != 200:
                    self.failed.append(str(status))
            except (OSError, http.client.HTTPException) as error:
                self.failed.append(repr(error))
            finally:
                connection.close()
            self.asked += 1
            self.slowest_ms = max(self.slowest_ms, (time.monotonic() - begun) * 1_000)


if __name__ == "__main__":
    main()
