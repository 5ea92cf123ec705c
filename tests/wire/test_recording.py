"""Commit precedes routing: what a stream says waits for the archive, in order, and nobody else waits."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from twisted.internet.defer import Deferred

from tests.house import House, Slow
from tests.internet import Internet, Site
from tests.peer import PEER, Host, Peer, call, message
from tests.streams import DOMAIN, END, Client, chat, ping
from tests.world import parse
from vrxmpp import ns
from vrxmpp.stanza import PENDING, REFUSED, UNARCHIVED, Stanza

TYPING = f"<message to='juliet@{DOMAIN}' type='chat'><composing xmlns='{ns.CHAT_STATES}'/></message>"


class Pages:
    """An archive that writes when it is told to."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Stanza, bytes, Callable[[], None]]] = []
        self.written: list[Stanza] = []
        self.outcomes: list[str] = []
        self.notes: list[str] = []

    def wants(self, stanza: Stanza) -> bool:
        assert stanza.sender is not None, "whether a message is wanted depends on who has sent it"
        return any(not name.startswith(ns.CHAT_STATES) for name in stanza.payloads)

    def record(self, stanza: Stanza, facts: bytes, done: Callable[[], None]) -> None:
        assert stanza.sender is not None
        stanza.record = PENDING
        self.waiting.append((stanza, facts, done))

    def outcome(self, stanza: Stanza, outcome: str) -> None:
        self.outcomes.append(outcome)

    def note(self, type: str, conversation: str, **facts: object) -> None:
        self.notes.append(type)

    def write(self, how_many: int = 1000, state: int = 0) -> None:
        """Answer those that have waited longest, as a batch."""
        batch, self.waiting = self.waiting[:how_many], self.waiting[how_many:]
        for stanza, _, _ in batch:
            stanza.record = state or len(self.written)
            self.written.append(stanza)
        for done in dict.fromkeys(done for _, _, done in batch):
            done()


@pytest.fixture
def pages(house: House) -> Pages:
    pages = Pages()
    house.router.audit = house.clients.audit = pages
    return pages


@pytest.fixture
def romeo(house: House, pages: Pages) -> Client:
    return house.login("romeo")


@pytest.fixture
def juliet(house: House, pages: Pages) -> Client:
    juliet = house.login("juliet")
    juliet.send("<presence/>")
    juliet.hears()
    return juliet


def say(text: str) -> str:
    return chat(text)


def test_nobody_has_a_message_that_is_not_on_the_disk(pages: Pages, romeo: Client, juliet: Client) -> None:
    romeo.send(say("Hark!"))
    assert juliet.hears() == []
    [(stanza, facts, _)] = pages.waiting
    assert b"Hark!" in stanza.raw
    assert f"from='romeo@{DOMAIN}/here'".encode() in stanza.raw
    assert b'"address": "192.0.2.1"' in facts
    assert f'"session": "romeo@{DOMAIN}/here"'.encode() in facts
    pages.write()
    [heard] = juliet.hears()
    assert "Hark!" in heard


def test_what_is_said_in_one_go_is_written_in_one_go(pages: Pages, romeo: Client, juliet: Client) -> None:
    romeo.send(say("one") + say("two") + say("three"))
    assert len(pages.waiting) == 3
    pages.write(2)
    assert ["one" in juliet_hears or "two" in juliet_hears for juliet_hears in juliet.hears()] == [True, True]
    pages.write()
    assert "three" in juliet.hears()[0]


def test_what_is_said_after_a_message_waits_behind_it(pages: Pages, romeo: Client, juliet: Client) -> None:
    romeo.send(say("first") + ping("p1"))
    romeo.send(TYPING + say("second"))
    assert romeo.hears() == juliet.hears() == []
    pages.write()
    assert "p1" in romeo.hears()[0]
    first, typing = juliet.hears()
    assert "first" in first
    assert "composing" in typing
    pages.write()
    assert "second" in juliet.hears()[0]


def test_nobody_else_waits(pages: Pages, romeo: Client, juliet: Client) -> None:
    romeo.send(say("Hark!"))
    juliet.send(ping("p1"))
    assert "p1" in juliet.hears()[0]


def test_what_means_nothing_is_not_archived(pages: Pages, romeo: Client, juliet: Client) -> None:
    romeo.send(TYPING)
    assert pages.waiting == []
    assert "composing" in juliet.hears()[0]


def test_what_cannot_be_archived_is_refused_and_nobody_gets_it(pages: Pages, romeo: Client, juliet: Client) -> None:
    romeo.send(say("one") + say("two"))
    pages.write(state=REFUSED)
    assert juliet.hears() == []
    for refusal in romeo.hears():
        assert "<error type='wait'><resource-constraint" in refusal
    romeo.send(say("three"))
    pages.write(state=UNARCHIVED)
    assert "three" in juliet.hears()[0]


def test_a_refused_message_has_an_outcome(pages: Pages, romeo: Client) -> None:
    romeo.send(chat("Hark!", f"nobody@{DOMAIN}"))
    pages.write()
    assert "service-unavailable" in romeo.hears()[0]
    assert pages.outcomes == ["refused: service-unavailable"]


@pytest.mark.parametrize("end", [END, "", "cut"])
def test_a_client_that_goes_has_said_what_it_said(house: House, pages: Pages, juliet: Client, end: str) -> None:
    romeo = house.login("romeo")
    romeo.send(say("one") + ping("p1") + say("two") + (end if end != "cut" else ""))
    if end == "cut":
        romeo.pipe.close()
    assert juliet.hears() == []
    pages.write(1)
    assert len(juliet.hears()) == 1
    pages.write()
    assert "two" in juliet.hears()[0]
    if end == END:
        assert len(romeo.hears()) == 1  # the answer to the ping
        assert romeo.reader.ended


def test_the_server_goes_down_when_all_that_is_written_has_gone_its_way(
    house: House, pages: Pages, romeo: Client
) -> None:
    house.add("juliet")
    database, gone = Slow(house, "_writer"), list[object]()
    romeo.send(say("one") + say("two") + say("three"))
    pages.write(2)
    house.stop(gone.append)
    assert romeo.is_gone
    for _ in range(2):
        assert gone == []
        database.answer()
        house.wait(0)
    assert gone == []
    pages.write()
    house.wait(0)
    database.answer()
    house.wait(0)
    assert gone == [None]


def test_the_server_does_not_wait_for_ever_for_what_goes_its_way(house: House, pages: Pages, romeo: Client) -> None:
    gone: list[object] = []
    romeo.send(say("Hark!"))
    romeo.pipe.close()
    house.stop(gone.append)
    house.wait(10)
    assert gone == []
    house.wait(10)
    assert gone == [None]


def test_a_client_that_hangs_up_is_noticed_while_something_goes_its_way(house: House, pages: Pages) -> None:
    house.add("juliet")
    romeo = house.connect(direct_tls=True)
    romeo.shake_hands()
    romeo.login("romeo")
    database, gone = Slow(house, "_writer"), list[object]()
    romeo.send(say("one"))
    house.stop(gone.append)
    pages.write()
    assert database.is_asked
    assert romeo.is_gone
    database.answer()
    house.wait(0)
    assert gone == [None]


def test_a_violation_comes_after_what_was_said_before(pages: Pages, romeo: Client, juliet: Client) -> None:
    romeo.send(say("one") + say("two").replace("<message", "<message from='juliet@example.org'") + say("three"))
    assert len(pages.waiting) == 1
    assert romeo.hears() == []
    pages.write()
    assert "one" in juliet.hears()[0]
    assert "invalid-from" in "".join(romeo.hears())
    assert pages.waiting == []


def test_a_stream_that_ends_by_a_violation_has_still_said_what_is_written(pages: Pages, romeo: Client) -> None:
    romeo.send(say("one") + "<oops/>" + say("two"))
    pages.write()
    assert "unsupported-stanza-type" in "".join(romeo.hears())
    assert pages.waiting == []


def test_messages_of_the_house_itself_are_archived_too(house: House, pages: Pages, juliet: Client) -> None:
    [stanza] = parse(f"<message to='juliet@{DOMAIN}' from='{DOMAIN}'><body>News</body></message>")
    assert isinstance(stanza, Stanza)
    house.router.send(stanza)
    assert juliet.hears() == []
    pages.write()
    assert "News" in juliet.hears()[0]


def test_what_a_session_says_without_a_connection_is_archived_with_who_said_it(
    house: House, pages: Pages, romeo: Client, juliet: Client
) -> None:
    (session,) = house.host.awake["romeo"].sessions.values()
    [stanza] = parse(f"<message to='juliet@{DOMAIN}' from='{session.jid}'><body>Hello</body></message>")
    assert isinstance(stanza, Stanza)
    waiting = house.router.from_client(stanza, session)
    assert waiting is not None
    Deferred.fromCoroutine(waiting)
    assert juliet.hears() == []
    ((_, facts, _),) = pages.waiting
    assert json.loads(facts) == {"session": session.jid.text, "address": session.address}
    pages.write()
    assert "Hello" in juliet.hears()[0]


# -- between servers


@pytest.fixture
def one(internet: Internet) -> Site:
    return internet.site("one.example")


@pytest.fixture
def its_pages(one: Site) -> Pages:
    pages = Pages()
    one.house.router.audit = one.house.clients.audit = one.servers.audit = pages
    return pages


@pytest.fixture
def peer(internet: Internet, one: Site, its_pages: Pages) -> Peer:
    peer = call(internet, one)
    peer.log_in(internet.authority.issue(PEER))
    return peer


@pytest.fixture
def there(one: Site, its_pages: Pages) -> Client:
    """Romeo, at the other end."""
    romeo: Client = one.login("romeo")
    romeo.send("<presence/>")
    romeo.hears()
    return romeo


def handled(peer: Peer) -> str | None:
    peer.send(f"<r xmlns='{ns.STREAM_MANAGEMENT}'/>")
    return peer.element().get("h")


def test_what_comes_from_elsewhere_is_written_before_anybody_has_it(
    peer: Peer, there: Client, its_pages: Pages
) -> None:
    peer.send(message(body="one") + message(body="two"))
    assert there.hears() == []
    facts = its_pages.waiting[0][1].decode()
    assert f'"peer": "{PEER}"' in facts
    assert '"authentication": "certificate"' in facts
    assert '"tls": "TLSv1.3 ' in facts
    its_pages.write()
    assert len(there.hears()) == 2


def test_what_comes_from_elsewhere_and_cannot_be_written_is_sent_back(
    internet: Internet, peer: Peer, there: Client, its_pages: Pages
) -> None:
    host = Host(internet)
    peer.send(message())
    its_pages.write(state=REFUSED)
    assert there.hears() == []
    assert host.is_called  # to bring the error


def test_nothing_is_acknowledged_before_it_is_written(peer: Peer, there: Client, its_pages: Pages) -> None:
    peer.send(f"<enable xmlns='{ns.STREAM_MANAGEMENT}'/>")
    peer.hears()
    peer.send(message(body="one") + message(body="two") + f"<r xmlns='{ns.STREAM_MANAGEMENT}'/>")
    assert peer.hears() == []
    its_pages.write(1)
    assert peer.hears() == []
    its_pages.write()
    assert peer.hears() == [f"<a h='2' xmlns='{ns.STREAM_MANAGEMENT}'/>"]
    assert handled(peer) == "2"


def test_what_will_come_again_is_not_routed_when_the_stream_breaks(peer: Peer, there: Client, its_pages: Pages) -> None:
    peer.send(f"<enable xmlns='{ns.STREAM_MANAGEMENT}' resume='true'/>")
    peer.hears()
    peer.send(message())
    peer.pipe.close()
    its_pages.write()
    assert there.hears() == []
    assert its_pages.outcomes == ["not routed: the stream broke, and it will come again"]


def test_what_will_not_come_again_is_routed_when_the_stream_breaks(peer: Peer, there: Client, its_pages: Pages) -> None:
    peer.send(message())
    peer.pipe.close()
    its_pages.write()
    assert len(there.hears()) == 1
