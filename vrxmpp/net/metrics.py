"""How the server is, for Prometheus: GET /metrics over HTTP, in counts and times, and nobody's address (RFC 9110)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector
from twisted.web.http import NOT_FOUND
from twisted.web.resource import Resource
from twisted.web.server import Request, Site

Status = Callable[[], Mapping[str, Any]]

_PATH = b"/metrics"
_TOTALS = {
    "accepted": "Messages that were given to the archive.",
    "archived": "Messages that it has on its disk.",
    "refused": "Messages that it could not take, and nobody has got.",
    "unarchived": "Messages that it could not take, and were passed on.",
    "late": "Messages that it took after they had been given up.",
    "lost": "Notes that found no room.",
    "commits": "Batches that were written.",
    "commit_entries": "Entries in all batches.",
    "commit_seconds": "Seconds that all batches took.",
}
_NOW = {
    "size": "Records in the archive.",
    "waiting": "Entries that wait to be written.",
    "waiting_bytes": "Bytes of those.",
    "lag_seconds": "How long the oldest of them has waited.",
}
_COLOURS = ("green", "amber", "red")


class Measurements(Collector):
    """Measured when it is asked: ``connections`` by kind, ``sessions`` of clients, and the archive, where there is one.

    ``archive`` and ``checkpoints`` return what ``Archive.status`` and ``Checkpoints.status`` do.
    """

    def __init__(
        self,
        connections: Callable[[], Mapping[str, int]],
        sessions: Callable[[], int],
        archive: Status | None = None,
        checkpoints: Status | None = None,
    ) -> None:
        self._connections = connections
        self._sessions = sessions
        self._archive = archive
        self._checkpoints = checkpoints

    def collect(self) -> Iterator[Metric]:
        """Yield all that is measured."""
        connections = GaugeMetricFamily("vrxmpp_connections", "Connections, logged in or not.", labels=["kind"])
        for kind, count in self._connections().items():
            connections.add_metric([kind], count)
        yield connections
        yield GaugeMetricFamily("vrxmpp_sessions", "Clients that are logged in.", self._sessions())
        if self._archive is not None:
            yield from _of_archive(self._archive())
        if self._checkpoints is not None:
            yield from _of_checkpoints(self._checkpoints())


def _of_archive(status: Mapping[str, Any]) -> Iterator[Metric]:
    for name, meaning in _TOTALS.items():
        yield CounterMetricFamily(f"vrxmpp_archive_{name}", meaning, status[name])
    for name, meaning in _NOW.items():
        yield GaugeMetricFamily(f"vrxmpp_archive_{name}", meaning, status[name])
    is_ready = status["recorder"] == "ready"
    yield GaugeMetricFamily("vrxmpp_archive_recorder_ready", "Whether there is a recorder.", is_ready)


def _of_checkpoints(status: Mapping[str, Any]) -> Iterator[Metric]:
    state = GaugeMetricFamily("vrxmpp_checkpoint_state", "How safe the archive is.", labels=["colour"])
    for colour in _COLOURS:
        state.add_metric([colour], status["colour"] == colour)
    yield state
    if status["size"] is not None:
        yield GaugeMetricFamily("vrxmpp_checkpoint_size", "Records that were signed.", status["size"])
        at = GaugeMetricFamily("vrxmpp_checkpoint_timestamp_seconds", "When they were signed.", status["signed_at"])
        yield at
    outside = [sink["taken_seconds_ago"] for sink in status["sinks"].values() if sink["outside"]]
    ages = [age for age in outside if age is not None]
    if ages:
        meaning = "How long ago somebody outside has last taken a checkpoint."
        yield GaugeMetricFamily("vrxmpp_checkpoint_outside_age_seconds", meaning, min(ages))


class _Page(Resource):
    """GET /metrics; all else is not found."""

    isLeaf = True

    def __init__(self, measurements: Measurements) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry()
        self._registry.register(measurements)

    def render(self, request: Request) -> bytes:
        if request.method != b"GET" or request.path != _PATH:
            request.setResponseCode(NOT_FOUND)
            request.setHeader(b"content-type", b"text/plain; charset=utf-8")
            return b"" if request.method == b"HEAD" else b"There is only GET /metrics.\n"
        request.setHeader(b"content-type", CONTENT_TYPE_LATEST.encode())
        return generate_latest(self._registry)


class MetricsFactory(Site):
    """Answers on a listener. What is asked of it is not logged."""

    noisy = False
    displayTracebacks = False

    def __init__(self, measurements: Measurements) -> None:
        super().__init__(_Page(measurements))  # type: ignore[no-untyped-call]

    def log(self, request: object) -> None:
        """Nobody reads that."""
