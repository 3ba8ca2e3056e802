"""Checks the EventStoreDB fixture with the official Python client.

Takes the path of the fixture's binary. Fails at the first difference from the real server.
"""

import atexit
import subprocess
import sys
import tempfile
from pathlib import Path
from uuid import uuid4

import eventstoredb_client_faults as faults
from kurrentdbclient import KurrentDBClient, NewEvent, StreamState
from kurrentdbclient.events import CaughtUp
from kurrentdbclient.exceptions import (
    FailedPreconditionError,
    InvalidCommitPositionError,
    KurrentDBClientError,
    MaximumAppendSizeExceededError,
    NotFoundError,
    StreamIsDeletedError,
    WrongCurrentVersionError,
)

DEADLINE_S = 20


class Fixture:
    """The server, in a process of its own."""

    def __init__(self, binary, log, listen="127.0.0.1:0", options=()):
        self.process = subprocess.Popen(
            [binary, "--file", str(log), "--listen", listen, *options],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        # Kills the server also after a failed check.
        atexit.register(self.process.kill)
        words = self.process.stdout.readline().split()
        assert words[:2] == ["listening", "on"], words
        self.address = words[2]

    def client(self):
        return KurrentDBClient(uri=f"esdb://{self.address}?Tls=false&DefaultDeadline={DEADLINE_S}")

    def command(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        status, _, result = self.process.stdout.readline().strip().partition(" ")
        assert status == "done", f"{line}: {status} {result}"
        return result

    def kill(self):
        self.process.kill()
        self.process.wait()


def events(count, size=20):
    return [
        NewEvent(type="stock.adjusted.v1", data=b'"' + b"x" * size + b'"', metadata=b'{"number":%d}' % number)
        for number in range(count)
    ]


def new_stream():
    return f"order-{uuid4()}"


def must_fail(error, call):
    try:
        call()
    except error as raised:
        assert type(raised) is error, f"{type(raised)} is not {error}"
        return raised
    raise AssertionError(f"{error.__name__} was not raised")


def appends_and_reads_back(client):
    stream, sent = new_stream(), events(3)
    position = client.append_to_stream(stream, current_version=StreamState.NO_STREAM, events=sent)
    got = client.get_stream(stream)
    assert [event.id for event in got] == [event.id for event in sent]
    assert [event.stream_position for event in got] == [0, 1, 2]
    for event, original in zip(got, sent):
        assert (event.type, event.data, event.metadata) == (original.type, original.data, original.metadata)
        assert event.content_type == "application/json" and event.stream_name == stream
        assert event.recorded_at is not None
    positions = [event.commit_position for event in got]
    assert positions == sorted(set(positions)) and positions[-1] == position == client.get_commit_position()
    assert client.get_current_version(stream) == 2

    backwards = client.get_stream(stream, backwards=True)
    assert [event.stream_position for event in backwards] == [2, 1, 0]
    assert [e.stream_position for e in client.get_stream(stream, stream_position=1, limit=1)] == [1]
    assert [e.stream_position for e in client.get_stream(stream, stream_position=1, backwards=True)] == [1, 0]


def a_single_event_is_appended_by_another_call(client):
    """The client sends a single event by Append and several by BatchAppend."""
    stream, first, second = new_stream(), *events(2)
    at_first = client.append_to_stream(stream, current_version=StreamState.NO_STREAM, events=first)
    at_second = client.append_to_stream(stream, current_version=0, events=second)
    assert at_second > at_first
    # A retry under the original expected version gets the original outcome, also after later appends.
    assert client.append_to_stream(stream, current_version=StreamState.NO_STREAM, events=first) == at_first
    assert client.append_to_stream(stream, current_version=0, events=second) == at_second
    raised = must_fail(
        WrongCurrentVersionError,
        lambda: client.append_to_stream(stream, current_version=StreamState.NO_STREAM, events=events(1)[0]),
    )
    assert raised.actual_version == 1, raised.actual_version
    assert client.get_current_version(stream) == 1


def a_wrong_version_is_refused(client):
    stream = new_stream()
    client.append_to_stream(stream, current_version=StreamState.NO_STREAM, events=events(3))
    for expected in [StreamState.NO_STREAM, 0, 1, 3, 100]:
        wrong = must_fail(
            WrongCurrentVersionError,
            lambda: client.append_to_stream(stream, current_version=expected, events=events(2)),
        )
        assert wrong.actual_version == 2, wrong.actual_version
    missing = new_stream()
    for expected in [0, StreamState.EXISTS]:
        wrong = must_fail(
            WrongCurrentVersionError,
            lambda: client.append_to_stream(missing, current_version=expected, events=events(2)),
        )
        assert wrong.actual_version is StreamState.NO_STREAM, wrong.actual_version
    assert client.get_current_version(stream) == 2
    assert client.get_current_version(missing) is StreamState.NO_STREAM


def a_retry_is_recognised_by_its_ids(client):
    stream, sent, more = new_stream(), events(3), events(2)
    original = client.append_to_stream(stream, current_version=StreamState.NO_STREAM, events=sent)
    client.append_to_stream(stream, current_version=2, events=more)
    again = client.append_to_stream(stream, current_version=StreamState.NO_STREAM, events=sent)
    assert again == original, "a retry must get the position of the original's last event"
    # The first events of an append are a retry as well. An additional or a different event is not.
    client.append_to_stream(stream, current_version=StreamState.NO_STREAM, events=sent[:2])
    for different in [[*sent[:2], *events(1)], [*events(1), *sent[1:]], [*sent, *more, *events(1)]]:
        must_fail(
            WrongCurrentVersionError,
            lambda: client.append_to_stream(stream, current_version=StreamState.NO_STREAM, events=different),
        )
    # With the right version, the server does not compare ids.
    client.append_to_stream(stream, current_version=4, events=sent)
    assert client.get_current_version(stream) == 7


def any_version_recognises_recent_ids(client):
    stream, sent = new_stream(), events(2)
    original = client.append_to_stream(stream, current_version=StreamState.ANY, events=sent)
    assert client.append_to_stream(stream, current_version=StreamState.ANY, events=sent) == original
    assert client.append_to_stream(stream, current_version=StreamState.EXISTS, events=sent) == original
    must_fail(
        WrongCurrentVersionError,
        lambda: client.append_to_stream(stream, current_version=StreamState.ANY, events=[sent[0], *events(1)]),
    )
    client.append_to_stream(stream, current_version=StreamState.ANY, events=events(1))
    assert client.get_current_version(stream) == 2


def a_missing_stream_is_reported(client):
    must_fail(NotFoundError, lambda: client.get_stream(new_stream()))


def a_deleted_stream_is_reported(client):
    stream = new_stream()
    client.append_to_stream(stream, current_version=StreamState.NO_STREAM, events=events(2))
    must_fail(WrongCurrentVersionError, lambda: client.tombstone_stream(stream, current_version=0))
    client.tombstone_stream(stream, current_version=1)
    must_fail(StreamIsDeletedError, lambda: client.get_stream(stream))
    must_fail(StreamIsDeletedError, lambda: client.append_to_stream(stream, current_version=1, events=events(2)))
    # The client sends a single event by Append, and does not read the trailers of Append.
    failure = must_fail(
        FailedPreconditionError,
        lambda: client.append_to_stream(stream, current_version=1, events=events(1)[0]),
    )
    assert stream in str(failure) and "is deleted" in str(failure), failure


def a_deleted_stream_may_be_created_again(client):
    stream, old, new = new_stream(), events(3), events(2)
    client.append_to_stream(stream, current_version=StreamState.NO_STREAM, events=old)
    client.delete_stream(stream, current_version=2)
    must_fail(NotFoundError, lambda: client.get_stream(stream))
    client.append_to_stream(stream, current_version=StreamState.NO_STREAM, events=new)
    got = client.get_stream(stream)
    assert [(event.stream_position, event.id) for event in got] == [(3, new[0].id), (4, new[1].id)], got
    metadata, _ = client.get_stream_metadata(stream)
    assert metadata == {"$tb": 3}, metadata


def an_append_that_is_too_large_writes_nothing(client):
    stream = new_stream()
    must_fail(
        MaximumAppendSizeExceededError,
        lambda: client.append_to_stream(stream, current_version=StreamState.NO_STREAM, events=events(3, 400_000)),
    )
    must_fail(NotFoundError, lambda: client.get_stream(stream))
    client.append_to_stream(stream, current_version=StreamState.NO_STREAM, events=events(2, 400_000))


def the_whole_log_is_read_in_order(client):
    everything = list(client.read_all(filter_exclude=()))
    positions = [event.commit_position for event in everything]
    assert positions == sorted(set(positions))
    assert any(event.stream_name.startswith("$") for event in everything), "the log has no events of the server"
    ours = [event for event in everything if not event.type.startswith("$")]
    assert list(client.read_all()) == ours, "the default filter must leave out the events of the server"
    assert list(client.read_all(backwards=True, filter_exclude=())) == everything[::-1]
    middle = len(everything) // 2
    at_middle = everything[middle].commit_position
    forwards = list(client.read_all(commit_position=at_middle, filter_exclude=(), limit=3))
    assert forwards == everything[middle : middle + 3], "a forward read includes its position"
    backwards = list(client.read_all(commit_position=at_middle, backwards=True, filter_exclude=(), limit=3))
    assert backwards == everything[middle - 3 : middle][::-1], "a backward read excludes its position"
    must_fail(InvalidCommitPositionError, lambda: list(client.read_all(commit_position=at_middle + 1)))


def a_subscription_catches_up_and_follows(client):
    before = list(client.read_all())
    with client.subscribe_to_all(include_caught_up=True, timeout=DEADLINE_S) as subscription:
        got = []
        for event in subscription:
            if isinstance(event, CaughtUp):
                break
            got.append(event)
        assert got == before
        stream, sent = new_stream(), events(3)
        client.append_to_stream(stream, current_version=StreamState.NO_STREAM, events=sent)
        assert [next(subscription).id for _ in sent] == [event.id for event in sent]
    with client.subscribe_to_all(commit_position=before[-1].commit_position, timeout=DEADLINE_S) as subscription:
        assert next(subscription).id == sent[0].id, "a subscription starts after its position"
    with client.subscribe_to_stream(stream, stream_position=0, timeout=DEADLINE_S) as subscription:
        assert [next(subscription).id for _ in sent[1:]] == [event.id for event in sent[1:]]
    prefix = client.subscribe_to_all(
        filter_include=[stream], filter_by_stream_name=True, filter_by_prefix=True, timeout=DEADLINE_S
    )
    with prefix as subscription:
        assert [next(subscription).id for _ in sent] == [event.id for event in sent]


def the_cluster_is_this_node(client):
    (node,) = client.read_gossip()
    assert node.state == "NODE_STATE_LEADER", node
    assert f"{node.address}:{node.port}" == client.connection_target, node


def an_acknowledged_append_survives_a_kill(binary):
    with tempfile.TemporaryDirectory() as directory:
        log = Path(directory) / "log"
        fixture = Fixture(binary, log)
        client = fixture.client()
        stream, sent = new_stream(), events(3)
        position = client.append_to_stream(stream, current_version=StreamState.NO_STREAM, events=sent)
        before = client.get_stream(stream)
        client.close()
        fixture.kill()
        # Leaves half of an interrupted append in the file.
        with log.open("ab") as file:
            file.write(b"\x00\x00\x10\x00half of an append")
        fixture = Fixture(binary, log, fixture.address)
        client = fixture.client()
        assert client.get_stream(stream) == before
        again = client.append_to_stream(stream, current_version=StreamState.NO_STREAM, events=sent)
        assert again == position, "the server does not recognise a retry after a restart"
        client.append_to_stream(stream, current_version=2, events=events(2))

        # Loses the answer, but not the append.
        lost = events(1)[0]
        fixture.command("lose-answers 1")
        may_fail(lambda: client.append_to_stream(stream, current_version=4, events=lost, timeout=5))
        fixture.command("lose-answers 0")
        client.append_to_stream(stream, current_version=4, events=lost)
        whole = client.get_stream(stream)
        assert len(whole) == 6
        client.close()
        fixture.kill()

        fixture = Fixture(binary, log, fixture.address)
        client = fixture.client()
        assert client.get_stream(stream) == whole, "an append after the torn one is missing"
        client.close()
        fixture.kill()


def may_fail(call):
    """The client may retry, so both an error and a success are right."""
    try:
        call()
    except KurrentDBClientError:
        pass


CHECKS = [
    appends_and_reads_back,
    a_single_event_is_appended_by_another_call,
    a_wrong_version_is_refused,
    a_retry_is_recognised_by_its_ids,
    any_version_recognises_recent_ids,
    a_missing_stream_is_reported,
    a_deleted_stream_is_reported,
    a_deleted_stream_may_be_created_again,
    an_append_that_is_too_large_writes_nothing,
    the_whole_log_is_read_in_order,
    a_subscription_catches_up_and_follows,
    the_cluster_is_this_node,
]


def main(binary):
    with tempfile.TemporaryDirectory() as directory:
        fixture = Fixture(binary, Path(directory) / "log")
        client = fixture.client()
        try:
            for check in CHECKS:
                check(client)
                print(f"ok  {check.__name__}", flush=True)
        finally:
            client.close()
            fixture.kill()
    an_acknowledged_append_survives_a_kill(binary)
    print("ok  an_acknowledged_append_survives_a_kill")
    for check in faults.CHECKS:
        with tempfile.TemporaryDirectory() as directory:
            start = lambda *options: Fixture(binary, Path(directory) / "log", options=options)
            check(start, events, new_stream, must_fail)
        print(f"ok  {check.__name__}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
