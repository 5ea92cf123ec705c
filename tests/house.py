"""A whole server in memory: assembled as the real one is, but for the network, the disk, the threads and the time."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.logger import LogEvent, globalLogPublisher
from twisted.python.failure import Failure

from tests.network import Loop, MemoryPipe, Wire
from tests.streams import DOMAIN, PASSWORD, Client
from tests.world import NoRemote, run
from vrxmpp.assembly import Foundations, assemble, utc_now
from vrxmpp.config import Config
from vrxmpp.core.router import Router
from vrxmpp.negotiation.scram import derive_keys
from vrxmpp.negotiation.throttle import Throttle
from vrxmpp.net.clients import ClientFactory, Clients
from vrxmpp.net.tls import CertificateFiles, Certificates, DirectTls, make_self_signed
from vrxmpp.policies import client_addresses, client_policy
from vrxmpp.store import open_stores
from vrxmpp.store.database import Database
from vrxmpp.store.interfaces import NewAccount, ScramKeys

T = TypeVar("T")
ADDRESS = "192.0.2.1"


class Slow:
    """Takes the place of what reads the database, or writes: answers, or fails, when it is told to."""

    def __init__(self, house: House, lane: str = "_reader") -> None:
        self._put = partial(setattr, house.database, lane)
        self._real = getattr(house.database, lane)
        self._waiting: list[Deferred[None]] = []
        self._put(self)

    def is_over(self) -> None:
        """Answer at once again; what waits goes on waiting."""
        self._put(self._real)

    async def run(self, work: Callable[[Connection], T]) -> T:
        turn: Deferred[None] = Deferred()
        self._waiting.append(turn)
        await turn
        return await self._real.run(work)

    async def close(self) -> None:
        await self._real.close()

    @property
    def is_asked(self) -> bool:
        return bool(self._waiting)

    def answer(self, failure: Exception | None = None) -> None:
        """Let what waits go on, and what follows from it."""
        waiting, self._waiting = self._waiting, []
        for turn in waiting:
            if failure is None:
                turn.callback(None)
            else:
                turn.errback(failure)


@lru_cache
def keys_of(password: str) -> tuple[ScramKeys, ScramKeys]:
    return derive_keys(password, 4096)


async def at_once(work: Callable[[], T]) -> T:
    """Take the place of a thread."""
    return work()


def make_certificates(directory: Path, *domains: str) -> list[CertificateFiles]:
    """Make self-signed ones, where they are not there yet."""
    files = [CertificateFiles(domain, directory / f"{domain}.crt", directory / f"{domain}.key") for domain in domains]
    for each in files:
        if not each.certificate.exists():
            make_self_signed(each.domain, each.certificate, each.key)
    return files


class House:
    """One server: assembled as the real one is, but for the network, the disk, the threads and the time."""

    def __init__(
        self,
        directory: Path,
        *,
        domains: Sequence[str] = (DOMAIN,),
        host: Mapping[str, object] | None = None,
        tls: str = "optional",
        run_in_thread: Callable[[Callable[[], Any]], Awaitable[Any]] = at_once,
        clock: Any = None,
        loop: Loop | None = None,
        certificates: Sequence[CertificateFiles] | None = None,
        **tables: object,
    ) -> None:
        """``host`` adds to the table of each domain; ``tables`` are others of the configuration."""
        self.directory = directory
        self.loop = loop or Loop()
        clock = clock or self.loop
        listener = ["tcp:0:interface=127.0.0.1"]
        hosts = [{"domain": domain, **(host or {})} for domain in domains]
        self.config = config = Config.model_validate(
            {"host": hosts, "c2s": {"starttls": listener, "direct_tls": listener, "tls": tls}, **tables}
        )
        files = certificates or make_certificates(directory, *domains)
        self.router = Router(NoRemote())
        self.database = Database.open("sqlite://")
        foundations = Foundations(
            self.database, self.router, Throttle(clock.seconds), b"a secret", run_in_thread, utc_now()
        )
        self._assemble = lambda: {each.domain: assemble(config, each, foundations) for each in config.hosts}
        self.clients = Clients(
            self._assemble(),
            client_policy(config),
            Certificates(files, b"xmpp-client"),
            client_addresses(config),
            clock,
        )
        self.clients.start()
        self.factory = ClientFactory(self.clients, direct_tls=False)
        self.direct_factory = DirectTls(self.clients.certificates, ClientFactory(self.clients, direct_tls=True), clock)
        self.visitors: list[Client] = []
        self.journal: list[LogEvent] = []
        globalLogPublisher.addObserver(self.journal.append)  # type: ignore[arg-type]

    @property
    def host(self) -> Any:
        return self.router.hosts[DOMAIN]

    def add(self, *names: str, domain: str = DOMAIN) -> None:
        sha1, sha256 = keys_of(PASSWORD)
        accounts = open_stores(self.database, domain).accounts
        run(accounts.add([NewAccount(name, sha1, sha256) for name in names]))

    def tries_to_connect(self, address: str = ADDRESS, *, direct_tls: bool = False) -> Client | None:
        """Return a client, or None if it is not let in."""
        peer = IPv6Address("TCP", address, 50_000) if ":" in address else IPv4Address("TCP", address, 50_000)
        wire = Wire(self.loop, peer)
        wire.protocol = (self.direct_factory if direct_tls else self.factory).buildProtocol(peer)
        if wire.protocol is None:
            return None
        wire.startReading()  # type: ignore[no-untyped-call]
        wire.protocol.makeConnection(wire)
        client = Client(MemoryPipe(wire, self.loop))
        self.visitors.append(client)
        return client

    def connect(self, address: str = ADDRESS, *, direct_tls: bool = False) -> Client:
        client = self.tries_to_connect(address, direct_tls=direct_tls)
        assert client is not None
        return client

    def login(self, name: str, resource: str = "here") -> Client:
        return self.connect().login(name, resource)

    def reload(self) -> None:
        """Fit the domains anew, as SIGHUP does."""
        self.clients.domains.update(self._assemble())

    def wait(self, seconds: float) -> None:
        self.loop.wait(seconds)

    def stop(self, then: Callable[[object], object]) -> None:
        """Let the server go down."""
        Deferred.fromCoroutine(self.clients.stop()).addCallback(then)

    def failures(self) -> list[Any]:
        """Return the exceptions that have been logged, and forget them."""
        failures = [event["log_failure"].value for event in self.journal if "log_failure" in event]
        self.journal[:] = [event for event in self.journal if "log_failure" not in event]
        return failures

    def close(self) -> None:
        """See that the log is fit to be read by anyone, and that nothing is left."""
        globalLogPublisher.removeObserver(self.journal.append)  # type: ignore[arg-type]
        for visitor in self.visitors:
            if visitor.pipe.is_open:
                visitor.wire.connectionLost(Failure(ConnectionDone()))
        self.wait(600)
        logged = repr(self.journal)
        assert self.failures() == []
        assert PASSWORD not in logged
        for body in self._bodies():
            assert body not in logged
        assert not self.clients.connections
        assert not self.clients.addresses._all
        run(self.database.close())

    def _bodies(self) -> Iterator[str]:
        for visitor in self.visitors:
            yield from re.findall("<body>([^<]{4,})</body>", visitor.sent)
