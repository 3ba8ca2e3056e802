"""Keeps tables in Postgres that follow the topics of Orderly exactly, through crashes and rebalances.

Run as many processes as you like: they share the partitions. Any error that is not one of a single message ends the
program; let a supervisor start it again. docs/events.md explains each rule.

    KAFKA_BROKERS=localhost:9092 DATABASE_URL=postgres://… python consumer.py
"""

import json
import logging
import os
import signal
import uuid
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime

import psycopg
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

import tables

TOPIC_PREFIX = os.environ.get("TOPIC_PREFIX", "orderly")
GROUP = os.environ.get("GROUP", "shop-tables")
SESSION_TIMEOUT_MS = int(os.environ.get("SESSION_TIMEOUT_MS", "10000"))
BATCH_MESSAGES_MAX = 500
# How long a batch waits until it is full.
BATCH_TIME_MAX_S = 0.1

log = logging.getLogger("consumer")


class CannotRead(Exception):
    """Stops the partition of the message at `offset`."""

    def __init__(self, offset, reason):
        super().__init__(f"the message at offset {offset}: {reason}")
        self.offset = offset


@dataclass
class Event:
    id: uuid.UUID
    source: str
    type: str
    stream: str
    revision: int
    recorded_at: datetime
    data: dict

    @property
    def stream_id(self):
        """The UUID of the order or payment."""
        return self.stream.split("-", 1)[1]


def read(message):
    """Reads a CloudEvent in binary mode. Ignores headers and members that it does not know."""
    headers = {name: value.decode() for name, value in message.headers() or [] if name.startswith("ce_") and value}
    return Event(
        id=uuid.UUID(headers["ce_id"]),
        source=headers["ce_source"],
        type=headers["ce_type"],
        stream=headers["ce_subject"],
        revision=int(headers["ce_revision"]),
        recorded_at=datetime.fromisoformat(headers["ce_time"]),
        data=json.loads(message.value()),
    )


class Follower:
    def __init__(self, db):
        self.db = db
        # The next offset of each partition that this process reads.
        self.positions = {}
        self.consumer = Consumer(
            {
                "bootstrap.servers": os.environ["KAFKA_BROKERS"],
                "group.id": GROUP,
                # Hides the events of aborted transactions.
                "isolation.level": "read_committed",
                # The group only shares the partitions: the offsets are in the database.
                "enable.auto.commit": False,
                # A topic that lacks the stored offset is another topic. Never jump.
                "auto.offset.reset": "error",
                "partition.assignment.strategy": "cooperative-sticky",
                "session.timeout.ms": SESSION_TIMEOUT_MS,
                "heartbeat.interval.ms": SESSION_TIMEOUT_MS // 3,
            }
        )
        topics = [f"{TOPIC_PREFIX}.orders", f"{TOPIC_PREFIX}.payments"]
        self.consumer.subscribe(topics, on_assign=self.assigned, on_revoke=self.revoked, on_lost=self.revoked)

    def assigned(self, consumer, partitions):
        for partition in partitions:
            partition.offset = self.stored_offset(partition.topic, partition.partition)
            self.positions[partition.topic, partition.partition] = partition.offset
        log.info("reads %s", describe(partitions))
        consumer.incremental_assign(partitions)

    def revoked(self, consumer, partitions):
        """Nothing is open: each batch was stored before the next call of `consume`."""
        for partition in partitions:
            self.positions.pop((partition.topic, partition.partition), None)
        log.info("leaves %s", describe(partitions))
        consumer.incremental_unassign(partitions)

    def stored_offset(self, topic, partition):
        self.db.execute("INSERT INTO partitions VALUES (%s, %s, 0) ON CONFLICT DO NOTHING", [topic, partition])
        row = self.db.execute(
            "SELECT next_offset FROM partitions WHERE topic = %s AND partition = %s", [topic, partition]
        ).fetchone()
        return row[0]

    def poll(self):
        batches = defaultdict(list)
        for message in self.consumer.consume(BATCH_MESSAGES_MAX, BATCH_TIME_MAX_S):
            if message.error():
                self.failed(message)
            else:
                batches[message.topic(), message.partition()].append(message)
        for partition, messages in batches.items():
            # The group may have taken the partition away, or it has stopped, after the message was fetched.
            if partition in self.positions:
                self.store(partition, messages)

    def store(self, partition, messages):
        try:
            self.store_batch(partition, messages)
        except CannotRead as problem:
            before = [message for message in messages if message.offset() < problem.offset]
            if self.store_batch(partition, before):
                self.stop(partition, str(problem))

    def store_batch(self, partition, messages):
        """Stores a batch and the offset after it in one transaction. False if another process has read on."""
        while True:
            try:
                with self.db.transaction():
                    stored = self.store_rows(partition, messages)
                break
            except (psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure) as error:
                # Two processes add to the same sums. Nothing of the batch is stored.
                log.info("repeats a batch of %s/%d: %s", *partition, error)
        if stored is not None:
            self.positions[partition] = stored
            return True
        # This process was silent for so long that another one has the partition, or a killed one has still committed.
        stored = self.positions[partition] = self.stored_offset(*partition)
        log.warning("another process has moved %s/%d; reading from offset %d", *partition, stored)
        self.consumer.seek(TopicPartition(*partition, stored))
        return False

    def store_rows(self, partition, messages):
        """Returns the next offset; None if the stored one is not that of this process."""
        # Locks the row until the commit, so another process that believes it has the partition waits here.
        offset, source = self.db.execute(
            "SELECT next_offset, source FROM partitions WHERE topic = %s AND partition = %s FOR UPDATE", partition
        ).fetchone()
        if offset != self.positions[partition]:
            return None
        for message in messages:
            # Fetched before the partition was assigned again.
            if message.offset() < offset:
                continue
            try:
                event = read(message)
                source = source or event.source
                if event.source != source:
                    raise ValueError(f"it is of the event store {event.source}, those before it of {source}")
                if is_new(self.db, event):
                    tables.apply(self.db, event)
            except (KeyError, ValueError, TypeError, psycopg.DataError, psycopg.IntegrityError) as error:
                raise CannotRead(message.offset(), repr(error)) from error
            offset = message.offset() + 1
        self.db.execute(
            "UPDATE partitions SET next_offset = %s, source = %s, stopped = NULL WHERE topic = %s AND partition = %s",
            [offset, source, *partition],
        )
        return offset

    def stop(self, partition, reason):
        """Reads no more of this partition, and goes on with the others. A restart tries again."""
        log.error("stops %s/%d: %s", *partition, reason)
        self.db.execute(
            "UPDATE partitions SET stopped = %s WHERE topic = %s AND partition = %s", [reason, *partition]
        )
        del self.positions[partition]
        self.consumer.pause([TopicPartition(*partition)])

    def failed(self, message):
        error, partition = message.error(), (message.topic(), message.partition())
        if error.code() == KafkaError._AUTO_OFFSET_RESET and partition in self.positions:
            self.stop(partition, f"the topic lacks offset {self.positions[partition]}: it was made anew or lost events")
        elif error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            log.warning("%s; waiting for the topic", error)
        else:
            raise KafkaException(error)


def is_new(db, event):
    """False for a repetition. Refuses an event that cannot follow the stored ones."""
    rows = db.execute(
        "SELECT revision, event_id FROM events WHERE stream = %s AND revision BETWEEN %s AND %s",
        [event.stream, event.revision - 1, event.revision],
    )
    known = dict(rows.fetchall())
    if event.revision in known:
        if known[event.revision] != event.id:
            raise ValueError(f"revision {event.revision} of {event.stream} was another event: the log went back")
        return False
    if event.revision > 0 and event.revision - 1 not in known:
        raise ValueError(f"revision {event.revision - 1} of {event.stream} is missing")
    db.execute(
        "INSERT INTO events (stream, revision, event_id, type, recorded_at) VALUES (%s, %s, %s, %s, %s)",
        [event.stream, event.revision, event.id, event.type, event.recorded_at],
    )
    return True


def describe(partitions):
    return " ".join(f"{partition.topic}/{partition.partition}" for partition in partitions)


def main():
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO)
    stopping = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.append(True))
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as db:
        # Postgres undoes an open transaction of a frozen process or a lost machine. Its locks would stop the others.
        db.execute(f"SET idle_in_transaction_session_timeout = {SESSION_TIMEOUT_MS}")
        follower = Follower(db)
        try:
            while not stopping:
                follower.poll()
        finally:
            # Leaves the group, so that the others take the partitions over at once.
            follower.consumer.close()


if __name__ == "__main__":
    main()
