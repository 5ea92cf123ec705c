"""Services that run in this process: any wokkel ``XMPPHandler`` at a domain of its own, as XEP-0114 has it outside.

What a handler takes for an XML stream is here: elements are dispatched to its observers, and what it sends is read as
if it had come over the network, so that it can send nothing that another component could not.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from vrxmpp import dom, ns
from vrxmpp.core.router import Router
from vrxmpp.errors import Condition, StanzaError
from vrxmpp.net.components import Authority, Service
from vrxmpp.net.connections import Timer
from vrxmpp.stanza import Stanza
from vrxmpp.wire import writer
from vrxmpp.wire.events import Event, Malformed
from vrxmpp.wire.framer import Framer, FramerLimits

_QUEUE = 1000  # stanzas that may wait, in either direction
_TURN_SECONDS = 0.005  # of a handler, before others have their turn
_ANSWER_SECONDS = 60.0  # after that a handler's own request has failed
_ANSWERS = ("result", "error")
_HEADER = writer.header(sender="", to="", id="")


class ServiceError(Exception):
    """A service cannot be built; the message says why."""


def make_handler(class_name: str, options: Mapping[str, Any]) -> Any:
    """Return a handler of the class ``package.module:Class``, called with the options. Raises ServiceError."""
    module, _, name = class_name.partition(":")
    try:
        handler = getattr(import_module(module), name)(**options)
    except Exception as error:
        raise ServiceError(f"{class_name} cannot be used: {type(error).__name__}: {error}") from error
    if not hasattr(handler, "setHandlerParent"):
        raise ServiceError(f"{class_name} cannot be used: it is no XMPPHandler")
    return handler


class HostedService(Service):
    """A service that a handler of this process is."""

    def __init__(
        self,
        domain: str,
        handler: Any,
        router: Router,
        authorities: Callable[[], Iterable[Authority]] = tuple,
        *,
        clock: Timer,
        limits: FramerLimits,
    ) -> None:
        super().__init__(domain, router, authorities)
        self._clock = clock
        self._limits = limits
        self._is_up = False
        self._is_at_work = False  # or will be, when others have had their turn
        self._incoming: deque[Stanza] = deque()
        self._outgoing: deque[Stanza] = deque()
        self._requests: dict[tuple[str, str], None] = {}  # of the handler's own: who is asked, the id
        self._is_waiting = False  # for what an outgoing stanza has to wait for
        self._has_failed = False  # while a stanza was dispatched
        self._stream = _Stream(domain, self._take, self._note_failure, clock)
        manager = _Manager(self._stream, clock)
        for each in (_Disco(), handler):  # the one that fails comes last
            each.setHandlerParent(manager)

    @property
    def is_up(self) -> bool:
        """Whether the handler has been started."""
        return self._is_up

    def start(self) -> None:
        """Let the handler know that there is a stream."""
        self._is_up = True
        for event in (dom.STREAM_CONNECTED_EVENT, dom.STREAM_AUTHD_EVENT):
            self._stream.show(self._stream, event)
        self.came()

    def stop(self) -> None:
        """Let the handler know that its stream is over."""
        self._is_up = False
        self._incoming.clear()
        self.went()
        self._stream.show(Failure(ConnectionDone()), dom.STREAM_END_EVENT)

    # -- to the handler

    def deliver(self, stanza: Stanza) -> None:
        """Give the handler a stanza, but not in the middle of what the sender is about."""
        if stanza.kind == "iq" and stanza.type in _ANSWERS and not self._has_asked(stanza):
            return  # handlers go by the id alone, which can be guessed
        if len(self._incoming) >= _QUEUE:
            raise StanzaError(Condition.RESOURCE_CONSTRAINT, "the service is busy")
        self._incoming.append(stanza)
        if not self._is_at_work:
            self._is_at_work = True
            self._clock.callLater(0, self._work)

    def _has_asked(self, answer: Stanza) -> bool:
        assert answer.sender is not None
        key = (answer.sender.text, answer.id)
        if key not in self._requests:
            return False
        del self._requests[key]
        return True

    def _work(self) -> None:
        """Let the handler have its turn, and the next one when others have had theirs."""
        until = self._clock.seconds() + _TURN_SECONDS
        while self._incoming and self._clock.seconds() <= until:
            self._dispatch(self._incoming.popleft())
        self._is_at_work = bool(self._incoming)
        if self._is_at_work:
            self._clock.callLater(0, self._work)

    def _dispatch(self, stanza: Stanza) -> None:
        """Show a stanza to the handler. A request that it does not take up is refused."""
        element = stanza.element()
        element.handled = False  # type: ignore[attr-defined]
        self._has_failed = False
        self._stream.show(element)
        if stanza.kind == "iq" and (self._has_failed or not element.handled):
            condition = Condition.INTERNAL_SERVER_ERROR if self._has_failed else Condition.SERVICE_UNAVAILABLE
            if self.settle(stanza.reply()):  # otherwise it is answered, or no request
                self._router.refuse(stanza, StanzaError(condition))

    def _note_failure(self, failure: Failure) -> None:
        self._has_failed = True
        self.log.failure("the handler of {domain} failed", failure, domain=self.jid)

    # -- from the handler

    def _take(self, said: dom.Element | str | bytes) -> None:
        """Send what the handler says, unless the service is down; ValueError if nobody may say that."""
        if not self._is_up:
            return
        try:
            stanza = self._read(said)
        except ValueError:
            if isinstance(said, dom.Element):  # who waits for it is told
                asker, asked, id = (said.attributes.get(name, "") for name in ("to", "from", "id"))
                self.fail(asker, asked or self.jid.text, id)
            raise
        if len(self._outgoing) >= _QUEUE:
            raise ValueError("too many stanzas wait to be sent")
        if stanza.kind == "iq" and stanza.type not in _ANSWERS:
            assert stanza.to is not None
            if len(self._requests) >= _QUEUE:
                self._requests.pop(next(iter(self._requests)))
            self._requests[stanza.to.text, stanza.id] = None
        self._outgoing.append(stanza)
        self._send_on()

    def _read(self, said: dom.Element | str | bytes) -> Stanza:
        """Read what is said as if it had come by a stream."""
        if isinstance(said, str):
            said = said.encode()
        framer = Framer(self._limits)
        framer.feed(_HEADER)
        stanza = _only(framer.feed(said if isinstance(said, bytes) else dom.serialise(said)))
        if stanza.to is None:
            raise ValueError("a stanza needs a 'to'")
        if stanza.sender is None:
            return stanza.with_sender(self.jid)
        if stanza.sender.domain != self.jid.domain:
            raise ValueError(f"{self.jid} does not speak for {stanza.sender.domain}")
        return stanza

    def _send_on(self) -> None:
        """Bring what was sent on its way, one after the other."""
        while self._outgoing and not self._is_waiting:
            waiting = self.receive(self._outgoing.popleft())
            if waiting is not None:
                self._is_waiting = True
                Deferred.fromCoroutine(waiting).addBoth(self._sent)

    def _sent(self, outcome: object) -> None:
        self._is_waiting = False
        if isinstance(outcome, Failure):
            self.log.failure("a stanza of {domain} failed", outcome, domain=self.jid)
        self._send_on()


def _only(events: list[Event]) -> Stanza:
    match events:
        case [Stanza() as stanza]:
            return stanza
        case [Malformed() as malformed]:
            raise ValueError(malformed.reason)
    raise ValueError("not exactly one stanza")


@dataclass(frozen=True, slots=True)
class _Observer:
    """A handler's function. What it raises is noted, and stops nobody else."""

    function: Callable[..., object]
    failed: Callable[[Failure], None] = field(compare=False)

    def __call__(self, *args: object, **options: object) -> None:
        try:
            self.function(*args, **options)
        except Exception:
            self.failed(Failure())


class _Stream(dom.EventDispatcher):
    """What handlers know of a ``twisted.words.protocols.jabber.xmlstream.XmlStream``, and a factory does for one."""

    def __init__(
        self,
        domain: str,
        take: Callable[[dom.Element | str | bytes], None],
        failed: Callable[[Failure], None],
        clock: Timer,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.thisEntity = dom.JID(domain)
        self.iqDefaultTimeout = _ANSWER_SECONDS
        self._callLater = clock.callLater
        self._take = take
        self._failed = failed

    def show(self, subject: object, event: str | None = None) -> None:
        """Call who observes the event or, without one, elements like this."""
        try:
            self.dispatch(subject, event)  # type: ignore[no-untyped-call]
        except Exception:  # to look for something anywhere inside may go too deep
            self._dispatchDepth = 0
            self._failed(Failure())

    def addObserver(self, event: Any, observerfn: Any, *args: Any, **options: Any) -> None:
        """Call a function for each element that matches."""
        super().addObserver(event, self._guard(observerfn), *args, **options)  # type: ignore[no-untyped-call]

    addBootstrap = addObserver

    def addOnetimeObserver(self, event: Any, observerfn: Any, *args: Any, **options: Any) -> None:
        """Call a function for the next element that matches."""
        super().addOnetimeObserver(event, self._guard(observerfn), *args, **options)  # type: ignore[no-untyped-call]

    def removeObserver(self, event: Any, observerfn: Any) -> None:
        """Call the function no more."""
        super().removeObserver(event, self._guard(observerfn))  # type: ignore[no-untyped-call]

    def _guard(self, function: Callable[..., object]) -> _Observer:
        return _Observer(function, self._failed)

    def send(self, obj: dom.Element | str | bytes) -> None:
        """Send a stanza, as an element or as XML; ValueError if it cannot be one."""
        self._take(obj)


class _Manager(dom.StreamManager):  # type: ignore[misc]
    """The parent of the handlers."""

    def send(self, obj: Any) -> None:
        """Send at once or, while there is no stream, not at all: nothing is kept."""
        self.factory.send(obj)

    def request(self, request: Any) -> Any:
        """Send a request; what is returned fires with the answer, or fails, in bounded time."""
        if request.timeout is None:
            request.timeout = _ANSWER_SECONDS
        return super().request(request)


@implementer(dom.IDisco)
class _Disco(dom.DiscoHandler):  # type: ignore[misc]
    """XEP-0030 for a handler that does not answer that itself, from what it declares by ``IDisco``."""

    def connectionInitialized(self) -> None:
        """Come after the handler."""
        for query in (dom.DISCO_INFO, dom.DISCO_ITEMS):
            self.xmlstream.addObserver(query, self._answer, -1)

    def _answer(self, iq: Any) -> None:
        if not iq.handled:
            self.handleRequest(iq)

    def getDiscoInfo(self, requestor: object, target: object, nodeIdentifier: str = "") -> list[Any]:
        """XEP-0030 §3.1: there is an identity, and this feature."""
        if nodeIdentifier:
            return []
        return [dom.DiscoIdentity("component", "generic"), *map(dom.DiscoFeature, (ns.DISCO_INFO, ns.DISCO_ITEMS))]

    def getDiscoItems(self, requestor: object, target: object, nodeIdentifier: str = "") -> list[Any]:
        """No items."""
        return []
