"""Whatever another server sends, in whatever order: it is answered or the stream ends, and nobody speaks unproven."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.internet import Internet, Site
from tests.peer import PEER, Host, Peer, call, header, message, result, verify
from tests.streams import END, Client, encode, show
from vrxmpp import ns
from vrxmpp.net.tls import CertificateFiles

ONE, OTHER = "one.example", "else.example"
SM = ns.STREAM_MANAGEMENT

_WORDS = [
    f"<starttls xmlns='{ns.TLS}'/>",
    f"<auth xmlns='{ns.SASL}' mechanism='EXTERNAL'>=</auth>",
    f"<auth xmlns='{ns.SASL}' mechanism='EXTERNAL'/>",
    f"<auth xmlns='{ns.SASL}' mechanism='EXTERNAL'>{encode(OTHER)}</auth>",
    f"<auth xmlns='{ns.SASL}'>\N{SNOWMAN}</auth>",
    f"<response xmlns='{ns.SASL}'>=</response>",
    f"<abort xmlns='{ns.SASL}'/>",
    f"<bidi xmlns='{ns.BIDI}'/>",
    header(ONE, PEER),
    header(ONE, OTHER),
    header(ONE, ""),
    result(PEER, ONE),
    result(OTHER, ONE),
    result(ONE, ONE),
    result(PEER, OTHER),
    verify(PEER, ONE, "x", "key"),
    f"<db:result from='{PEER}' to='{ONE}' type='valid'/>",
    f"<db:verify from='{PEER}' to='{ONE}' id='x' type='valid'/>",
    f"<db:result from='{PEER}' to='{ONE}' type='error'><error/></db:result>",
    f"<enable xmlns='{SM}'/>",
    f"<enable xmlns='{SM}' resume='true' max='0'/>",
    f"<enable xmlns='{SM}' resume='true'/>",
    f"<resume xmlns='{SM}' previd='x' h='0'/>",
    f"<r xmlns='{SM}'/>",
    f"<a xmlns='{SM}' h='0'/>",
    f"<a xmlns='{SM}' h='7'/>",
    f"<failed xmlns='{SM}'/>",
    message(body="proven"),
    message(f"a@{OTHER}", body="forged"),
    message(f"a@{ONE}", body="forged"),
    message(to=f"a@{OTHER}", body="forged"),
    message("@", body="forged"),
    f"<presence from='a@{PEER}' to='romeo@{ONE}' type='probe'/>",
    f"<iq from='a@{PEER}' to='{ONE}' type='get' id='1'><ping xmlns='{ns.PING}'/></iq>",
    "<stream:features/>",
    f"<stream:error><reset xmlns='{ns.STREAM_ERRORS}'/></stream:error>",
    "<unheard-of xmlns='urn:example:x'><y/></unheard-of>",
    "<unheard-of/>",
    " ",
    END,
]


@pytest.fixture(scope="module")
def internet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Internet]:
    internet = Internet(tmp_path_factory.mktemp("fuzz"))
    yield internet
    internet.close()


@pytest.fixture(scope="module")
def one(internet: Internet) -> Site:
    Host(internet)  # they are called, and nobody answers
    Host(internet, OTHER)
    return internet.site(ONE)


@pytest.fixture(scope="module")
def romeo(one: Site) -> Client:
    romeo: Client = one.login("romeo")
    romeo.send("<presence/>")
    romeo.hears()
    return romeo


@pytest.fixture(scope="module")
def good(internet: Internet) -> CertificateFiles:
    return internet.authority.issue(PEER)


@pytest.fixture(scope="module")
def unproven(internet: Internet) -> CertificateFiles:
    return internet.authority.self_signed(PEER)


_EXTERNAL = [f"<auth xmlns='{ns.SASL}' mechanism='EXTERNAL'>=</auth>", header(ONE, PEER)]
_BEGINNINGS: list[list[str]] = [
    [],
    [result(PEER, ONE)],
    _EXTERNAL,
    [f"<bidi xmlns='{ns.BIDI}'/>", *_EXTERNAL, f"<enable xmlns='{SM}' resume='true'/>"],
]
_SOME = settings(max_examples=40, derandomize=True)
_words = st.lists(st.sampled_from(_WORDS), max_size=8)


def play(site: Site, peer: Peer, words: list[str]) -> bool:
    """Say it all, see that it ends in time without a mistake of ours, and return whether the peer was proven."""
    for word in words:
        peer.send(word)
    peer.pipe.wait(45)
    is_proven = any(stream.proven for stream in site.streams())
    peer.pipe.read()  # what TLS says at the end has to be answered
    assert is_proven or not peer.pipe.is_open
    peer.pipe.close()
    peer.pipe.wait(10)
    assert site.house.failures() == []
    site.servers._certified.clear()
    return is_proven


@_SOME
@given(words=_words)
def test_before_tls(internet: Internet, one: Site, romeo: Client, words: list[str]) -> None:
    peer = call(internet, one)
    peer.begin(ONE)
    assert not play(one, peer, words)
    assert romeo.hears() == []


@_SOME
@given(words=_words)
def test_behind_tls_without_a_proof(
    internet: Internet, one: Site, romeo: Client, unproven: CertificateFiles, words: list[str]
) -> None:
    peer = call(internet, one)
    peer.open_securely(unproven)
    assert not play(one, peer, words)
    assert romeo.hears() == []


@_SOME
@given(beginning=st.sampled_from(_BEGINNINGS), words=_words)
def test_with_a_proof(
    internet: Internet, romeo: Client, good: CertificateFiles, beginning: list[str], words: list[str]
) -> None:
    [one] = internet.sites
    peer = call(internet, one)
    peer.open_securely(good)
    play(one, peer, beginning + words)
    heard = [element for element in romeo.elements() if element.get("type") != "error"]
    assert {show(element) for element in heard} <= {message(body="proven")}
