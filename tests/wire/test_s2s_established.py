"""What a peer may do on a stream that our server has opened, and what becomes of what it was sent (XEP-0198, 0288)."""

from __future__ import annotations

import pytest

from tests.internet import Internet, Site
from tests.peer import DIALBACK, EXTERNAL, MANAGEMENT, PEER, Host, Peer, message, result
from tests.streams import END, Client, show
from vrxmpp import ns
from vrxmpp.net.tls import CertificateFiles

ONE, TWO = "one.example", "two.example"
JULIET = f"juliet@{PEER}"
SM = ns.STREAM_MANAGEMENT
BIDI = f"<bidi xmlns='{ns.BIDI_FEATURE}'/>"


@pytest.fixture
def one(internet: Internet) -> Site:
    return internet.site(ONE, TWO)


@pytest.fixture
def good(internet: Internet) -> CertificateFiles:
    return internet.authority.issue(PEER)


@pytest.fixture
def romeo(one: Site) -> Client:
    romeo: Client = one.login("romeo")
    romeo.send("<presence/>")
    romeo.hears()
    return romeo


@pytest.fixture
def host(internet: Internet) -> Host:
    return Host(internet)


def write(client: Client, body: str) -> None:
    client.send(f"<message to='{JULIET}' id='{body}'><body>{body}</body></message>")


def bodies(peer: Peer) -> list[str]:
    """Return what has come to it."""
    texts = (element.findtext(f"{{{ns.SERVER}}}body") for element in peer.elements())
    return [text for text in texts if text is not None]


def bounced(client: Client) -> list[str]:
    """Return the ids of what has come back, and see that nothing else has come."""
    elements = client.elements()
    assert all(element.get("type") == "error" for element in elements), [show(element) for element in elements]
    return [element.get("id", "") for element in elements]


def reach(romeo: Client, host: Host, good: CertificateFiles, *last: str, bidirectional: bool = False) -> Peer:
    """Return the peer to whom romeo has brought a first message, if nothing more is offered."""
    write(romeo, "first")
    peer = host.answer()
    peer.welcome_securely(good, EXTERNAL, DIALBACK, *[BIDI] * bidirectional)
    if bidirectional:
        peer.next_elements(1)
    peer.believe_certificate(DIALBACK, *last)
    return peer


def manage(romeo: Client, host: Host, good: CertificateFiles, answer: str = "") -> Peer:
    """The same with XEP-0198."""
    peer = reach(romeo, host, good, MANAGEMENT)
    assert peer.hears() == [f"<enable resume='true' xmlns='{SM}'/>"]
    peer.send(answer or f"<enabled xmlns='{SM}' id='s1' resume='true'/>")
    return peer


# -- one way


@pytest.mark.parametrize(
    ("said", "condition"),
    [
        (message(), "not-authorized"),
        (message("@"), "not-authorized"),
        ("garbage", "bad-format"),
        ("<a></b>", "not-well-formed"),
        ("<!-- x -->", "restricted-xml"),
        (result(PEER, ONE), "unsupported-stanza-type"),
        (f"<a xmlns='{SM}' h='0'/>", "unsupported-stanza-type"),
        (f"<auth xmlns='{ns.SASL}' mechanism='EXTERNAL'>=</auth>" * 17, "policy-violation"),
    ],
)
def test_nothing_but_answers_comes_the_wrong_way(
    romeo: Client, host: Host, good: CertificateFiles, said: str, condition: str
) -> None:
    peer = reach(romeo, host, good)
    assert bodies(peer) == ["first"]
    peer.send(said)
    *_, error = peer.elements()
    assert f"<{condition}" in show(error)
    assert peer.is_gone
    assert romeo.hears() == []
    write(romeo, "second")
    assert host.is_called


@pytest.mark.parametrize(
    "last", [END, "<stream:error><reset xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>"]
)
def test_when_the_peer_ends_it_the_next_message_opens_another(
    romeo: Client, host: Host, good: CertificateFiles, last: str
) -> None:
    peer = reach(romeo, host, good)
    peer.send(last)
    assert peer.is_gone
    write(romeo, "second")
    again = host.answer()
    again.welcome_securely(good, EXTERNAL)
    again.believe_certificate()
    assert bodies(again) == ["second"]
    assert romeo.hears() == []


def test_answers_nobody_asked_for_are_ignored(one: Site, romeo: Client, host: Host, good: CertificateFiles) -> None:
    peer = reach(romeo, host, good)
    for kind in ("result", "verify"):
        for type in ("valid", "invalid", "error"):
            peer.send(f"<db:{kind} from='{PEER}' to='{TWO}' id='x' type='{type}'/>")
    assert peer.pipe.is_open
    assert all(stream.proven == set() for stream in one.streams())
    assert (TWO, PEER) not in one.servers.ways


# -- further domains


def test_a_further_domain_of_ours_is_proven_on_the_same_stream(
    one: Site, romeo: Client, host: Host, good: CertificateFiles
) -> None:
    peer = reach(romeo, host, good)
    peer.elements()
    nurse = one.login("nurse", domain=TWO)
    write(nurse, "from-two")
    key = peer.believe_key()
    assert (key.get("from"), key.get("to")) == (TWO, PEER)
    assert bodies(peer) == ["from-two"]


@pytest.mark.parametrize("outcome", ["invalid", "error"])
def test_where_that_is_refused_a_stream_of_its_own_is_opened(
    one: Site, romeo: Client, host: Host, good: CertificateFiles, *, outcome: str
) -> None:
    peer = reach(romeo, host, good)
    peer.elements()
    write(one.login("nurse", domain=TWO), "from-two")
    peer.believe_key(outcome)
    again = host.answer()
    again.welcome_securely(good, EXTERNAL)
    again.believe_certificate()
    assert bodies(again) == ["from-two"]
    assert bodies(peer) == []


def test_where_nothing_is_said_to_that_too(
    internet: Internet, one: Site, romeo: Client, host: Host, good: CertificateFiles
) -> None:
    peer = reach(romeo, host, good)
    peer.elements()
    nurse = one.login("nurse", domain=TWO)
    write(nurse, "lost")
    internet.wait(100)  # longer than a connection may take, and a stanza may wait
    assert bounced(nurse) == ["lost"]
    write(nurse, "from-two")
    assert host.is_called


# -- both ways


def test_both_ways_what_comes_is_held_to_what_is_proven(romeo: Client, host: Host, good: CertificateFiles) -> None:
    peer = reach(romeo, host, good, bidirectional=True)
    assert bodies(peer) == ["first"]
    peer.send(message())
    assert romeo.hears() == [message()]
    peer.send(message("juliet@else.example"))
    *_, error = peer.elements()
    assert "<invalid-from" in show(error)
    assert romeo.hears() == []


@pytest.mark.parametrize(
    ("stanza", "condition"),
    [(message(to=f"nurse@{TWO}"), "invalid-from"), (message(to="a@else.example"), "host-unknown")],
)
def test_both_ways_is_for_one_pair(
    romeo: Client, host: Host, good: CertificateFiles, stanza: str, condition: str
) -> None:
    peer = reach(romeo, host, good, bidirectional=True)
    peer.send(stanza)
    *_, error = peer.elements()
    assert f"<{condition}" in show(error)


def test_both_ways_the_peer_may_prove_further_domains(romeo: Client, host: Host, good: CertificateFiles) -> None:
    """XEP-0288 §3: the receiving server MAY initiate dialback for other domains it hosts; refusing is an answer."""
    peer = reach(romeo, host, good, bidirectional=True)
    peer.elements()
    peer.send(result(f"chat.{PEER}", ONE))
    assert peer.hears() != []
    assert peer.pipe.is_open


# -- XEP-0198


@pytest.mark.parametrize("answer", [f"<resume xmlns='{SM}'/>", f"<enable xmlns='{SM}' resume='x'/>"])
def test_a_malformed_request_where_an_answer_is_due(
    internet: Internet, romeo: Client, host: Host, good: CertificateFiles, answer: str
) -> None:
    manage(romeo, host, good, answer)
    internet.wait(100)
    assert internet.sites[0].house.failures() == []
    assert bounced(romeo) == ["first"]
    write(romeo, "second")
    assert host.is_called


@pytest.mark.parametrize(
    "answer",
    [f"<failed xmlns='{SM}'/>", f"<failed xmlns='{SM}'><unexpected-request xmlns='{ns.STANZA_ERRORS}'/></failed>"],
)
def test_who_does_not_enable_it_gets_stanzas_all_the_same(
    romeo: Client, host: Host, good: CertificateFiles, answer: str
) -> None:
    assert bodies(manage(romeo, host, good, answer)) == ["first"]


def test_what_is_not_acknowledged_goes_to_the_resumed_session(
    internet: Internet, romeo: Client, host: Host, good: CertificateFiles
) -> None:
    peer = manage(romeo, host, good)
    write(romeo, "second")
    assert bodies(peer) == ["first", "second"]
    internet.cables[-1].reset()
    again = host.answer()
    again.welcome_securely(good, EXTERNAL)
    again.believe_certificate(MANAGEMENT)
    assert again.hears() == [f"<resume h='0' previd='s1' xmlns='{SM}'/>"]
    again.send(f"<resumed xmlns='{SM}' previd='s1' h='1'/>")
    assert bodies(again) == ["second"]
    again.send(f"<a xmlns='{SM}' h='2'/>")
    internet.wait(200)
    assert romeo.hears() == []


@pytest.mark.parametrize(("h", "lost"), [("", ["first", "second"]), ("1", ["second"]), ("2", [])])
def test_what_is_lost_with_a_session_comes_back_once(
    internet: Internet, romeo: Client, host: Host, good: CertificateFiles, *, h: str, lost: list[str]
) -> None:
    manage(romeo, host, good)
    write(romeo, "second")
    internet.cables[-1].reset()
    again = host.answer()
    again.welcome_securely(good, EXTERNAL)
    again.believe_certificate(MANAGEMENT)
    again.elements()
    said = f" h='{h}'" if h else ""
    again.send(f"<failed xmlns='{SM}'{said}><item-not-found xmlns='{ns.STANZA_ERRORS}'/></failed>")
    assert again.hears() == [f"<enable resume='true' xmlns='{SM}'/>"]
    again.send(f"<enabled xmlns='{SM}'/>")
    internet.wait(1)
    assert bounced(romeo) == lost
    write(romeo, "third")
    assert bodies(again) == ["third"]


@pytest.mark.parametrize("h", ["3", "4294967295"])
def test_a_false_acknowledgement_ends_the_stream(
    internet: Internet, romeo: Client, host: Host, good: CertificateFiles, h: str
) -> None:
    peer = manage(romeo, host, good)
    peer.send(f"<a xmlns='{SM}' h='{h}'/>")
    assert "handled-count-too-high" in peer.hears()[-1]
    internet.wait(100)
    assert bounced(romeo) == ["first"]


@pytest.mark.parametrize("h", ["3", "one", ""])
def test_a_false_resumption_loses_nothing_and_doubles_nothing(
    internet: Internet, romeo: Client, host: Host, good: CertificateFiles, h: str
) -> None:
    manage(romeo, host, good)
    internet.cables[-1].reset()
    again = host.answer()
    again.welcome_securely(good, EXTERNAL)
    again.believe_certificate(MANAGEMENT)
    again.elements()
    again.send(f"<resumed xmlns='{SM}' previd='s1' h='{h}'/>")
    while host.is_called:
        host.answer().pipe.close()
    internet.wait(200)
    assert bounced(romeo) == ["first"]


def test_the_last_word_of_the_peer_counts(
    internet: Internet, romeo: Client, host: Host, good: CertificateFiles
) -> None:
    peer = manage(romeo, host, good)
    write(romeo, "second")
    peer.send(f"<a xmlns='{SM}' h='1'/>{END}")
    internet.wait(1)
    assert bounced(romeo) == ["second"]


def test_the_peer_has_time_for_its_last_word_when_we_end_the_stream(
    internet: Internet, one: Site, romeo: Client, host: Host, good: CertificateFiles
) -> None:
    peer = manage(romeo, host, good)
    [stream] = one.streams()
    stream.retire()
    assert bodies(peer) == ["first"]
    peer.send(f"<a xmlns='{SM}' h='1'/>{END}")
    internet.wait(10)
    assert bounced(romeo) == []
