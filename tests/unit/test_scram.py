"""SCRAM, told apart from its accounts: the RFCs' own conversations, scramp and slixmpp as oracles, and bad messages."""

from __future__ import annotations

import base64
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scramp import ScramClient, ScramException, ScramMechanism
from slixmpp.util.sasl import mechanisms as slixmpp_mechanisms
from slixmpp.util.sasl.client import SASLMutualAuthFailed

from vrxmpp.negotiation.mechanism import ChannelBindings, SaslCondition, SaslFailure
from vrxmpp.negotiation.scram import (
    ClientFinal,
    ClientFirst,
    Conversation,
    HashName,
    decoy_keys,
    derive_keys,
    password_matches,
)
from vrxmpp.store.interfaces import ScramKeys

NO_BINDINGS = ChannelBindings()
BINDINGS = ChannelBindings({"tls-exporter": b"exported keying material", "tls-server-end-point": b"\x00 of, a cert="})
HASHES: list[HashName] = ["sha1", "sha256"]
SCRAMP_NAMES = {"sha1": "SCRAM-SHA-1", "sha256": "SCRAM-SHA-256"}
PASSWORDS = ["pencil", "correct horse battery staple", "\u2168\u00ad caf\u0065\u0301 \u212b", "=,=2C\u20ac"]
USERNAMES = ["user", "a,b=c", "=2C", "j\u00fcrgen"]


def keys_for(password: str, hash_name: HashName, iterations: int = 4096) -> ScramKeys:
    return derive_keys(password, iterations)[HASHES.index(hash_name)]


# --- The conversations printed in the RFCs, of a user with the password "pencil"

RFC_5802_SECTION_5 = """\
n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL
r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096
c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=
v=rmF9pqV8S7suAoZWja4dJRkFsKQ="""
RFC_7677_SECTION_3 = """\
n,,n=user,r=rOprNGfwEbeRWgbNEkqO
r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096
c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=
v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="""


@pytest.mark.parametrize(
    ("hash_name", "server_nonce", "salt", "messages"),
    [
        ("sha1", "3rfcNHYJY1ZVvWVs7j", "QSXCR+Q6sek8bf92", RFC_5802_SECTION_5),
        ("sha256", "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0", "W22ZaJ0SNY7soEsUEjb6gQ==", RFC_7677_SECTION_3),
    ],
)
def test_holds_the_conversation_of_the_rfc(hash_name: HashName, server_nonce: str, salt: str, messages: str) -> None:
    first, challenge, final, server_final = messages.encode().split(b"\n")
    mechanism = ScramMechanism(SCRAMP_NAMES[hash_name])
    _, stored_key, server_key, _ = mechanism.make_auth_info("pencil", 4096, base64.b64decode(salt))
    keys = ScramKeys(base64.b64decode(salt), 4096, stored_key, server_key)
    conversation = Conversation(hash_name, False, NO_BINDINGS, server_nonce)
    assert conversation.read_first(first).username == "user"
    assert conversation.challenge(keys) == challenge
    assert conversation.read_final(final, keys) == server_final


# --- Oracles


@pytest.mark.parametrize("hash_name", HASHES)
@pytest.mark.parametrize("password", PASSWORDS)
def test_derives_the_keys_that_scramp_derives(hash_name: HashName, password: str) -> None:
    keys = keys_for(password, hash_name, 5000)
    expected = ScramMechanism(SCRAMP_NAMES[hash_name]).make_auth_info(password, 5000, keys.salt)
    assert (keys.salt, keys.stored_key, keys.server_key, keys.iterations) == expected


def test_each_derivation_has_salts_of_its_own() -> None:
    salts = {keys.salt for _ in range(3) for keys in derive_keys("pencil", 1)}
    assert len(salts) == 6
    assert {len(salt) for salt in salts} == {16}


def test_derives_nothing_from_a_forbidden_password() -> None:
    with pytest.raises(ValueError, match="forbids"):
        derive_keys("\u0007", 4096)


@pytest.mark.parametrize("hash_name", HASHES)
@pytest.mark.parametrize("plus", [False, True])
@pytest.mark.parametrize("username", USERNAMES)
@pytest.mark.parametrize("password", PASSWORDS)
def test_lets_scramp_in_and_answers_as_its_server_would(
    hash_name: HashName, plus: bool, username: str, password: str
) -> None:
    name = SCRAMP_NAMES[hash_name] + ("-PLUS" if plus else "")
    binding = ("tls-server-end-point", BINDINGS["tls-server-end-point"]) if plus else None
    keys = keys_for(password, hash_name)
    client = ScramClient([name], username, password, channel_binding=binding)
    ours = Conversation(hash_name, plus, BINDINGS, "theServersNonce")
    theirs = ScramMechanism(name).make_server(
        lambda _: (keys.salt, keys.stored_key, keys.server_key, keys.iterations), binding, "theServersNonce"
    )

    first = client.get_client_first()
    assert ours.read_first(first.encode()).username == username
    theirs.set_client_first(first)
    challenge = ours.challenge(keys)
    assert challenge.decode() == theirs.get_server_first()
    client.set_server_first(challenge.decode())
    final = client.get_client_final()
    theirs.set_client_final(final)
    server_final = ours.read_final(final.encode(), keys)
    assert server_final is not None
    assert server_final.decode() == theirs.get_server_final()
    client.set_server_final(server_final.decode())


@pytest.mark.parametrize("hash_name", HASHES)
def test_does_not_let_scramp_in_with_a_wrong_password(hash_name: HashName) -> None:
    keys = keys_for("pencil", hash_name)
    client = ScramClient([SCRAMP_NAMES[hash_name]], "user", "pencil ")
    conversation = Conversation(hash_name, False, NO_BINDINGS)
    conversation.read_first(client.get_client_first().encode())
    client.set_server_first(conversation.challenge(keys).decode())
    assert conversation.read_final(client.get_client_final().encode(), keys) is None


def test_a_server_that_knows_only_half_the_keys_is_found_out() -> None:
    keys = keys_for("pencil", "sha256")
    client = ScramClient(["SCRAM-SHA-256"], "user", "pencil")
    conversation = Conversation("sha256", False, NO_BINDINGS)
    conversation.read_first(client.get_client_first().encode())
    client.set_server_first(conversation.challenge(keys).decode())
    wrong = replace(keys, server_key=bytes(32))
    server_final = conversation.read_final(client.get_client_final().encode(), wrong)
    assert server_final is not None
    with pytest.raises(ScramException, match="signature"):
        client.set_server_final(server_final.decode())


def slixmpp_client(name: str, password: bytes, bindings: ChannelBindings) -> slixmpp_mechanisms.SCRAM:
    return slixmpp_mechanisms.SCRAM(
        name,
        {
            "username": b"user",
            "password": password,
            "authzid": b"",
            "channel_binding": bindings.get("tls-exporter", b""),
        },
        {"encrypted": True, "tls_version": "TLSv1.3", "unencrypted_scram": False, "binding_proposed": bool(bindings)},
    )


@pytest.mark.parametrize("hash_name", HASHES)
@pytest.mark.parametrize("plus", [False, True])
def test_lets_slixmpp_in_bound_to_the_exporter(hash_name: HashName, plus: bool) -> None:
    keys = keys_for("pencil", hash_name)
    name = SCRAMP_NAMES[hash_name] + ("-PLUS" if plus else "")
    client = slixmpp_client(name, b"pencil", BINDINGS if plus else NO_BINDINGS)
    conversation = Conversation(hash_name, plus, BINDINGS if plus else NO_BINDINGS)
    first = conversation.read_first(client.process())
    assert first.binding_type == ("tls-exporter" if plus else "")
    assert first.flag == ("p" if plus else "y")
    server_final = conversation.read_final(client.process(conversation.challenge(keys)), keys)
    assert server_final is not None
    client.process(server_final)
    with pytest.raises(SASLMutualAuthFailed):
        client.process(b"v=" + base64.b64encode(bytes(32)))


def test_slixmpp_on_another_channel_is_refused() -> None:
    keys = keys_for("pencil", "sha256")
    client = slixmpp_client("SCRAM-SHA-256-PLUS", b"pencil", ChannelBindings({"tls-exporter": b"of the man between"}))
    conversation = Conversation("sha256", True, BINDINGS)
    conversation.read_first(client.process())
    final = client.process(conversation.challenge(keys))
    with pytest.raises(SaslFailure) as caught:
        conversation.read_final(final, keys)
    assert caught.value.condition is SaslCondition.MALFORMED_REQUEST


# --- Channel binding, as far as the first message shows it


@pytest.mark.parametrize(
    ("plus", "bindings", "gs2_header"),
    [
        pytest.param(True, BINDINGS, b"n,,", id="-PLUS without binding"),
        pytest.param(True, BINDINGS, b"y,,", id="-PLUS by a client that saw none"),
        pytest.param(False, BINDINGS, b"y,,", id="stripped from the offer"),
        pytest.param(False, BINDINGS, b"p=tls-exporter,,", id="binding without -PLUS"),
        pytest.param(False, NO_BINDINGS, b"p=tls-exporter,,", id="binding where none is offered"),
        pytest.param(True, BINDINGS, b"p=tls-unique,,", id="a type not offered"),
        pytest.param(True, BINDINGS, b"p=TLS-EXPORTER,,", id="names are case-sensitive"),
    ],
)
def test_refuses_a_wrong_channel_binding_flag(plus: bool, bindings: ChannelBindings, gs2_header: bytes) -> None:
    with pytest.raises(SaslFailure) as caught:
        Conversation("sha256", plus, bindings).read_first(gs2_header + b"n=user,r=abc")
    assert caught.value.condition is SaslCondition.MALFORMED_REQUEST
    assert caught.value.text != "not a SCRAM client-first-message"


@pytest.mark.parametrize(
    ("plus", "bindings", "gs2_header"),
    [
        (False, NO_BINDINGS, b"n,,"),
        (False, NO_BINDINGS, b"y,,"),
        (False, BINDINGS, b"n,,"),
        (True, BINDINGS, b"p=tls-exporter,,"),
        (True, BINDINGS, b"p=tls-server-end-point,,"),
    ],
)
def test_takes_a_right_channel_binding_flag(plus: bool, bindings: ChannelBindings, gs2_header: bytes) -> None:
    first = Conversation("sha256", plus, bindings).read_first(gs2_header + b"n=user,r=abc")
    assert first.gs2_header == gs2_header.decode()


# --- Messages that are not well-formed, or not the answer


@pytest.mark.parametrize(
    ("message", "authzid", "username"),
    [
        (b"n,,n=user,r=abc", "", "user"),
        (b"n,a=bob=2Cthe=3Done,n=a=2Cb=3D2C,r=abc", "bob,the=one", "a,b=2C"),
        (b"n,,n=user,r=abc,x=extension,Y=another=one", "", "user"),
        (b"n,,n=user,r=!\"#$%&'()*+-./:;<=>?@[\\]^_`{|}~", "", "user"),
        ("n,,n=j\u00fcrgen \U0001f511\n,r=abc".encode(), "", "j\u00fcrgen \U0001f511\n"),
    ],
)
def test_reads_a_client_first_message(message: bytes, authzid: str, username: str) -> None:
    first = ClientFirst.parse(message)
    assert (first.authzid, first.username) == (authzid, username)
    assert first.gs2_header + first.bare == message.decode()


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"n",
        b"n,",
        b"n,,",
        b"n=user,r=abc",
        b",,n=user,r=abc",
        b"N,,n=user,r=abc",
        b"x,,n=user,r=abc",
        b"p,,n=user,r=abc",
        b"p=,,n=user,r=abc",
        b"p=tls_unique,,n=user,r=abc",
        b"n=tls-exporter,,n=user,r=abc",
        b"n,n=user,r=abc",
        b"n,bob,n=user,r=abc",
        b"n,a=,n=user,r=abc",
        b"n,a=a=b,n=user,r=abc",
        b"n,,m=ext,n=user,r=abc",
        b"n,,n=user,r=abc,m=ext",
        b"n,,n=user,m=ext,r=abc",
        b"n,,r=abc,n=user",
        b"n,,n=user",
        b"n,,n=,r=abc",
        b"n,,n=user,r=",
        b"n,,n=user,r=a c",
        b"n,,n=user,r=abc\n",
        b"n,,n=user,r=\xc3\xa9",
        b"n,,n=user,r=abc,",
        b"n,,n=user,r=abc,x",
        b"n,,n=user,r=abc,x=",
        b"n,,n=user,r=abc,xy=z",
        b"n,,n=user,r=abc,1=z",
        b"n,,n=user,r=abc,n=other",
        b"n,,n=user,r=abc,p=proof",
        b"n,,n=us\x00er,r=abc",
        b"n,,n=us=er,r=abc",
        b"n,,n=us=2cer,r=abc",
        b"n,,n=us=3der,r=abc",
        b"n,,n=us=20er,r=abc",
        b"n,,n=user=,r=abc",
        b"n,,n=us\xffer,r=abc",
        b"n,,n=us\xed\xa0\x80er,r=abc",
        b" n,,n=user,r=abc",
    ],
)
def test_refuses_a_bad_client_first_message(message: bytes) -> None:
    with pytest.raises(SaslFailure) as caught:
        ClientFirst.parse(message)
    assert caught.value.condition is SaslCondition.MALFORMED_REQUEST


def test_reads_a_client_final_message() -> None:
    final = ClientFinal.parse(b"c=biws,r=abc,x=extension,p=AAEC")
    assert final == ClientFinal(b"n,,", "abc", b"\x00\x01\x02", "c=biws,r=abc,x=extension")


@pytest.mark.parametrize(
    ("message", "condition"),
    [
        (b"", SaslCondition.MALFORMED_REQUEST),
        (b"c=biws,r=abc", SaslCondition.MALFORMED_REQUEST),
        (b"r=abc,c=biws,p=AAEC", SaslCondition.MALFORMED_REQUEST),
        (b"c=biws,p=AAEC,r=abc", SaslCondition.MALFORMED_REQUEST),
        (b"c=biws,r=abc,p=AAEC,x=y", SaslCondition.MALFORMED_REQUEST),
        (b"c=biws,r=abc,p=AAEC,p=AAEC", SaslCondition.MALFORMED_REQUEST),
        (b"c=biws,r=abc,p=", SaslCondition.MALFORMED_REQUEST),
        (b"c=,r=abc,p=AAEC", SaslCondition.MALFORMED_REQUEST),
        (b"c=biws,r=,p=AAEC", SaslCondition.MALFORMED_REQUEST),
        (b"c=biws,r=abc,m=ext,p=AAEC", SaslCondition.MALFORMED_REQUEST),
        (b"m=ext,c=biws,r=abc,p=AAEC", SaslCondition.MALFORMED_REQUEST),
        (b"c=biws,r=abc,p=AA\nEC", SaslCondition.MALFORMED_REQUEST),
        (b"c=biws,r=abc,p=AAEC\n", SaslCondition.MALFORMED_REQUEST),
        (b"c=biws,r=abc,p=\xff", SaslCondition.MALFORMED_REQUEST),
        (b"c=biws,r=abc,p=AAE", SaslCondition.INCORRECT_ENCODING),
        (b"c=biws,r=abc,p=AAF=", SaslCondition.INCORRECT_ENCODING),
        (b"c=biw=,r=abc,p=A===", SaslCondition.MALFORMED_REQUEST),
        (b"c=biw,r=abc,p=AAEC", SaslCondition.INCORRECT_ENCODING),
    ],
)
def test_refuses_a_bad_client_final_message(message: bytes, condition: SaslCondition) -> None:
    with pytest.raises(SaslFailure) as caught:
        ClientFinal.parse(message)
    assert caught.value.condition is condition


PROOF = base64.b64encode(bytes(32)).decode()
EXPORTER = base64.b64encode(b"p=tls-exporter,," + BINDINGS["tls-exporter"]).decode()
END_POINT = base64.b64encode(b"p=tls-exporter,," + BINDINGS["tls-server-end-point"]).decode()
HEADER_ONLY = base64.b64encode(b"p=tls-exporter,,").decode()


@pytest.mark.parametrize(
    ("final", "text"),
    [
        pytest.param(f"c=biws,r=abcdef,p={PROOF}", "bindings differ", id="another gs2 header"),
        pytest.param(f"c={HEADER_ONLY},r=abcdef,p={PROOF}", "bindings differ", id="no binding data"),
        pytest.param(f"c={END_POINT},r=abcdef,p={PROOF}", "bindings differ", id="data of another type"),
        pytest.param(f"c={EXPORTER},r=abc,p={PROOF}", "nonces differ", id="only the client's nonce"),
        pytest.param(f"c={EXPORTER},r=abcdefg,p={PROOF}", "nonces differ", id="more than the nonce"),
        pytest.param(f"c={EXPORTER},r=abcdef,p=AAEC", "wrong length", id="short proof"),
        pytest.param(f"c={EXPORTER},r=abcdef,p={PROOF[:-4]}AAAA", "wrong length", id="long proof"),
    ],
)
def test_refuses_a_final_message_of_another_conversation(final: str, text: str) -> None:
    keys = keys_for("pencil", "sha256")
    conversation = Conversation("sha256", True, BINDINGS, "def")
    conversation.read_first(b"p=tls-exporter,,n=user,r=abc")
    conversation.challenge(keys)
    with pytest.raises(SaslFailure) as caught:
        conversation.read_final(final.encode(), keys)
    assert caught.value.condition is SaslCondition.MALFORMED_REQUEST
    assert text in caught.value.text


def test_server_nonces_are_fresh_and_of_18_bytes() -> None:
    nonces = set()
    for _ in range(10):
        conversation = Conversation("sha256", False, NO_BINDINGS)
        conversation.read_first(b"n,,n=user,r=abc")
        nonces.add(conversation.challenge(decoy_keys(b"", "", 4096)[1]).split(b",")[0].removeprefix(b"r=abc"))
    assert len(nonces) == 10
    assert {len(base64.urlsafe_b64decode(nonce)) for nonce in nonces} == {18}


NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)


@given(authzid=st.just("") | NAMES, username=NAMES, nonce=st.text(st.sampled_from("!+-~09AZaz"), min_size=1))
def test_every_name_survives_the_way_through_a_message(authzid: str, username: str, nonce: str) -> None:
    def escape(name: str) -> str:
        return name.replace("=", "=3D").replace(",", "=2C")

    attribute = f"a={escape(authzid)}" if authzid else ""
    first = ClientFirst.parse(f"n,{attribute},n={escape(username)},r={nonce}".encode())
    assert (first.authzid, first.username, first.nonce) == (authzid, username, nonce)


@given(binding=st.binary(min_size=1), proof=st.binary(min_size=1))
def test_every_byte_survives_the_way_through_a_message(binding: bytes, proof: bytes) -> None:
    text = f"c={base64.b64encode(binding).decode()},r=abc,p={base64.b64encode(proof).decode()}"
    final = ClientFinal.parse(text.encode())
    assert (final.binding, final.proof) == (binding, proof)


FRAGMENTS = st.lists(
    st.sampled_from(
        [b"n", b"y", b"p=", b"tls-exporter", b",", b",,", b"n=", b"r=", b"a=", b"c=", b"m=", b"biws", b"AAEC", b"="]
    )
    | st.binary(max_size=3)
).map(b"".join)


@given(FRAGMENTS)
def test_a_parser_raises_nothing_but_a_failure(message: bytes) -> None:
    for parse in (ClientFirst.parse, ClientFinal.parse):
        try:
            parse(message)
        except SaslFailure:
            continue


# --- Checking a password, and accounts that do not exist


def test_tells_the_password_from_others() -> None:
    sha256 = keys_for("caf\u00e9", "sha256")
    assert password_matches("caf\u00e9", sha256)
    assert password_matches("cafe\u0301", sha256)
    assert not password_matches("cafe", sha256)
    assert not password_matches("", sha256)
    assert not password_matches("caf\u00e9\u0007", sha256)


def test_decoys_look_like_keys_and_stay_the_same() -> None:
    real = derive_keys("pencil", 4096)
    decoys = decoy_keys(b"secret", "nobody@example.org", 4096)
    for key, decoy in zip(real, decoys, strict=True):
        assert [len(part) for part in (key.salt, key.stored_key, key.server_key)] == [
            len(part) for part in (decoy.salt, decoy.stored_key, decoy.server_key)
        ]
        assert decoy.iterations == 4096
    assert decoys == decoy_keys(b"secret", "nobody@example.org", 4096)


def test_decoys_differ_by_name_by_secret_and_by_hash() -> None:
    salts = [
        keys.salt
        for secret, name in [(b"one", "a@b"), (b"one", "a@c"), (b"two", "a@b")]
        for keys in decoy_keys(secret, name, 4096)
    ]
    assert len(set(salts)) == 6
