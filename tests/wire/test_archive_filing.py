"""What is archived, as which type of record, and under which conversation and class."""

from __future__ import annotations

from typing import Any

import pytest

from tests.recorder import BODY, JULIET, ROMEO, Scene, facts, message
from vrxmpp.audit.frames import Entry
from vrxmpp.audit.leaf import Type
from vrxmpp.jid import Jid
from vrxmpp.stanza import Stanza


@pytest.fixture
def scene() -> Scene:
    scene = Scene()
    scene.recorder.ready()
    return scene


# -- what is recorded, and where


@pytest.mark.parametrize(
    ("payloads", "is_wanted"),
    [
        ((), False),
        (BODY, True),
        (("http://jabber.org/protocol/chatstates composing",), False),
        (("http://jabber.org/protocol/chatstates active", "jabber:client thread"), False),
        (("http://jabber.org/protocol/chatstates active", *BODY), True),
        (("urn:xmpp:hints no-store",), False),
        (("urn:xmpp:hints no-permanent-store", "urn:xmpp:hints no-store", *BODY), True),
        (("urn:xmpp:sid:0 origin-id", "urn:xmpp:sid:0 stanza-id"), False),
        (("urn:xmpp:chat-markers:0 displayed", "urn:xmpp:hints store"), True),
        (("urn:xmpp:receipts received",), True),
        (("urn:xmpp:reactions:0 reactions",), True),
        (("jabber:client subject",), True),
        (("eu.siacs.conversations.axolotl encrypted", "urn:xmpp:hints store"), True),
        (("http://jabber.org/protocol/chatstates composing", "jabber:client error"), True),
    ],
)
def test_every_message_with_a_meaning_is_wanted(scene: Scene, payloads: tuple[str, ...], is_wanted: bool) -> None:
    written = "".join("<{1} xmlns='{0}'/>".format(*name.split(" ")) for name in payloads)
    assert scene.audit.wants(_said(payloads, written)) is is_wanted


@pytest.mark.parametrize(
    ("inner", "is_wanted"),
    [
        ("\n<composing xmlns='http://jabber.org/protocol/chatstates'/>\n", False),
        ("<composing xmlns='http://jabber.org/protocol/chatstates'></composing>", False),
        ("<s:composing xmlns:s='http://jabber.org/protocol/chatstates'/>", False),
        ("<thread>e0ffe42b28561960c6b12b944a092794b9683a38</thread>", False),
        ("<thread parent='7edac73ab41e45c4aafa7b2d7b749080'>e0ffe42b2856196</thread>", False),
        ("meet me at nine", True),
        ("<composing xmlns='http://jabber.org/protocol/chatstates'/>meet me at nine", True),
        ("<composing xmlns='http://jabber.org/protocol/chatstates'>meet me at nine</composing>", True),
        ("<composing xmlns='http://jabber.org/protocol/chatstates'><body>nine</body></composing>", True),
        ("<composing xmlns='http://jabber.org/protocol/chatstates'><![CDATA[at nine]]></composing>", True),
        ("<thread>meet me at nine</thread>", True),
        (f"<thread>{'x' * 300}</thread>", True),
        ("<thread><body>nine</body></thread>", True),
        (f"<composing xmlns='http://jabber.org/protocol/chatstates' text='{'x' * 2000}'/>", True),
    ],
)
def test_what_says_nothing_by_its_names_is_wanted_where_it_says_something_else(
    scene: Scene, inner: str, is_wanted: bool
) -> None:
    negligible = ("http://jabber.org/protocol/chatstates composing", "jabber:client thread")
    assert scene.audit.wants(_said(negligible, inner)) is is_wanted


@pytest.mark.parametrize("fields", [{"id": "x" * 2000}, {"extra": b" xmlns:x='u' x:y='" + b"x" * 2000 + b"'"}])
def test_nothing_is_said_beside_the_children(scene: Scene, fields: Any) -> None:
    assert scene.audit.wants(_said((), "", **fields))


def _said(payloads: tuple[str, ...], inner: str, **fields: Any) -> Stanza:
    return Stanza("message", sender=ROMEO, to=JULIET, type="chat", payloads=payloads, inner=inner.encode(), **fields)


@pytest.mark.parametrize(
    ("sender", "to", "is_wanted"),
    [
        ("a@example.net/x", "b@elsewhere.example", True),
        ("b@elsewhere.example/x", "a@example.net", True),
        ("a@example.net/x", None, True),
        ("rooms.example.net/x", "b@elsewhere.example", False),
        (None, "b@elsewhere.example", False),
    ],
)
def test_only_what_concerns_an_account_here_is_wanted(
    scene: Scene, sender: str | None, to: str | None, is_wanted: bool
) -> None:
    addresses: dict[str, Any] = {"sender": sender and Jid.parse(sender), "to": to and Jid.parse(to)}
    assert scene.audit.wants(message(**addresses)) is is_wanted
    assert not scene.audit.wants(Stanza("iq", type="set", payloads=BODY, sender=ROMEO, to=JULIET))


@pytest.mark.parametrize(
    ("type", "payloads", "inner", "kind"),
    [
        ("chat", ("urn:xmpp:message-correct:0 replace", *BODY), b"", Type.EDIT),
        ("chat", ("urn:xmpp:message-retract:1 retract", "urn:xmpp:fallback:0 fallback", *BODY), b"", Type.RETRACT),
        ("chat", ("urn:xmpp:fasten:0 apply-to",), b"<retract xmlns='urn:xmpp:message-retract:0'/>", Type.RETRACT),
        ("chat", ("urn:xmpp:fasten:0 apply-to",), b"<reaction xmlns='urn:example'/>", Type.MESSAGE),
        ("headline", BODY, b"", Type.MESSAGE),
        ("error", ("urn:xmpp:message-correct:0 replace", *BODY, "jabber:client error"), b"", Type.OUTCOME),
    ],
)
def test_corrections_retractions_and_errors_are_records_of_their_own(
    scene: Scene, type: str, payloads: tuple[str, ...], inner: bytes, kind: Type
) -> None:
    scene.record(Stanza("message", sender=ROMEO, to=JULIET, type=type, payloads=payloads, inner=inner))
    scene.turn()
    assert scene.recorder.got[0][1].type == kind


@pytest.mark.parametrize(
    ("sender", "to", "type", "place"),
    [
        ("a@example.net/x", "b@example.net/y", "chat", ("a@example.net b@example.net", "staff")),
        ("b@example.net/y", "a@example.net", "", ("a@example.net b@example.net", "staff")),
        ("a@example.net/x", None, "", ("a@example.net a@example.net", "staff")),
        ("z@library.example/x", "a@example.net", "chat", ("a@example.net z@library.example", "patron")),  # the sender's
        ("a@example.net/x", "z@library.example", "chat", ("a@example.net z@library.example", "staff")),
        ("b@elsewhere.example/x", "z@library.example", "", ("b@elsewhere.example z@library.example", "patron")),
        ("z@library.example/x", "r@rooms.example", "groupchat", ("r@rooms.example", "patron")),
        ("r@rooms.example/nick", "z@library.example/x", "groupchat", ("r@rooms.example", "patron")),
        ("r@rooms.example/nick", "a@example.net/x", "chat", ("a@example.net r@rooms.example", "staff")),
        ("ä@example.net/x", "z@example.net", "chat", ("z@example.net ä@example.net", "staff")),  # by their bytes
    ],
)
def test_messages_are_filed_by_their_two_sides_or_their_room(
    scene: Scene, sender: str, to: str | None, type: str, place: tuple[str, str]
) -> None:
    for _ in range(2):  # the second time from memory
        scene.record(message(sender=Jid.parse(sender), to=to and Jid.parse(to), type=type))
    scene.turn()
    assert [(entry.conversation, entry.class_name) for _, entry in scene.recorder.got] == [place] * 2


@pytest.mark.parametrize(
    ("type", "conversation", "class_name"),
    [
        ("session", "romeo@example.net", "staff"),
        ("roster", "z@library.example", "patron"),
        ("stream", "stream elsewhere.example", "staff"),
        ("config", "configuration", "audit"),
        ("witness", "", ""),
    ],
)
def test_other_events_are_noted_at_once(scene: Scene, type: str, conversation: str, class_name: str) -> None:
    scene.audit.note(type, conversation, event="login", address="192.0.2.1")
    scene.turn()
    [(_, entry)] = scene.recorder.got
    assert entry == Entry(Type[type.upper()], class_name, conversation, b'{"event":"login","address":"192.0.2.1"}\n')


def test_what_became_of_a_message_is_noted_with_it(scene: Scene) -> None:
    hello = message()
    scene.record(hello)
    scene.turn()
    scene.recorder.commit()
    scene.audit.outcome(hello, "refused: item-not-found")
    scene.turn()
    [(_, entry)] = scene.recorder.got
    assert (entry.type, entry.conversation) == (Type.OUTCOME, "juliet@library.example romeo@example.net")
    assert facts(entry) == {"outcome": "refused: item-not-found", "record": 0}
    assert entry.envelope.endswith(b"from='romeo@example.net/orchard' type='chat'/>")  # not again what was said
