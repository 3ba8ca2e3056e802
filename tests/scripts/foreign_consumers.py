"""Kills consumers of the topics that are not ours: run by foreign-consumers.sh.

Two processes in Python and two in Java keep the tables of examples/consumers in a database each. Each language loses a
process by SIGKILL KILLS times, and every tenth time one is frozen until the group has given its partitions away. The
platform is killed too, so that the topics have aborted transactions. Then compares the tables with the log and with the
query API. The consumers then read the same events again, from topics with another prefix, which must change nothing. At
last an event that they cannot use must stop its partition, and no other, and so must a topic that lacks the stored offset.
"""

import collections
import contextlib
import json
import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.parse
import uuid

import confluent_kafka
import jsonschema
import psycopg

from server import Server, until

KILLS, BINARY = int(sys.argv[1]), sys.argv[2]
SEED = int(os.environ.get("SEED", random.randrange(1 << 32)))
BROKERS = os.environ["ORDERLY_TEST_KAFKA"].removeprefix("kafka://")
POSTGRES = os.environ["ORDERLY_TEST_POSTGRES"]
NAME = f"foreign_{os.getpid()}"
NEW_PREFIX = f"{NAME}_again"
CONSUMERS = "examples/consumers"
# A process that is kept from the processor for as long ends by the time limit of its transaction.
SESSION_S = 6
PATIENCE_S = 120
SKUS = [f"SKU-{number}" for number in range(12)]


class Member:
    """A process of a consumer. It must run until it is killed."""

    def __init__(self, language, number, url, home):
        self.language, self.log = language, open(os.path.join(home, f"{language}-{number}.log"), "ab")
        self.environment = {**os.environ, "KAFKA_BROKERS": BROKERS, "GROUP": f"{NAME}.{language}",
                            "SESSION_TIMEOUT_MS": str(SESSION_S * 1000)}
        if language == "python":
            self.command = [sys.executable, f"{CONSUMERS}/python/consumer.py"]
            self.environment["DATABASE_URL"] = url
        else:
            self.command = ["java", "-Xmx128m", "-cp", f"{CONSUMERS}/java/target/classes:{CONSUMERS}/java/target/lib/*",
                            "shop.Consumer"]
            server = urllib.parse.urlsplit(url)
            self.environment["DATABASE_URL"] = (f"jdbc:postgresql://{server.hostname}:{server.port}{server.path}"
                                                f"?user={server.username}&password={server.password}")
        self.start()

    def start(self, prefix=NAME):
        self.environment["TOPIC_PREFIX"] = prefix
        self.logged_before = os.path.getsize(self.log.name)
        self.process = subprocess.Popen(self.command, env=self.environment, stdout=self.log, stderr=self.log)

    def signal(self, number):
        if self.process.poll() is not None:
            raise SystemExit(f"a {self.language} consumer has ended by itself:\n{self.logged()[-3000:]}")
        self.process.send_signal(number)

    def kill(self):
        self.signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        self.signal(signal.SIGTERM)
        # Java ends with the number of the signal.
        assert self.process.wait(30) in (0, 128 + signal.SIGTERM, -signal.SIGTERM), self.process.returncode

    def logged(self):
        return open(self.log.name).read()

    def assignments(self):
        """How often this process has got partitions since its start."""
        return len(re.findall(f"reads .*{NAME}", self.logged()[self.logged_before:]))


class Group:
    """The two processes of a language, and their database."""

    def __init__(self, language, home):
        self.language, self.draw, self.failure = language, random.Random(f"{SEED} {language}"), None
        # Processes that ended because they were frozen in a transaction.
        self.ended = 0
        database = f"{NAME}_{language}"
        url = POSTGRES.rsplit("/", 1)[0] + "/" + database
        with psycopg.connect(POSTGRES, autocommit=True) as server:
            server.execute(f"CREATE DATABASE {database}")
        self.db = psycopg.connect(url, autocommit=True)
        self.db.execute(open(f"{CONSUMERS}/schema.sql").read())
        self.members = [Member(language, number, url, home) for number in range(2)]

    def disturb(self):
        try:
            for number in range(KILLS):
                victim, other = self.draw.sample(self.members, 2)
                until("the process has partitions", victim.assignments, PATIENCE_S)
                if number % 10 == 9:
                    self.freeze(victim, other)
                time.sleep(self.draw.uniform(0, 3))
                victim.kill()
                victim.start()
        except BaseException as failure:
            self.failure = failure

    def freeze(self, victim, other):
        """Until the other process has the partitions of the victim, and has read on."""
        before = other.assignments()
        victim.signal(signal.SIGSTOP)
        until("the other process takes over", lambda: other.assignments() > before, PATIENCE_S)
        stored = self.events()
        until("it reads on", lambda: self.events() > stored + 50, PATIENCE_S)
        victim.signal(signal.SIGCONT)
        time.sleep(1)
        if victim.process.poll() is not None:
            # It was frozen in a transaction, which Postgres has undone. A supervisor starts it again.
            assert re.search("idle-in-transaction timeout|I/O error occurred while sending", victim.logged()), victim.logged()[-3000:]
            self.ended += 1
            victim.start()
            until("the process has partitions again", victim.assignments, PATIENCE_S)

    def events(self):
        return self.rows("SELECT count(*) FROM events")[0][0]

    def rows(self, query):
        return self.db.execute(query).fetchall()

    def drop(self):
        for member in self.members:
            member.process.kill()
            member.process.wait()
        self.db.close()
        with psycopg.connect(POSTGRES, autocommit=True) as server:
            server.execute(f"DROP DATABASE {NAME}_{self.language} WITH (FORCE)")


class Shop:
    """Places, pays and cancels orders until it is closed. Repeats a request under its key until it is answered."""

    def __init__(self, server):
        self.server, self.orders, self.closed, self.failure = server, 0, threading.Event(), None
        self.threads = [threading.Thread(target=self.work, args=[number], daemon=True) for number in range(3)]

    def send(self, path, body, key):
        while True:
            # The platform is dead, or has no ports yet.
            with contextlib.suppress(OSError, KeyError, ValueError):
                answer = self.server.command(path, body, key)
                if answer.status != 503:
                    return answer
            time.sleep(0.1)

    def stock(self):
        for sku in SKUS:
            assert self.send(f"/v1/stock/{sku}/receipts", {"quantity": 1_000_000}, f"stock-{sku}").status == 201

    def place(self, draw, key):
        skus = draw.sample(SKUS, draw.randint(1, 3)) + (["SOLD-OUT"] if draw.random() < 0.05 else [])
        lines = [{"sku": sku, "quantity": draw.randint(1, 5), "unit_price": draw.randint(1, 5000)} for sku in skus]
        body = {"currency": draw.choice(["EUR", "GBP"]), "lines": lines, "payment": {"method": f"card-{key}"}}
        if draw.random() < 0.2:
            body |= {"metadata": {"channel": "app"}, "adjustments": [{"kind": "tax", "code": "VAT", "amount": 19}]}
        answer = self.send("/v1/orders", body, key)
        # 409: it has a SKU without stock, and is rejected.
        assert answer.status in (201, 409) and "order_id" in answer.body, (answer.status, answer.body)
        self.orders += 1
        return answer.body["order_id"]

    def work(self, number):
        draw = random.Random(f"{SEED} shop {number}")
        try:
            for turn in range(1_000_000):
                if self.closed.wait(draw.uniform(0.02, 0.25)):
                    return
                order = self.place(draw, f"order-{number}-{turn}")
                if draw.random() < 0.2:
                    time.sleep(draw.uniform(0, 0.5))
                    answer = self.send(f"/v1/orders/{order}/cancel", {}, f"cancel-{number}-{turn}")
                    assert answer.status in (200, 409), (answer.status, answer.body)
        except BaseException as failure:
            self.failure = failure

    def open(self):
        for thread in self.threads:
            thread.start()

    def close(self):
        self.closed.set()
        for thread in self.threads:
            thread.join()


def logged_events(server):
    """The events of the topics that the consumers read, by id: stream, type and data."""
    with contextlib.closing(sqlite3.connect(f"file:{server.data_dir}/events.db?mode=ro", uri=True)) as log:
        rows = log.execute("SELECT lower(id), stream, type, data FROM event_log WHERE stream NOT GLOB 'stock-*' "
                           "AND stream NOT GLOB 'receipt-*'").fetchall()
    return {event_id: rest for event_id, *rest in rows}


def wait_until_drained(server):
    """Nothing is owed in either direction, there is no lag, and no event comes for five seconds."""
    heads = collections.deque(maxlen=20)

    def settled(order):
        is_paid = order["status"] != "allocated" or not order["amount_due"]
        return order["status"] != "placed" and is_paid and not order["refund_due"]

    def quiet():
        state = server.query("/v1/projections").body
        heads.append(state["head"])
        return {projection["lag_events"] for projection in state["projections"]} == {0} and heads.count(heads[-1]) == 20
    until("every order is settled", lambda: all(map(settled, listed(server, "/v1/orders"))), PATIENCE_S, pause_s=1)
    until("the platform has drained", quiet, PATIENCE_S, pause_s=0.25)


def listed(server, path, items="items"):
    separator, cursor = "&" if "?" in path else "?", None
    while True:
        page = server.query(f"{path}{separator}limit=200" + (f"&cursor={cursor}" if cursor else "")).body
        yield from page[items]
        cursor = page.get("next_cursor")
        if not cursor:
            return


def expect(what, found, wanted):
    differences = [(key, found.get(key), wanted.get(key)) for key in sorted(found.keys() | wanted.keys(), key=str)
                   if found.get(key) != wanted.get(key)]
    if differences:
        raise SystemExit(f"{what}: {len(differences)} of {len(wanted)} differ (key, found, wanted), such as {differences[:3]}")
    assert wanted, f"{what}: nothing to compare"


def compare_events(group, logged):
    found = collections.Counter(event_id.hex for (event_id,) in group.rows("SELECT event_id FROM events"))
    expect(f"{group.language}: events by id", found, collections.Counter(list(logged)))


def compare_rows(group, server):
    """The tables, by the answers of the query API and of `orderly audit totals`, which other code computes."""
    language = group.language
    found = {str(order_id): tuple(rest) for order_id, *rest in group.rows(
        "SELECT order_id, status, currency, total, captured::bigint, refunded::bigint FROM order_balances")}
    wanted = {order["order_id"]: tuple(order[member] for member in ("status", "currency", "total", "captured", "refunded"))
              for order in listed(server, "/v1/orders")}
    expect(f"{language}: orders", found, wanted)
    for by in ("sku", "day"):
        found = {(key, currency): (units, amount) for key, currency, units, amount in group.rows(
            f"SELECT {by}::text, currency, sum(units)::bigint, sum(amount)::bigint FROM sales GROUP BY 1, 2")}
        wanted = {(row["key"], currency): (row["units"], row["gross"]) for currency in ("EUR", "GBP")
                  for row in listed(server, f"/v1/sales?currency={currency}&group_by={by}", "groups") if row["units"]}
        expect(f"{language}: sales by {by}", found, wanted)
    totals = json.loads(subprocess.run([BINARY, "audit", "totals", "--log", "error"], env=server.environment(),
                                       stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True).stdout)["totals"][0]
    found = {currency: tuple(sums) for currency, *sums in group.rows(
        "SELECT currency, count(*), sum(total)::bigint, sum(captured)::bigint, sum(refunded)::bigint FROM order_balances "
        "GROUP BY currency")}
    wanted = {currency: tuple(sums[member] for member in ("orders", "total", "captured", "refunded"))
              for currency, sums in totals["currencies"].items()}
    expect(f"{language}: sums by currency", found, wanted)
    assert all(sum for sums in wanted.values() for sum in sums), wanted


def compare(server, groups):
    """Returns the events of the log."""
    wait_until_drained(server)
    logged = logged_events(server)
    for group in groups:
        with contextlib.suppress(SystemExit):
            until("all events", lambda: group.events() >= len(logged), PATIENCE_S)
        compare_events(group, logged)
        compare_rows(group, server)
        assert not group.rows("SELECT * FROM partitions WHERE stopped IS NOT NULL")
    return logged


def check_schemas(logged):
    """The schemas of docs/asyncapi.json accept the data of every event."""
    messages = json.load(open("docs/asyncapi.json"))["components"]["messages"]
    schemas = {name: jsonschema.Draft7Validator(message["payload"]) for name, message in messages.items()}
    for stream, type_name, data in logged.values():
        problem = jsonschema.exceptions.best_match(schemas[type_name].iter_errors(json.loads(data)))
        assert problem is None, f"docs/asyncapi.json: {type_name} of {stream}: {problem.message} at {problem.json_path}"


def check_new_prefix(server, groups, shop):
    """The log is published again under another prefix. The consumers keep their rows and begin at offset 0."""
    server.stop()
    server.settings["ORDERLY_BUS"] = f"kafka://{BROKERS}?prefix={NEW_PREFIX}"
    server.start()
    status, output, *_ = server.run("projections", "rebuild")
    assert status == 0, output
    for group in groups:
        for member in group.members:
            member.stop()
            member.start(NEW_PREFIX)
    place_some(shop, "again")
    logged = compare(server, groups)
    for group in groups:
        read = group.rows(f"SELECT sum(next_offset) FROM partitions WHERE topic LIKE '{NEW_PREFIX}.%'")[0][0]
        assert read >= len(logged), f"{group.language} has not read the topics again: {read} of {len(logged)}"


def check_stop(groups, shop):
    """An order without members stops its partition before it, and leaves no row. The other partitions go on."""
    topic, order, sent = f"{NEW_PREFIX}.orders", f"order-{uuid.uuid4()}", []
    (source,), = groups[0].rows("SELECT DISTINCT source FROM partitions WHERE source IS NOT NULL")
    headers = {"ce_id": str(uuid.uuid4()), "ce_source": source, "ce_type": "order.placed.v2", "ce_subject": order,
               "ce_revision": "0", "ce_position": "1", "ce_time": "2026-11-29T12:00:00Z", "orderly_metadata": "{}"}
    producer = confluent_kafka.Producer({"bootstrap.servers": BROKERS})
    producer.produce(topic, b"{}", partition=0, headers=headers, on_delivery=lambda *outcome: sent.append(outcome))
    producer.flush()
    assert sent[0][0] is None, sent
    offset = sent[0][1].offset()
    others = f"SELECT sum(next_offset) FROM partitions WHERE topic = '{topic}' AND partition <> 0"
    before = {group.language: group.rows(others)[0][0] for group in groups}
    place_some(shop, "stop")
    for group in groups:
        stopped = lambda: group.rows("SELECT topic, partition, next_offset, stopped FROM partitions WHERE stopped IS NOT NULL")
        until(f"{group.language} has stopped the partition", stopped, PATIENCE_S)
        until(f"{group.language} reads the others", lambda: group.rows(others)[0][0] > before[group.language], PATIENCE_S)
        (stopped_topic, partition, next_offset, reason), = stopped()
        # Between the last event and this message is at least the marker of a transaction.
        assert (stopped_topic, partition) == (topic, 0) and next_offset < offset, stopped()
        assert f"the message at offset {offset}: " in reason, reason
        assert not group.rows(f"SELECT * FROM events WHERE stream = '{order}'")


def check_made_anew(groups):
    """A topic that lacks the stored offset stops its partition. It is read neither from its beginning nor from its end."""
    payments = f"topic = '{NEW_PREFIX}.payments' AND partition = 0"
    for group in groups:
        for member in group.members:
            member.stop()
        group.db.execute(f"UPDATE partitions SET next_offset = next_offset + 1000000 WHERE {payments}")
        for member in group.members:
            member.start(NEW_PREFIX)
    for group in groups:
        stopped = f"SELECT * FROM partitions WHERE {payments} AND stopped LIKE '%lacks offset%'"
        until(f"{group.language} stops", lambda: group.rows(stopped), PATIENCE_S)


def place_some(shop, name):
    draw = random.Random(f"{SEED} {name}")
    for number in range(100):
        shop.place(draw, f"{name}-{number}")


def has_started(server):
    """False if Kafka did not answer in time on a busy machine. A supervisor would try again, too."""
    try:
        server.start()
        return True
    except SystemExit:
        return False


def run(server, groups):
    shop = Shop(server)
    shop.stock()
    shop.open()
    disturbing = [threading.Thread(target=group.disturb) for group in groups]
    for thread in disturbing:
        thread.start()
    kills, draw = 0, random.Random(f"{SEED} platform")
    while any(thread.is_alive() for thread in disturbing):
        time.sleep(draw.uniform(5, 40))
        server.process.kill()
        server.process.wait()
        until("the platform runs again", lambda: has_started(server), PATIENCE_S)
        kills += 1
    shop.close()
    for party in (shop, *groups):
        if party.failure:
            raise party.failure
    logged = compare(server, groups)
    check_schemas(logged)
    print(f"{shop.orders} orders, {len(logged)} events, the platform killed {kills} times")
    for group in groups:
        text = "".join(member.logged() for member in group.members)
        print(f"{group.language}: killed {KILLS} times while it had partitions, equals the log; "
              f"{len(re.findall('has moved', text))} batches refused because another process had read on, "
              f"{len(re.findall('repeats a batch', text))} repeated after a deadlock, "
              f"{group.ended} frozen in a transaction")
    check_new_prefix(server, groups, shop)
    check_stop(groups, shop)
    check_made_anew(groups)
    for group in groups:
        for member in group.members:
            member.stop()
    print("The same events under another prefix changed nothing. An event that cannot be used stopped its partition only, and so "
          "did a topic without the stored offset")


def main():
    print(f"SEED={SEED}")
    groups = []
    with Server(BINARY, {"ORDERLY_BUS": f"kafka://{BROKERS}?prefix={NAME}"}) as server:
        server.start()
        try:
            for language in ("python", "java"):
                groups.append(Group(language, server.home))
            run(server, groups)
        finally:
            for group in groups:
                group.drop()


main()
