"""A bug, or a broken database, hurts one stanza or one stream, is logged, and nobody else notices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.house import House, Slow
from tests.streams import DOMAIN, END, Client, chat, ping
from vrxmpp import ns
from vrxmpp.core.module import At, Module, Request, iq, stage
from vrxmpp.core.session import Session
from vrxmpp.core.stages import Side, Stage, Walk
from vrxmpp.store.interfaces import StorageBusy, StorageError

Build = Callable[..., House]


class Broken(Module):
    """Fails wherever it can."""

    @iq("get", "urn:broken", "at-once", at=At.HOST)
    def at_once(self, request: Request) -> bytes:
        raise ZeroDivisionError

    @iq("get", "urn:broken", "later", at=At.HOST)
    async def later(self, request: Request) -> bytes:
        await self.host.wake("somebody")
        raise ZeroDivisionError

    @stage(Stage.SCREEN, Side.SENDER, "message")
    def leaving(self, walk: Walk) -> None:
        if walk.stanza.type == "headline":
            raise ZeroDivisionError

    @stage(Stage.SCREEN, Side.RECIPIENT, "message")
    def arriving(self, walk: Walk) -> None:
        if walk.stanza.type == "groupchat":
            raise ZeroDivisionError

    def session_ended(self, session: Session) -> None:
        raise ZeroDivisionError


@pytest.fixture
def broken(house: House) -> House:
    house.host.mount(Broken())
    return house


def only_divisions_by_zero(house: House) -> int:
    """Return how many there were."""
    failures = house.failures()
    assert {type(failure) for failure in failures} == {ZeroDivisionError}
    return len(failures)


@pytest.mark.parametrize("name", ["at-once", "later"])
def test_a_request_is_answered_all_the_same(broken: House, name: str) -> None:
    romeo, juliet = broken.login("romeo"), broken.login("juliet")
    romeo.send(f"<iq type='get' id='x' to='{DOMAIN}'><{name} xmlns='urn:broken'/></iq>")
    answer = romeo.element()
    assert answer.get("id") == "x"
    assert answer.find(f".//{{{ns.STANZA_ERRORS}}}internal-server-error") is not None
    assert only_divisions_by_zero(broken) == 1
    assert romeo.ping() == []
    assert juliet.ping() == []
    leave(broken, romeo, juliet)


@pytest.mark.parametrize("type", ["headline", "groupchat"])
def test_a_message_comes_back(broken: House, type: str) -> None:
    romeo, juliet = broken.login("romeo"), broken.login("juliet")
    romeo.send(f"<message type='{type}' id='x' to='juliet@{DOMAIN}/here'/>")
    assert romeo.element().find(f".//{{{ns.STANZA_ERRORS}}}internal-server-error") is not None
    assert only_divisions_by_zero(broken) == 1
    assert juliet.ping() == []
    leave(broken, romeo, juliet)


def leave(house: House, *clients: Client) -> None:
    """Let them go; the module fails at that too, and they are gone all the same."""
    for client in clients:
        client.send(END)
        assert client.hears() == []
        assert client.reader.ended
        assert client.is_gone
        assert only_divisions_by_zero(house) == 1


@pytest.mark.parametrize("how", ["end", "error", "break", "conflict"])
def test_a_session_ends_all_the_same(broken: House, how: str) -> None:
    romeo = broken.login("romeo")
    if how == "end":
        romeo.send(END)
    elif how == "error":
        romeo.send("<unknown/>")
    elif how == "break":
        romeo.pipe.close()
    else:
        broken.login("romeo")
    assert romeo.is_gone
    assert only_divisions_by_zero(broken)
    for client in broken.visitors:
        client.pipe.close()
    assert only_divisions_by_zero(broken) if how == "conflict" else not broken.failures()
    assert not broken.clients.connections


def test_a_bug_in_the_reader_ends_one_stream(house: House) -> None:
    juliet, romeo = house.login("juliet"), house.login("romeo")
    [connection] = [each.outlet for each in house.host.all_sessions() if each.account.jid.local == "romeo"]

    class Framer:
        unfinished = False

        def feed(self, data: bytes) -> Any:
            raise ZeroDivisionError

        def rest(self) -> None: ...

    connection.framer = Framer()  # type: ignore[assignment]
    romeo.send(ping("p"))
    assert romeo.fails() == "internal-server-error"
    assert only_divisions_by_zero(house) == 1
    assert juliet.ping() == []


@pytest.mark.parametrize("failure", [StorageError("the disk is full"), StorageBusy("too much waits")])
@pytest.mark.parametrize(
    "request_",
    [
        f"<iq type='get' id='x'><query xmlns='{ns.PRIVATE}'><a xmlns='urn:a'/></query></iq>",
        f"<iq type='get' id='x'><vCard xmlns='{ns.VCARD}'/></iq>",
        f"<message to='nobody@{DOMAIN}' id='x'><body>hello there</body></message>",
    ],
)
def test_a_broken_database_refuses_what_needs_it(house: House, failure: Exception, request_: str) -> None:
    """RFC 6120 §8.3.3.18: for now."""
    romeo = house.login("romeo")
    slow = Slow(house)
    romeo.send(request_)
    assert slow.is_asked
    slow.answer(failure)
    answer = romeo.element()
    assert answer.get("id") == "x"
    assert answer.find(f".//{{{ns.STANZA_ERRORS}}}resource-constraint") is not None
    assert romeo.ping() == []


def test_a_broken_database_loses_no_message_between_those_who_are_there(house: House) -> None:
    romeo, juliet = house.login("romeo"), house.login("juliet")
    juliet.send("<presence/>")
    juliet.hears()
    Slow(house)
    romeo.send(chat("still here"))
    assert len(juliet.hears()) == 1
