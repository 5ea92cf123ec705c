"""The router: who may say what, in which order modules look, and what comes of what cannot be (RFC 6120 §8, §10)."""

from __future__ import annotations

from typing import cast

import pytest
from twisted.logger import ILogObserver, Logger, eventAsText

from tests.world import Client, World, run
from vrxmpp.core.account import Account
from vrxmpp.core.module import Module, absent, presence, stage
from vrxmpp.core.router import Router
from vrxmpp.core.session import Session
from vrxmpp.core.stages import Side, Stage, Walk
from vrxmpp.errors import Condition, StanzaError, StreamCondition, StreamError
from vrxmpp.jid import Jid
from vrxmpp.stanza import Stanza
from vrxmpp.waiting import Waiting

MESSAGE = "<message to='juliet@example.net/here' type='chat' id='1'><body>hi</body></message>"
FROM_ROMEO = (
    "<message to='juliet@example.net/here' from='romeo@example.net/here' id='1' type='chat'><body>hi</body></message>"
)


def meet(*modules: Module) -> tuple[World, Client, Client]:
    """Return a world with Romeo and Juliet logged in."""
    world = World(*modules)
    world.add("romeo", "juliet")
    return world, world.login("romeo"), world.login("juliet")


# --- From, language, and to oneself


def test_a_message_arrives_with_the_address_of_its_sender() -> None:
    _, romeo, juliet = meet()
    romeo.says(MESSAGE)
    assert juliet.hears() == [FROM_ROMEO]
    assert romeo.hears() == []


@pytest.mark.parametrize("claimed", ["romeo@example.net", "romeo@example.net/here", "ROMEO@Example.NET"])
def test_a_client_may_name_itself(claimed: str) -> None:
    """RFC 6120 §8.1.2.1."""
    _, romeo, juliet = meet()
    romeo.says(MESSAGE.replace(" to=", f" from='{claimed}' to="))
    assert juliet.hears() == [FROM_ROMEO]


@pytest.mark.parametrize("claimed", ["juliet@example.net", "romeo@example.net/there", "example.net", "romeo@x.net"])
@pytest.mark.parametrize("stanza", [MESSAGE, "<presence/>", "<iq id='1' type='get'><a/></iq>"])
def test_a_client_may_not_name_anybody_else(stanza: str, claimed: str) -> None:
    _, romeo, juliet = meet()
    forged = stanza.replace("<presence", "<presence ").replace(" ", f" from='{claimed}' ", 1)
    with pytest.raises(StreamError) as caught:
        romeo.says(forged)
    assert caught.value.condition == StreamCondition.INVALID_FROM
    assert juliet.hears() == []


def test_the_language_of_the_stream_is_stamped() -> None:
    """RFC 6120 §8.1.5."""
    world, romeo, juliet = meet()
    romeo.session = run(world.host.bind("romeo", "german", romeo, lang="de"))
    romeo.says(MESSAGE)
    assert "type='chat' xml:lang='de'>" in juliet.hears()[0]
    romeo.says(MESSAGE.replace(" to=", " xml:lang='it' to="))
    assert "type='chat' xml:lang='it'>" in juliet.hears()[0]


def test_a_message_to_nobody_is_for_oneself() -> None:
    """RFC 6120 §10.3.1."""
    _, romeo, _ = meet()
    romeo.says("<message type='chat' id='1'/>")
    romeo.session.presence = Stanza("presence")
    romeo.session.account.rank_sessions()
    romeo.hears()
    romeo.says("<message type='chat' id='1'/>")
    assert romeo.hears() == ["<message to='romeo@example.net' from='romeo@example.net/here' id='1' type='chat'/>"]


def test_what_is_sent_to_the_server_itself_is_refused() -> None:
    _, romeo, _ = meet()
    romeo.says("<message to='example.net' id='1'/><message to='example.net/x' id='2'/>")
    romeo.says("<message to='example.net' type='error'/><presence to='example.net'/>")
    first, second = romeo.hears()
    assert "from='example.net' id='1' type='error'" in first
    assert "from='example.net/x' id='2' type='error'" in second


# --- Other domains


def test_what_goes_to_another_server_is_given_to_the_remote() -> None:
    world, romeo, _ = meet()
    world.remote.reachable = True
    romeo.says("<message to='a@elsewhere.net' id='1'/>")
    (sent,) = world.remote.sent
    assert sent.raw == b"<message to='a@elsewhere.net' from='romeo@example.net/here' id='1'/>"


@pytest.mark.parametrize(
    ("stanza", "answers"),
    [
        ("<message to='a@elsewhere.net' id='1'/>", 1),
        ("<message to='a@elsewhere.net' id='1' type='error'/>", 0),
        ("<iq to='elsewhere.net' id='1' type='get'><a/></iq>", 1),
        ("<presence to='a@elsewhere.net' id='1'/>", 1),
        ("<presence to='a@elsewhere.net' id='1' type='error'/>", 0),
    ],
)
def test_where_no_server_can_be_reached_the_sender_is_told(stanza: str, answers: int) -> None:
    _, romeo, _ = meet()
    romeo.says(stanza)
    heard = romeo.hears()
    assert len(heard) == answers
    assert all("type='error'><error type='cancel'><remote-server-not-found " in answer for answer in heard)


def test_an_answer_finds_no_way_back_and_that_is_all() -> None:
    world, _, _ = meet()
    world.router.send(Stanza("message", sender=Jid.parse("a@elsewhere.net"), to=Jid.parse("nobody@example.net")))
    assert world.remote.sent == []


def test_two_domains_share_a_router() -> None:
    world, romeo, _ = meet()
    other = World(domain="example.org", router=world.router)
    other.add("juliet")
    juliet = other.login("juliet")
    romeo.says(MESSAGE.replace("example.net", "example.org"))
    assert juliet.hears() == [FROM_ROMEO.replace("juliet@example.net", "juliet@example.org")]
    juliet.says("<message to='nobody@example.net' id='2'/>")
    (answer,) = juliet.hears()
    assert "from='nobody@example.net' id='2' type='error'" in answer


# --- Presence


def test_presence_of_an_unknown_type_is_refused() -> None:
    _, romeo, juliet = meet()
    romeo.says("<presence to='juliet@example.net' type='odd' id='1'/>")
    (answer,) = romeo.hears()
    assert "<presence to='romeo@example.net/here' from='juliet@example.net' id='1' type='error'>" in answer
    assert "<error type='modify'><bad-request " in answer
    assert juliet.hears() == []


def test_presence_of_an_unknown_type_from_elsewhere_is_dropped() -> None:
    world, _, juliet = meet()
    world.remote.reachable = True
    for to in ("juliet@example.net", "nobody@example.net", "example.net"):
        world.router.send(Stanza("presence", sender=Jid.parse("a@elsewhere.net"), to=Jid.parse(to), type="odd"))
    assert juliet.hears() == []
    assert world.remote.sent == []


def test_each_side_of_presence_has_its_handler() -> None:
    seen: list[tuple[str, str, Session | None]] = []

    class Watcher(Module):
        @presence(Side.SENDER, "", "probe")
        def leaves(self, walk: Walk) -> Waiting | None:
            seen.append(("out", walk.stanza.type, walk.session))
            return self.host.router.route(walk.stanza)

        @presence(Side.RECIPIENT, "", "probe", "subscribe")
        def arrives(self, walk: Walk) -> Waiting | None:
            seen.append(("in", walk.stanza.type, walk.session))
            return None

    _, romeo, _ = meet(Watcher())
    romeo.says("<presence to='juliet@example.net'/><presence to='juliet@example.net/here' type='probe'/>")
    romeo.says("<presence to='juliet@example.net' type='subscribe'/>")
    mine = romeo.session
    assert seen == [
        ("out", "", mine), ("in", "", None), ("out", "probe", mine), ("in", "probe", None), ("in", "subscribe", None)
    ]  # fmt: skip


# --- Stages


class Watch(Module):
    """Notes when its steps are taken, under a name; marks what it sees."""

    def __init__(self, name: str, notes: list[str]) -> None:
        self.name = name
        self.notes = notes

    @stage(Stage.COPY, Side.SENDER, "message")
    def a_copy(self, walk: Walk) -> None:
        self.notes.append(f"{self.name} copy out")

    @stage(Stage.MARK, Side.SENDER, "message")
    def b_mark(self, walk: Walk) -> None:
        self.notes.append(f"{self.name} mark out")
        walk.stanza = walk.stanza.with_payload("urn:m m", f"<m xmlns='urn:m'>{self.name}</m>".encode())

    @stage(Stage.SCREEN, Side.SENDER, "message", "iq")
    def c_screen(self, walk: Walk) -> None:
        self.notes.append(f"{self.name} screen out")

    @stage(Stage.SCREEN, Side.RECIPIENT, "message")
    def c_screen_in(self, walk: Walk) -> None:
        self.notes.append(f"{self.name} screen in")


@pytest.mark.parametrize("at_once", [True, False])
def test_steps_are_taken_in_the_order_of_stages_then_of_modules(at_once: bool) -> None:
    notes: list[str] = []
    modules = [Watch("first", notes), Watch("second", notes)]
    world, romeo, juliet = meet(*(modules if at_once else ()))
    for module in [] if at_once else modules:
        world.mount(module)
    romeo.says(MESSAGE)
    assert notes == [
        f"{name} {step}" for step in ("screen out", "mark out", "copy out", "screen in") for name in ("first", "second")
    ]
    assert juliet.hears() == [
        FROM_ROMEO.replace("</message>", "<m xmlns='urn:m'>first</m><m xmlns='urn:m'>second</m></message>")
    ]


def test_steps_are_taken_for_their_kinds_only() -> None:
    notes: list[str] = []
    _, romeo, _ = meet(Watch("it", notes))
    romeo.says("<presence to='juliet@example.net'/>")
    assert notes == []
    romeo.says("<iq to='juliet@example.net/here' id='1' type='get'><a/></iq>")
    assert notes == ["it screen out"]


@pytest.mark.parametrize("side", Side)
def test_a_step_may_refuse_or_end_the_walk(side: Side) -> None:
    notes: list[str] = []

    class Guard(Module):
        @stage(Stage.SCREEN, side, "message")
        def refuse(self, walk: Walk) -> bool | None:
            if walk.stanza.id == "refuse":
                raise StanzaError(Condition.NOT_ACCEPTABLE)
            return walk.stanza.id == "end"

        @stage(Stage.MARK, side, "message")
        def note(self, walk: Walk) -> None:
            notes.append(walk.stanza.id)

    _, romeo, juliet = meet(Guard())
    for name in ("refuse", "end", "pass"):
        romeo.says(MESSAGE.replace("id='1'", f"id='{name}'"))
    assert notes == ["pass"]
    assert len(juliet.hears()) == 1
    (answer,) = romeo.hears()
    assert "from='juliet@example.net/here' id='refuse' type='error'><error type='modify'><not-acceptable " in answer


def test_copies_are_sent_and_not_walked_again() -> None:
    class Copier(Module):
        @stage(Stage.COPY, Side.RECIPIENT, "message")
        def copy(self, walk: Walk) -> None:
            others = [s for s in walk.account.sessions.values() if s.jid != walk.stanza.to]
            walk.copies = [(session, walk.stanza.with_to(session.jid)) for session in others]

    world, romeo, juliet = meet(Copier())
    away = world.login("juliet", "away")
    romeo.says(MESSAGE)
    assert juliet.hears() == [FROM_ROMEO]
    assert away.hears() == [FROM_ROMEO.replace("net/here' from", "net/away' from")]


# --- Modules that claim the same, or fail


def test_two_modules_cannot_claim_the_same() -> None:
    class Claims(Module):
        @presence(Side.SENDER, "odd")
        def handle(self, walk: Walk) -> Waiting | None: ...

    class Keeps(Module):
        @absent
        def keep(self, account: Account, stanza: Stanza) -> Waiting | None: ...

    for one, two in ((Claims(), Claims()), (Keeps(), Keeps())):
        with pytest.raises(ValueError, match="two modules"):
            World(one, two)


class Broken(Module):
    """Fails wherever it can."""

    @stage(Stage.SCREEN, Side.SENDER, "message")
    def fail(self, walk: Walk) -> None:
        raise KeyError("oh")

    @presence(Side.SENDER, "")
    async def fail_later(self, walk: Walk) -> None:
        raise KeyError("oh")


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return what the router logs, with tracebacks."""
    lines: list[str] = []

    def note(event: dict[str, object]) -> None:
        lines.append(eventAsText(event))

    monkeypatch.setattr(Router, "log", Logger(observer=cast(ILogObserver, note)))
    return lines


@pytest.mark.parametrize(
    "stanza", [MESSAGE.replace("hi", "secret"), "<presence id='1'><status>secret</status></presence>"]
)
def test_a_failure_is_answered_and_logged_without_what_was_said(stanza: str, log: list[str]) -> None:
    _, romeo, juliet = meet(Broken())
    romeo.says(stanza)
    (answer,) = romeo.hears()
    assert " id='1' type='error'><error type='cancel'><internal-server-error " in answer
    assert juliet.hears() == []
    (line,) = log
    assert "from romeo@example.net/here failed" in line
    assert "KeyError" in line
    assert "secret" not in line
