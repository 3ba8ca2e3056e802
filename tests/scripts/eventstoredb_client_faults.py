"""Checks what the official Python client says about the fixture's faults, users, certificates and clusters."""

import tempfile
import time
from pathlib import Path

from kurrentdbclient import KurrentDBClient, StreamState
from kurrentdbclient.exceptions import (
    AbortedByServerError,
    AccessDeniedError,
    GrpcDeadlineExceededError,
    NodeIsNotLeaderError,
    NotFoundError,
    ServiceUnavailableError,
    UnauthenticatedError,
    UnknownError,
)

MANY = 1_000


def planned_faults_reach_the_client(start, events, new_stream, must_fail):
    """Appends of single events: the client sends them by Append, which reports errors as a status."""
    fixture = start()
    client = fixture.client()
    stream, sent = new_stream(), events(3)

    def append(number):
        expected = number - 1 if number else StreamState.NO_STREAM
        return client.append_to_stream(stream, current_version=expected, events=sent[number], timeout=5)

    fixture.command("abort-appends 1 not-written")
    must_fail(AbortedByServerError, lambda: append(0))
    must_fail(NotFoundError, lambda: client.get_stream(stream))
    fixture.command("abort-appends 1 written")
    must_fail(AbortedByServerError, lambda: append(0))
    assert len(client.get_stream(stream)) == 1
    append(0)

    for reason, error in [
        ("no-leader", UnknownError),
        ("not-ready", ServiceUnavailableError),
        ("too-busy", ServiceUnavailableError),
        ("not-leader 127.0.0.1:9", NodeIsNotLeaderError),
    ]:
        fixture.command(f"refuse-calls {MANY} {reason}")
        raised = must_fail(error, lambda: append(1))
        if error is NodeIsNotLeaderError:
            assert (raised.host, raised.port) == ("127.0.0.1", 9), (raised.host, raised.port)
    fixture.command("refuse-calls 0 not-ready")
    assert len(client.get_stream(stream)) == 1, "a refused append was written"

    # The call ends before the write: it is cancelled, or goes on without its client.
    fixture.command("delay-appends 2000 not-written")
    once = lambda: client.append_to_stream(stream, current_version=0, events=sent[1], timeout=0.5)
    must_fail(GrpcDeadlineExceededError, once)
    fixture.command("delay-appends 0 not-written")
    assert len(client.get_stream(stream)) == 1, "a cancelled append was written"
    fixture.command("delay-appends 1000 written")
    must_fail(GrpcDeadlineExceededError, once)
    until("the append goes on", lambda: len(client.get_stream(stream)) == 2)
    client.close()
    fixture.kill()


def a_restored_log_goes_back(start, events, new_stream, must_fail):
    fixture = start()
    client = fixture.client()
    kept, lost = new_stream(), new_stream()
    client.append_to_stream(kept, current_version=StreamState.NO_STREAM, events=events(2))
    count = fixture.command("events")
    client.append_to_stream(lost, current_version=StreamState.NO_STREAM, events=events(2))
    fixture.command(f"restore {count}")
    assert len(client.get_stream(kept)) == 2
    must_fail(NotFoundError, lambda: client.get_stream(lost))
    client.close()
    fixture.kill()


def calls_are_counted_and_links_are_added(start, events, new_stream, must_fail):
    fixture = start("--foreign-events", "3")
    client = fixture.client()
    stream = new_stream()
    client.append_to_stream(stream, current_version=StreamState.NO_STREAM, events=events(2))
    client.append_to_stream(stream, current_version=1, events=events(1)[0])
    client.get_stream(stream)
    everything = list(client.read_all(filter_exclude=()))
    links = [event for event in everything if event.type == "$>"]
    assert len(links) == 6 and all(event.stream_name.startswith(("$ce-", "$et-")) for event in links), links
    counts = dict(word.split("=") for word in fixture.command("calls").split())
    wanted = {"appends": "1", "batches": "1", "stream_reads": "1", "all_reads": "1", "broken_off_reads": "0"}
    assert wanted.items() <= counts.items(), counts
    client.close()
    fixture.kill()


def users_have_the_rights_of_the_server(start, events, new_stream, must_fail):
    """With TLS, because the client sends passwords over encrypted connections only."""
    with tempfile.TemporaryDirectory() as folder:
        fixture = start("--tls", folder, "--admin", "admin:changeit", "--user", "orders:secret")
        authority = (Path(folder) / "ca.pem").read_text()
        address = fixture.address.replace("127.0.0.1", "localhost")

        def connect(user):
            return KurrentDBClient(uri=f"esdb://{user}{address}?Tls=true", root_certificates=authority)

        admin, orders = connect("admin:changeit@"), connect("orders:secret@")
        stream = new_stream()
        orders.append_to_stream(stream, current_version=StreamState.NO_STREAM, events=events(2))
        assert len(orders.get_stream(stream)) == 2
        must_fail(AccessDeniedError, lambda: list(orders.read_all()))
        must_fail(AccessDeniedError, lambda: orders.get_stream("$settings"))
        assert len(list(admin.read_all())) == 2
        admin.set_stream_metadata("$all", metadata={"$acl": {"$r": ["orders", "$admins"]}})
        assert len(list(orders.read_all())) == 2
        must_fail(UnauthenticatedError, lambda: connect("orders:wrong@").get_stream(stream))
        admin.close()
        orders.close()
        fixture.kill()
    # Without TLS the client sends no password, so it is nobody to the server.
    fixture = start("--admin", "admin:changeit")
    nobody = fixture.client()
    must_fail(AccessDeniedError, lambda: nobody.get_stream(stream))
    nobody.close()
    fixture.kill()


def a_cluster_elects_another_leader(start, events, new_stream, must_fail):
    fixture = start("--nodes", "3", "--election-ms", "300")
    client = fixture.client()
    assert [node.state for node in client.read_gossip()].count("NODE_STATE_LEADER") == 1
    stream, sent = new_stream(), events(4)
    client.append_to_stream(stream, current_version=StreamState.NO_STREAM, events=sent[0])

    # A follower names the leader.
    addresses = fixture.address.split(",")
    leader = int(fixture.command("leader"))
    follower = KurrentDBClient(uri=f"esdb://{addresses[(leader + 1) % 3]}?Tls=false")
    append = lambda: follower.append_to_stream(stream, current_version=0, events=sent[1])
    raised = must_fail(NodeIsNotLeaderError, append)
    assert f"{raised.host}:{raised.port}" == addresses[leader], raised.port
    follower.close()

    # Each fault of the leader costs the time of an election.
    for number, (fault, undo) in enumerate([("kill", "start"), ("part", "rejoin")], start=1):
        fixture.command(f"{fault} {leader}")
        until("another leader", lambda: fixture.command("leader") not in ("none", str(leader)))
        client.reconnect()
        client.append_to_stream(stream, current_version=number - 1, events=sent[number], timeout=5)
        fixture.command(f"{undo} {leader}")
        leader = int(fixture.command("leader"))
    assert [event.id for event in client.get_stream(stream)] == [event.id for event in sent[:3]]
    client.close()

    # A leader that is apart does not commit, and a minority has no leader.
    alone = KurrentDBClient(uri=f"esdb://{addresses[leader]}?Tls=false")
    alone.get_stream(stream)
    fixture.command(f"part {leader}")
    append = lambda: alone.append_to_stream(stream, current_version=2, events=sent[3])
    must_fail(AbortedByServerError, append)
    fixture.command(f"kill {(leader + 1) % 3}")
    until("no leader", lambda: fixture.command("leader") == "none")
    must_fail(ServiceUnavailableError, append)
    alone.close()
    fixture.command(f"rejoin {leader}")
    until("a leader again", lambda: fixture.command("leader") != "none")
    client = fixture.client()
    assert len(client.get_stream(stream)) == 3, "an append without a majority was written"
    client.close()
    fixture.kill()


def until(what, condition, seconds=20):
    """Waits for a condition of the server, which reports no changes."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(0.02)


CHECKS = [
    planned_faults_reach_the_client,
    a_restored_log_goes_back,
    calls_are_counted_and_links_are_added,
    users_have_the_rights_of_the_server,
    a_cluster_elects_another_leader,
]
