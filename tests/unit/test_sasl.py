"""Logging in: the mechanisms a host offers, attempts at each, and how little a failed one tells (RFC 6120 §6)."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import pytest
from cryptography.hazmat.primitives.hashes import HashAlgorithm
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC
from hypothesis import given
from hypothesis import strategies as st
from scramp import ScramClient

from vrxmpp.jid import prepare_local
from vrxmpp.negotiation import scram
from vrxmpp.negotiation.mechanism import (
    MAXIMUM_MESSAGE_BYTES,
    Challenge,
    ChannelBindings,
    Exchange,
    SaslCondition,
    SaslFailure,
    Success,
    decode_base64,
    encode_base64,
)
from vrxmpp.negotiation.realm import Realm
from vrxmpp.negotiation.sasl import Authenticator
from vrxmpp.store.interfaces import AccountId, Credentials

T = TypeVar("T")

NO_BINDINGS = ChannelBindings()
BINDINGS = ChannelBindings({"tls-exporter": b"exported", "tls-server-end-point": b"hash of a certificate"})
SCRAM = ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256", "SCRAM-SHA-1"]
ITERATIONS = 4096

KEYS = scram.derive_keys("pencil", ITERATIONS)
ACCOUNTS = {
    "romeo": Credentials(AccountId(1), True, *KEYS),
    "j\u00fcrgen": Credentials(AccountId(2), True, *scram.derive_keys("caf\u00e9", ITERATIONS)),
    "tybalt": Credentials(AccountId(3), False, *KEYS),
}


def finish(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that has nothing to wait for."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    raise AssertionError("it waits")


async def credentials(local: str) -> Credentials | None:
    return ACCOUNTS.get(local)


async def at_once(work: Callable[[], T]) -> T:
    return work()


def authenticator(**changes: Any) -> Authenticator:
    settings: dict[str, Any] = {
        "domain": "example.org",
        "credentials": credentials,
        "run": at_once,
        "fake_secret": b"secret",
        "iterations": ITERATIONS,
        "plain": True,
        "anonymous": False,
    }
    return Authenticator(**(settings | changes))


def begin(mechanism: str, **changes: Any) -> Exchange:
    bindings = BINDINGS if mechanism.endswith("-PLUS") else NO_BINDINGS
    return authenticator(**changes).begin(mechanism, True, bindings)


def respond(exchange: Exchange, data: bytes | None) -> Challenge | Success:
    return finish(exchange.respond(data))


def failure(exchange: Exchange, *messages: bytes | None) -> SaslFailure:
    """Send the messages; the last one must fail."""
    for message in messages[:-1]:
        respond(exchange, message)
    with pytest.raises(SaslFailure) as caught:
        respond(exchange, messages[-1])
    return caught.value


def scramp_client(mechanism: str, username: str, password: str) -> ScramClient:
    binding = ("tls-server-end-point", BINDINGS["tls-server-end-point"]) if mechanism.endswith("-PLUS") else None
    return ScramClient([mechanism], username, password, channel_binding=binding)


def scram_login(exchange: Exchange, mechanism: str, username: str, password: str) -> Success:
    client = scramp_client(mechanism, username, password)
    challenge = respond(exchange, client.get_client_first().encode())
    assert isinstance(challenge, Challenge)
    client.set_server_first(challenge.data.decode())
    success = respond(exchange, client.get_client_final().encode())
    assert isinstance(success, Success)
    assert success.data is not None
    client.set_server_final(success.data.decode())
    return success


def plain(username: str, password: str, authzid: str = "") -> bytes:
    return f"{authzid}\0{username}\0{password}".encode()


# --- The offer


@pytest.mark.parametrize(
    ("settings", "secure", "bindings", "offered"),
    [
        ({}, True, BINDINGS, [*SCRAM, "PLAIN"]),
        ({}, True, NO_BINDINGS, [*SCRAM[2:], "PLAIN"]),
        ({}, False, NO_BINDINGS, SCRAM[2:]),
        ({"plain": False}, True, BINDINGS, SCRAM),
        ({"anonymous": True}, True, BINDINGS, [*SCRAM, "PLAIN", "ANONYMOUS"]),
        ({"anonymous": True}, False, NO_BINDINGS, [*SCRAM[2:], "ANONYMOUS"]),
    ],
)
def test_offers_what_the_connection_allows_and_nothing_else_can_be_begun(
    settings: dict[str, bool], secure: bool, bindings: ChannelBindings, offered: list[str]
) -> None:
    host = authenticator(**settings)
    assert host.mechanisms(secure, bindings) == tuple(offered)
    for name in [*SCRAM, "PLAIN", "ANONYMOUS", "", "plain", "EXTERNAL", "SCRAM-SHA-512", "SCRAM-SHA-1-PLUS-PLUS"]:
        if name in offered:
            host.begin(name, secure, bindings)
        else:
            with pytest.raises(SaslFailure) as caught:
                host.begin(name, secure, bindings)
            assert caught.value.condition is SaslCondition.INVALID_MECHANISM


# --- Logging in


@pytest.mark.parametrize("mechanism", SCRAM)
@pytest.mark.parametrize(
    ("username", "password", "local"),
    [("romeo", "pencil", "romeo"), ("ROMEO", "pencil", "romeo"), ("J\u00dcrgen", "cafe\u0301", "j\u00fcrgen")],
)
def test_scram_lets_in_under_the_canonical_name(mechanism: str, username: str, password: str, local: str) -> None:
    exchange = begin(mechanism)
    success = scram_login(exchange, mechanism, username, password)
    assert (success.local, success.anonymous, exchange.claimed) == (local, False, local)


@pytest.mark.parametrize(
    ("message", "local"),
    [
        (plain("romeo", "pencil"), "romeo"),
        (plain("Romeo", "pencil"), "romeo"),
        (plain("romeo", "pencil", "romeo@example.org"), "romeo"),
        (plain("romeo", "pencil", "ROMEO@Example.ORG"), "romeo"),
        (plain("j\u00fcrgen", "caf\u00e9"), "j\u00fcrgen"),
        (plain("J\u00dcRGEN", "cafe\u0301", "j\u00fcrgen@example.org"), "j\u00fcrgen"),
    ],
)
def test_plain_lets_in_under_the_canonical_name(message: bytes, local: str) -> None:
    exchange = begin("PLAIN")
    assert respond(exchange, message) == Success(local, None)
    assert exchange.claimed == local


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-1-PLUS"])
def test_a_missing_initial_response_is_asked_for(mechanism: str) -> None:
    exchange = begin(mechanism)
    assert respond(exchange, None) == Challenge(b"")
    assert exchange.claimed == ""
    if mechanism == "PLAIN":
        assert respond(exchange, plain("romeo", "pencil")) == Success("romeo", None)
    else:
        assert scram_login(exchange, mechanism, "romeo", "pencil").local == "romeo"


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256"])
def test_a_client_is_asked_only_once(mechanism: str) -> None:
    assert failure(begin(mechanism), None, None).condition is SaslCondition.MALFORMED_REQUEST


@pytest.mark.parametrize("trace", [None, b"", b"sirhc@example.com", b"\xff"])
def test_anonymous_gives_a_name_that_cannot_be_guessed(trace: bytes | None) -> None:
    successes = [respond(begin("ANONYMOUS", anonymous=True), trace) for _ in range(5)]
    assert len(set(successes)) == 5
    for success in successes:
        assert isinstance(success, Success)
        assert success == Success(prepare_local(success.local), None, anonymous=True)
        assert re.fullmatch("[0-9a-f]{32}", success.local)


# --- Whose account it is


@pytest.mark.parametrize(
    "authzid",
    [
        "juliet@example.org",
        "tybalt@example.org",
        "nobody@example.org",
        "romeo@example.com",
        "romeo@example.org/orchard",
        "romeo",
        "example.org",
        "@example.org",
        "romeo@",
        "romeo@example.org,",
        "not an address",
    ],
)
@pytest.mark.parametrize("username", ["romeo", "mercutio", "a@b"])
def test_acting_for_someone_else_is_refused_even_with_the_right_password(authzid: str, username: str) -> None:
    assert failure(begin("PLAIN"), plain(username, "pencil", authzid)).condition is SaslCondition.INVALID_AUTHZID
    escaped = authzid.replace(",", "=2C")
    message = f"n,a={escaped},n={username},r=abc".encode()
    assert failure(begin("SCRAM-SHA-256"), message).condition is SaslCondition.INVALID_AUTHZID


def test_scram_takes_the_address_of_the_account_as_authzid() -> None:
    challenge = respond(begin("SCRAM-SHA-256"), b"n,a=ROMEO@example.org,n=romeo,r=abc")
    assert isinstance(challenge, Challenge)
    assert challenge.data.startswith(b"r=abc")


# --- How little a failure tells

STRANGERS = {
    "wrong password": ("romeo", "wrong"),
    "disabled, right password": ("tybalt", "pencil"),
    "disabled, wrong password": ("tybalt", "wrong"),
    "unknown": ("nobody", "pencil"),
    "no possible name": ("no body", "pencil"),
    "a full address": ("romeo@example.org", "pencil"),
}


def scram_failure(mechanism: str, username: str, password: str) -> tuple[list[int], SaslCondition, str]:
    """Return the shape of the challenge and the failure."""
    exchange = begin(mechanism)
    client = scramp_client(mechanism, username, password)
    challenge = respond(exchange, client.get_client_first().encode())
    assert isinstance(challenge, Challenge)
    client.set_server_first(challenge.data.decode())
    refused = failure(exchange, client.get_client_final().encode())
    shape = [len(attribute) for attribute in challenge.data.split(b",")]
    return shape, refused.condition, refused.text


@pytest.mark.parametrize("mechanism", SCRAM)
def test_scram_fails_alike_for_everyone(mechanism: str) -> None:
    outcomes = [scram_failure(mechanism, *stranger) for stranger in STRANGERS.values()]
    assert outcomes == [(outcomes[0][0], SaslCondition.NOT_AUTHORIZED, "")] * len(STRANGERS)


def test_plain_fails_alike_for_everyone_after_equal_work(monkeypatch: pytest.MonkeyPatch) -> None:
    work: list[tuple[str, int]] = []

    def counted(algorithm: HashAlgorithm, length: int, salt: bytes, iterations: int) -> PBKDF2HMAC:
        work.append((algorithm.name, iterations))
        return PBKDF2HMAC(algorithm, length, salt, iterations)

    monkeypatch.setattr(scram, "PBKDF2HMAC", counted)
    strangers = [*STRANGERS.values(), ("romeo", "\u0007"), ("romeo", "\u00ad"), ("nobody", "\u0007")]
    for username, password in strangers:
        refused = failure(begin("PLAIN"), plain(username, password))
        assert (refused.condition, refused.text) == (SaslCondition.NOT_AUTHORIZED, "")
    assert work == [("sha256", ITERATIONS)] * len(strangers)


def salt_of(username: str, mechanism: str = "SCRAM-SHA-256", **changes: Any) -> bytes:
    bindings = b"p=tls-exporter" if mechanism.endswith("-PLUS") else b"n"
    challenge = respond(begin(mechanism, **changes), bindings + b",,n=" + username.encode() + b",r=abc")
    assert isinstance(challenge, Challenge)
    return challenge.data.split(b",")[1]


def test_a_made_up_salt_is_as_lasting_as_a_real_one() -> None:
    for username in ("romeo", "tybalt", "nobody", "no body"):
        assert salt_of(username) == salt_of(username)
        assert salt_of(username) == salt_of(username, "SCRAM-SHA-256-PLUS")
        assert salt_of(username) != salt_of(username, "SCRAM-SHA-1")
    for username in ("romeo", "nobody"):
        assert salt_of(username) == salt_of(username.upper())
    assert len({salt_of(username) for username in ("nobody", "somebody", "no body", "somebody else")}) == 4


def test_disabling_an_account_does_not_change_its_salt() -> None:
    assert salt_of("tybalt") == salt_of("romeo") == b"s=" + base64.b64encode(KEYS[1].salt)


def test_a_made_up_salt_belongs_to_its_host_and_its_secret() -> None:
    salts = {salt_of("nobody"), salt_of("nobody", domain="example.com"), salt_of("nobody", fake_secret=b"other")}
    assert len(salts) == 3


def test_a_made_up_account_has_the_iterations_of_real_ones() -> None:
    challenge = respond(begin("SCRAM-SHA-256", iterations=12345), b"n,,n=nobody,r=abc")
    assert isinstance(challenge, Challenge)
    assert challenge.data.endswith(b",i=12345")


def test_the_claimed_name_is_known_after_a_failure() -> None:
    for username, claimed in [("Nobody", "nobody"), ("romeo", "romeo"), ("no body", "")]:
        exchange = begin("PLAIN")
        failure(exchange, plain(username, "wrong"))
        assert exchange.claimed == claimed


# --- Messages nobody should send


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"romeo",
        b"romeo\0pencil",
        b"\0romeo\0",
        b"\0\0pencil",
        b"\0romeo\0pencil\0",
        b"\0romeo\0pen\0cil",
        b"romeo@example.org\0romeo\0pencil\0\0",
        b"\0romeo\0pencil\xff",
        b"\0romeo\0\xed\xa0\x80",
        b"\0romeo\0" + b"x" * MAXIMUM_MESSAGE_BYTES,
    ],
)
def test_plain_is_exactly_three_fields(message: bytes) -> None:
    assert failure(begin("PLAIN"), message).condition is SaslCondition.MALFORMED_REQUEST


def test_no_message_is_longer_than_the_bound() -> None:
    longest = b"n,,n=romeo,r=".ljust(MAXIMUM_MESSAGE_BYTES, b"x")
    assert isinstance(respond(begin("SCRAM-SHA-256"), longest), Challenge)
    for messages in ([longest + b"x"], [b"n,,n=romeo,r=abc", longest + b"x"]):
        refused = failure(begin("SCRAM-SHA-256"), *messages)
        assert (refused.condition, refused.text) == (SaslCondition.MALFORMED_REQUEST, "the message is too long")


def test_an_attempt_that_is_over_stays_over() -> None:
    exchange = begin("PLAIN")
    failure(exchange, plain("romeo", "wrong"))
    assert failure(exchange, plain("romeo", "pencil")).condition is SaslCondition.MALFORMED_REQUEST
    exchange = begin("SCRAM-SHA-1")
    scram_login(exchange, "SCRAM-SHA-1", "romeo", "pencil")
    assert failure(exchange, b"n,,n=romeo,r=abc").condition is SaslCondition.MALFORMED_REQUEST


def test_a_name_that_cannot_be_is_not_looked_up() -> None:
    asked: list[str] = []

    async def listening(local: str) -> Credentials | None:
        asked.append(local)
        return await credentials(local)

    for username in ("no body", "romeo@example.org", "Romeo", "nobody"):
        respond(begin("SCRAM-SHA-256", credentials=listening), f"n,,n={username},r=abc".encode())
    assert asked == ["romeo", "nobody"]


def test_trouble_with_the_accounts_is_not_a_wrong_password() -> None:
    async def broken(local: str) -> Credentials | None:
        raise OSError("no database")

    for mechanism, message in [("PLAIN", plain("romeo", "pencil")), ("SCRAM-SHA-1", b"n,,n=romeo,r=abc")]:
        with pytest.raises(OSError, match="no database"):
            respond(begin(mechanism, credentials=broken), message)


MESSAGES = st.lists(
    st.none()
    | st.binary(max_size=40)
    | st.sampled_from([plain("romeo", "x"), b"n,,n=romeo,r=abc", b"c=biws,r=abc,p=AAEC", b"p=tls-exporter,,n=x,r=y"]),
    max_size=4,
)


@given(mechanism=st.sampled_from(SCRAM), messages=MESSAGES)
def test_no_messages_let_a_stranger_in_or_break_anything(mechanism: str, messages: list[bytes | None]) -> None:
    for name in (mechanism, "PLAIN"):
        exchange = begin(name)
        for message in messages:
            try:
                assert isinstance(respond(exchange, message), Challenge)
            except SaslFailure:
                continue


# --- base64


@given(st.binary())
def test_base64_round_trip(data: bytes) -> None:
    text = encode_base64(data)
    assert text
    assert decode_base64(text) == data


def test_nothing_is_written_as_an_equals_sign() -> None:
    assert encode_base64(b"") == "="
    assert decode_base64("=") == b""
    assert decode_base64("") == b""


@pytest.mark.parametrize(
    "text",
    [
        "AAE",
        "AAEC=",
        "AAEC====",
        "AA==AA==",
        "=AAE",
        "A",
        "A===",
        "==",
        "====",
        "AAE=\n",
        " AAE=",
        "AA E=",
        "AAF=",
        "AB==",
        "AA-_",
        "AAE\u00e9",
        "\uff21AEC",
        "AAE\0",
    ],
)
def test_base64_is_strict(text: str) -> None:
    with pytest.raises(SaslFailure) as caught:
        decode_base64(text)
    assert caught.value.condition is SaslCondition.INCORRECT_ENCODING


@given(st.text("AQgwBC/+=\n", max_size=9))
def test_base64_has_one_form_only(text: str) -> None:
    try:
        data = decode_base64(text)
    except SaslFailure:
        return
    assert text in (encode_base64(data), base64.b64encode(data).decode())


def test_secrets_are_not_in_what_might_be_logged() -> None:
    realm = Realm("example.org", credentials, b"sesame", ITERATIONS)
    assert "sesame" not in repr(realm) + repr(Success("romeo", b"v=sesame"))
