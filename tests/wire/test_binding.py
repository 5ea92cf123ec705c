"""Binding a resource: the server's, the client's, one too many, and none (RFC 6120 §7)."""

from __future__ import annotations

from collections.abc import Callable
from xml.etree.ElementTree import Element

import pytest

from tests.house import House, Slow
from tests.streams import DOMAIN, END, Client, chat, ping, show
from tests.world import run
from vrxmpp import ns
from vrxmpp.store import open_stores
from vrxmpp.store.interfaces import StorageError

Build = Callable[..., House]
BIND = f"<bind xmlns='{ns.BIND}'/>"


def known(house: House, name: str = "romeo") -> Client:
    """Return a client that has logged in and has no resource yet."""
    client = house.connect()
    client.open()
    client.authenticate(name)
    client.open()
    return client


def refused(answer: Element) -> str:
    """Return the condition of an error."""
    assert answer.get("type") == "error", show(answer)
    error = answer.find(f"{{{ns.CLIENT}}}error")
    assert error is not None
    return error[0].tag.removeprefix(f"{{{ns.STANZA_ERRORS}}}")


def test_the_server_makes_a_resource(house: House) -> None:
    """§7.6: one that nobody can guess, and never the same."""
    jids = {known(house).bind()[0][0].text or "" for _ in range(3)}
    assert len(jids) == 3
    for jid in jids:
        bare, _, resource = jid.partition("/")
        assert bare == f"romeo@{DOMAIN}"
        assert len(resource) >= 16


@pytest.mark.parametrize("empty", [BIND, f"<bind xmlns='{ns.BIND}'><resource/></bind>"])
def test_an_empty_resource_is_none(house: House, empty: str) -> None:
    romeo = known(house)
    romeo.send(f"<iq type='set' id='b'>{empty}</iq>")
    assert len((romeo.element()[0][0].text or "").partition("/")[2]) >= 16


@pytest.mark.parametrize(
    ("wanted", "bound"),
    [
        ("balcony", "balcony"),
        ("Balcony", "Balcony"),
        ("a b/c@d", "a b/c@d"),
        ("cafe\u0301", "caf\xe9"),
        ("a&lt;", "a<"),
    ],
)
def test_the_client_asks_for_a_resource(house: House, wanted: str, bound: str) -> None:
    """§7.7, RFC 7622 §3.4."""
    assert known(house).bind(wanted)[0][0].text == f"romeo@{DOMAIN}/{bound}"


@pytest.mark.parametrize("wanted", ["\u200b", "a\tb", "x" * 1024, "\U000e0001"])
def test_a_resource_that_cannot_be(house: House, wanted: str) -> None:
    """§7.7.2.1; the client may ask again."""
    romeo = known(house)
    assert refused(romeo.bind(wanted)) == "bad-request"
    assert romeo.bind("here")[0][0].text == f"romeo@{DOMAIN}/here"


def test_to_ask_for_a_resource_is_not_to_get_one(house: House) -> None:
    romeo = known(house)
    romeo.send(f"<iq type='get' id='b'>{BIND}</iq>")
    assert refused(romeo.element()) == "bad-request"
    assert romeo.bind().get("type") == "result"


@pytest.mark.parametrize(
    "request_",
    [
        f"<iq type='result' id='b'>{BIND}</iq>",
        f"<iq type='error' id='b'>{BIND}</iq>",
        f"<iq type='set'>{BIND}</iq>",
        f"<iq type='set' id='b'>{BIND}{BIND}</iq>",
        f"<message type='set' id='b'>{BIND}</message>",
    ],
)
def test_what_is_no_request_comes_too_early(house: House, request_: str) -> None:
    """RFC 6120 §8.3.1: an answer is not answered by an error, either."""
    romeo = known(house)
    romeo.send(request_)
    assert romeo.fails() == "not-authorized"


@pytest.mark.parametrize("stanza", [chat("too early"), "<presence/>", ping("p"), "<iq type='set' id='x'/>"])
def test_nothing_else_comes_first(house: House, stanza: str) -> None:
    """§7.1."""
    juliet = house.login("juliet")
    juliet.send("<presence/>")
    juliet.hears()
    romeo = known(house)
    romeo.send(stanza)
    assert romeo.fails() == "not-authorized"
    assert juliet.hears() == []


def test_a_resource_is_bound_once(house: House) -> None:
    """§7.1; the session goes on with the one it has."""
    romeo = house.login("romeo")
    assert refused(romeo.bind("another")) == "service-unavailable"
    assert romeo.ping() == []


def test_the_newer_client_has_the_resource(house: House) -> None:
    """§7.7.2.2."""
    older = house.login("romeo", "balcony")
    older.send("<presence/>")
    older.hears()
    juliet = house.login("juliet")
    newer = known(house)
    assert newer.bind("balcony").get("type") == "result"
    assert older.fails() == "conflict"
    newer.send("<presence/>")
    newer.hears()
    juliet.send(chat("who is there?", f"romeo@{DOMAIN}/balcony"))
    assert len(newer.hears()) == 1


def test_so_many_resources_and_no_more(build: Build) -> None:
    """§7.7.2.3: but one of them may be taken over."""
    house = build(limits={"account": {"sessions": 2}})
    house.login("romeo", "one")
    house.login("romeo", "two")
    third = known(house)
    assert refused(third.bind("three")) == "resource-constraint"
    assert refused(third.bind()) == "resource-constraint"
    assert third.bind("two").get("type") == "result"
    house.login("juliet", "three")


def test_the_account_may_have_gone_in_between(house: House) -> None:
    romeo = known(house)
    run(open_stores(house.database, DOMAIN).accounts.remove("romeo"))
    assert refused(romeo.bind()) == "not-allowed"


def test_a_database_that_does_not_work(house: House) -> None:
    romeo = known(house)
    slow = Slow(house)
    romeo.send(f"<iq type='set' id='b'>{BIND}</iq>")
    slow.answer(StorageError("the disk is full"))
    assert refused(romeo.element()) == "resource-constraint"
    slow.is_over()
    assert romeo.bind().get("type") == "result"


def test_what_follows_the_request_waits_for_it(house: House) -> None:
    juliet = house.login("juliet")
    juliet.send("<presence/>")
    juliet.hears()
    romeo = known(house)
    slow = Slow(house)
    romeo.send(f"<iq type='set' id='b'>{BIND}</iq>" + chat("patience") + ping("p"))
    assert romeo.hears() == []
    slow.is_over()
    slow.answer()
    assert [element.get("id") for element in romeo.elements()] == ["b", "p"]
    assert "patience" in juliet.hears()[0]


def test_old_clients_ask_for_a_session_too(house: House) -> None:
    """RFC 3921 §3: it is no longer anything, and answered."""
    romeo = house.login("romeo")
    romeo.send(f"<iq type='set' id='s' to='{DOMAIN}'><session xmlns='{ns.SESSION}'/></iq>")
    assert romeo.element().get("type") == "result"


def test_the_address_of_the_client_is_given_to_nobody_before(house: House) -> None:
    """No session, no stanza: who has only logged in is not there."""
    romeo = known(house)
    juliet = house.login("juliet")
    juliet.send(chat("for later", f"romeo@{DOMAIN}"))
    assert romeo.hears() == []
    romeo.bind()
    romeo.send("<presence/>")
    assert any("for later" in heard for heard in romeo.hears())
    romeo.send(END)
