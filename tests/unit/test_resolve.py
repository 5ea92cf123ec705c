"""From domains to addresses, by a DNS in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Coroutine
from random import Random
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.task import Clock
from twisted.names import dns
from twisted.python.failure import Failure

from tests.dns import Zone
from vrxmpp.net.resolve import Address, LookupFailed, NoService, Resolver, make_lookups

T = TypeVar("T")

DAY = 86_400


def start(work: Coroutine[Any, Any, T]) -> list[T | Failure]:
    """Return a list that will have the outcome."""
    outcome: list[T | Failure] = []
    Deferred.fromCoroutine(work).addBoth(outcome.append)
    return outcome


class House:
    """A resolver, its zone and its clock."""

    def __init__(self, **routes: tuple[str, int]) -> None:
        self.zone = Zone()
        self.clock = Clock()
        self.resolver = Resolver(self.zone, self.clock, routes, Random(1))

    def addresses(self, domain: str = "b.example") -> list[Address]:
        """Return what is found without waiting."""
        (outcome,) = start(self.resolver.addresses(domain))
        if isinstance(outcome, Failure):
            outcome.raiseException()
        assert not isinstance(outcome, Failure)
        return outcome

    def ways(self, domain: str = "b.example") -> list[tuple[str, int, bool]]:
        return [(address.ip, address.port, address.direct_tls) for address in self.addresses(domain)]

    def asked(self, name: str, type: str) -> int:
        return self.zone.queries[name, type]


@pytest.fixture
def house() -> House:
    return House()


class TestServices:
    def test_the_target_is_where_srv_says(self, house: House) -> None:
        house.zone.srv("b.example", "xmpp.host.example", 5299)
        house.zone.a("xmpp.host.example", "192.0.2.1")
        assert house.addresses() == [Address("192.0.2.1", 5299, False, "xmpp.host.example")]

    def test_priorities_are_compared_across_both_kinds(self, house: House) -> None:
        house.zone.srv("b.example", "one.example", 5269, priority=2)
        house.zone.srv("b.example", "one.example", 5270, priority=1, direct_tls=True)
        house.zone.srv("b.example", "one.example", 5271, priority=3, direct_tls=True)
        house.zone.a("one.example", "192.0.2.1")
        assert house.ways() == [("192.0.2.1", 5270, True), ("192.0.2.1", 5269, False), ("192.0.2.1", 5271, True)]
        assert house.asked("one.example", "A") == 1

    def test_weights_are_compared_across_both_kinds(self, house: House) -> None:
        house.zone.srv("b.example", "one.example", 1, weight=10)
        house.zone.srv("b.example", "one.example", 2, weight=90, direct_tls=True)
        house.zone.a("one.example", "192.0.2.1")
        first = Counter(house.ways()[0][1] for _ in range(1000))
        assert 0.85 < first[2] / 1000 < 0.95

    def test_those_without_weight_are_chosen_evenly(self, house: House) -> None:
        for port in (1, 2, 3, 4):
            house.zone.srv("b.example", "one.example", port)
        house.zone.a("one.example", "192.0.2.1")
        first = Counter(house.ways()[0][1] for _ in range(1000))
        assert all(200 < first[port] < 300 for port in (1, 2, 3, 4))

    def test_beside_a_weight_no_weight_is_chosen_rarely(self, house: House) -> None:
        house.zone.srv("b.example", "one.example", 1, weight=0)
        house.zone.srv("b.example", "one.example", 2, weight=99)
        house.zone.a("one.example", "192.0.2.1")
        first = Counter(house.ways()[0][1] for _ in range(2000))
        assert 0 < first[1] < 60  # one in a hundred: never would be wrong too (RFC 2782)

    @given(
        st.lists(st.tuples(st.integers(0, 3), st.integers(0, 65535), st.booleans()), min_size=1, max_size=10),
        st.integers(),
    )
    def test_priorities_hold_and_nothing_is_lost(self, records: list[tuple[int, int, bool]], seed: int) -> None:
        house = House()
        house.resolver = Resolver(house.zone, house.clock, {}, Random(seed))
        for port, (priority, weight, direct_tls) in enumerate(records, 1):
            house.zone.srv("b.example", "one.example", port, priority=priority, weight=weight, direct_tls=direct_tls)
        house.zone.a("one.example", "192.0.2.1")
        ways = house.ways()
        assert sorted((port, direct_tls) for _, port, direct_tls in ways) == [
            (port, direct_tls) for port, (_, _, direct_tls) in enumerate(records, 1)
        ]
        priorities = [records[port - 1][0] for _, port, _ in ways]
        assert priorities == sorted(priorities)

    def test_ten_targets_are_enough(self, house: House) -> None:
        for port in range(1, 31):
            house.zone.srv("b.example", f"host{port}.example", port, priority=port)
            house.zone.a(f"host{port}.example", "192.0.2.1")
        assert [port for _, port, _ in house.ways()] == list(range(1, 11))
        assert house.asked("host11.example", "A") == 0

    def test_a_crowd_of_addresses_is_cut(self, house: House) -> None:
        house.zone.srv("b.example", "one.example", 5269)
        for number in range(200):
            house.zone.a("one.example", f"192.0.2.{number}")
        assert len(house.ways()) == 10

    def test_a_target_that_cannot_be_found_leaves_the_others(self, house: House) -> None:
        house.zone.srv("b.example", "missing.example", 1, priority=1)
        house.zone.srv("b.example", "failing.example", 2, priority=2)
        house.zone.srv("b.example", "one.example", 3, priority=3)
        house.zone.failing("failing.example")
        house.zone.a("one.example", "192.0.2.1")
        assert house.ways() == [("192.0.2.1", 3, False)]

    @pytest.mark.parametrize(
        "target",
        ["ev\nil.example", "ev\x1b[31mil.example", "büro.example", "x" * 64 + ".example", ".".join(["x" * 50] * 6)],
    )
    def test_what_is_no_host_is_not_asked_for(self, house: House, target: str) -> None:
        record = dns.Record_SRV(0, 0, 5269, b"")
        record.target.name = target.encode()
        house.zone.add("_xmpp-server._tcp.b.example", record)
        with pytest.raises(NoService):
            house.addresses()
        assert {type for _, type in house.zone.queries} == {"SRV"}

    def test_port_nought_is_no_port(self, house: House) -> None:
        house.zone.srv("b.example", "one.example", 0)
        house.zone.a("one.example", "192.0.2.1")
        with pytest.raises(NoService):
            house.addresses()

    def test_both_kinds_are_asked_side_by_side_and_so_are_addresses(self, house: House) -> None:
        house.zone.answers_at_once = False
        house.zone.srv("b.example", "one.example", 5269)
        house.zone.srv("b.example", "two.example", 5269)
        house.zone.a("two.example", "192.0.2.1")
        outcome = start(house.resolver.addresses("b.example"))
        assert house.zone.held == 2
        house.zone.release()
        assert house.zone.held == 4
        house.zone.release()
        assert len(outcome) == 1


class TestNoService:
    def test_a_dot_for_direct_tls_leaves_starttls(self, house: House) -> None:
        house.zone.srv("b.example", ".", 0, direct_tls=True)
        house.zone.srv("b.example", "one.example", 5269)
        house.zone.a("one.example", "192.0.2.1")
        assert house.ways() == [("192.0.2.1", 5269, False)]

    def test_a_dot_for_starttls_leaves_direct_tls(self, house: House) -> None:
        house.zone.srv("b.example", ".", 0)
        house.zone.srv("b.example", "one.example", 5270, direct_tls=True)
        house.zone.a("one.example", "192.0.2.1")
        assert house.ways() == [("192.0.2.1", 5270, True)]

    @pytest.mark.parametrize("kinds", [[True], [False], [True, False]])
    def test_a_dot_alone_forbids_the_domain_itself(self, house: House, kinds: list[bool]) -> None:
        house.zone.a("b.example", "192.0.2.1")
        for direct_tls in kinds:
            house.zone.srv("b.example", ".", 0, direct_tls=direct_tls)
        with pytest.raises(NoService, match=r"b\.example has no XMPP service"):
            house.addresses()
        assert house.asked("b.example", "A") == 0

    def test_a_domain_that_does_not_exist(self, house: House) -> None:
        with pytest.raises(NoService, match=r"b\.example does not exist"):
            house.addresses()

    def test_a_domain_without_an_address(self, house: House) -> None:
        house.zone.add("b.example", dns.Record_MX(10, b"mail.example"))
        with pytest.raises(NoService, match=r"b\.example has no address"):
            house.addresses()

    def test_targets_without_addresses_do_not_lead_to_the_domain(self, house: House) -> None:
        house.zone.srv("b.example", "one.example", 5269)
        house.zone.a("b.example", "192.0.2.1")
        with pytest.raises(NoService, match=r"one\.example does not exist"):
            house.addresses()

    @pytest.mark.parametrize("domain", ["x" * 64 + ".example", ".".join(["x" * 50] * 5), "a..example", "ü" * 63])
    def test_a_name_that_the_dns_cannot_have(self, house: House, domain: str) -> None:
        with pytest.raises(NoService, match="not a name"):
            house.addresses(domain)
        assert not house.zone.queries


class TestWithoutSrv:
    def test_the_domain_itself_on_the_registered_port(self, house: House) -> None:
        house.zone.a("b.example", "192.0.2.1")
        house.zone.aaaa("b.example", "2001:db8::1")
        assert house.addresses() == [
            Address("2001:db8::1", 5269, False, "b.example"),
            Address("192.0.2.1", 5269, False, "b.example"),
        ]

    @pytest.mark.parametrize("service", ["_xmpp-server._tcp.b.example", "_xmpps-server._tcp.b.example"])
    @pytest.mark.parametrize("code", [dns.ESERVER, dns.EREFUSED, dns.EFORMAT, dns.ENOTIMP, 9])
    def test_not_when_a_lookup_failed(self, house: House, service: str, code: int) -> None:
        house.zone.a("b.example", "192.0.2.1")
        house.zone.failing(service, code)
        with pytest.raises(LookupFailed, match=service):
            house.addresses()
        assert house.asked("b.example", "A") == 0

    def test_half_an_answer_with_records_is_enough(self, house: House) -> None:
        house.zone.failing("_xmpps-server._tcp.b.example")
        house.zone.srv("b.example", "one.example", 5269)
        house.zone.a("one.example", "192.0.2.1")
        assert house.ways() == [("192.0.2.1", 5269, False)]

    def test_a_dot_and_a_failure_are_no_lasting_refusal(self, house: House) -> None:
        house.zone.failing("_xmpps-server._tcp.b.example")
        house.zone.srv("b.example", ".", 0)
        with pytest.raises(LookupFailed):
            house.addresses()

    def test_addresses_take_turns_ipv6_first(self, house: House) -> None:
        for number in (1, 2, 3):
            house.zone.a("b.example", f"192.0.2.{number}")
        house.zone.aaaa("b.example", "2001:db8::1")
        house.zone.aaaa("b.example", "2001:db8::2")
        assert [ip for ip, _, _ in house.ways()] == [
            *("2001:db8::1", "192.0.2.1", "2001:db8::2", "192.0.2.2", "192.0.2.3")
        ]

    def test_one_family_that_fails_leaves_the_other(self, house: House) -> None:
        zone = house.zone
        zone.a("b.example", "192.0.2.1")

        class HalfBroken:
            def query(self, query: dns.Query, timeout: object = None) -> Deferred[Any]:
                if query.type == dns.AAAA:
                    return Zone.query(broken, query)
                return zone.query(query)

        broken = Zone()
        broken.failing("b.example")
        house.resolver = Resolver(HalfBroken(), house.clock, {})
        assert house.ways() == [("192.0.2.1", 5269, False)]
        zone.missing("b.example")
        house.clock.advance(DAY)
        with pytest.raises(LookupFailed, match=r"AAAA of b\.example"):
            house.addresses()

    @pytest.mark.parametrize(("domain", "ip"), [("192.0.2.1", "192.0.2.1"), ("[2001:db8::1]", "2001:db8::1")])
    def test_an_address_is_itself(self, house: House, domain: str, ip: str) -> None:
        assert house.ways(domain) == [(ip, 5269, False)]
        assert not house.zone.queries

    def test_the_dns_is_asked_for_a_labels(self, house: House) -> None:
        house.zone.a("xn--bro-hoa.example", "192.0.2.1")
        assert house.addresses("büro.example") == [Address("192.0.2.1", 5269, False, "büro.example")]
        assert house.asked("_xmpp-server._tcp.xn--bro-hoa.example", "SRV") == 1


class TestAliases:
    def test_they_are_followed(self, house: House) -> None:
        house.zone.cname("b.example", "www.Example")
        house.zone.cname("www.example", "host.example")
        house.zone.a("host.example", "192.0.2.1")
        assert house.ways() == [("192.0.2.1", 5269, False)]

    def test_a_circle_has_an_end(self, house: House) -> None:
        house.zone.cname("b.example", "c.example")
        house.zone.cname("c.example", "b.example")
        with pytest.raises(NoService):
            house.addresses()

    def test_records_of_other_names_do_not_count(self, house: House) -> None:
        class Liar:
            def query(self, query: dns.Query, timeout: object = None) -> Deferred[Any]:
                record: Any = dns.Record_A("192.0.2.6")
                return succeed(([dns.RRHeader(b"other.example", dns.A, payload=record)], [], []))

        house.resolver = Resolver(Liar(), house.clock, {})
        with pytest.raises(NoService):
            house.addresses()

    def test_the_shortest_time_to_live_of_the_way_counts(self, house: House) -> None:
        house.zone.cname("b.example", "host.example", ttl=5)
        house.zone.a("host.example", "192.0.2.1", ttl=500)
        house.addresses()
        house.clock.advance(6)
        house.addresses()
        assert house.asked("b.example", "A") == 2


class TestRoutes:
    @pytest.mark.parametrize(
        ("way", "expected"),
        [
            (("127.0.0.3", 5299), Address("127.0.0.3", 5299, False, "127.0.0.3")),
            (("::1", 5269), Address("::1", 5269, False, "::1")),
        ],
    )
    def test_an_address_needs_no_dns(self, way: tuple[str, int], expected: Address) -> None:
        house = House(**{"b.example": way})
        assert house.addresses() == [expected]
        assert not house.zone.queries

    def test_a_host_is_looked_up_without_srv(self) -> None:
        house = House(**{"b.example": ("inside.example", 5299)})
        house.zone.a("inside.example", "192.0.2.1")
        house.zone.srv("b.example", "outside.example", 5269)
        assert house.addresses() == [Address("192.0.2.1", 5299, False, "inside.example")]
        assert {type for _, type in house.zone.queries} == {"AAAA", "A"}


class TestKeeping:
    def test_an_answer_is_kept_for_its_time_to_live(self, house: House) -> None:
        house.zone.srv("b.example", "one.example", 5269, ttl=100)
        house.zone.a("one.example", "192.0.2.1", ttl=30)
        for seconds in (0, 29, 2, 68, 2):
            house.clock.advance(seconds)
            assert house.ways() == [("192.0.2.1", 5269, False)]
        assert house.asked("_xmpp-server._tcp.b.example", "SRV") == 2
        assert house.asked("one.example", "A") == 3

    def test_nothing_is_kept_for_longer_than_a_day(self, house: House) -> None:
        house.zone.a("b.example", "192.0.2.1", ttl=2**31)
        house.addresses()
        house.clock.advance(DAY - 1)
        house.addresses()
        assert house.asked("b.example", "A") == 1
        house.clock.advance(2)
        house.addresses()
        assert house.asked("b.example", "A") == 2

    def test_what_has_no_time_to_live_is_asked_for_each_time(self, house: House) -> None:
        house.zone.a("b.example", "192.0.2.1", ttl=0)
        assert house.ways() == house.ways()
        assert house.asked("b.example", "A") == 2

    @pytest.mark.parametrize(("soa", "seconds"), [(None, 60), (600, 600), (5, 5)])
    @pytest.mark.parametrize("exists", [True, False])
    def test_that_there_is_nothing_is_kept_too(self, house: House, soa: int | None, seconds: int, exists: bool) -> None:
        house.zone.negative_ttl = soa
        if exists:
            house.zone.add("b.example", dns.Record_MX(10, b"mail.example"))
        for wait in (0, seconds - 1, 2):
            house.clock.advance(wait)
            with pytest.raises(NoService):
                house.addresses()
        assert house.asked("_xmpp-server._tcp.b.example", "SRV") == 2
        assert house.asked("b.example", "A") == 2

    def test_a_failure_is_not_kept(self, house: House) -> None:
        house.zone.failing("b.example")
        with pytest.raises(LookupFailed):
            house.addresses()
        house.zone.failing("b.example", dns.OK)
        house.zone.a("b.example", "192.0.2.1")
        assert house.ways() == [("192.0.2.1", 5269, False)]

    def test_the_names_used_longest_ago_are_forgotten(self, house: House, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("vrxmpp.net.resolve._NAMES", 8)  # a domain without SRV needs four
        for domain in ("a.example", "b.example", "a.example", "c.example", "a.example", "b.example"):
            house.zone.missing(domain)
            house.zone.a(domain, "192.0.2.1")
            house.addresses(domain)
        assert house.asked("a.example", "A") == 1
        assert house.asked("b.example", "A") == 2


class TestWaiting:
    def test_two_who_ask_for_the_same_share_the_queries(self, house: House) -> None:
        house.zone.answers_at_once = False
        house.zone.a("b.example", "192.0.2.1")
        outcomes = [start(house.resolver.addresses("b.example")) for _ in range(2)]
        house.zone.release()
        house.zone.release()
        assert outcomes[0] == outcomes[1] == [[Address("192.0.2.1", 5269, False, "b.example")]]
        assert set(house.zone.queries.values()) == {1}

    def test_who_goes_away_does_not_spoil_it_for_the_other(self, house: House) -> None:
        house.zone.answers_at_once = False
        house.zone.a("b.example", "192.0.2.1")
        impatient = Deferred.fromCoroutine(house.resolver.addresses("b.example"))
        other = start(house.resolver.addresses("b.example"))
        impatient.cancel()
        gone: list[object] = []
        impatient.addErrback(lambda failure: gone.append(failure.type))
        assert gone == [CancelledError]
        house.zone.release()
        house.zone.release()
        assert other == [[Address("192.0.2.1", 5269, False, "b.example")]]

    def test_silence_has_an_end(self, house: House) -> None:
        house.zone.silent("b.example")
        outcome = start(house.resolver.addresses("b.example"))
        house.clock.advance(9.9)
        assert not outcome
        house.clock.advance(0.2)
        (failure,) = outcome
        assert isinstance(failure, Failure)
        assert failure.check(LookupFailed)
        assert "did not answer within 10 seconds" in failure.getErrorMessage()

    def test_no_deadline_is_left_behind(self, house: House) -> None:
        house.zone.a("b.example", "192.0.2.1")
        house.addresses()
        assert house.clock.getDelayedCalls() == []

    def test_what_breaks_below_is_a_failure_of_the_lookup(self, house: House) -> None:
        class Broken:
            def query(self, query: dns.Query, timeout: object = None) -> Deferred[Any]:
                raise OSError("no sockets left")

        house.resolver = Resolver(Broken(), house.clock, {})
        for _ in range(200):
            with pytest.raises(LookupFailed, match="OSError"):
                house.addresses()

    def test_many_questions_take_turns(self, house: House) -> None:
        house.zone.answers_at_once = False
        domains = [f"b{number}.example" for number in range(300)]
        for domain in domains:
            house.zone.a(domain, "192.0.2.1")
        outcomes = [start(house.resolver.addresses(domain)) for domain in domains]
        while house.zone.held:
            assert house.zone.held <= 100
            house.zone.release(7)
        assert [len(outcome) for outcome in outcomes] == [1] * 300
        assert not any(isinstance(outcome, Failure) for (outcome,) in outcomes)

    def test_hundreds_of_answers_that_come_at_once_are_not_too_many(self, house: House) -> None:
        house.zone.answers_at_once = False
        outcomes = [start(house.resolver.addresses(f"b{number}.example")) for number in range(300)]
        house.zone.answers_at_once = True
        house.zone.release(1)
        house.zone.release()
        assert all(isinstance(outcome, Failure) and outcome.check(NoService) for (outcome,) in outcomes)

    def test_who_waits_for_a_turn_in_vain_is_told(self, house: House) -> None:
        house.zone.silent("example")
        outcomes = [start(house.resolver.addresses(f"b{number}.example")) for number in range(200)]
        house.clock.advance(10)
        assert all(isinstance(outcome, Failure) and outcome.check(LookupFailed) for (outcome,) in outcomes)
        house.zone.a("b.other", "192.0.2.1")
        assert house.ways("b.other") == [("192.0.2.1", 5269, False)]


class Network(Clock):
    """A reactor on whose network there is one DNS server."""

    def __init__(self, zone: Zone, server: tuple[str, int]) -> None:
        super().__init__()
        self.zone = zone
        self.server = server

    def listenUDP(self, port: int, protocol: Any, interface: str = "") -> None:  # noqa: N802
        protocol.makeConnection(Socket(self, protocol))


class Socket:
    def __init__(self, network: Network, protocol: Any) -> None:
        self.network = network
        self.protocol = protocol

    def write(self, data: bytes, address: tuple[str, int]) -> None:
        asked = dns.Message()
        asked.fromStr(data)
        reply = self.network.zone.answer(asked.queries[0])
        if address == self.network.server and reply is not None:
            reply.id, reply.maxSize = asked.id, 0
            self.network.callLater(0.1, self.protocol.datagramReceived, reply.toStr(), address)

    def stopListening(self) -> None:  # noqa: N802
        self.protocol = None


class TestLookups:
    """The resolver of ``twisted.names`` beneath, with messages as they are on the network."""

    @pytest.mark.parametrize("server", [("127.0.0.1", 5353), ("::1", 53)])
    def test_the_given_server_is_asked(self, server: tuple[str, int]) -> None:
        network = Network(Zone(), server)
        network.zone.srv("b.example", "one.example", 5270, direct_tls=True)
        network.zone.aaaa("one.example", "2001:db8::1")
        network.zone.cname("two.example", "one.example")
        resolver = Resolver(make_lookups(network, server), network, {})
        outcomes = [start(resolver.addresses(domain)) for domain in ("b.example", "two.example", "three.example")]
        network.pump([0.1] * 3)
        assert outcomes[:2] == [
            [[Address("2001:db8::1", 5270, True, "one.example")]],
            [[Address("2001:db8::1", 5269, False, "two.example")]],
        ]
        assert isinstance(outcomes[2][0], Failure)
        assert outcomes[2][0].check(NoService)

    @pytest.mark.parametrize("name", ["failing.example", "silent.example"])
    def test_failures_come_in_time(self, name: str) -> None:
        network = Network(Zone(), ("127.0.0.1", 53))
        network.zone.failing("failing.example")
        network.zone.silent("silent.example")
        resolver = Resolver(make_lookups(network, ("127.0.0.1", 53)), network, {})
        outcome = start(resolver.addresses(name))
        network.pump([1.0] * 10)
        assert isinstance(outcome[0], Failure)
        assert outcome[0].check(LookupFailed)
        network.advance(60)
        assert network.getDelayedCalls() == []
