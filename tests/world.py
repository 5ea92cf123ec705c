"""A small world for tests: a router, a host on an in-memory store, and clients that write down what they get."""

from __future__ import annotations

from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from twisted.internet.defer import Deferred

from vrxmpp.core.host import Host
from vrxmpp.core.module import Module
from vrxmpp.core.router import Router
from vrxmpp.core.session import Session
from vrxmpp.errors import Condition, StanzaError, StreamError
from vrxmpp.jid import Jid
from vrxmpp.stanza import Stanza
from vrxmpp.store import Stores, open_stores
from vrxmpp.store.database import Database
from vrxmpp.store.interfaces import NewAccount, RosterItem, ScramKeys, Subscription
from vrxmpp.wire.events import Event
from vrxmpp.wire.framer import Framer, FramerLimits

T = TypeVar("T")
LIMITS = FramerLimits(stanza_bytes=262_144, depth=128, elements=10_000)
NO_KEYS = ScramKeys(b"salt", 4096, b"stored", b"server")
HEADER = b"<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>"


def run(work: Coroutine[Any, Any, T]) -> T:
    """Finish a coroutine that has nothing to wait for."""
    results: list[T] = []
    Deferred.fromCoroutine(work).addCallback(results.append)
    assert results, "still waiting, or failed"
    return results[0]


def parse(xml: str | bytes) -> list[Event]:
    """Read stanzas as a stream has them."""
    framer = Framer(LIMITS)
    framer.feed(HEADER)
    return framer.feed(xml.encode() if isinstance(xml, str) else xml)


class NoRemote:
    """There is no other server; what goes out is written down."""

    def __init__(self) -> None:
        self.sent: list[Stanza] = []
        self.reachable = False

    def send(self, stanza: Stanza) -> None:
        if not self.reachable:
            raise StanzaError(Condition.REMOTE_SERVER_NOT_FOUND)
        self.sent.append(stanza)


class Client:
    """One logged-in client: its outlet and its session."""

    session: Session

    def __init__(self) -> None:
        self.received: list[str] = []
        self.closed: StreamError | None = None

    def send(self, raw: bytes) -> None:
        self.received.append(raw.decode())

    async def drain(self) -> None:
        """What is sent has been read."""

    def close(self, error: StreamError) -> None:
        self.closed = error

    def says(self, xml: str) -> None:
        """Send stanzas, one after the other, each dealt with before the next."""
        for event in parse(xml):
            assert isinstance(event, Stanza), event
            waiting = self.session.receive(event)
            if waiting is not None:
                run(waiting)

    def hears(self) -> list[str]:
        """Return what has come since it was last asked."""
        received, self.received = self.received, []
        return received

    def leaves(self) -> None:
        """Lose the connection."""
        self.session.host.end(self.session)


class World:
    """One host, ``example.net``, unless another name is given; share a router to have two of them."""

    def __init__(self, *modules: Module, domain: str = "example.net", router: Router | None = None) -> None:
        self.now = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
        self.remote = NoRemote()
        self.router = router or Router(self.remote)
        self.database = Database.open("sqlite://")
        self.stores: Stores = open_stores(self.database, domain)
        self.host = Host(domain, self.stores.accounts, self.router, lambda: self.now, sessions=10)
        self.host.mount(*modules)

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def mount(self, *modules: Module) -> None:
        """Add modules that need the world's stores."""
        self.host.mount(*modules)

    def add(self, *names: str) -> None:
        run(self.stores.accounts.add([NewAccount(name, NO_KEYS, NO_KEYS) for name in names]))

    def befriend(self, name: str, contact: str) -> None:
        """Let two users see each other's presence; before either of them wakes."""
        for owner, other in ((name, contact), (contact, name)):
            state = run(self.stores.accounts.wake(owner))
            assert state is not None
            item = RosterItem(Jid.parse(f"{other}@{self.host.domain}"), subscription=Subscription.BOTH)
            run(self.stores.rosters.put(state.id, item))

    def login(self, name: str, resource: str = "here") -> Client:
        """Bind a resource; no roster request and no presence yet."""
        client = Client()
        client.session = run(self.host.bind(name, resource, client))
        return client
