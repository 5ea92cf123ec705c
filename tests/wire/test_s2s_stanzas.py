"""Whose stanzas are taken from another server and how many (RFC 6120 §8.1, XEP-0220, XEP-0288)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.internet import Internet, Site
from tests.peer import PEER, Host, Peer, call, message, result
from tests.streams import Client, show
from vrxmpp import ns
from vrxmpp.net.limits import Addresses
from vrxmpp.net.servers import ServerFactory

ONE = "one.example"


@pytest.fixture
def one(internet: Internet) -> Site:
    return internet.site(ONE)


@pytest.fixture
def peer(internet: Internet, one: Site) -> Peer:
    """One that is proven, by a certificate with more names."""
    peer = call(internet, one)
    peer.log_in(internet.authority.issue(PEER, "chat.peer.example"))
    return peer


@pytest.fixture
def romeo(one: Site) -> Client:
    """Somebody to write to."""
    romeo: Client = one.login("romeo")
    romeo.send("<presence/>")
    romeo.hears()
    return romeo


# -- whose stanzas


def test_a_proven_peer_is_heard(peer: Peer, romeo: Client) -> None:
    peer.send(message())
    assert romeo.hears() == [message()]
    peer.send(message(PEER))
    assert romeo.hears() == [message(PEER)]


@pytest.mark.parametrize(
    ("stanza", "condition"),
    [
        (message("juliet@else.example"), "invalid-from"),
        (message("juliet@chat.peer.example"), "invalid-from"),  # the certificate has it, but nobody has said so
        (message("example"), "invalid-from"),
        (message(f"juliet@{ONE}"), "invalid-from"),
        (message(f"{ONE}"), "invalid-from"),
        (message(to="nurse@else.example"), "host-unknown"),
        (message(to=f"nurse@{PEER}"), "host-unknown"),
        (message(to=f"sub.{ONE}"), "host-unknown"),
        (message("nurse@else.example", "nurse@else.example"), "host-unknown"),
        (message(""), "improper-addressing"),
        (message(to=""), "improper-addressing"),
        (message("", ""), "improper-addressing"),
        (message("@@"), "improper-addressing"),
        (message("juliet@", f"@{ONE}"), "improper-addressing"),
        ("<iq type='result' id='x'/>", "improper-addressing"),
        (f"<presence from='{PEER}'/>", "improper-addressing"),
    ],
)
def test_nobody_speaks_for_others_or_relays(peer: Peer, romeo: Client, stanza: str, condition: str) -> None:
    peer.send(stanza + message())
    assert peer.fails() == condition
    assert romeo.hears() == []


def test_a_stanza_of_a_client_is_none(peer: Peer, romeo: Client) -> None:
    peer.send(f"<message xmlns='{ns.CLIENT}' from='juliet@{PEER}' to='romeo@{ONE}'/>")
    assert peer.fails() == "unsupported-stanza-type"
    assert romeo.hears() == []


def test_a_malformed_address_of_ours_is_told_to_who_has_sent_it(internet: Internet, peer: Peer) -> None:
    host = Host(internet)
    peer.send(f"<message from='juliet@{PEER}/x' to='@{ONE}' id='m1'/>")
    back = host.answer()
    back.welcome_securely(internet.authority.issue(PEER))
    back.believe_key()
    [error] = back.elements()
    assert (error.get("from"), error.get("to"), error.get("id")) == (ONE, f"juliet@{PEER}/x", "m1")
    assert "jid-malformed" in show(error)
    assert peer.pipe.is_open


@pytest.mark.parametrize("piece", [1, 0])
def test_a_further_domain_is_proven_by_the_same_certificate(peer: Peer, romeo: Client, piece: int) -> None:
    peer.piece = piece
    peer.send(result("chat.peer.example", ONE))
    assert peer.hears() == [
        f"<result from='{ONE}' to='chat.peer.example' type='valid' xmlns='{ns.DIALBACK}'/>",
    ]
    for sender in ("juliet@chat.peer.example", f"juliet@{PEER}"):
        peer.send(message(sender))
        assert romeo.hears() == [message(sender)]
    peer.send(message("juliet@third.peer.example"))
    assert peer.fails() == "invalid-from"


def test_each_pair_is_proven_by_itself(internet: Internet) -> None:
    site = internet.site(ONE, "two.example")
    peer = call(internet, site)
    peer.log_in(internet.authority.issue(PEER, "chat.peer.example"))
    peer.send(result("chat.peer.example", "two.example"))
    assert "valid" in peer.hears()[0]
    peer.send(message("juliet@chat.peer.example", "nurse@two.example"))
    assert peer.pipe.is_open
    peer.send(message("juliet@chat.peer.example", f"nurse@{ONE}"))
    assert peer.fails() == "invalid-from"


def fill(internet: Internet, one: Site) -> Peer:
    """Return a peer whose stream is proven for as many domains as fit."""
    domains = [f"d{number}.example" for number in range(100)]
    peer = call(internet, one)
    peer.log_in(internet.authority.issue(PEER, *domains))
    for domain in domains[:99]:
        peer.send(result(domain, ONE))
    assert all("valid" in answer for answer in peer.hears())
    return peer


def test_only_so_many_domains_fit_on_a_stream(internet: Internet, one: Site) -> None:
    peer = fill(internet, one)
    peer.send(result("d99.example", ONE) + message("juliet@d99.example", ONE))
    assert peer.is_gone
    assert ("d99.example", ONE) not in [pair for stream in one.streams() for pair in stream.proven]


def test_a_domain_too_many_is_refused_without_harm_to_the_others(internet: Internet, one: Site) -> None:
    """XEP-0220 §2.5: resource-constraint, after which the peer opens another stream."""
    peer = fill(internet, one)
    peer.send(result("d99.example", ONE))
    [answer] = peer.hears()
    assert "resource-constraint" in answer
    assert peer.pipe.is_open


# -- limits


def test_before_the_proof_the_limits_are_small(internet: Internet, one: Site) -> None:
    peer = call(internet, one)
    peer.open_securely(internet.authority.issue(PEER))
    peer.send(f"<db:result from='{PEER}' to='{ONE}'>{'x' * 10_000}</db:result>")
    internet.wait(6)
    assert peer.fails() == "policy-violation"


def test_an_endless_element_is_cut_off_before_it_ends(internet: Internet, one: Site) -> None:
    peer = call(internet, one)
    peer.open_securely(internet.authority.issue(PEER))
    peer.send("<message><body>")
    peer.send("x" * 10_001)
    internet.wait(6)
    assert peer.fails() == "policy-violation"


def test_a_stream_that_ends_in_the_middle_of_much_input_ends_at_once(internet: Internet, one: Site) -> None:
    peer = call(internet, one)
    peer.open_securely(internet.authority.issue(PEER))
    peer.send("<message><body>" + "x" * 10_001)
    assert peer.fails() == "policy-violation"


def test_after_it_they_are_what_was_announced(internet: Internet, peer: Peer, romeo: Client) -> None:
    frame = len(message(body=""))
    peer.send(message(body="x" * (524_288 - frame)))
    assert len(romeo.hears()) == 1
    peer.send(message(body="x" * (524_289 - frame)))
    internet.wait(6)
    assert peer.fails() == "policy-violation"


def test_a_flood_is_read_more_slowly_and_nothing_is_lost(internet: Internet, one: Site) -> None:
    servers = one.servers
    servers.policy = replace(servers.policy, rate=replace(servers.policy.rate, stanzas_per_second=10, burst_stanzas=20))
    romeo = one.login("romeo")
    romeo.send("<presence/>")
    romeo.hears()
    peer = call(internet, one)
    peer.log_in(internet.authority.issue(PEER))
    for _ in range(10):
        peer.send(message() * 10)
    early = len(romeo.hears())
    assert 10 <= early <= 50
    internet.wait(30)
    assert len(romeo.hears()) == 100 - early


def test_an_address_has_so_many_connections(internet: Internet, one: Site) -> None:
    one.servers.addresses = Addresses(per_address=3, unauthenticated=2, new_per_second=100)
    peers = [call(internet, one), call(internet, one)]
    maker = ServerFactory(one.servers, direct_tls=False)
    caller = internet.cables[0].calling.getPeer()
    caller.host = "192.0.2.99"
    assert maker.buildProtocol(caller) is None
    peers[0].log_in(internet.authority.issue(PEER))  # who is proven is a stranger no longer
    call(internet, one)
    assert maker.buildProtocol(caller) is None
    for peer in peers:
        peer.pipe.close()
    assert call(internet, one).open(ONE) is not None


@pytest.mark.parametrize("managed", [False, True])
def test_a_two_way_stream_is_used_for_what_is_proven(internet: Internet, managed: bool) -> None:
    """XEP-0288 §3: the header names one domain of ours, dialback proves the peer to another."""
    site = internet.site(ONE, "two.example")
    peer = call(internet, site)
    peer.open_securely(internet.authority.issue(PEER))
    peer.send(f"<bidi xmlns='{ns.BIDI}'/>" + result(PEER, "two.example"))
    assert "valid" in peer.hears()[0]
    if managed:
        peer.send(f"<enable xmlns='{ns.STREAM_MANAGEMENT}' resume='true'/>")
        peer.hears()
    host = Host(internet)
    site.login("romeo", domain=ONE).send(f"<message to='juliet@{PEER}'><body>Hush</body></message>")
    assert host.is_called
    assert peer.hears() == []


@pytest.mark.parametrize("managed", [False, True])
def test_where_no_more_servers_are_talked_to_a_two_way_stream_still_comes_in(
    internet: Internet, romeo: Client, monkeypatch: pytest.MonkeyPatch, *, managed: bool
) -> None:
    monkeypatch.setattr("vrxmpp.net.servers._MOST_WAYS", 0)
    [one] = internet.sites
    peer = call(internet, one)
    peer.log_in(internet.authority.issue(PEER), bidirectional=True)
    if managed:
        peer.send(f"<enable xmlns='{ns.STREAM_MANAGEMENT}' resume='true'/>")
        assert "<enabled" in peer.hears()[-1]
    internet.wait(5)
    assert one.house.failures() == []
    peer.send(message())
    assert romeo.hears() == [message()]
