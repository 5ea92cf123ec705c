"""GET /metrics: what Prometheus reads, and that there is nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from twisted.internet.address import IPv4Address
from twisted.internet.testing import StringTransport

from vrxmpp.net.metrics import Measurements, MetricsFactory

ARCHIVE = {
    "recorder": "ready",
    "starts": 1,
    "trouble": "",
    "on_failure": "refuse",
    "size": 1000,
    "waiting": 7,
    "waiting_bytes": 4000,
    "lag_seconds": 0.25,
    "commit_seconds": 1.5,
    "accepted": 900,
    "archived": 890,
    "refused": 10,
    "unarchived": 0,
    "late": 1,
    "lost": 2,
    "commits": 30,
    "commit_entries": 960,
    "routed": 880,
}


def sink(outside: bool, age: float | None) -> dict[str, Any]:
    return {"outside": outside, "size": 5, "taken_seconds_ago": age, "failure": ""}


CHECKPOINTS = {
    "colour": "amber",
    "reasons": ["juliet@example.net said so"],
    "size": 990,
    "signed_at": 1_790_000_000.0,
    "sinks": {"one.example": sink(True, 40.0), "two.example": sink(True, 20.0), "/mnt": sink(False, 1.0)},
}


def ask(measurements: Measurements, request: bytes) -> tuple[int, bytes]:
    """Return the status and the body of the answer."""
    channel = MetricsFactory(measurements).buildProtocol(IPv4Address("TCP", "127.0.0.1", 1))  # type: ignore[no-untyped-call]
    transport: Any = StringTransport()
    channel.makeConnection(transport)
    channel.dataReceived(request + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    head, _, body = transport.value().partition(b"\r\n\r\n")
    if b"transfer-encoding: chunked" in head.lower():
        body = body.partition(b"\r\n")[2]
    return int(head.split()[1]), body


def measured(archive: Any = None, checkpoints: Any = None) -> dict[tuple[str, ...], float]:
    """Return the value of each sample, by its name and the values of its labels."""
    measurements = Measurements(
        lambda: {"clients": 3, "servers": 2},
        lambda: 1,
        None if archive is None else lambda: archive,
        None if checkpoints is None else lambda: checkpoints,
    )
    code, body = ask(measurements, b"GET /metrics")
    assert code == 200
    text = body.decode().rpartition("\r\n0\r\n")[0] or body.decode()
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_what_is_measured() -> None:
    assert measured(ARCHIVE, CHECKPOINTS) == {
        ("vrxmpp_connections", "clients"): 3,
        ("vrxmpp_connections", "servers"): 2,
        ("vrxmpp_sessions",): 1,
        ("vrxmpp_archive_accepted_total",): 900,
        ("vrxmpp_archive_archived_total",): 890,
        ("vrxmpp_archive_refused_total",): 10,
        ("vrxmpp_archive_unarchived_total",): 0,
        ("vrxmpp_archive_late_total",): 1,
        ("vrxmpp_archive_lost_total",): 2,
        ("vrxmpp_archive_commits_total",): 30,
        ("vrxmpp_archive_commit_entries_total",): 960,
        ("vrxmpp_archive_commit_seconds_total",): 1.5,
        ("vrxmpp_archive_size",): 1000,
        ("vrxmpp_archive_waiting",): 7,
        ("vrxmpp_archive_waiting_bytes",): 4000,
        ("vrxmpp_archive_lag_seconds",): 0.25,
        ("vrxmpp_archive_recorder_ready",): 1,
        ("vrxmpp_checkpoint_state", "green"): 0,
        ("vrxmpp_checkpoint_state", "amber"): 1,
        ("vrxmpp_checkpoint_state", "red"): 0,
        ("vrxmpp_checkpoint_size",): 990,
        ("vrxmpp_checkpoint_timestamp_seconds",): 1_790_000_000,
        ("vrxmpp_checkpoint_outside_age_seconds",): 20,
    }


def test_what_is_not_known_is_not_told() -> None:
    early = {**CHECKPOINTS, "size": None, "signed_at": None, "sinks": {"one.example": sink(True, None)}}
    told = measured({**ARCHIVE, "recorder": "away"}, early)
    assert told["vrxmpp_archive_recorder_ready",] == 0
    assert {name for name, *_ in told if name.startswith("vrxmpp_checkpoint")} == {"vrxmpp_checkpoint_state"}


def test_without_an_archive() -> None:
    assert {name for name, *_ in measured()} == {"vrxmpp_connections", "vrxmpp_sessions"}


@pytest.mark.parametrize(
    "request_line",
    [b"GET /", b"GET /metrics/", b"GET /metrics/more", b"POST /metrics", b"HEAD /metrics", b"PUT /metrics", b"GET //x"],
)
def test_all_else_is_not_found(request_line: bytes) -> None:
    code, body = ask(Measurements(lambda: {"clients": 3}, lambda: 1), request_line)
    assert code == 404
    assert b"vrxmpp" not in body
