"""From a remote domain to addresses: SRV for STARTTLS and direct TLS, then AAAA and A (RFC 6120 §3.2, XEP-0368)."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from itertools import accumulate, groupby, zip_longest
from operator import attrgetter
from random import Random
from typing import Any, Protocol

import idna
from twisted.internet import defer
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.names import dns, hosts
from twisted.names.client import DNSClientFactory
from twisted.names.client import Resolver as NameServers
from twisted.names.error import DNSNameError, DNSQueryRefusedError, DNSServerError
from twisted.names.resolve import ResolverChain
from twisted.python.failure import Failure

_PORT = 5269  # RFC 6120 §3.2.2
_STARTTLS = "_xmpp-server._tcp."
_DIRECT_TLS = "_xmpps-server._tcp."  # XEP-0368 §3

_RESEND = (2, 3, 5)  # seconds until a query is sent again, and at last given up
_GIVE_UP = sum(_RESEND)  # of several name servers too
_AT_ONCE = 100  # queries under way, each has a socket; the rest waits
_NAMES = 10_000
_RECORDS = 50  # of one answer
_TARGETS = 10
_ADDRESSES = 10  # of one target
_LONGEST_TTL = 86_400  # seconds an answer is kept
_NOTHING_KEPT = 60  # seconds it is kept that there is nothing, where no SOA says so
_HOSTS_KEPT = 60  # seconds of /etc/hosts

_LONGEST_NAME = 253  # octets (RFC 1035 §2.3.4)
_NAME = re.compile(r"[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*")


class NoService(Exception):  # noqa: N818, it is named for what the domain has
    """The domain cannot be reached, and asking again would not help: the message says why in plain words."""


class LookupFailed(Exception):  # noqa: N818, it is named for what happened
    """The DNS gave no answer this time: the message says why in plain words."""


@dataclass(frozen=True, slots=True)
class Address:
    """One thing to connect to."""

    ip: str
    port: int
    direct_tls: bool
    host: str  # for humans: the SRV target, or the domain


# Twisted would log each query.
dns.DNSDatagramProtocol.noisy = DNSClientFactory.noisy = False

Sections = tuple[Sequence[dns.RRHeader], Sequence[dns.RRHeader], Sequence[dns.RRHeader]]


class Lookups(Protocol):
    """What is needed of the resolvers of ``twisted.names``: answers, authority and additional records."""

    def query(self, query: dns.Query, timeout: Sequence[int] | None = None) -> Deferred[Sections]: ...


class Clock(Protocol):
    """What is needed of a reactor's time, in seconds."""

    def seconds(self) -> float: ...
    def callLater(self, delay: float, callable: Callable[..., object], *args: object) -> Any: ...


def make_lookups(reactor: Any, server: tuple[str, int] | None = None) -> Lookups:
    """Ask the DNS server at this IP address and port only, or those of the system, after /etc/hosts."""
    if server is not None:
        return NameServers(servers=[server], reactor=reactor)
    # createResolver would add a cache that never forgets.
    name_servers = NameServers(resolv="/etc/resolv.conf", reactor=reactor)
    return ResolverChain([hosts.Resolver(ttl=_HOSTS_KEPT), name_servers])


@dataclass(frozen=True, slots=True)
class _Answer:
    """What the DNS says of one name and type, or why it says nothing."""

    records: tuple[Any, ...] = ()
    exists: bool = True
    trouble: str = ""
    until: float = 0.0  # the clock's time when it is to be asked again


class _Questions:
    """Asks the DNS: answers are kept for their time to live, and nobody asks what is being asked already."""

    def __init__(self, lookups: Lookups, clock: Clock) -> None:
        self._lookups = lookups
        self._clock = clock
        self._kept: OrderedDict[tuple[str, int], _Answer] = OrderedDict()
        self._open: dict[tuple[str, int], list[Deferred[_Answer]]] = {}
        self._turns: deque[Deferred[None]] = deque()
        self._under_way = 0
        self._beginning = False

    def ask(self, name: str, type: int) -> Deferred[_Answer]:
        """Return what there is; the Deferred never fails."""
        key = (name.lower(), type)
        kept = self._kept.get(key)
        if kept is not None and kept.until > self._clock.seconds():
            self._kept.move_to_end(key)
            return succeed(kept)
        # Each has a Deferred of its own: it may be cancelled while others wait for the same.
        waiter: Deferred[_Answer] = Deferred()
        waiters = self._open.setdefault(key, [])
        waiters.append(waiter)
        if len(waiters) == 1:
            self._open_question(key)
        return waiter

    def _open_question(self, key: tuple[str, int]) -> None:
        turn: Deferred[None] = Deferred()
        deadline = self._clock.callLater(_GIVE_UP, turn.cancel)
        answer = turn.addCallback(lambda _: self._query(key)).addCallback(self._read, key)
        answer.addErrback(self._explain, key).addCallback(self._settle, key, deadline)
        self._turns.append(turn)
        self._begin()

    def _begin(self) -> None:
        """Ask what waits for its turn; all from one loop, for an answer that comes at once makes room for the next."""
        if self._beginning:
            return
        self._beginning = True
        while self._turns and self._under_way < _AT_ONCE:
            self._turns.popleft().callback(None)  # one that has waited for too long was cancelled, and takes no notice
        self._beginning = False

    def _query(self, key: tuple[str, int]) -> Deferred[Sections]:
        self._under_way += 1
        query = dns.Query(key[0].encode(), key[1], dns.IN)
        return maybeDeferred(self._lookups.query, query, _RESEND).addBoth(self._make_room)

    def _make_room(self, result: Sections | Failure) -> Sections | Failure:
        self._under_way -= 1
        self._begin()
        return result

    def _read(self, sections: Sections, key: tuple[str, int]) -> _Answer:
        answers, authority, _ = sections
        name = key[0].encode()
        ttls: list[int] = []
        aliases = {
            record.name.name.lower(): (record.ttl, record.payload.name.name.lower())
            for record in answers
            if isinstance(record.payload, dns.Record_CNAME)
        }
        while name in aliases:
            ttl, name = aliases.pop(name)  # taken away, so that a circle has an end
            ttls.append(ttl)
        found = [record for record in answers if (record.type, record.name.name.lower()) == (key[1], name)][:_RECORDS]
        ttls += [record.ttl for record in found] or [_negative_ttl(authority)]
        return _Answer(tuple(record.payload for record in found), until=self._until(min(ttls)))

    def _explain(self, failure: Failure, key: tuple[str, int]) -> _Answer:
        error = failure.value
        if isinstance(error, DNSNameError):
            authority = [record for message in error.args for record in getattr(message, "authority", ())]
            return _Answer(exists=False, until=self._until(_negative_ttl(authority)))
        if isinstance(error, (defer.TimeoutError, defer.CancelledError)):
            reason = f"did not answer within {_GIVE_UP} seconds"
        elif isinstance(error, DNSServerError):
            reason = "has a failure there (SERVFAIL)"
        elif isinstance(error, DNSQueryRefusedError):
            reason = "refuses to answer"
        else:
            reason = f"cannot be asked ({type(error).__name__})"
        return _Answer(trouble=f"the DNS {reason}, asked for {dns.QUERY_TYPES[key[1]]} of {key[0]}")

    def _until(self, ttl: int) -> float:
        return self._clock.seconds() + min(ttl, _LONGEST_TTL)

    def _settle(self, answer: _Answer, key: tuple[str, int], deadline: Any) -> None:
        if deadline.active():
            deadline.cancel()
        self._kept.pop(key, None)
        if answer.until > self._clock.seconds():
            self._kept[key] = answer
            if len(self._kept) > _NAMES:
                self._kept.popitem(last=False)
        for waiter in self._open.pop(key):
            waiter.callback(answer)


def _negative_ttl(authority: Iterable[dns.RRHeader]) -> int:
    """Return for how many seconds it may be believed that there is nothing (RFC 2308 §5)."""
    for record in authority:
        if isinstance(record.payload, dns.Record_SOA):
            ttl: int = min(record.ttl, record.payload.minimum)
            return ttl
    return _NOTHING_KEPT


@dataclass(frozen=True, slots=True)
class _Target:
    """A host that serves the domain."""

    host: str  # for humans
    name: str  # for the DNS
    port: int
    direct_tls: bool = False
    priority: int = 0
    weight: int = 0


class Resolver:
    """Finds where other domains are served."""

    def __init__(
        self, lookups: Lookups, clock: Clock, routes: Mapping[str, tuple[str, int]], random: Random | None = None
    ) -> None:
        """``routes`` are the administrator's fixed ways: to a domain by this host and port."""
        self._questions = _Questions(lookups, clock)
        self._routes = routes
        self._random = random or Random()

    async def addresses(self, domain: str) -> list[Address]:
        """Return where to connect to for a prepared domain, in this order; never empty.

        Raises ``NoService`` and ``LookupFailed``. Takes at most twice ten seconds: for SRV, and for the addresses.
        """
        routed = domain in self._routes
        host, port = self._routes[domain] if routed else (domain, _PORT)
        literal = host.removeprefix("[").removesuffix("]")
        if _is_ip(literal):
            return [Address(literal, port, False, literal)]
        itself = _Target(host, _name_of(host), port)
        targets = [] if routed else await self._targets(itself)
        return await self._locate(domain, targets or [itself])

    async def _targets(self, domain: _Target) -> list[_Target]:
        """Return what the SRV records say; nothing if there are none, and only then the domain itself may be asked."""
        # Both are asked before either is waited for.
        asked = [
            (self._questions.ask(_DIRECT_TLS + domain.name, dns.SRV), True),
            (self._questions.ask(_STARTTLS + domain.name, dns.SRV), False),
        ]
        answers = [(await answer, direct_tls) for answer, direct_tls in asked]
        records = [(record, direct_tls) for answer, direct_tls in answers for record in answer.records]
        targets = [target for record, direct_tls in records if (target := _target(record, direct_tls))]
        if targets:
            return _in_order(targets, self._random)[:_TARGETS]
        # There may be records we have not seen, so the domain itself must not be asked.
        _raise_trouble(answer for answer, _ in answers)
        if records:  # "." (RFC 2782), or nonsense
            raise NoService(f"the DNS says that {domain.host} has no XMPP service for other servers")
        return []

    async def _locate(self, domain: str, targets: list[_Target]) -> list[Address]:
        """Return the addresses of the targets; one that cannot be found does not matter if there are others."""
        asked = [(target, [self._questions.ask(target.name, type) for type in (dns.AAAA, dns.A)]) for target in targets]
        answers: list[_Answer] = []
        addresses: list[Address] = []
        for target, (for_ipv6, for_ipv4) in asked:
            ipv6, ipv4 = await for_ipv6, await for_ipv4
            answers += ipv6, ipv4
            records = [record for pair in zip_longest(ipv6.records, ipv4.records) for record in pair if record]
            ips = [str(ip_address(record.address)) for record in records[:_ADDRESSES]]
            addresses += [Address(ip, target.port, target.direct_tls, target.host) for ip in ips]
        if addresses:
            return addresses
        _raise_trouble(answers)
        names = ", ".join(dict.fromkeys(target.host for target in targets))
        problem = "has no address" if any(answer.exists for answer in answers) else "does not exist"
        raise NoService(f"there is no way to {domain}: {names} {problem}")


def _raise_trouble(answers: Iterable[_Answer]) -> None:
    for answer in answers:
        if answer.trouble:
            raise LookupFailed(answer.trouble)


def _is_ip(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _name_of(host: str) -> str:
    """Return a host as the DNS has it, with A-labels; raises ``NoService`` where the DNS cannot have it."""
    try:
        name = host if host.isascii() else idna.encode(host).decode()
    except UnicodeError:
        name = ""
    if not _NAME.fullmatch(name) or len(_DIRECT_TLS + name) > _LONGEST_NAME:
        raise NoService(f"{host[:_LONGEST_NAME]} is not a name the DNS can have")
    return name


def _target(record: dns.Record_SRV, direct_tls: bool) -> _Target | None:
    """Return what a record offers; nothing for "." (RFC 2782), nor for what is no host or no port."""
    host = record.target.name.decode("ascii", "replace")
    if not _NAME.fullmatch(host) or len(host) > _LONGEST_NAME or not record.port:
        return None
    return _Target(host, host, record.port, direct_tls, record.priority, record.weight)


def _in_order(targets: Sequence[_Target], random: Random) -> list[_Target]:
    """RFC 2782: the lowest priority first; within one by chance, the greater weight more often."""
    shuffled = random.sample(targets, len(targets))  # else those that all have weight 0 would keep their order
    ordered: list[_Target] = []
    for _, same in groupby(sorted(shuffled, key=attrgetter("priority", "weight")), attrgetter("priority")):
        rest = list(same)
        while rest:
            sums = list(accumulate(target.weight for target in rest))
            ordered.append(rest.pop(bisect_left(sums, random.randint(0, sums[-1]))))
    return ordered
