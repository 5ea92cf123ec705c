"""What another server, hostile or sloppy, may say to ours, and what it is told (RFC 6120, XEP-0178, XEP-0288)."""

from __future__ import annotations

from collections.abc import Iterable
from xml.etree.ElementTree import Element

import pytest

from tests.internet import Internet, Site
from tests.peer import EXTERNAL, PEER, REQUIRED, call, header
from tests.streams import Reader, encode, show
from vrxmpp import ns
from vrxmpp.net.tls import CertificateFiles

ONE = "one.example"


@pytest.fixture
def one(internet: Internet) -> Site:
    return internet.site(ONE)


@pytest.fixture
def good(internet: Internet) -> CertificateFiles:
    return internet.authority.issue(PEER)


def names(features: Iterable[Element]) -> list[str]:
    return [each.tag.partition("}")[2] for each in features]


# -- headers


@pytest.mark.parametrize("piece", [0, 1])
@pytest.mark.parametrize(
    ("attributes", "condition"),
    [
        ({"to": ""}, "host-unknown"),
        ({"to": "elsewhere.example"}, "host-unknown"),
        ({"to": "romeo@one.example"}, "host-unknown"),
        ({"to": "@@"}, "host-unknown"),
        ({"from": "juliet@peer.example"}, "invalid-from"),
        ({"from": "peer.example/balcony"}, "invalid-from"),
        ({"from": "peer..example"}, "invalid-from"),
        ({"from": "@"}, "invalid-from"),
        ({"version": ""}, "unsupported-version"),
        ({"version": "0.9"}, "unsupported-version"),
        ({"version": "one"}, "unsupported-version"),
        ({"xmlns": ns.CLIENT}, "invalid-namespace"),
        ({"xmlns": ""}, "invalid-namespace"),
        ({"xmlns_stream": "jabber:streams"}, "invalid-namespace"),
        ({"other": "x" * 11_000}, "policy-violation"),
    ],
)
def test_a_bad_header_is_answered_by_a_header_and_an_error(
    internet: Internet, one: Site, attributes: dict[str, str], condition: str, piece: int
) -> None:
    peer = call(internet, one)
    peer.piece = piece
    peer.send(header(ONE, PEER, **attributes))
    assert peer.fails() == condition


def test_the_prefix_of_the_header_has_to_be_the_usual(internet: Internet, one: Site) -> None:
    peer = call(internet, one)
    peer.send(f"<s:stream xmlns='{ns.SERVER}' xmlns:s='{ns.STREAM}' to='{ONE}' from='{PEER}' version='1.0'>")
    assert peer.fails() == "bad-namespace-prefix"


def test_a_header_without_an_end_is_cut_off(internet: Internet, one: Site) -> None:
    peer = call(internet, one)
    peer.send("<stream:stream xmlns='")
    for _ in range(20):
        peer.send("x" * 1000)
    assert peer.fails() == "policy-violation"


def test_a_header_that_is_never_finished_runs_into_the_deadline(internet: Internet, one: Site) -> None:
    peer = call(internet, one)
    peer.send("<stream:stream xmlns='")
    internet.wait(29)
    assert peer.pipe.is_open
    internet.wait(3)
    assert peer.fails() == "connection-timeout"


@pytest.mark.parametrize(
    ("second", "condition"),
    [
        ({"to": "two.example"}, "host-unknown"),
        ({"from": "else.example"}, "invalid-from"),
        ({"from": ""}, "invalid-from"),
        ({"from": f"sub.{PEER}"}, "invalid-from"),
    ],
)
def test_nobody_becomes_another_by_a_restart(internet: Internet, second: dict[str, str], condition: str) -> None:
    site = internet.site(ONE, "two.example")
    peer = call(internet, site)
    peer.open(ONE)
    peer.start_tls(internet.authority.issue(PEER, "else.example", f"sub.{PEER}"))
    peer.begin(**{"to": ONE} | second)
    assert peer.fails() == condition


@pytest.mark.parametrize(
    ("third", "condition"),
    [
        ({"to": "two.example"}, "host-unknown"),
        ({"from": "else.example"}, "invalid-from"),
        ({"from": ""}, "invalid-from"),
    ],
)
def test_nobody_becomes_another_by_logging_in(internet: Internet, third: dict[str, str], condition: str) -> None:
    site = internet.site(ONE, "two.example")
    peer = call(internet, site)
    peer.open_securely(internet.authority.issue(PEER, "else.example"))
    assert "success" in peer.auth()
    peer.begin(**{"to": ONE} | third)
    assert peer.fails() == condition
    assert list(site.streams()) == []


# -- the order of things


def test_before_tls_nothing_else_is_offered(internet: Internet, one: Site) -> None:
    assert show(call(internet, one).open(ONE), ns.SERVER) == f"<features xmlns='{ns.STREAM}'>{REQUIRED}</features>"


def test_where_tls_is_optional_it_is_still_offered_first(internet: Internet) -> None:
    site = internet.site(ONE, tls="optional")
    peer = call(internet, site)
    assert names(peer.open(ONE)) == ["starttls", "dialback", "sm", "limits"]


@pytest.mark.parametrize(
    "what",
    [
        f"<auth xmlns='{ns.SASL}' mechanism='EXTERNAL'>=</auth>",
        f"<db:result from='{PEER}' to='{ONE}'>key</db:result>",
        f"<db:verify from='{PEER}' to='{ONE}' id='x'>key</db:verify>",
        f"<enable xmlns='{ns.STREAM_MANAGEMENT}'/>",
        f"<resume xmlns='{ns.STREAM_MANAGEMENT}' previd='x' h='0'/>",
        f"<r xmlns='{ns.STREAM_MANAGEMENT}'/>",
        f"<bidi xmlns='{ns.BIDI}'/>",
        "<unheard-of xmlns='urn:example:x'/>",
    ],
)
def test_before_tls_nothing_else_is_taken(internet: Internet, one: Site, what: str) -> None:
    peer = call(internet, one)
    peer.open(ONE)
    peer.send(what)
    assert peer.fails() == "policy-violation"


@pytest.mark.parametrize("behind", ["<", header(ONE, PEER), f"<message from='a@{PEER}' to='b@{ONE}'/>"])
def test_what_is_pipelined_behind_starttls_is_never_read(internet: Internet, one: Site, behind: str) -> None:
    peer = call(internet, one)
    peer.open(ONE)
    peer.send(f"<starttls xmlns='{ns.TLS}'/>{behind}")
    assert peer.fails() == "policy-violation"


def test_tls_comes_once(internet: Internet, one: Site, good: CertificateFiles) -> None:
    peer = call(internet, one)
    peer.open_securely(good)
    peer.send(f"<starttls xmlns='{ns.TLS}'/>")
    assert peer.fails() == "unsupported-stanza-type"


def test_a_handshake_has_its_deadline(internet: Internet, one: Site) -> None:
    peer = call(internet, one)
    peer.open(ONE)
    peer.send(f"<starttls xmlns='{ns.TLS}'/>")
    internet.wait(9)
    assert peer.pipe.is_open
    internet.wait(3)
    assert not peer.pipe.is_open


@pytest.mark.parametrize("direct_tls", [False, True])
def test_what_is_offered_behind_tls(internet: Internet, one: Site, good: CertificateFiles, direct_tls: bool) -> None:
    peer = call(internet, one, direct_tls=direct_tls)
    if direct_tls:
        peer.use_tls(good, ONE)
        features = peer.open(ONE)
    else:
        features = peer.open_securely(good)
    assert names(features) == ["mechanisms", "bidi", "dialback", "sm", "limits"]
    assert EXTERNAL in show(features, ns.SERVER)
    limits = features[-1]
    assert [(each.tag.partition("}")[2], each.text) for each in limits] == [
        ("max-bytes", "524288"),
        ("idle-seconds", "1200"),
    ]


def test_after_the_proof_no_mechanism_is_offered(internet: Internet, one: Site, good: CertificateFiles) -> None:
    assert names(call(internet, one).log_in(good)) == ["dialback", "sm", "limits"]


@pytest.mark.parametrize("shown", ["other", "none", "nobody"])
def test_external_is_for_whom_the_certificate_proves(internet: Internet, one: Site, shown: str) -> None:
    files = internet.authority.issue(PEER) if shown == "nobody" else None
    if shown == "other":
        files = internet.authority.issue(PEER, wrong_name="else.example")
    peer = call(internet, one)
    features = peer.open_securely(files, sender="" if shown == "nobody" else PEER)
    assert "mechanisms" not in names(features)
    assert "not-authorized" in peer.auth()
    assert "invalid-authzid" in peer.auth(encode("else.example"))
    peer.send(f"<message from='a@{PEER}' to='b@{ONE}'/>")
    assert peer.fails() == "not-authorized"


# -- SASL


@pytest.mark.parametrize("authzid", ["=", encode(PEER), encode(PEER.upper())])
def test_who_logs_in_may_say_its_name(internet: Internet, one: Site, good: CertificateFiles, authzid: str) -> None:
    peer = call(internet, one)
    peer.open_securely(good)
    assert peer.auth(authzid) == f"<success xmlns='{ns.SASL}'/>"


def test_without_an_initial_response_the_name_is_asked_for(
    internet: Internet, one: Site, good: CertificateFiles
) -> None:
    peer = call(internet, one)
    peer.open_securely(good)
    assert peer.auth("") == f"<challenge xmlns='{ns.SASL}'>=</challenge>"
    peer.send(f"<response xmlns='{ns.SASL}'>=</response>")
    assert peer.hears() == [f"<success xmlns='{ns.SASL}'/>"]


@pytest.mark.parametrize(
    ("log_in", "condition"),
    [
        ((encode("else.example"), "EXTERNAL"), "invalid-authzid"),
        ((encode(f"sub.{PEER}"), "EXTERNAL"), "invalid-authzid"),
        ((encode(f"a@{PEER}"), "EXTERNAL"), "invalid-authzid"),
        ((encode(f"{PEER}/a"), "EXTERNAL"), "invalid-authzid"),
        (("gA==", "EXTERNAL"), "invalid-authzid"),  # no UTF-8
        ((encode(f"{PEER}\0{ONE}"), "EXTERNAL"), "invalid-authzid"),
        (("a", "EXTERNAL"), "incorrect-encoding"),
        (("====", "EXTERNAL"), "incorrect-encoding"),
        (("é", "EXTERNAL"), "incorrect-encoding"),
        (("<x/>", "EXTERNAL"), "incorrect-encoding"),
        (("=", "PLAIN"), "invalid-mechanism"),
        (("=", ""), "invalid-mechanism"),
        (("=", "external"), "invalid-mechanism"),
    ],
)
def test_a_bad_log_in_fails_and_another_may_follow(
    internet: Internet, one: Site, good: CertificateFiles, log_in: tuple[str, str], condition: str
) -> None:
    peer = call(internet, one)
    peer.open_securely(good)
    assert peer.auth(*log_in) == f"<failure xmlns='{ns.SASL}'><{condition}/></failure>"
    assert "success" in peer.auth()


def test_an_aborted_log_in_is_one_that_failed(internet: Internet, one: Site, good: CertificateFiles) -> None:
    peer = call(internet, one)
    peer.open_securely(good)
    peer.auth("")
    peer.send(f"<abort xmlns='{ns.SASL}'/>")
    assert peer.hears() == [f"<failure xmlns='{ns.SASL}'><aborted/></failure>"]


def test_after_three_failures_it_is_over(internet: Internet, one: Site, good: CertificateFiles) -> None:
    peer = call(internet, one)
    peer.open_securely(good)
    for _ in range(2):
        assert "failure" in peer.auth("a")
    peer.send(f"<auth xmlns='{ns.SASL}' mechanism='EXTERNAL'>a</auth>")
    assert peer.fails() == "policy-violation"


@pytest.mark.parametrize("what", ["<response xmlns='{}'>=</response>", "<abort xmlns='{}'/>"])
def test_a_response_to_nothing_ends_the_stream(
    internet: Internet, one: Site, good: CertificateFiles, what: str
) -> None:
    peer = call(internet, one)
    peer.open_securely(good)
    peer.send(what.format(ns.SASL))
    assert peer.fails() == "policy-violation"


def test_two_log_ins_at_once_end_the_stream(internet: Internet, one: Site, good: CertificateFiles) -> None:
    peer = call(internet, one)
    peer.open_securely(good)
    peer.auth("")
    peer.send(f"<auth xmlns='{ns.SASL}' mechanism='EXTERNAL'>=</auth>")
    assert peer.fails() == "policy-violation"


def test_who_is_proven_cannot_log_in_again(internet: Internet, one: Site, good: CertificateFiles) -> None:
    peer = call(internet, one)
    peer.log_in(good)
    peer.send(f"<auth xmlns='{ns.SASL}' mechanism='EXTERNAL'>=</auth>")
    assert peer.fails() == "policy-violation"


def test_behind_success_a_header_has_to_come(internet: Internet, one: Site, good: CertificateFiles) -> None:
    peer = call(internet, one)
    peer.open_securely(good)
    peer.auth()
    peer.reader = Reader()
    peer.send(f"<message from='a@{PEER}' to='romeo@{ONE}'><body>Too early</body></message>")
    assert peer.fails() == "bad-format"
    assert list(one.streams()) == []


def test_what_is_pipelined_behind_the_log_in_is_never_read(
    internet: Internet, one: Site, good: CertificateFiles
) -> None:
    peer = call(internet, one)
    peer.open_securely(good)
    peer.send(f"<auth xmlns='{ns.SASL}' mechanism='EXTERNAL'>=</auth>{header(ONE, PEER)}")
    assert peer.fails() == "policy-violation"


def test_there_is_a_deadline_for_the_proof(internet: Internet, one: Site, good: CertificateFiles) -> None:
    peer = call(internet, one)
    peer.open_securely(good)
    for _ in range(28):
        internet.wait(1)
        peer.send(" ")
    assert peer.pipe.is_open
    internet.wait(3)
    assert peer.fails() == "connection-timeout"


def test_a_log_in_that_is_not_followed_by_a_stream_has_a_deadline_too(
    internet: Internet, one: Site, good: CertificateFiles
) -> None:
    peer = call(internet, one)
    peer.open_securely(good)
    peer.auth()
    internet.wait(40)
    assert not peer.pipe.is_open
