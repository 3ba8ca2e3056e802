"""Changes the primary of Postgres under load: run by postgres-failover.sh."""

import glob
import itertools
import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time

from server import Server, until

BIN = sorted(glob.glob("/usr/lib/postgresql/*/bin"))[-1]
CLIENTS = 4
# The load goes on for so long before each change.
STEADY_S = 3.0
# Postgres refuses to run as root.
USER = "postgres" if os.getuid() == 0 else None


def run(program, *arguments):
    subprocess.run([f"{BIN}/{program}", *arguments], check=True, user=USER, cwd="/", stdin=subprocess.DEVNULL,
                   stdout=subprocess.DEVNULL)


class Postgres:
    """One server, which keeps its port."""

    def __init__(self, home, name):
        self.data = f"{home}/{name}"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]

    def create(self):
        run("initdb", "--pgdata", self.data, "--username=orderly", "--auth=trust", "--locale=C", "--encoding=UTF8")
        self.start()

    def follow(self, primary):
        """Becomes an asynchronous standby of another server."""
        shutil.rmtree(self.data, ignore_errors=True)
        run("pg_basebackup", "--dbname", f"postgres://orderly@127.0.0.1:{primary.port}/postgres", "--pgdata", self.data,
            "--write-recovery-conf", "--checkpoint=fast")
        self.start()

    def start(self):
        options = f"-c port={self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c max_connections=100 " \
                  "-c wal_keep_size=256MB -c dynamic_shared_memory_type=mmap"
        run("pg_ctl", "start", "--wait", "--silent", "--pgdata", self.data, "--log", f"{self.data}.log", "--options", options)

    def crash(self):
        run("pg_ctl", "stop", "--mode=immediate", "--silent", "--pgdata", self.data)

    def make_read_only(self):
        """Keeps every connection."""
        with open(f"{self.data}/postgresql.auto.conf", "a") as settings:
            settings.write("default_transaction_read_only = on\n")
        run("pg_ctl", "reload", "--silent", "--pgdata", self.data)

    def promote(self):
        run("pg_ctl", "promote", "--wait", "--silent", "--pgdata", self.data)


class Load:
    """Clients that place orders until the end."""

    def __init__(self, server):
        self.server, self.ends, self.placed = server, threading.Event(), []
        self.numbers = itertools.count()
        self.threads = [threading.Thread(target=self.place) for _ in range(CLIENTS)]
        for thread in self.threads:
            thread.start()

    def place(self):
        while not self.ends.is_set():
            answer = self.server.order(["S"], f"order {next(self.numbers)}")
            self.placed.append((answer.status, answer.body))

    def end(self):
        self.ends.set()
        for thread in self.threads:
            thread.join()
        refused = [answer for answer in self.placed if answer[0] != 201]
        assert not refused, f"{len(refused)} of {len(self.placed)} orders were refused: {refused[0]}"


def is_shown(server, order_id):
    return server.query(f"/v1/orders/{order_id}").status == 200


def change(server, primary, standby, keeps_connections, number):
    time.sleep(STEADY_S)
    begun = time.monotonic()
    primary.make_read_only() if keeps_connections else primary.crash()
    standby.promote()
    promoted = time.monotonic()
    order = server.order(["S"], f"after change {number}")
    until("queries show an order that is placed after the change", lambda: is_shown(server, order.body["order_id"]), 60)
    kind = "made read-only" if keeps_connections else "crashed"
    print(f"change {number}, the primary {kind}: promoted after {promoted - begun:.1f} s, "
          f"a new order shown {time.monotonic() - promoted:.1f} s later", flush=True)
    if keeps_connections:
        primary.crash()
    primary.follow(standby)


def main(binary, changes):
    home = tempfile.mkdtemp(prefix="orderly-postgres-", dir="/var/tmp")
    if USER:
        os.chown(home, pwd.getpwnam(USER).pw_uid, -1)
    one, two = Postgres(home, "one"), Postgres(home, "two")
    try:
        one.create()
        two.follow(one)
        url = f"postgres://orderly@127.0.0.1:{one.port},127.0.0.1:{two.port}/postgres"
        with Server(binary, {"ORDERLY_READ_MODELS": url}) as server:
            server.start()
            assert server.receive("S", 1_000_000, "stock").status in (200, 201)
            load = Load(server)
            primary, standby = one, two
            for number in range(changes):
                change(server, primary, standby, number % 2 == 1, number)
                primary, standby = standby, primary
            load.end()
            placed = [body["order_id"] for _, body in load.placed]
            until("every order is shown", lambda: is_shown(server, placed[-1]))
            missing = [order for order in placed if not is_shown(server, order)]
            assert not missing, f"{len(missing)} orders are not shown"
            server.stop()
            code, output, *_ = server.run("audit", "verify")
            assert code == 0, output
            print(f"{len(placed)} orders, none refused, all shown; every row equals the log")
    finally:
        for postgres in (one, two):
            subprocess.run([f"{BIN}/pg_ctl", "stop", "--mode=immediate", "--silent", "--pgdata", postgres.data], user=USER,
                           cwd="/", check=False, capture_output=True)
        shutil.rmtree(home, ignore_errors=True)


main(sys.argv[1], int(sys.argv[2]))
