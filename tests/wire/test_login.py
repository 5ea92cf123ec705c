"""Logging in on a stream: every mechanism, every failure, and how long failures take (RFC 6120 §6)."""

from __future__ import annotations

from collections.abc import Callable
from xml.etree.ElementTree import Element

import pytest

from tests.house import House, Slow
from tests.passwords import Scram
from tests.streams import DOMAIN, PASSWORD, Client, chat, decode, encode, ping, stream_header
from tests.world import run
from vrxmpp import ns
from vrxmpp.store import open_stores
from vrxmpp.store.interfaces import StorageBusy, StorageError

Build = Callable[..., House]
SUCCESS = f"{{{ns.SASL}}}success"
ABORT = f"<abort xmlns='{ns.SASL}'/>"


def auth(mechanism: str, inner: str = "") -> str:
    return f"<auth xmlns='{ns.SASL}' mechanism='{mechanism}'>{inner}</auth>"


def response(inner: str = "") -> str:
    return f"<response xmlns='{ns.SASL}'>{inner}</response>"


def plain(name: str, password: str = PASSWORD, authzid: str = "") -> str:
    return auth("PLAIN", encode(f"{authzid}\0{name}\0{password}"))


def condition(failure: Element) -> str:
    assert failure.tag == f"{{{ns.SASL}}}failure", failure
    return failure[0].tag.removeprefix(f"{{{ns.SASL}}}")


def opened(house: House, *, secure: bool = False, address: str = "192.0.2.1") -> Client:
    client = house.connect(address)
    client.open()
    if secure:
        client.secure()
        client.open()
    return client


def delay(house: House, client: Client) -> float:
    """Return how many seconds an answer takes."""
    for quarters in range(100):
        if client.wire.received:
            return quarters / 4
        house.wait(0.25)
    raise AssertionError("no answer")


# -- what succeeds


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-1"])
def test_scram(house: House, mechanism: str) -> None:
    assert opened(house).authenticate("romeo", mechanism=mechanism).tag == SUCCESS


@pytest.mark.parametrize("authzid", ["", f"romeo@{DOMAIN}", f"ROMEO@{DOMAIN.upper()}"])
def test_plain_inside_tls(house: House, authzid: str) -> None:
    romeo = opened(house, secure=True)
    romeo.send(plain("romeo", authzid=authzid))
    assert romeo.hears() == [f"<success xmlns='{ns.SASL}'/>"]
    romeo.open()
    assert romeo.bind("here")[0][0].text == f"romeo@{DOMAIN}/here"


def test_the_name_is_prepared(house: House) -> None:
    """RFC 7622 §3.3: the bound address is always the canonical one."""
    romeo = house.login("RoMeO")
    assert romeo.jid == f"romeo@{DOMAIN}/here"


def test_the_client_may_be_asked_for_its_first_message(house: House) -> None:
    """§6.4.2: there may be no initial response."""
    romeo = opened(house)
    scram = Scram("SCRAM-SHA-1", "romeo", PASSWORD, "n,,", b"")
    romeo.send(auth("SCRAM-SHA-1"))
    assert romeo.hears() == [f"<challenge xmlns='{ns.SASL}'>=</challenge>"]
    romeo.send(response(encode(scram.first())))
    romeo.send(response(encode(scram.final(decode(romeo.element())))))
    assert romeo.element().tag == SUCCESS


def test_success_takes_no_time(house: House) -> None:
    """Whatever others have tried before, and with the same name."""
    mallory = opened(house, address="203.0.113.1")
    for _ in range(4):
        mallory.authenticate("romeo", "wrong")
    romeo = opened(house)
    before = house.loop.seconds()
    assert romeo.authenticate("romeo").tag == SUCCESS
    assert house.loop.seconds() == before


def test_one_may_err_first(house: House) -> None:
    romeo = opened(house)
    assert condition(romeo.authenticate("romeo", "wrong")) == "not-authorized"
    assert romeo.authenticate("romeo").tag == SUCCESS


# -- what fails


def disable(house: House, name: str) -> None:
    run(open_stores(house.database, DOMAIN).accounts.set_enabled(name, False))


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN"])
def test_failures_look_all_the_same(house: House, mechanism: str) -> None:
    """Who guesses learns nothing: not of an account that is not there, nor of one that is switched off."""
    disable(house, "juliet")
    answers = []
    for number, (name, password) in enumerate((("romeo", "wrong"), ("nobody", PASSWORD), ("juliet", PASSWORD))):
        client = opened(house, secure=mechanism == "PLAIN", address=f"203.0.113.{number}")
        if mechanism == "PLAIN":
            client.send(plain(name, password))
        else:
            scram = Scram(mechanism, name, password, "n,,", b"")
            client.send(auth(mechanism, encode(scram.first())))
            client.send(response(encode(scram.final(decode(client.element())))))
        answers.append((delay(house, client), client.hears()))
    assert answers == [(0.25, [f"<failure xmlns='{ns.SASL}'><not-authorized/></failure>"])] * 3


def test_plain_outside_tls_is_no_choice(house: House) -> None:
    romeo = opened(house)
    romeo.send(plain("romeo"))
    assert condition(romeo.answer()) == "invalid-mechanism"


def test_plain_may_be_switched_off(build: Build) -> None:
    romeo = opened(build(authentication={"plain": False}), secure=True)
    romeo.send(plain("romeo"))
    assert condition(romeo.answer()) == "invalid-mechanism"


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (auth("CRAM-MD5"), "invalid-mechanism"),
        (auth(""), "invalid-mechanism"),
        (auth("scram-sha-1"), "invalid-mechanism"),
        (f"<auth xmlns='{ns.SASL}'/>", "invalid-mechanism"),
        (auth("ANONYMOUS"), "invalid-mechanism"),
        (auth("EXTERNAL", "="), "invalid-mechanism"),
        (auth("SCRAM-SHA-1-PLUS"), "invalid-mechanism"),
        (auth("SCRAM-SHA-1", "AHIAcg"), "incorrect-encoding"),
        (auth("SCRAM-SHA-1", "AHIA\ncg=="), "incorrect-encoding"),
        (auth("SCRAM-SHA-1", "AHIAch=="), "incorrect-encoding"),
        (auth("SCRAM-SHA-1", "AHIAcg=&#61;"), "incorrect-encoding"),
        (auth("SCRAM-SHA-1", "ÄÖÜ="), "incorrect-encoding"),
        (auth("SCRAM-SHA-1", "<x/>"), "incorrect-encoding"),
        (auth("SCRAM-SHA-1", "="), "malformed-request"),
        (auth("SCRAM-SHA-1", encode("nonsense")), "malformed-request"),
        (auth("SCRAM-SHA-1", encode("n,,n=romeo")), "malformed-request"),
        (auth("SCRAM-SHA-1", encode("n" * 5000)), "malformed-request"),
        (auth("SCRAM-SHA-1", encode("p=tls-unique,,n=romeo,r=abc")), "malformed-request"),
        (auth("SCRAM-SHA-1", encode(f"n,a=juliet@{DOMAIN},n=romeo,r=abc")), "invalid-authzid"),
        (auth("SCRAM-SHA-1", encode("n,a=romeo,n=romeo,r=abc")), "invalid-authzid"),
        (auth("SCRAM-SHA-1", encode(f"n,a=romeo@{DOMAIN}/x,n=romeo,r=abc")), "invalid-authzid"),
    ],
)
def test_a_first_message_that_is_refused(house: House, request_: str, expected: str) -> None:
    """§6.5."""
    romeo = opened(house)
    romeo.send(request_)
    assert condition(romeo.answer()) == expected
    assert romeo.authenticate("romeo").tag == SUCCESS


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (encode(f"juliet@{DOMAIN}\0romeo\0{PASSWORD}"), "invalid-authzid"),
        (encode(f"romeo\0{PASSWORD}"), "malformed-request"),
        (encode(f"\0romeo\0{PASSWORD}\0"), "malformed-request"),
        (encode("\0romeo\0"), "malformed-request"),
        (encode(f"\0\0{PASSWORD}"), "malformed-request"),
        ("AHJvbWVvAP8=", "malformed-request"),
        (encode(f"\0romeo@{DOMAIN}\0{PASSWORD}"), "not-authorized"),
        (encode(f"\0ro\u200bmeo\0{PASSWORD}"), "not-authorized"),
    ],
)
def test_a_plain_message_that_is_refused(house: House, message: str, expected: str) -> None:
    romeo = opened(house, secure=True)
    romeo.send(auth("PLAIN", message))
    assert condition(romeo.answer()) == expected


@pytest.mark.parametrize("final", ["=", "", "nonsense", "c=biws,r=wrong,p=AAAA", "e=other-error"])
def test_a_final_message_that_is_refused(house: House, final: str) -> None:
    romeo = opened(house)
    romeo.send(auth("SCRAM-SHA-1", encode("n,,n=romeo,r=abc")))
    romeo.element()
    romeo.send(response(encode(final) if len(final) > 1 else final))
    assert condition(romeo.answer()) == "malformed-request"


def test_a_stripped_binding_is_found_out(house: House) -> None:
    """RFC 5802 §6: a client that could bind, and was told that the server cannot, says so."""
    romeo = opened(house, secure=True)
    romeo.send(auth("SCRAM-SHA-1", encode("y,,n=romeo,r=abc")))
    assert condition(romeo.answer()) == "malformed-request"


def test_a_log_in_may_be_given_up(house: House) -> None:
    """§6.4.4: that is answered at once."""
    romeo = opened(house)
    romeo.send(auth("SCRAM-SHA-1"))
    romeo.element()
    romeo.send(ABORT)
    assert romeo.hears() == [f"<failure xmlns='{ns.SASL}'><aborted/></failure>"]
    assert romeo.authenticate("romeo").tag == SUCCESS


# -- what ends the stream


@pytest.mark.parametrize("request_", [response(), response("AAAA"), ABORT])
def test_an_answer_to_nothing(house: House, request_: str) -> None:
    romeo = opened(house)
    romeo.send(request_)
    assert romeo.fails() == "policy-violation"


def test_no_second_log_in_inside_the_first(house: House) -> None:
    romeo = opened(house)
    romeo.send(auth("SCRAM-SHA-1"))
    romeo.element()
    romeo.send(auth("SCRAM-SHA-1"))
    assert romeo.fails() == "policy-violation"


def test_no_second_log_in_after_the_first(house: House) -> None:
    romeo = opened(house)
    romeo.authenticate("romeo")
    romeo.open()
    romeo.send(auth("SCRAM-SHA-1"))
    assert romeo.fails() == "policy-violation"


def test_no_stanza_inside_a_log_in(house: House) -> None:
    romeo = opened(house)
    romeo.send(auth("SCRAM-SHA-1"))
    romeo.element()
    romeo.send(ping("p"))
    assert romeo.fails() == "not-authorized"


@pytest.mark.parametrize("behind", [chat("smuggled"), "<a", stream_header(), auth("PLAIN")])
def test_nothing_is_pipelined_behind_a_log_in(house: House, behind: str) -> None:
    """The new stream begins after the success; what was sent before it has no place."""
    romeo = opened(house, secure=True)
    romeo.send(plain("romeo") + behind)
    assert romeo.fails() == "policy-violation"


def test_a_line_may_end_behind_a_log_in(house: House) -> None:
    romeo = opened(house, secure=True)
    romeo.send(plain("romeo") + "\n")
    assert romeo.element().tag == SUCCESS
    assert romeo.open()[0].tag == f"{{{ns.BIND}}}bind"


@pytest.mark.parametrize("allowed", [5, 2])
def test_so_many_failures_and_no_more(build: Build, allowed: int) -> None:
    """§6.4.5."""
    romeo = opened(build(authentication={"failures_per_stream": allowed}))
    for _ in range(allowed - 1):
        assert condition(romeo.authenticate("romeo", "wrong")) == "not-authorized"
    scram = Scram("SCRAM-SHA-1", "romeo", "wrong", "n,,", b"")
    romeo.send(auth("SCRAM-SHA-1", encode(scram.first())))
    romeo.send(response(encode(scram.final(decode(romeo.element())))))
    romeo.pipe.wait(6)
    assert romeo.fails() == "policy-violation"


@pytest.mark.parametrize("request_", [auth("NONE"), auth("SCRAM-SHA-1", "?"), auth("SCRAM-SHA-1") + ABORT])
def test_every_kind_of_failure_counts(house: House, request_: str) -> None:
    romeo = opened(house)
    for _ in range(5):
        romeo.send(request_)
        romeo.pipe.wait(6)
    assert romeo.fails() == "policy-violation"


# -- how long failures take


def test_each_failure_takes_longer(house: House) -> None:
    romeo = opened(house)
    delays = []
    for _ in range(4):
        romeo.send(auth("SCRAM-SHA-1", "?"))
        delays.append(delay(house, romeo))
        assert condition(romeo.element()) == "incorrect-encoding"
    assert delays == [0.25, 0.5, 1.0, 2.0]


def test_many_streams_of_one_address_are_slowed_down_together(house: House) -> None:
    delays = []
    for _ in range(6):
        mallory = opened(house)
        mallory.send(auth("SCRAM-SHA-1", "?"))
        delays.append(delay(house, mallory))
    assert delays == [0.25, 0.5, 1.0, 2.0, 4.0, 5.0]


def test_guesses_from_everywhere_are_slowed_down_for_one_account(house: House) -> None:
    delays = []
    for number in range(4):
        mallory = opened(house, secure=True, address=f"203.0.113.{number}")
        mallory.send(plain("romeo", "wrong"))
        delays.append(delay(house, mallory))
    assert delays == [0.25, 0.5, 1.0, 2.0]


def test_who_logs_in_has_a_clean_slate(house: House) -> None:
    """The account, not the address: its owner may have mistyped."""
    for number in range(3):
        mallory = opened(house, secure=True, address=f"203.0.113.{number}")
        mallory.send(plain("romeo", "wrong"))
        delay(house, mallory)
    assert opened(house).authenticate("romeo").tag == SUCCESS
    clumsy = opened(house, secure=True, address="198.51.100.1")
    clumsy.send(plain("romeo", "wrong"))
    assert delay(house, clumsy) == 0.25


def test_while_a_failure_waits_nothing_is_tried(house: House) -> None:
    romeo = opened(house, secure=True)
    romeo.send(plain("romeo", "wrong"))
    romeo.send(plain("romeo", "wrong too") + plain("juliet", "wrong"))
    assert not romeo.wire.is_read
    assert romeo.hears() == []
    house.wait(0.25)
    assert len(romeo.hears()) == 1
    house.wait(0.5)
    assert len(romeo.hears()) == 1


def test_a_client_may_go_while_its_failure_waits(house: House) -> None:
    romeo = opened(house, secure=True)
    romeo.send(plain("romeo", "wrong"))
    romeo.wire.abortConnection()
    house.wait(10)
    assert not house.clients.connections


# -- a database that does not work


@pytest.mark.parametrize("failure", [StorageError("the disk is full"), StorageBusy("too much waits")])
def test_without_accounts_nobody_logs_in_for_now(house: House, failure: Exception) -> None:
    """§6.5.11: it is not the password."""
    romeo = opened(house, secure=True)
    slow = Slow(house)
    romeo.send(plain("romeo"))
    slow.answer(failure)
    assert romeo.hears() == [f"<failure xmlns='{ns.SASL}'><temporary-auth-failure/></failure>"]
    slow.is_over()
    romeo.send(plain("romeo"))
    assert romeo.element().tag == SUCCESS


def test_a_bug_ends_the_stream_and_is_logged(build: Build) -> None:
    async def broken(work: object) -> bool:
        raise ZeroDivisionError("a bug")

    house = build(run_in_thread=broken)
    juliet = house.login("juliet")
    romeo = opened(house, secure=True)
    romeo.send(plain("romeo"))
    assert romeo.fails() == "internal-server-error"
    assert [type(failure) for failure in house.failures()] == [ZeroDivisionError]
    assert juliet.ping() == []
