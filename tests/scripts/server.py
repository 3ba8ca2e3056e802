"""One `orderly serve` on embedded stores, in a temporary directory, for the scripts in Python."""

import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers = status, headers
        is_json = headers.get("content-type", "").split(";")[0].endswith("json")
        self.body = json.loads(body) if is_json else body


class Server:
    """A server with files of its own. Use it in a `with` statement: its end stops the server and deletes the files."""

    def __init__(self, binary, settings=None):
        self.binary = os.path.abspath(binary)
        self.home = tempfile.mkdtemp(prefix="orderly-")
        self.data_dir = os.path.join(self.home, "data")
        self.settings = {"ORDERLY_DATA_DIR": self.data_dir, "ORDERLY_LOG": "warn", **(settings or {})}
        self.process, self.ports, self.connections = None, {}, threading.local()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.home, ignore_errors=True)

    def environment(self):
        return {**os.environ, **self.settings}

    def start(self):
        """Returns the seconds from the start of the process until it has printed its addresses."""
        begun = time.monotonic()
        listen = [argument for api in ("command", "query", "sandbox") for argument in (f"--{api}-listen", "127.0.0.1:0")]
        log = open(os.path.join(self.home, "serve.log"), "ab")
        self.process = subprocess.Popen([self.binary, "serve", *listen], env=self.environment(), stdout=subprocess.PIPE,
                                        stderr=log, text=True)
        self.ports, self.connections = {}, threading.local()
        for line in self.process.stdout:
            if found := re.search(r"^\s*(command|query|sandbox)\b.*127\.0\.0\.1:(\d+)", line):
                self.ports[found[1]] = int(found[2])
            # Lines of stores follow those of addresses.
            if "query" in self.ports and not found:
                return time.monotonic() - begun
        raise SystemExit("the server has ended: " + open(log.name).read()[-2000:])

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)

    def memory_mib(self, field="VmRSS"):
        """VmRSS: now; VmHWM: the highest so far."""
        status = open(f"/proc/{self.process.pid}/status").read()
        return int(re.search(rf"{field}:\s+(\d+)", status)[1]) // 1024

    def run(self, *arguments):
        """Runs a command of the binary on the same files. Returns its exit code, output, seconds and peak MiB."""
        begun = time.monotonic()
        with tempfile.TemporaryFile("w+") as output:
            process = subprocess.Popen([self.binary, *arguments], env=self.environment(), stdout=output, stderr=output)
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            output.seek(0)
            return process.returncode, output.read(), time.monotonic() - begun, usage.ru_maxrss // 1024

    def ask(self, api, method, path, body=None, key=None, headers=None):
        """Sends one request on the connection of this thread, and once more if the server has closed it."""
        headers = {"content-type": "application/json"} | ({"idempotency-key": key} if key else {}) | (headers or {})
        for attempt in (1, 2):
            connection = self.connections.__dict__.get(api)
            if connection is None:
                connection = http.client.HTTPConnection("127.0.0.1", self.ports[api], timeout=60)
                self.connections.__dict__[api] = connection
            try:
                connection.request(method, path, None if body is None else json.dumps(body), headers)
                answer = connection.getresponse()
                names = {name.lower(): value for name, value in answer.getheaders()}
                return Answer(answer.status, names, answer.read())
            except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
                del self.connections.__dict__[api]
                if attempt == 2:
                    raise

    def command(self, path, body, key, headers=None):
        return self.ask("command", "POST", path, body, key, headers)

    def query(self, path):
        return self.ask("query", "GET", path)

    def receive(self, sku, quantity, key):
        return self.command(f"/v1/stock/{sku}/receipts", {"quantity": quantity}, key)

    def order(self, skus, key, quantity=1):
        lines = [{"sku": sku, "quantity": quantity, "unit_price": 100} for sku in skus]
        return self.command("/v1/orders", {"currency": "EUR", "lines": lines}, key)


@contextlib.contextmanager
def event_store(fixture):
    """The URL of an event store for servers: of `eventstoredb-fixture` at this path, with its log in memory. None
    without a path: each server then has an embedded one."""
    if not fixture:
        yield None
        return
    process = subprocess.Popen([fixture], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        address = process.stdout.readline().removeprefix("listening on ").strip()
        yield f"esdb://{address}?tls=false"
    finally:
        process.kill()
        process.wait()


def until(what, condition, seconds=600, pause_s=0.05):
    give_up_at = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > give_up_at:
            raise SystemExit(f"not within {seconds} s: {what}")
        time.sleep(pause_s)


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
