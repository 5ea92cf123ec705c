"""Guests: who logs in without an account, and what they may not do (XEP-0175)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.house import House
from tests.streams import DOMAIN, Client, chat, encode
from vrxmpp import ns

Build = Callable[..., House]
ANONYMOUS = f"<auth xmlns='{ns.SASL}' mechanism='ANONYMOUS'/>"


@pytest.fixture
def inn(build: Build) -> House:
    return build(host={"anonymous": True})


def guest(inn: House) -> Client:
    client = inn.connect()
    client.open()
    client.send(ANONYMOUS)
    assert client.hears() == [f"<success xmlns='{ns.SASL}'/>"]
    client.open()
    client.jid = client.bind()[0][0].text or ""
    return client


def test_a_guest_has_a_name_nobody_can_guess(inn: House) -> None:
    """XEP-0175 §2, §4: neither is it one of somebody with an account."""
    one, two = guest(inn), guest(inn)
    local = one.jid.partition("@")[0]
    assert len(local) == 32
    assert local != two.jid.partition("@")[0]


def test_what_a_guest_says_about_itself_is_not_looked_at(inn: House) -> None:
    """RFC 4505 §2."""
    client = inn.connect()
    client.open()
    client.send(ANONYMOUS.replace("/>", f">{encode('romeo@example.net')}</auth>"))
    client.element()
    client.open()
    assert "romeo" not in (client.bind()[0][0].text or "")


def test_guests_talk_to_users_and_each_other(inn: House) -> None:
    one, two = guest(inn), guest(inn)
    two.send("<presence/>")
    two.hears()
    one.send(chat("good evening", two.jid))
    assert len(two.hears()) == 1
    juliet = inn.login("juliet")
    juliet.send("<presence/>")
    juliet.hears()
    one.send(chat("good evening"))
    assert len(juliet.hears()) == 1


@pytest.mark.parametrize(
    "stanza",
    [
        f"<iq type='set' id='x'><query xmlns='{ns.ROSTER}'><item jid='romeo@{DOMAIN}'/></query></iq>",
        f"<iq type='set' id='x'><vCard xmlns='{ns.VCARD}'/></iq>",
        f"<iq type='set' id='x'><query xmlns='{ns.PRIVATE}'><a xmlns='urn:a'/></query></iq>",
        f"<presence type='subscribe' to='romeo@{DOMAIN}' id='x'/>",
        "<message to='romeo@elsewhere.example' id='x'><body>out of the house</body></message>",
    ],
)
def test_guests_leave_no_trace(inn: House, stanza: str) -> None:
    """XEP-0175 §4."""
    client = guest(inn)
    client.send(stanza)
    answer = client.element()
    assert answer.get("type") == "error"
    assert answer.find(f".//{{{ns.STANZA_ERRORS}}}not-allowed") is not None


def test_a_guest_who_has_gone_was_never_there(inn: House) -> None:
    client = guest(inn)
    client.pipe.close()
    assert not list(inn.host.all_sessions())
    assert set(inn.host.awake) <= {"romeo", "juliet"}
    romeo = inn.login("romeo")
    romeo.send(chat("are you still there?", client.jid))
    assert romeo.element().find(f".//{{{ns.STANZA_ERRORS}}}service-unavailable") is not None
