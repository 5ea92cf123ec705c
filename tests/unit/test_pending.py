"""IQ requests that wait for a client's answer: each is answered once, and never by two (RFC 6120 §8.2.3)."""

from __future__ import annotations

import pytest

from vrxmpp.core.pending import Pending
from vrxmpp.jid import Jid
from vrxmpp.stanza import Stanza

JULIET = Jid.parse("juliet@example.net/balcony")


def request(id: str, sender: str = "romeo@example.net/orchard") -> Stanza:
    return Stanza("iq", to=JULIET, sender=Jid.parse(sender), type="get", id=id, inner=b"<long/>")


def answer(id: str, to: str = "romeo@example.net/orchard", by: str = JULIET.text) -> Stanza:
    return Stanza("iq", to=Jid.parse(to), sender=Jid.parse(by), type="result", id=id)


def test_an_answer_settles_its_request_once() -> None:
    pending = Pending(10)
    assert pending.expect(request("1")) is None
    assert pending.settle(answer("1"))
    assert not pending.settle(answer("1"))


@pytest.mark.parametrize(
    "other",
    [
        answer("1", by="juliet@example.net/garden"),
        answer("2"),
        answer("1", "romeo@example.net/other"),
        answer("1", "romeo@example.net"),
    ],
)
def test_an_answer_to_somebody_else_settles_nothing(other: Stanza) -> None:
    pending = Pending(10)
    pending.expect(request("1"))
    assert not pending.settle(other)
    assert pending.settle(answer("1"))


def test_an_answer_to_nobody_settles_nothing() -> None:
    pending = Pending(10)
    pending.expect(request("1"))
    assert not pending.settle(Stanza("iq", sender=JULIET, type="result", id="1"))


def test_the_same_id_from_two_askers_is_two_requests() -> None:
    pending = Pending(10)
    assert pending.expect(request("1", "a@b/c")) is None
    assert pending.expect(request("1", "a@b/d")) is None
    assert pending.settle(answer("1", "a@b/c"))
    assert pending.settle(answer("1", "a@b/d"))


def test_a_request_that_is_asked_again_gives_up_the_older() -> None:
    pending = Pending(10)
    pending.expect(request("1"))
    given_up = pending.expect(request("1"))
    assert given_up is not None
    assert (given_up.id, given_up.to) == ("1", JULIET)
    assert len(pending.give_up()) == 1


def test_the_oldest_is_given_up_when_there_are_too_many() -> None:
    pending = Pending(limit=3)
    assert [pending.expect(request(one)) for one in "123"] == [None, None, None]
    pending.settle(answer("1"))
    assert pending.expect(request("4")) is None
    given_up = pending.expect(request("5"))
    assert given_up is not None
    assert given_up.id == "2"
    assert [left.id for left in pending.give_up()] == ["3", "4", "5"]


def test_what_is_given_up_can_be_refused_and_holds_no_payload() -> None:
    pending = Pending(10)
    pending.expect(request("1"))
    (left,) = pending.give_up()
    assert (left.kind, left.type, left.id, left.to, left.sender) == ("iq", "get", "1", JULIET, request("1").sender)
    assert left.inner == b""
    assert pending.give_up() == []
    assert not pending.settle(answer("1"))
