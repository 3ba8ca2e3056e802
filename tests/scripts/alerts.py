"""Provokes the conditions that the alert rules are about on running platforms: run by alerts.sh.

Usage: alerts.py BINARY FIXTURE KAFKA_URL KAFKA_PROCESS

A Prometheus evaluates the committed rules in a copy in which time runs FASTER times as fast: each `for:` and each range,
such as `[5m]`, is divided by it. Thresholds, such as a lag of 60 s, stay. It scrapes each second, as one that scrapes each
15 seconds does under the committed rules.
"""

import contextlib
import http.server
import os
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import typing
import urllib.request

from prometheus import RULES, ask, free_port, get, start_prometheus
from server import Server, event_store, until

BINARY, FIXTURE, KAFKA_URL, KAFKA_PROCESS = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
FASTER = 15
# Longer than the largest threshold, a lag of 60 s, and than the pauses of the breaker and of the tests of a receiver.
PATIENCE_S = 240
DISK_MIB = 256
# The database refuses the rows of this SKU.
REFUSE = """
    CREATE TRIGGER refuse BEFORE INSERT ON stock WHEN NEW.sku = 'REFUSED' BEGIN SELECT RAISE(ABORT, 'refused'); END
"""
LINE = {"sku": "SKU-1", "quantity": 1, "unit_price": 100}


class Condition(typing.NamedTuple):
    what: str
    alert: str
    provoke: typing.Callable
    mend: typing.Callable
    # Alerts that may fire too, because they describe the same condition.
    beside: frozenset = frozenset()


class Platform(Server):
    """Processes of one platform, each with an admin address. A process without roles has all of them."""

    def __init__(self, settings):
        super().__init__(BINARY, settings)
        self.ports = {api: free_port() for api in ("command", "query", "sandbox")}
        self.processes, self.admins, self.orders = {}, {}, 0

    def __exit__(self, *_):
        for process in self.processes.values():
            process.kill()
            process.wait()
        super().__exit__()

    def run_process(self, name, *arguments):
        """Starts a process, or starts it again, and waits until it is ready."""
        admin = self.admins.setdefault(name, free_port())
        listen = [f"--{api}-listen=127.0.0.1:{port}" for api, port in {**self.ports, "admin": admin}.items()]
        log = open(os.path.join(self.home, f"{name}.log"), "ab")
        process = subprocess.Popen([self.binary, "serve", *listen, *arguments], env=self.environment(), stdout=log,
                                   stderr=log)
        self.processes[name] = process

        def is_ready():
            if process.poll() is not None:
                raise SystemExit(f"the process {name} has ended: {open(log.name).read()[-2000:]}")
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{admin}/readyz", timeout=10):
                    return True
            except OSError:
                return False

        until(f"the process {name} is ready", is_ready, 60, 0.2)

    def send(self, name, number):
        self.processes[name].send_signal(number)

    def place_order(self, **terms):
        self.orders += 1
        body = {"currency": "EUR", "lines": [LINE], **terms}
        answer = self.command("/v1/orders", body, f"order-{self.orders}")
        assert answer.status == 201, answer.body


class Prometheus:
    """A Prometheus that reads every process of a platform, with the rules in which time runs faster."""

    def __init__(self, platform):
        port, rules = free_port(), os.path.join(platform.home, "alerts.yml")
        with open(RULES) as committed, open(rules, "w") as file:
            file.write(faster(committed.read()))
        self.url = f"http://127.0.0.1:{port}/api/v1"
        self.targets = len(platform.admins)
        self.process = start_prometheus(platform.home, platform.admins.values(), port, rules)

    def __enter__(self):
        until("Prometheus reads every process", lambda: (ask(self.url, "sum(up)") or [0])[0] == self.targets, 60)
        until("nothing fires on a healthy platform", lambda: not self.firing(), 60)
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def firing(self):
        alerts = get(f"{self.url}/alerts")["alerts"]
        return {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}

    def check(self, condition):
        """Provokes a condition and mends it. Fails if its alert does not fire and resolve, or if another one fires."""
        seen = set()

        def reached(is_reached):
            firing = self.firing()
            seen.update(firing - {condition.alert})
            if unexpected := firing - condition.beside - {condition.alert}:
                raise SystemExit(f"{condition.what}: these alerts are not about it, and fire: {sorted(unexpected)}")
            return is_reached(firing)

        def seconds_until(what, is_reached, begun):
            until(f"{condition.what}: {what}", lambda: reached(is_reached), PATIENCE_S, 0.2)
            return f"{time.monotonic() - begun:.0f}"

        provoked_at = time.monotonic()
        condition.provoke()
        fires_s = seconds_until(f"{condition.alert} fires", lambda firing: condition.alert in firing, provoked_at)
        mended_at = time.monotonic()
        condition.mend()
        is_resolved = lambda firing: condition.alert not in firing
        resolved_s = seconds_until(f"{condition.alert} is resolved", is_resolved, mended_at)
        seconds_until("every alert is resolved", lambda firing: not firing, mended_at)
        show(condition.what, condition.alert, fires_s, resolved_s, ", ".join(sorted(seen)))


def show(*cells):
    print("{:<38} {:<27} {:>9} {:>11}  {}".format(*cells).rstrip(), flush=True)


def faster(rules):
    """These rules with each `for:` and each range divided by FASTER."""
    minutes = re.compile(r"(?<=for: )(\d+)m$|(?<=\[)(\d+)m(?=\])", re.MULTILINE)
    divided = minutes.sub(lambda found: f"{int(found[1] or found[2]) * 60 // FASTER}s", rules)
    if left := re.findall(r"for:.*\d[mhd]\b|\[[^\]]*\d[mhd]\b", divided):
        raise SystemExit(f"alerts.yml: write these durations in minutes, as in `for: 5m` and `[5m]`: {left}")
    return divided


@contextlib.contextmanager
def small_disk(directory):
    """Mounts a disk of its own for this directory. alerts.sh has made a namespace for it, so no other program sees it."""
    os.makedirs(directory)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"mode=700,size={DISK_MIB}m", "orderly", directory], check=True)
    try:
        yield
    finally:
        # Its files are still open.
        subprocess.run(["umount", "--lazy", directory], check=True)


class Receiver(http.server.BaseHTTPRequestHandler):
    """A receiver of webhooks that accepts every one."""

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


def parked_stream(platform):
    database = sqlite3.connect(os.path.join(platform.data_dir, "read-models.db"), isolation_level=None, timeout=30)

    def provoke():
        database.execute(REFUSE)
        assert platform.receive("REFUSED", 1, "receipt-refused").status == 201

    def mend():
        database.execute("DROP TRIGGER refuse")
        code, output, *_ = platform.run("projections", "retry", "stock-REFUSED")
        assert code == 0, output

    return Condition("a stream whose row is refused", "OrderlyStreamParked", provoke, mend, frozenset({"OrderlyDegraded"}))


def locked_read_models(platform):
    database = sqlite3.connect(os.path.join(platform.data_dir, "read-models.db"), isolation_level=None, timeout=30)

    def provoke():
        database.execute("BEGIN IMMEDIATE")
        platform.place_order()

    return Condition("read models that cannot be written", "OrderlyProjectorStalled", provoke,
                     lambda: database.execute("ROLLBACK"))


def provider_outage(platform):
    def script(outage):
        with open(os.path.join(platform.data_dir, "sandbox.secret")) as file:
            token = {"authorization": f"Bearer {file.read().strip()}"}
        answer = platform.ask("sandbox", "PUT", "/v1/script", {"outage": outage}, headers=token)
        assert answer.status == 200, answer.body

    def provoke():
        script(True)
        for _ in range(5):
            platform.place_order(payment={"method": "ok"})

    return Condition("an outage of the payment provider", "OrderlyProviderBreakerOpen", provoke, lambda: script(False),
                     frozenset({"OrderlyDegraded"}))


def dead_receiver(platform):
    port = free_port()

    def provoke():
        subscription = {"url": f"http://127.0.0.1:{port}/hook"}
        assert platform.command("/v1/webhook-subscriptions", subscription, "hook").status == 201
        for _ in range(5):
            platform.place_order()

    def mend():
        receiver = http.server.ThreadingHTTPServer(("127.0.0.1", port), Receiver)
        threading.Thread(target=receiver.serve_forever, daemon=True).start()

    return Condition("a receiver that refuses connections", "OrderlyWebhookReceiverDead", provoke, mend)


def nearly_full_disk(platform):
    ballast = os.path.join(platform.data_dir, "ballast")

    def provoke():
        disk = os.statvfs(platform.data_dir)
        with open(ballast, "wb") as file:
            os.posix_fallocate(file.fileno(), 0, (disk.f_bavail - disk.f_blocks // 20) * disk.f_frsize)
        platform.place_order()

    return Condition("a disk of which a twentieth is free", "OrderlyDiskNearlyFull", provoke, lambda: os.remove(ballast))


def frozen_projectors(platform):
    def provoke():
        platform.send("projectors", signal.SIGSTOP)
        platform.place_order()

    return Condition("projectors that are frozen", "OrderlyProjectorStalled", provoke,
                     lambda: platform.send("projectors", signal.SIGCONT), frozenset({"OrderlyProcessDown"}))


def killed_relay(platform):
    def provoke():
        platform.send("relay", signal.SIGKILL)
        platform.processes["relay"].wait()
        platform.place_order()

    return Condition("a relay that is killed", "OrderlyRelayDown", provoke,
                     lambda: platform.run_process("relay", "--roles=relay"), frozenset({"OrderlyProcessDown"}))


def frozen_kafka(platform):
    def provoke():
        os.kill(KAFKA_PROCESS, signal.SIGSTOP)
        platform.place_order()

    return Condition("Kafka that is frozen", "OrderlyRelayDown", provoke, lambda: os.kill(KAFKA_PROCESS, signal.SIGCONT))


def check_one_process():
    with Platform({"ORDERLY_WEBHOOKS_ALLOW_PRIVATE": "true"}) as platform, small_disk(platform.data_dir):
        platform.run_process("all")
        assert platform.receive("SKU-1", 1_000, "receipt-1").status == 201
        platform.place_order()
        with Prometheus(platform) as prometheus:
            for condition in (parked_stream, provider_outage, dead_receiver, nearly_full_disk, locked_read_models):
                prometheus.check(condition(platform))


def check_separate_processes():
    with event_store(FIXTURE) as url:
        bus = f"{KAFKA_URL}?prefix=alerts_{os.getpid()}"
        settings = {"ORDERLY_EVENT_STORE": url, "ORDERLY_BUS": bus, "ORDERLY_PAYMENT_PROVIDER": "none"}
        with Platform(settings) as platform, small_disk(platform.data_dir):
            for role in ("command-api", "relay", "projectors", "process-manager", "query-api"):
                platform.run_process(role, f"--roles={role}")
            assert platform.receive("SKU-1", 1_000, "receipt-1").status == 201
            platform.place_order()
            with Prometheus(platform) as prometheus:
                try:
                    for condition in (frozen_projectors, killed_relay, frozen_kafka):
                        prometheus.check(condition(platform))
                finally:
                    os.kill(KAFKA_PROCESS, signal.SIGCONT)


def main():
    # The `finally` of each part runs then: Kafka must not stay frozen.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    show("condition", "alert", "fires (s)", "resolves (s)", "fires too")
    check_one_process()
    check_separate_processes()


main()
