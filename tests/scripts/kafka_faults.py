"""Provokes faults of a Kafka with access lists and a small disk: run by kafka-faults.sh.

Usage: kafka_faults.py BINARY KAFKA_LIBRARIES
"""

import collections
import contextlib
import itertools
import json
import os
import re
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time

from confluent_kafka import Consumer, IsolationLevel, KafkaException, TopicPartition
from confluent_kafka.admin import (AclBinding, AclBindingFilter, AclOperation, AclPermissionType, AdminClient,
                                   ResourcePatternType, ResourceType)

from prometheus import free_port
from server import Server, until

BINARY, LIBRARIES = sys.argv[1], os.path.abspath(sys.argv[2])
DISK_MIB = 128
USER, PASSWORD = "orderly", "orderly-secret"
SKUS = [f"SKU-{number}" for number in range(20)]
PATIENCE_S = 180
SETTINGS = """
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{plain},SASL://127.0.0.1:{sasl},CONTROLLER://127.0.0.1:{controller}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SASL:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT
listener.name.sasl.sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.sasl.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
log.dirs={data}
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
log.cleaner.dedupe.buffer.size=8388608
log.index.size.max.bytes=1048576
"""


class Broker:
    """A broker of its own, whose data is on a small disk. Without a password everything is allowed."""

    def __init__(self, home):
        self.home, self.disk, self.process = home, f"{home}/disk", None
        os.mkdir(self.disk)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "tmpfs", self.disk], check=True)
        ports = {name: free_port() for name in ("plain", "sasl", "controller")}
        self.plain, self.sasl = f"127.0.0.1:{ports['plain']}", f"127.0.0.1:{ports['sasl']}"
        self.admin = AdminClient({"bootstrap.servers": self.plain, "log_level": 0})
        with open(f"{home}/server.properties", "w") as file:
            file.write(SETTINGS.format(data=f"{self.disk}/data", **ports))
        self.java("kafka.tools.StorageTool", "format", "--cluster-id", "MkU3OEVBNTcwNTJENDM2Qk", "--config",
                  f"{home}/server.properties", "--add-scram", f"SCRAM-SHA-512=[name={USER},password={PASSWORD}]").wait()

    def java(self, *arguments):
        log = open(f"{self.home}/kafka.log", "ab")
        return subprocess.Popen(["java", "-Xmx384m", "-XX:+UseSerialGC", "-cp", f"{LIBRARIES}/*",
                                 "-Dlog4j2.configurationFile=infra/dev/kafka/log4j2.properties", *arguments],
                                stdout=log, stderr=log)

    def start(self):
        self.process = self.java("kafka.Kafka", f"{self.home}/server.properties")
        until("Kafka answers", self.is_up, 60)

    def is_up(self):
        try:
            return self.admin.list_topics(timeout=2)
        except KafkaException:
            return False

    def kill(self):
        self.process.kill()
        self.process.wait()

    def rights(self):
        """What docs/operating.md asks for: everything on what begins with the prefix."""
        kinds = (ResourceType.TOPIC, ResourceType.GROUP, ResourceType.TRANSACTIONAL_ID)
        return [AclBinding(kind, "faults", ResourcePatternType.PREFIXED, f"User:{USER}", "*", AclOperation.ALL,
                           AclPermissionType.ALLOW) for kind in kinds]

    def grant(self):
        for done in self.admin.create_acls(self.rights()).values():
            done.result()

    def revoke_topics(self):
        right = self.rights()[0]
        filters = [AclBindingFilter(right.restype, right.name, right.resource_pattern_type, right.principal, right.host,
                                    right.operation, right.permission_type)]
        for done in self.admin.delete_acls(filters).values():
            assert len(done.result()) == 1

    def delete(self, *topics):
        for done in self.admin.delete_topics(list(topics)).values():
            done.result()

    def fill_disk(self):
        with open(f"{self.disk}/ballast", "wb", buffering=0) as ballast, contextlib.suppress(OSError):
            while True:
                ballast.write(bytes(4096))

    def free_disk(self):
        os.remove(f"{self.disk}/ballast")

    def committed(self, prefix):
        """The revisions of each stream in the order in which a reader with read_committed gets them."""
        reader = Consumer({"bootstrap.servers": self.plain, "group.id": "check", "isolation.level": "read_committed",
                           "enable.auto.commit": False, "enable.partition.eof": True})
        topics = reader.list_topics(timeout=10).topics
        partitions = [TopicPartition(f"{prefix}.{name}", number, 0) for name in ("stock", "orders", "payments")
                      for number in topics[f"{prefix}.{name}"].partitions]
        reader.assign(partitions)
        found, at_end = collections.defaultdict(list), set()
        while len(at_end) < len(partitions):
            message = reader.poll(10)
            assert message is not None, "the topics cannot be read to their end"
            if message.error():
                assert message.error().name() == "_PARTITION_EOF", message.error()
                at_end.add((message.topic(), message.partition()))
            else:
                found[message.key().decode()].append(int(dict(message.headers())["ce_revision"]))
        reader.close()
        return found


class Platform(Server):
    """All roles in one process, with clients that place orders all the time."""

    def __init__(self, broker):
        super().__init__(BINARY)
        self.broker, self.number, self.refused = broker, itertools.count(), []
        self.use("faults")

    def use(self, prefix):
        self.prefix = prefix
        self.settings["ORDERLY_BUS"] = (f"kafka://{USER}:{PASSWORD}@{self.broker.sasl}?prefix={prefix}&partitions=3"
                                        "&sasl=scram-sha-512")

    def place(self, seconds):
        """Places orders for so long. Each must be accepted."""
        until_s = time.monotonic() + seconds
        while time.monotonic() < until_s:
            number = next(self.number)
            answer = self.order([SKUS[number % len(SKUS)]], f"order-{number}")
            assert answer.status == 201, answer.body
            time.sleep(0.02)

    def log_size(self):
        return os.path.getsize(f"{self.home}/serve.log") if self.process else 0

    def log_lines(self, since):
        with open(f"{self.home}/serve.log") as log:
            log.seek(since)
            return [re.sub(r"\x1b\[[0-9;]*m|^\S+Z\s+", "", line.strip()) for line in log]

    def degraded(self):
        return {found["name"]: found["detail"] for found in self.query("/readyz").body["degraded"]}

    def drained(self):
        lags = re.findall(r'"lag_events": (\w+)', json.dumps(self.query("/v1/projections").body))
        return lags and set(lags) == {"0"}

    def log_revisions(self):
        log = sqlite3.connect(f"file:{self.data_dir}/events.db?mode=ro", uri=True)
        rows = log.execute("SELECT name, count(*) FROM events JOIN streams USING (stream_no) GROUP BY name")
        return {name: list(range(count)) for name, count in rows}

    def check(self):
        """Nothing is lost: every row equals the log, and the topics have every event once and in order."""
        wanted = self.log_revisions()
        until("every event is published", lambda: self.broker.committed(self.prefix) == wanted, PATIENCE_S, 1)
        until("the projections have caught up", self.drained, PATIENCE_S, 0.5)
        code, output, *_ = self.run("audit", "verify")
        assert code == 0, output
        events = sum(map(len, wanted.values()))
        print(f"  afterwards: {events} events in the topics once and in order; {output.strip().splitlines()[-1]}", flush=True)


def fault(platform, what, provoke, mend, condition):
    """Provokes a fault, waits until /readyz names it, prints what is to be seen, mends it, and checks that nothing is lost."""
    print(f"{what}", flush=True)
    platform.place(1)
    since = platform.log_size()
    provoke()
    seen = {}

    def is_seen():
        platform.place(0.2)
        seen.update(platform.degraded())
        return condition in seen

    until(f"/readyz lists {condition}", is_seen, PATIENCE_S)
    platform.place(5)
    print(f"  /readyz: {condition}: {seen[condition]}")
    # Without those of the client library, which differ by connection.
    lines = [re.sub(r"\d+", "N", line)[:300] for line in platform.log_lines(since) if "rdkafka" not in line]
    for line, count in collections.Counter(lines).most_common(6):
        print(f"  log ({count}): {line}")
    mend()
    platform.place(1)
    until(f"{condition} is over", lambda: condition not in platform.degraded(), PATIENCE_S, 0.5)
    platform.check()


def main():
    with tempfile.TemporaryDirectory() as home:
        broker = Broker(home)
        try:
            broker.start()
            broker.grant()
            with Platform(broker) as platform:
                try:
                    run(broker, platform)
                except BaseException:
                    print("the end of the log:", *platform.log_lines(max(0, platform.log_size() - 8000)), sep="\n  ")
                    raise
        finally:
            broker.process.kill()
            broker.process.wait()
            subprocess.run(["umount", broker.disk], check=False)


def run(broker, platform):
    platform.start()
    for sku in SKUS:
        assert platform.receive(sku, 1_000_000, sku).status in (200, 201)

    def with_new_prefix(prefix):
        def mend():
            platform.stop()
            platform.use(prefix)
            platform.start()
            code, output, *_ = platform.run("projections", "rebuild")
            assert code == 0, output
        return mend

    def full():
        broker.fill_disk()
        until("Kafka ends", lambda: platform.place(0.1) or broker.process.poll() is not None, PATIENCE_S)

    def freed():
        broker.free_disk()
        broker.start()

    def all_recreated():
        platform.stop()
        broker.delete(*(f"{platform.prefix}.{name}" for name in ("stock", "orders", "payments", "relay")))
        platform.start()

    fault(platform, "the broker is killed", broker.kill, broker.start, "relay_interrupted")
    fault(platform, "the disk of the broker is full", full, freed, "relay_interrupted")
    fault(platform, "the right to use the topics is revoked", broker.revoke_topics, broker.grant, "relay_interrupted")
    fault(platform, "a topic is deleted", lambda: broker.delete(f"{platform.prefix}.orders"), with_new_prefix("faults2"),
          "lost_topics")
    fault(platform, "all topics are deleted while the platform is stopped", all_recreated, with_new_prefix("faults3"),
          "lost_topics")


if __name__ == "__main__":
    main()
