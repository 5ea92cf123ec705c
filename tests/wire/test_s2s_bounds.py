"""How much another server can make ours do, dial, keep and say, by whatever means (RFC 6120 §13.12)."""

from __future__ import annotations

import pytest

from tests.internet import Internet, Site
from tests.peer import EXTERNAL, PEER, Host, Peer, call, message, result
from tests.streams import Client
from vrxmpp import ns
from vrxmpp.net.tls import CertificateFiles

ONE = "one.example"


@pytest.fixture
def one(internet: Internet) -> Site:
    return internet.site(ONE)


@pytest.fixture
def good(internet: Internet) -> CertificateFiles:
    return internet.authority.issue(PEER)


@pytest.fixture
def unproven(internet: Internet) -> CertificateFiles:
    return internet.authority.self_signed(PEER)


@pytest.fixture
def romeo(one: Site) -> Client:
    romeo: Client = one.login("romeo")
    return romeo


@pytest.fixture
def host(internet: Internet) -> Host:
    return Host(internet)


def write(client: Client, body: str, to: str = PEER) -> None:
    client.send(f"<message to='juliet@{to}' id='{body}'><body>{body}</body></message>")


def bodies(peer: Peer) -> list[str]:
    texts = (element.findtext(f"{{{ns.SERVER}}}body") for element in peer.elements())
    return [text for text in texts if text is not None]


def bounced(client: Client) -> list[str]:
    return [each.get("id", "") for each in client.elements() if each.get("type") == "error"]


def test_a_broken_stream_makes_us_look_after_few_peers(internet: Internet, one: Site) -> None:
    """One certificate can be for any number of names, and each of them can lead to somebody else's machine."""
    domains = [f"d{number}.example" for number in range(50)]
    for domain in domains:
        internet.zone.a(domain, "203.0.113.1")
    internet.answers = False
    peer = call(internet, one)
    peer.log_in(internet.authority.issue(PEER, *domains))
    for domain in domains:
        peer.send(result(domain, ONE))
    assert len(peer.elements()) == 50
    internet.cables[-1].reset()
    internet.wait(1)
    assert len(one.servers.ways) <= 8


def test_only_so_many_connections_are_being_made_at_once(
    internet: Internet, one: Site, romeo: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vrxmpp.net.dialer._AT_ONCE", 5)
    internet.answers = False
    for number in range(10):
        internet.zone.a(f"d{number}.example", "203.0.113.1")
        write(romeo, f"m{number}", f"d{number}.example")
    internet.wait(0.5)
    assert sum(way.is_dialling for way in one.servers.ways.values()) == 5
    internet.wait(70)
    assert sorted(bounced(romeo)) == [f"m{number}" for number in range(10)]


def test_a_peer_with_any_number_of_names_is_remembered_for_some(
    internet: Internet, one: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vrxmpp.net.servers._MOST_CERTIFIED", 3)
    domains = [f"d{number}.example" for number in range(5)]
    peer = call(internet, one)
    peer.log_in(internet.authority.issue(PEER, *domains))
    for domain in domains:
        peer.send(result(domain, ONE))
    assert all("'valid'" in answer for answer in peer.hears())
    assert len(one.servers._certified) == 3


def test_what_nobody_waits_for_is_not_kept(romeo: Client, host: Host, good: CertificateFiles) -> None:
    """Each element may be as large as a stanza."""
    write(romeo, "first")
    peer = host.answer()
    peer.welcome_securely(good, EXTERNAL)
    peer.believe_certificate()
    assert bodies(peer) == ["first"]
    peer.send("<unheard-of xmlns='urn:example:x'/>")
    *_, error = peer.hears()
    assert "<policy-violation" in error


def test_all_that_waits_has_a_bound(internet: Internet, romeo: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of ten thousand ways might hold megabytes."""
    monkeypatch.setattr("vrxmpp.net.servers._MOST_WAITING", 1000)
    internet.answers = False
    for number in range(2):
        internet.zone.a(f"d{number}.example", "203.0.113.1")
        write(romeo, f"m{number}" + "x" * 600, f"d{number}.example")
    assert bounced(romeo) == []
    internet.wait(1)
    internet.zone.a("d2.example", "203.0.113.1")
    write(romeo, "m2", "d2.example")
    assert bounced(romeo) == ["m2"]
    internet.wait(70)
    assert len(bounced(romeo)) == 2
    write(romeo, "m3", "d2.example")
    assert bounced(romeo) == []


def test_strangers_leave_ways_for_others(
    internet: Internet, one: Site, romeo: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vrxmpp.net.servers._MOST_WAYS", 6)
    internet.answers = False
    domains = [f"d{number}.example" for number in range(8)]
    for domain in (*domains, PEER):
        internet.zone.a(domain, "203.0.113.1")
    peer = call(internet, one, domains[0])
    peer.log_in(internet.authority.issue(*domains))
    for domain in domains[1:]:
        peer.send(result(domain, ONE))
    for domain in domains:
        peer.send(message(f"a@{domain}", f"nobody@{ONE}"))
    internet.wait(1)
    assert len(one.servers.ways) == 3
    write(romeo, "goes")
    assert bounced(romeo) == []


def test_only_so_many_keys_are_asked_about_at_once(
    internet: Internet, one: Site, host: Host, unproven: CertificateFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever has many addresses must not take all the connections that we can make."""
    monkeypatch.setattr("vrxmpp.net.verifier._AT_ONCE", 1)
    callers = [call(internet, one) for _ in range(2)]
    for caller in callers:
        caller.open_securely(unproven)
        caller.send(result(PEER, ONE))
    assert callers[0].hears() == []
    assert "resource-constraint" in callers[1].hears()[0]
    authority = host.answer()
    authority.welcome_securely(unproven)
    authority.vouch()
    internet.wait(1)
    assert "'valid'" in callers[0].hears()[0]


def test_so_many_keys_may_be_wrong(internet: Internet, one: Site, good: CertificateFiles) -> None:
    """Each costs an attempt to ask somebody, and a line in the log."""
    peer = call(internet, one)
    peer.log_in(good)
    for _ in range(100):
        peer.send(result(ONE, ONE))
    assert peer.pipe.is_open
    peer.send(result(ONE, ONE))
    peer.elements()
    assert peer.is_gone
