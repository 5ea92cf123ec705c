"""IQ: every request gets exactly one answer, from whom it was for (RFC 6120 §8.2.3, RFC 6121 §8.5)."""

from __future__ import annotations

from typing import cast

import pytest
from twisted.internet.defer import Deferred
from twisted.logger import ILogObserver, Logger, eventAsText

from tests.world import Client, World, parse
from vrxmpp.core.module import At, Module, Request, iq
from vrxmpp.core.router import Router
from vrxmpp.errors import Condition, StanzaError
from vrxmpp.stanza import Stanza

ROMEO = "romeo@example.net/here"
JULIET = "juliet@example.net/here"


class Answers(Module):
    """Answers in every way there is."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.gate: Deferred[None] = Deferred()

    @iq("get", "urn:t", "anybody", at=At.ACCOUNT, shared=True)
    @iq("get", "urn:t", "owner", at=At.ACCOUNT)
    @iq("get", "urn:t", "domain", at=At.HOST)
    def tell(self, request: Request) -> bytes:
        self.requests.append(request)
        return b"<told xmlns='urn:t'/>"

    @iq("set", "urn:t", "anybody", at=At.ACCOUNT, shared=True)
    def accept(self, request: Request) -> None: ...

    @iq("get", "urn:t", "later", at=At.HOST)
    async def tell_later(self, request: Request) -> bytes:
        await self.gate
        return b"<told xmlns='urn:t'/>"

    @iq("get", "urn:t", "refused", at=At.HOST)
    def refuse(self, request: Request) -> None:
        raise StanzaError(Condition.FORBIDDEN, "no")

    @iq("get", "urn:t", "refused-later", at=At.HOST)
    async def refuse_later(self, request: Request) -> None:
        raise StanzaError(Condition.FORBIDDEN, "no")

    @iq("get", "urn:t", "failing", at=At.HOST)
    def fail(self, request: Request) -> None:
        raise KeyError("oh")

    @iq("get", "urn:t", "failing-later", at=At.HOST)
    async def fail_later(self, request: Request) -> None:
        raise KeyError("oh")


def meet() -> tuple[World, Answers, Client, Client]:
    answers = Answers()
    world = World(answers)
    world.add("romeo", "juliet", "asleep")
    return world, answers, world.login("romeo"), world.login("juliet")


def request(name: str, to: str = "", type: str = "get") -> str:
    address = f" to='{to}'" if to else ""
    return f"<iq{address} id='1' type='{type}'><{name} xmlns='urn:t'/></iq>"


def the_error(client: Client) -> str:
    """Return the condition of the one error that a client hears, seen to be well addressed otherwise."""
    (answer,) = client.hears()
    assert answer.startswith("<iq to='romeo@example.net/here' ")
    assert " type='error'><error type='" in answer
    return answer.partition("'><error type='")[2].partition("><")[2].partition(" ")[0]


# --- What modules answer


@pytest.mark.parametrize(
    ("name", "to"),
    [
        ("anybody", ""), ("anybody", "romeo@example.net"), ("anybody", "juliet@example.net"),
        ("anybody", "asleep@example.net"), ("anybody", "nobody@example.net"),
        ("owner", ""), ("owner", "romeo@example.net"), ("domain", "example.net"), ("domain", "example.net/x"),
    ],
)  # fmt: skip
def test_a_module_answers(name: str, to: str) -> None:
    _, _, romeo, juliet = meet()
    romeo.says(request(name, to))
    sender = f" from='{to}'" if to else ""
    assert romeo.hears() == [f"<iq to='{ROMEO}'{sender} id='1' type='result'><told xmlns='urn:t'/></iq>"]
    assert juliet.hears() == []


def test_a_module_knows_who_asks_whom() -> None:
    world, answers, romeo, juliet = meet()
    romeo.says(request("anybody") + request("anybody", "juliet@example.net") + request("domain", "example.net"))
    romeo.says(request("anybody", "nobody@example.net"))
    own, other, host, nobody = answers.requests
    assert [each.session for each in answers.requests] == [romeo.session] * 4
    assert own.account is romeo.session.account
    assert other.account is juliet.session.account
    assert (host.account, nobody.account) == (None, None)
    assert str(own.sender) == ROMEO
    assert other.payload().name == "anybody"
    assert all(each.host is world.host for each in answers.requests)


def test_an_empty_result_is_an_answer() -> None:
    _, _, romeo, _ = meet()
    romeo.says(request("anybody", type="set"))
    assert romeo.hears() == [f"<iq to='{ROMEO}' id='1' type='result'/>"]


def test_an_answer_can_take_its_time() -> None:
    _, answers, romeo, _ = meet()
    (stanza,) = parse(request("later", "example.net"))
    assert isinstance(stanza, Stanza)
    waiting = romeo.session.receive(stanza)
    assert waiting is not None
    done = Deferred.fromCoroutine(waiting)
    assert romeo.hears() == []
    answers.gate.callback(None)
    assert done.called
    assert len(romeo.hears()) == 1


def test_who_leaves_before_the_answer_comes_does_not_get_it() -> None:
    _, answers, romeo, _ = meet()
    (stanza,) = parse(request("later", "example.net"))
    assert isinstance(stanza, Stanza)
    waiting = romeo.session.receive(stanza)
    assert waiting is not None
    done = Deferred.fromCoroutine(waiting)
    romeo.leaves()
    answers.gate.callback(None)
    assert done.called
    assert romeo.hears() == []


@pytest.mark.parametrize("name", ["refused", "refused-later"])
def test_a_module_refuses(name: str) -> None:
    _, _, romeo, _ = meet()
    romeo.says(request(name, "example.net"))
    (answer,) = romeo.hears()
    assert "<error type='auth'><forbidden " in answer
    assert ">no</text>" in answer


@pytest.mark.parametrize("name", ["failing", "failing-later"])
def test_a_module_fails(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []

    def note(event: dict[str, object]) -> None:
        lines.append(eventAsText(event))

    monkeypatch.setattr(Router, "log", Logger(observer=cast(ILogObserver, note)))
    _, _, romeo, _ = meet()
    romeo.says(request(name, "example.net").replace("/>", ">secret</failing>".replace("failing", name)))
    assert the_error(romeo) == "internal-server-error"
    (line,) = lines
    assert f"a iq from {ROMEO} failed" in line
    assert "KeyError" in line
    assert "secret" not in line


# --- What nobody answers


@pytest.mark.parametrize("to", ["", "romeo@example.net", "juliet@example.net", "asleep@example.net", "example.net"])
def test_the_unknown_is_refused(to: str) -> None:
    _, _, romeo, juliet = meet()
    romeo.says(request("unknown", to))
    assert the_error(romeo) == "service-unavailable"
    assert juliet.hears() == []


def test_a_request_for_another_type_or_place_is_refused() -> None:
    _, _, romeo, _ = meet()
    for wrong in (request("owner", type="set"), request("owner", "example.net"), request("domain")):
        romeo.says(wrong)
        assert the_error(romeo) == "service-unavailable"


def test_no_such_user_and_not_for_you_look_the_same() -> None:
    _, answers, romeo, _ = meet()
    for name in ("owner", "unknown"):
        heard = set()
        for user in ("juliet", "asleep", "nobody"):
            romeo.says(request(name, f"{user}@example.net"))
            romeo.says(request(name, f"{user}@example.net/unknown"))
            heard.add(tuple(answer.replace(user, "somebody") for answer in romeo.hears()))
        assert len(heard) == 1
    assert answers.requests == []


# --- What is no IQ


@pytest.mark.parametrize("to", ["", " to='romeo@example.net'", f" to='{JULIET}'", " to='example.net'", " to='a@b.c'"])
@pytest.mark.parametrize(
    "stanza",
    [
        "<iq{} type='get'><anybody xmlns='urn:t'/></iq>",
        "<iq{} type='get' id=''><anybody xmlns='urn:t'/></iq>",
        "<iq{} type='get' id='1'/>",
        "<iq{} type='set' id='1'>text</iq>",
        "<iq{} type='get' id='1'><anybody xmlns='urn:t'/><anybody xmlns='urn:t'/></iq>",
        "<iq{} type='GET' id='1'><anybody xmlns='urn:t'/></iq>",
        "<iq{} id='1'><anybody xmlns='urn:t'/></iq>",
        f"<iq{{}} type='get' id='{'1' * 1024}'><anybody xmlns='urn:t'/></iq>",
    ],
)
def test_a_bad_request_is_refused(stanza: str, to: str) -> None:
    world, _, romeo, juliet = meet()
    world.remote.reachable = True
    romeo.says(stanza.format(to))
    assert the_error(romeo) == "bad-request"
    assert juliet.hears() == []
    assert world.remote.sent == []


@pytest.mark.parametrize("to", ["romeo@example.net", "nobody@example.net", JULIET, "example.net"])
@pytest.mark.parametrize(
    "stanza",
    [
        "<iq to='{}' from='a@b.c/d' type='get' id='1'/>",
        "<iq to='{}' from='a@b.c/d' type='get'><anybody xmlns='urn:t'/></iq>",
        "<iq to='{}' from='a@b.c/d' type='odd' id='1'><anybody xmlns='urn:t'/></iq>",
    ],
)
def test_a_bad_request_from_elsewhere_is_refused(stanza: str, to: str) -> None:
    world, _, _, juliet = meet()
    world.remote.reachable = True
    (event,) = parse(stanza.format(to))
    assert isinstance(event, Stanza)
    assert world.router.route(event) is None
    (answer,) = world.remote.sent
    assert answer.type == "error"
    assert b"<bad-request " in answer.raw
    assert juliet.hears() == []


# --- Between clients


def test_a_request_and_its_answer_cross_once() -> None:
    _, _, romeo, juliet = meet()
    romeo.says(request("x", JULIET))
    assert juliet.hears() == [f"<iq to='{JULIET}' from='{ROMEO}' id='1' type='get'><x xmlns='urn:t'/></iq>"]
    juliet.says(f"<iq to='{ROMEO}' id='1' type='result'><y xmlns='urn:t'/></iq>" * 2)
    assert romeo.hears() == [f"<iq to='{ROMEO}' from='{JULIET}' id='1' type='result'><y xmlns='urn:t'/></iq>"]
    assert juliet.hears() == []


@pytest.mark.parametrize(
    "answer",
    [
        f"<iq to='{ROMEO}' id='2' type='result'/>",
        f"<iq to='{ROMEO}' id='2' type='error'/>",
        "<iq to='romeo@example.net' id='1' type='result'/>",
        "<iq to='asleep@example.net/here' id='1' type='result'/>",
        "<iq to='elsewhere.net' id='1' type='result'/>",
        "<iq to='example.net' id='1' type='result'/>",
        "<iq id='1' type='result'/>",
    ],
)
def test_an_answer_that_nobody_asked_for_goes_nowhere(answer: str) -> None:
    world, _, romeo, juliet = meet()
    world.remote.reachable = True
    romeo.says(request("x", JULIET))
    juliet.hears()
    juliet.says(answer)
    assert (romeo.hears(), juliet.hears(), world.remote.sent) == ([], [], [])
    juliet.says(f"<iq to='{ROMEO}' id='1' type='error'/>")
    assert len(romeo.hears()) == 1


def test_a_bad_answer_is_not_answered() -> None:
    _, _, romeo, juliet = meet()
    juliet.says(f"<iq to='{ROMEO}' type='result'/><iq to='{ROMEO}' type='error'/>")
    assert (romeo.hears(), juliet.hears()) == ([], [])


def test_a_client_that_is_not_there_is_answered_for() -> None:
    _, _, romeo, juliet = meet()
    for to in ("juliet@example.net/away", "asleep@example.net/here", "nobody@example.net/here"):
        romeo.says(request("anybody", to))
        assert the_error(romeo) == "service-unavailable"
    assert juliet.hears() == []


def test_a_client_that_leaves_is_answered_for() -> None:
    _, _, romeo, juliet = meet()
    romeo.says(request("x", JULIET) + request("x", JULIET).replace("id='1'", "id='2'"))
    juliet.says(f"<iq to='{ROMEO}' id='1' type='result'/>")
    romeo.hears()
    juliet.leaves()
    (answer,) = romeo.hears()
    assert answer.startswith(f"<iq to='{ROMEO}' from='{JULIET}' id='2' type='error'><error type='cancel'><service-un")


def test_a_client_that_never_answers_is_answered_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vrxmpp.core.session._UNANSWERED", 2)
    _, _, romeo, juliet = meet()
    for number in "1234":
        romeo.says(request("x", JULIET).replace("id='1'", f"id='{number}'"))
    assert len(juliet.hears()) == 4
    answers = romeo.hears()
    assert [f"id='{number}' type='error'><error type='wait'><recipient-unavailable " in answer
            for number, answer in zip("12", answers, strict=True)] == [True, True]  # fmt: skip
    juliet.says("".join(f"<iq to='{ROMEO}' id='{number}' type='result'/>" for number in "1234"))
    assert [answer.partition(" id=")[2] for answer in romeo.hears()] == ["'3' type='result'/>", "'4' type='result'/>"]
    juliet.leaves()
    assert romeo.hears() == []


def test_an_answer_from_elsewhere_reaches_the_client() -> None:
    world, _, romeo, _ = meet()
    answer = f"<iq to='{ROMEO}' from='a@b.c' id='1' type='result'/>"
    (event,) = parse(answer)
    assert isinstance(event, Stanza)
    world.router.send(event)
    assert romeo.hears() == [answer]


def test_a_request_from_elsewhere_is_answered_there() -> None:
    world, answers, _, juliet = meet()
    world.remote.reachable = True
    for to, name in (("juliet@example.net", "anybody"), (JULIET, "x"), ("juliet@example.net", "owner")):
        (event,) = parse(request(name, to).replace(" to=", " from='a@b.c/d' to="))
        assert isinstance(event, Stanza)
        world.router.send(event)
    assert answers.requests[0].session is None
    (asked,) = juliet.hears()
    assert " from='a@b.c/d' " in asked
    juliet.leaves()
    assert [(str(sent.to), sent.type) for sent in world.remote.sent] == [
        ("a@b.c/d", "result"), ("a@b.c/d", "error"), ("a@b.c/d", "error")
    ]  # fmt: skip
