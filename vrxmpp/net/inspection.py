"""What an administrator sees of other servers, and may do: ``admin.Federation`` (RFC 6120 §4, §13.7)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

from vrxmpp.admin import AdminError
from vrxmpp.net.s2s import ServerStream
from vrxmpp.net.s2s_out import FAILED
from vrxmpp.net.servers import FailedAttempt, Servers
from vrxmpp.net.unreachable import Unreachable
from vrxmpp.net.way import Way
from vrxmpp.wire.stream import Phase


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """A stream to another server ("out"), from one ("in"), or for both directions ("both").

    ``state`` is "negotiating", "established" or "closing". ``unacknowledged`` counts the stanzas that were sent and
    are not acknowledged (XEP-0198), ``stanzas`` and ``bytes`` what waits to be sent. What is not known yet is empty.
    """

    direction: str
    local: list[str]
    remote: list[str]
    state: str
    authentication: str
    tls: str
    address: str
    since: datetime
    acknowledgements: bool
    unacknowledged: int
    stanzas: int
    bytes: int


@dataclass(frozen=True, slots=True)
class WayInfo:
    """What waits to be sent from a domain here to one elsewhere; ``seconds`` until the state ends, if that is known.

    ``failure`` is why the last attempt to open a stream failed, if it did.
    """

    local: str
    remote: str
    state: str
    seconds: int | None
    stanzas: int
    bytes: int
    failure: str


@dataclass(frozen=True, slots=True)
class FederationStatus:
    """The streams, the ways that use them or have none, and the last attempts that failed, oldest first."""

    streams: list[StreamInfo]
    ways: list[WayInfo]
    failures: list[FailedAttempt]


@dataclass(frozen=True, slots=True)
class Step:
    """One step towards another server, and what is to be said of it."""

    name: str
    succeeded: bool
    text: str


@dataclass(slots=True)
class Trial:
    """How an attempt to reach another server went; ``side`` and ``advice`` say what to do where it was not reached."""

    local: str
    remote: str
    steps: list[Step] = field(default_factory=list)
    reached: bool = False
    side: str = ""
    advice: str = ""


class Inspection:
    """Looks at the streams of a running server to and from others, tries them, and closes them."""

    def __init__(self, servers: Servers) -> None:
        self._servers = servers

    def status(self, remote: str) -> FederationStatus:
        """Return what there is with a domain, or all there is for ""."""
        now = self._servers.clock.seconds()
        return FederationStatus(
            [_stream_info(stream) for stream in self._streams(remote)],
            [_way_info(way, now) for way in self._servers.ways.values() if remote in ("", way.remote)],
            [failure for failure in self._servers.failures if remote in ("", failure.remote)],
        )

    async def test(self, local: str, remote: str) -> Trial:
        """Open a stream of its own from a domain here to one elsewhere, and end it.

        Raises AdminError: "unknown-domain", "served-here".
        """
        router = self._servers.router
        if not router.is_ours(local):
            raise AdminError("unknown-domain", f"{local} is not served here")
        if router.is_ours(remote):
            raise AdminError("served-here", f"{remote} is served here: no other server is asked for it")
        trial = Trial(local, remote)
        steps = _Steps(trial.steps)
        try:
            await self._servers.probe(local, remote, steps.note)
        except Unreachable as failure:
            steps.fail(failure.text)
            trial.side, trial.advice = failure.fault.side, failure.fault.advice
        else:
            trial.reached = True
        return trial

    def close(self, remote: str) -> int:
        """End all streams to and from a domain; return how many."""
        open_streams = [stream for stream in self._streams(remote) if _state(stream) != "closing"]
        for stream in open_streams:
            stream.retire()
        return len(open_streams)

    def _streams(self, remote: str) -> Iterator[ServerStream]:
        for stream in tuple(self._servers.connections):
            if isinstance(stream, ServerStream) and (not remote or remote in _domains(stream)[1]):
                yield stream


class _Steps:
    """Writes down the steps of an attempt (see ``s2s_out.Note``)."""

    def __init__(self, steps: list[Step]) -> None:
        self._steps = steps
        self._under_way = "rules"  # of ours, which come before all else

    def note(self, name: str, text: str) -> None:
        if name == FAILED:
            self.fail(text)
        elif text:
            self._steps.append(Step(name, True, text))
        else:
            self._under_way = name

    def fail(self, text: str) -> None:
        # An address that cannot be connected to is not told if another had a better reason.
        if self._under_way == "TCP" and text in (step.text for step in self._steps):
            text = "no other address can be connected to"
        self._steps.append(Step(self._under_way, False, text))


def _domains(stream: ServerStream) -> tuple[list[str], list[str]]:
    """Return the domains here and there that a stream is for."""
    pairs = {(stream.local, stream.remote), *stream.proven, *((way.local, way.remote) for way in stream.ways)}
    return sorted({local for local, _ in pairs if local}), sorted({remote for _, remote in pairs if remote})


def _state(stream: ServerStream) -> str:
    if stream.is_over or stream.is_retired or stream.stream.phase in (Phase.CLOSING, Phase.CLOSED):
        return "closing"
    return "established" if stream.authentication else "negotiating"


def _stream_info(stream: ServerStream) -> StreamInfo:
    local, remote = _domains(stream)
    one_way = "in" if stream.is_incoming else "out"
    return StreamInfo(
        direction="both" if stream.is_bidirectional and stream.authentication else one_way,
        local=local,
        remote=remote,
        state=_state(stream),
        authentication=stream.authentication,
        tls=stream.tls_version if stream.certificate is not None else "",
        address=stream.address,
        since=stream.since,
        acknowledgements=stream.management is not None,
        unacknowledged=len(stream.management) if stream.management is not None else 0,
        stanzas=sum(len(way.queue) for way in stream.ways),
        bytes=sum(way.queue.bytes for way in stream.ways),
    )


def _way_info(way: Way, now: float) -> WayInfo:
    state, until = _way_state(way, now)
    return WayInfo(
        local=way.local,
        remote=way.remote,
        state=state,
        seconds=None if until is None else max(0, round(until - now)),
        stanzas=len(way.queue),
        bytes=way.queue.bytes,
        failure=way.failure.text if way.failure is not None else "",
    )


def _way_state(way: Way, now: float) -> tuple[str, float | None]:
    """Return what a way does, and until when."""
    if way.stream is not None:
        return "using a stream", None
    if way.is_dialling:
        return "connecting", None
    if way.dials_again_at:
        waiting = "waiting for them to come back" if way.awaits_resumption else "waiting to dial again"
        return waiting, way.dials_again_at
    if now < way.refuses_until:
        return "refusing after a failure", way.refuses_until
    return "idle", None
