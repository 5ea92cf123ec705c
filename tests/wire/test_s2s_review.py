"""What goes wrong between servers only where two things meet: several domains, other rules, an end, much at once."""

from __future__ import annotations

from typing import Any

import pytest

from tests.internet import Internet, Site
from tests.peer import DIALBACK, EXTERNAL, MANAGEMENT, PEER, REQUIRED, Host, Peer, call, message, result
from tests.streams import Client, Reader, show
from vrxmpp import ns
from vrxmpp.net.policy import Authentication, Federation, Policy
from vrxmpp.net.tls import CertificateFiles

ONE, TWO = "one.example", "two.example"
CHAT = f"chat.{PEER}"
SM = ns.STREAM_MANAGEMENT
BIDI = f"<bidi xmlns='{ns.BIDI_FEATURE}'/>"


@pytest.fixture
def one(internet: Internet) -> Site:
    return internet.site(ONE, TWO)


@pytest.fixture
def good(internet: Internet) -> CertificateFiles:
    return internet.authority.issue(PEER, CHAT)


@pytest.fixture
def unproven(internet: Internet) -> CertificateFiles:
    return internet.authority.self_signed(PEER)


@pytest.fixture
def romeo(one: Site) -> Client:
    romeo: Client = one.login("romeo")
    romeo.send("<presence/>")
    romeo.hears()
    return romeo


@pytest.fixture
def nurse(one: Site) -> Client:
    """Somebody at our other domain."""
    nurse: Client = one.login("nurse", domain=TWO)
    return nurse


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


def enable(peer: Peer) -> str:
    """Return the id of the session."""
    peer.send(f"<enable xmlns='{SM}' resume='true'/>")
    element = peer.element()
    assert element.tag == f"{{{SM}}}enabled", show(element)
    return element.get("id", "")


def called_both_ways(internet: Internet, one: Site, good: CertificateFiles) -> Peer:
    peer = call(internet, one)
    peer.log_in(good, bidirectional=True)
    return peer


# -- one session, one pair


def test_no_other_domain_comes_onto_a_stream_that_may_still_get_acknowledgements(
    romeo: Client, nurse: Client, host: Host, good: CertificateFiles
) -> None:
    """Of two ways in one session each would have to resume it."""
    write(romeo, "from-one")
    peer = host.answer()
    peer.welcome_securely(good, EXTERNAL, DIALBACK)
    peer.believe_certificate(DIALBACK, MANAGEMENT)
    assert peer.hears() == [f"<enable resume='true' xmlns='{SM}'/>"]
    write(nurse, "from-two")
    assert peer.hears() == []
    assert host.is_called


def test_no_other_domain_comes_into_a_session_of_the_peer(
    internet: Internet, one: Site, romeo: Client, good: CertificateFiles
) -> None:
    chat = Host(internet, CHAT)
    peer = called_both_ways(internet, one, good)
    enable(peer)
    peer.send(result(CHAT, ONE))
    assert "valid" in peer.hears()[0]
    write(romeo, "to-chat", CHAT)
    assert bodies(peer) == []
    assert chat.is_called


def test_where_another_domain_has_come_onto_a_stream_no_session_begins(
    internet: Internet, one: Site, romeo: Client, good: CertificateFiles
) -> None:
    peer = called_both_ways(internet, one, good)
    internet.wait(3)
    peer.send(result(CHAT, ONE))
    assert "valid" in peer.hears()[0]
    write(romeo, "to-chat", CHAT)
    assert bodies(peer) == ["to-chat"]
    peer.send(f"<enable xmlns='{SM}' resume='true'/>")
    assert "unexpected-request" in peer.hears()[0]


def test_a_session_both_ways_is_not_resumed_where_stanzas_go_one_way(
    internet: Internet, one: Site, romeo: Client, good: CertificateFiles
) -> None:
    peer = called_both_ways(internet, one, good)
    id = enable(peer)
    write(romeo, "lost")
    assert bodies(peer) == ["lost"]
    internet.cables[-1].reset()
    internet.wait(1)
    again = call(internet, one)
    again.log_in(good)
    again.send(f"<resume xmlns='{SM}' previd='{id}' h='0'/>")
    assert "item-not-found" in again.hears()[0]
    internet.wait(70)
    assert bodies(again) == []
    assert bounced(romeo) == ["lost"]


# -- rules of several domains


def rule(one: Site, **second: Any) -> None:
    """Let dialback be enough for our first domain; the second has other rules."""
    common: dict[str, Any] = {"enabled": True, "authentication": Authentication.DIALBACK, "tls_required": True}
    one.servers.fit(Policy({ONE: Federation(**common), TWO: Federation(**{**common, **second})}, {}))


def dialled_back(romeo: Client, host: Host, files: CertificateFiles | None) -> Peer:
    """Return the peer whose certificate proves nothing, and to whom romeo has written; without one, without TLS."""
    write(romeo, "from-one")
    peer = host.answer()
    if files is None:
        peer.welcome(DIALBACK)
    else:
        peer.welcome_securely(files, DIALBACK)
    peer.believe_key()
    assert bodies(peer) == ["from-one"]
    return peer


def test_who_wants_a_certificate_does_not_share_a_stream_without_one(
    one: Site, romeo: Client, nurse: Client, host: Host, unproven: CertificateFiles
) -> None:
    rule(one, authentication=Authentication.CERTIFICATE)
    peer = dialled_back(romeo, host, unproven)
    write(nurse, "secret")
    assert peer.hears() == []
    again = host.answer()
    again.welcome_securely(unproven, DIALBACK)
    assert bounced(nurse) == ["secret"]


def test_who_wants_tls_does_not_share_a_stream_without_it(one: Site, romeo: Client, nurse: Client, host: Host) -> None:
    rules = {"enabled": True, "authentication": Authentication.DIALBACK}
    hosts = {ONE: Federation(**rules, tls_required=False), TWO: Federation(**rules, tls_required=True)}  # type: ignore[arg-type]
    one.servers.fit(Policy(hosts, {}))
    peer = dialled_back(romeo, host, None)
    write(nurse, "secret")
    assert peer.hears() == []
    assert host.is_called


def test_nobody_asks_about_a_key_in_the_clear_for_who_wants_tls(
    internet: Internet, one: Site, romeo: Client, host: Host, unproven: CertificateFiles
) -> None:
    rules = {"enabled": True, "authentication": Authentication.DIALBACK}
    hosts = {ONE: Federation(**rules, tls_required=False), TWO: Federation(**rules, tls_required=True)}  # type: ignore[arg-type]
    one.servers.fit(Policy(hosts, {}))
    peer = dialled_back(romeo, host, None)
    caller = call(internet, one)
    caller.open_securely(unproven, TWO)
    caller.send(result(PEER, TWO))
    assert peer.hears() == []
    assert host.is_called


@pytest.mark.parametrize(
    "second",
    [{"deny": frozenset((PEER,))}, {"authentication": Authentication.CERTIFICATE}],
    ids=["deny", "certificate"],
)
def test_other_rules_hold_for_who_shares_a_stream_too(
    one: Site, romeo: Client, nurse: Client, host: Host, unproven: CertificateFiles, *, second: dict[str, Any]
) -> None:
    rule(one)
    peer = dialled_back(romeo, host, unproven)
    write(nurse, "before")
    peer.believe_key()
    assert bodies(peer) == ["before"]
    rule(one, **second)
    write(nurse, "after")
    assert bodies(peer) == []
    while host.is_called:
        host.answer().welcome_securely(unproven, DIALBACK)
    assert bounced(nurse) == ["after"]


def test_other_rules_hold_for_a_key_that_is_only_being_verified(
    internet: Internet, one: Site, host: Host, unproven: CertificateFiles
) -> None:
    peer = call(internet, one)
    peer.open_securely(unproven)
    peer.send(result(PEER, ONE))
    authority = host.answer()
    authority.welcome_securely(unproven)
    one.fit(deny=[PEER])
    authority.vouch()
    internet.wait(1)
    *_, error = peer.hears()
    assert "policy-violation" in error
    assert list(one.streams()) == []


# -- proofs and restarts


def test_what_was_asked_before_tls_is_forgotten_and_does_no_harm(
    internet: Internet, host: Host, unproven: CertificateFiles
) -> None:
    """RFC 6120 §5.4.3.3."""
    one = internet.site(ONE, tls="optional")
    peer = call(internet, one)
    peer.open(ONE)
    peer.send(result(PEER, ONE))
    authority = host.answer()
    authority.welcome()
    peer.start_tls(unproven)
    authority.vouch()
    internet.wait(1)
    peer.begin(ONE)
    assert [element.tag.partition("}")[2] for element in peer.elements()] == ["features"]
    assert list(one.streams()) == []


# -- the end


def test_behind_our_end_of_a_stream_nothing_is_said(
    internet: Internet, one: Site, romeo: Client, good: CertificateFiles
) -> None:
    """RFC 6120 §4.4."""
    peer = call(internet, one)
    peer.log_in(good)
    enable(peer)
    peer.reader = Reader()
    [stream] = one.streams()
    stream.retire()
    said = peer.pipe.read()
    assert said.endswith(b"</stream:stream>")
    peer.send(
        message()
        + f"<r xmlns='{SM}'/>"
        + result(CHAT, ONE)
        + f"<db:verify from='{PEER}' to='{ONE}' id='x'>k</db:verify>"
    )
    assert peer.pipe.read() == b""
    assert len(romeo.hears()) == 1


@pytest.mark.parametrize("answers", [True, False], ids=["late", "never"])
def test_a_connection_that_is_being_made_does_not_hold_the_end_up(
    internet: Internet, one: Site, romeo: Client, host: Host, *, answers: bool
) -> None:
    internet.answers = False
    write(romeo, "waits")
    internet.wait(1)
    internet.answers = answers
    if answers:
        write(romeo, "waits")
    one.stop()
    internet.wait(10)
    assert not one.servers.connections
    assert bounced(romeo)
    left: Any = internet.loop.getDelayedCalls()
    assert [each for each in left if each.getTime() > internet.loop.seconds() + 1.5] == []


def test_who_writes_while_the_server_goes_down_is_told_at_once(one: Site, romeo: Client, host: Host) -> None:
    one.servers.give_up()
    write(romeo, "late")
    assert bounced(romeo) == ["late"]


def test_a_peer_does_not_write_to_the_terminal(one: Site, romeo: Client, host: Host) -> None:
    """XML allows control characters from U+0080 on, and new lines."""
    write(romeo, "first")
    peer = host.answer()
    peer.welcome(REQUIRED)
    peer.elements()
    text = f"<text xmlns='{ns.STREAM_ERRORS}'>a\x9b2J\nb</text>"
    peer.send(f"<stream:error><host-unknown xmlns='{ns.STREAM_ERRORS}'/>{text}</stream:error>")
    assert bounced(romeo) == ["first"]
    assert one.servers.failures[-1].reason == f"{PEER} says host-unknown: a 2J b"


# -- a stream that is dead and does not know it


def test_where_no_answer_comes_by_the_stream_that_is_there_a_key_is_asked_about_by_another(
    internet: Internet, one: Site, romeo: Client, host: Host, unproven: CertificateFiles
) -> None:
    rule(one)
    dialled_back(romeo, host, unproven)  # and is silent from now on
    caller = call(internet, one)
    caller.open_securely(unproven)
    caller.send(result(PEER, ONE))
    internet.wait(6)
    authority = host.answer()
    authority.welcome_securely(unproven)
    authority.vouch()
    internet.wait(1)
    assert "'valid'" in caller.hears()[0]


def test_who_is_told_of_a_bad_address_is_told_by_whom_it_may_talk_to(
    internet: Internet, one: Site, good: CertificateFiles
) -> None:
    peer = call(internet, one)
    peer.log_in(good)
    peer.send(result(CHAT, TWO))
    assert "valid" in peer.hears()[0]
    peer.send(f"<message from='a@{CHAT}' to='@{TWO}'/>")
    assert (TWO, CHAT) in one.servers.ways
    assert (ONE, CHAT) not in one.servers.ways
