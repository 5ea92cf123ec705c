"""Registration before the log-in, on a stream (XEP-0077 §3.1, §8)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.house import House, Slow
from tests.streams import DOMAIN, PASSWORD, Client, show
from vrxmpp import ns
from vrxmpp.store.interfaces import StorageError

Build = Callable[..., House]
FEATURE = f"{{{ns.REGISTER_FEATURE}}}register"
GET = f"<iq type='get' id='reg' to='{DOMAIN}'><query xmlns='{ns.REGISTER}'/></iq>"
FIELDS = "<instructions>Choose a username and a password.</instructions><username/><password/>"


def setting(name: str, password: str = PASSWORD) -> str:
    return (
        f"<iq type='set' id='reg2'><query xmlns='{ns.REGISTER}'><username>{name}</username>"
        f"<password>{password}</password></query></iq>"
    )


@pytest.fixture
def inn(build: Build) -> House:
    return build(host={"registration": True})


def opened(house: House) -> Client:
    client = house.connect()
    assert FEATURE in [feature.tag for feature in client.open()]
    return client


def test_a_newcomer_comes_in(inn: House) -> None:
    client = opened(inn)
    client.send(GET)
    assert client.hears() == [
        f"<iq from='{DOMAIN}' id='reg' type='result'><query xmlns='{ns.REGISTER}'>{FIELDS}</query></iq>"
    ]
    client.send(setting("Rosaline"))
    assert client.hears() == ["<iq id='reg2' type='result'/>"]
    assert client.authenticate("rosaline").tag == f"{{{ns.SASL}}}success"
    assert FEATURE not in [feature.tag for feature in client.open()]
    assert client.bind("here")[0][0].text == f"rosaline@{DOMAIN}/here"
    assert client.ping() == []


def test_a_name_that_is_taken(inn: House) -> None:
    client = opened(inn)
    client.send(setting("romeo", "another"))
    assert client.element().find(f".//{{{ns.STANZA_ERRORS}}}conflict") is not None
    assert client.authenticate("romeo").tag == f"{{{ns.SASL}}}success"


def test_tls_comes_first(build: Build) -> None:
    """§8: where it is required."""
    house = build(tls="required", host={"registration": True})
    early = house.connect()
    assert FEATURE not in [feature.tag for feature in early.open()]
    early.send(setting("rosaline"))
    assert early.fails() == "not-authorized"
    late = house.connect()
    late.open()
    late.secure()
    assert FEATURE in [feature.tag for feature in late.open()]
    late.send(setting("rosaline"))
    assert late.element().get("type") == "result"


def test_it_is_off_unless_it_is_switched_on(house: House) -> None:
    client = house.connect()
    assert FEATURE not in [feature.tag for feature in client.open()]
    client.send(GET)
    assert client.fails() == "not-authorized"


def test_not_in_the_middle_of_a_log_in(inn: House) -> None:
    client = opened(inn)
    client.send(f"<auth xmlns='{ns.SASL}' mechanism='SCRAM-SHA-1'/>")
    client.element()
    client.send(GET)
    assert client.fails() == "not-authorized"


def test_not_after_the_log_in(inn: House) -> None:
    """§3.2, §3.3: from then on the account is one's own, and there is a session."""
    client = opened(inn)
    client.authenticate("romeo")
    client.open()
    client.send(GET)
    assert client.fails() == "not-authorized"


@pytest.mark.parametrize(
    "kind", ["<iq type='result' id='x'>{}</iq>", "<iq type='set'>{}</iq>", "<message>{}</message>"]
)
def test_what_is_no_request_comes_too_early(inn: House, kind: str) -> None:
    client = opened(inn)
    client.send(kind.format(f"<query xmlns='{ns.REGISTER}'/>"))
    assert client.fails() == "not-authorized"


def test_an_address_has_so_many_tries_on_all_its_streams(build: Build) -> None:
    house = build(host={"registration": True, "registrations_per_hour": 2})
    answers = []
    for number in range(3):
        client = opened(house)
        client.send(setting(f"rosaline{number}"))
        answers.append(client.element())
    assert [answer.get("type") for answer in answers] == ["result", "result", "error"]
    assert "not-acceptable" in show(answers[-1])


def test_a_database_that_does_not_work(inn: House) -> None:
    client = opened(inn)
    slow = Slow(inn, "_writer")
    client.send(setting("rosaline"))
    slow.answer(StorageError("the disk is full"))
    assert client.element().find(f".//{{{ns.STANZA_ERRORS}}}resource-constraint") is not None
