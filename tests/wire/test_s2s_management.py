"""What is acknowledged and resumed on a stream of another server (XEP-0198)."""

from __future__ import annotations

import pytest

from tests.internet import Internet, Site
from tests.peer import PEER, Host, Peer, call, message
from tests.streams import END, Client
from vrxmpp import ns

ONE = "one.example"
SM = ns.STREAM_MANAGEMENT


@pytest.fixture
def one(internet: Internet) -> Site:
    return internet.site(ONE)


@pytest.fixture
def peer(internet: Internet, one: Site) -> Peer:
    """One that is proven."""
    peer = call(internet, one)
    peer.log_in(internet.authority.issue(PEER))
    return peer


@pytest.fixture
def romeo(one: Site) -> Client:
    """Somebody to write to."""
    romeo: Client = one.login("romeo")
    romeo.send("<presence/>")
    romeo.hears()
    return romeo


def enable(peer: Peer, *, resume: bool = True) -> str:
    """Return the id of the session."""
    peer.send(f"<enable xmlns='{SM}'{' resume=' + repr('true') if resume else ''}/>")
    element = peer.element()
    assert element.tag == f"{{{SM}}}enabled"
    return element.get("id", "")


def handled(peer: Peer) -> str | None:
    peer.send(f"<r xmlns='{SM}'/>")
    element = peer.element()
    assert element.tag == f"{{{SM}}}a"
    return element.get("h")


@pytest.mark.parametrize(
    "request_", [f"<enable xmlns='{SM}'/>", f"<resume xmlns='{SM}' previd='x' h='0'/>"], ids=["enable", "resume"]
)
def test_nothing_is_managed_before_the_proof(internet: Internet, one: Site, request_: str) -> None:
    peer = call(internet, one)
    peer.open_securely(internet.authority.issue(PEER))
    peer.send(request_)
    assert peer.hears() == [f"<failed xmlns='{SM}'><unexpected-request xmlns='{ns.STANZA_ERRORS}'/></failed>"]


def test_it_is_enabled_once(peer: Peer) -> None:
    enable(peer)
    peer.send(f"<enable xmlns='{SM}'/>")
    assert "unexpected-request" in peer.hears()[0]
    peer.send(f"<resume xmlns='{SM}' previd='x' h='0'/>")
    assert "unexpected-request" in peer.hears()[0]
    assert handled(peer) == "0"


def test_without_resumption_there_is_no_id(peer: Peer) -> None:
    assert enable(peer, resume=False) == ""


def test_nobody_is_promised_a_session_that_cannot_be_kept(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vrxmpp.net.sessions._MOST", 0)
    assert enable(peer) == ""
    assert handled(peer) == "0"


@pytest.mark.parametrize("previd", ["x", "", "x" * 5000])
def test_an_unknown_session_is_not_found(peer: Peer, previd: str) -> None:
    peer.send(f"<resume xmlns='{SM}' previd='{previd}' h='0'/>")
    [failed] = peer.hears()
    assert ("item-not-found" if previd == "x" else "bad-request") in failed
    assert enable(peer)


@pytest.mark.parametrize("h", ["", "-1", "4294967296", "one", "+1", "0x1"])
@pytest.mark.parametrize("what", ["a", "resume"])
def test_a_malformed_count_is_refused(peer: Peer, h: str, what: str) -> None:
    if what == "resume":
        peer.send(f"<resume xmlns='{SM}' previd='x' h='{h}'/>")
        assert "bad-request" in peer.hears()[0]
    else:
        enable(peer)
        peer.send(f"<a xmlns='{SM}' h='{h}'/>")
        assert peer.fails() == "bad-format"


def test_nobody_can_have_handled_what_was_not_sent(peer: Peer) -> None:
    enable(peer)
    peer.send(f"<a xmlns='{SM}' h='1'/>")
    *_, error = peer.hears()
    assert "<undefined-condition" in error
    assert f"<handled-count-too-high h='1' send-count='0' xmlns='{SM}'/>" in error
    assert peer.is_gone


@pytest.mark.parametrize("what", ["<r xmlns='{}'/>", "<a xmlns='{}' h='0'/>"])
def test_nothing_is_acknowledged_before_it_is_enabled(peer: Peer, what: str) -> None:
    peer.send(what.format(SM))
    assert peer.fails() == "unsupported-stanza-type"


@pytest.mark.parametrize("what", ["enabled", "resumed", "failed", "unheard-of"])
def test_answers_to_nothing_end_the_stream(peer: Peer, what: str) -> None:
    peer.send(f"<{what} xmlns='{SM}' id='x' previd='x' h='0'/>")
    assert peer.fails() == "unsupported-stanza-type"


@pytest.mark.usefixtures("romeo")
def test_what_is_refused_is_handled_too(internet: Internet, peer: Peer) -> None:
    host = Host(internet)
    peer.send(message())
    enable(peer)
    assert handled(peer) == "0"
    peer.send(message() + message(to=f"nobody@{ONE}") + f"<message from='juliet@{PEER}' to='@{ONE}'/>")
    assert handled(peer) == "3"
    assert host.is_called  # to bring back what was refused


def test_the_last_word_is_what_was_handled(peer: Peer, romeo: Client) -> None:
    enable(peer)
    peer.send(message() + END)
    assert peer.hears() == [f"<a h='1' xmlns='{SM}'/>"]
    assert peer.reader.ended
    assert len(romeo.hears()) == 1


def test_an_error_does_not_take_the_last_word_away(peer: Peer, romeo: Client) -> None:
    enable(peer)
    peer.send(message() + message("nurse@else.example"))
    assert f"<a h='1' xmlns='{SM}'/>" in peer.hears()
    assert len(romeo.hears()) == 1


def test_a_session_is_resumed_by_who_began_it(internet: Internet, one: Site, peer: Peer, romeo: Client) -> None:
    id = enable(peer)
    peer.send(message())
    internet.cables[-1].reset()
    internet.wait(1)
    again = call(internet, one)
    again.log_in(internet.authority.issue(PEER))
    again.send(f"<resume xmlns='{SM}' previd='{id}' h='0'/>")
    assert again.hears() == [f"<resumed h='1' previd='{id}' xmlns='{SM}'/>"]
    again.send(message())
    assert handled(again) == "2"
    assert len(romeo.hears()) == 2


def test_a_session_is_resumed_while_its_stream_seems_alive(internet: Internet, one: Site, peer: Peer) -> None:
    id = enable(peer)
    again = call(internet, one)
    again.log_in(internet.authority.issue(PEER))
    again.send(f"<resume xmlns='{SM}' previd='{id}' h='0'/>")
    assert again.hears() == [f"<resumed h='0' previd='{id}' xmlns='{SM}'/>"]
    assert peer.is_gone
    assert len(list(one.streams())) == 1


def test_nobody_resumes_the_session_of_another(internet: Internet, one: Site, peer: Peer) -> None:
    id = enable(peer)
    thief = call(internet, one, "else.example")
    thief.log_in(internet.authority.issue("else.example"))
    thief.send(f"<resume xmlns='{SM}' previd='{id}' h='0'/>")
    assert "item-not-found" in thief.hears()[0]
    assert handled(peer) == "0"


def test_a_session_is_resumed_once_and_in_time(internet: Internet, one: Site, peer: Peer) -> None:
    id = enable(peer)
    internet.cables[-1].reset()
    internet.wait(one.servers.limits.resume_seconds + 3)
    again = call(internet, one)
    again.log_in(internet.authority.issue(PEER))
    again.send(f"<resume xmlns='{SM}' previd='{id}' h='0'/>")
    assert "item-not-found" in again.hears()[0]


def test_a_session_that_was_ended_is_no_more(internet: Internet, one: Site, peer: Peer) -> None:
    id = enable(peer)
    peer.send(END)
    again = call(internet, one)
    again.log_in(internet.authority.issue(PEER))
    again.send(f"<resume xmlns='{SM}' previd='{id}' h='0'/>")
    assert "item-not-found" in again.hears()[0]


def test_who_is_idle_is_told_what_was_handled(internet: Internet, one: Site, peer: Peer) -> None:
    enable(peer)
    peer.send(message(to=ONE))
    peer.elements()
    [stream] = one.streams()
    stream.retire()
    assert peer.hears() == [f"<a h='1' xmlns='{SM}'/>"]
    assert peer.reader.ended


def test_what_crosses_our_end_of_the_stream_is_still_taken(one: Site, peer: Peer, romeo: Client) -> None:
    enable(peer)
    [stream] = one.streams()
    stream.retire()
    peer.send(message() + f"<r xmlns='{SM}'/>" + message() + END)
    assert len(romeo.hears()) == 2
