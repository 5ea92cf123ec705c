"""Who another server is, under each rule: by its certificate, by what it has once shown, by dialback (XEP-0178)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import pytest

from tests.authority import Authority
from tests.internet import Internet, Site
from tests.peer import EXTERNAL, PEER, Host, Peer, call, message, result
from tests.streams import Client, show
from vrxmpp import ns
from vrxmpp.net.tls import CertificateFiles

ONE = "one.example"
Shown = Literal["expired", "not yet", "wrong name", "self-signed", "untrusted", "none"]
BAD: list[Shown] = ["expired", "not yet", "wrong name", "self-signed", "untrusted", "none"]
_WORDS = {
    "expired": "has expired",
    "not yet": "not valid before",
    "wrong name": "is for else.example, not for",
    "self-signed": "is self-signed",
    "untrusted": "has nobody known to vouch for it",
    "none": "shows no certificate",
}


@pytest.fixture
def show_one(internet: Internet) -> Callable[[Shown], CertificateFiles | None]:
    """Make a certificate that is wrong in one way."""
    made: dict[Shown, Callable[[], CertificateFiles | None]] = {
        "expired": lambda: internet.authority.issue(PEER, expired=True),
        "not yet": lambda: internet.authority.issue(PEER, not_yet=True),
        "wrong name": lambda: internet.authority.issue(PEER, wrong_name="else.example"),
        "self-signed": lambda: internet.authority.self_signed(PEER),
        "untrusted": lambda: Authority(internet.directory).issue(PEER),
        "none": lambda: None,
    }
    return lambda shown: made[shown]()


def visit(internet: Internet, site: Site, files: CertificateFiles | None) -> Peer:
    """Return a peer that has shown its certificate and begun its stream behind TLS."""
    peer = call(internet, site)
    peer.open(ONE)
    peer.start_tls(files)
    peer.begin(ONE)
    return peer


def prove_by_dialback(internet: Internet, peer: Peer, files: CertificateFiles | None) -> str:
    """Return what the peer is told when its own server has vouched for its key."""
    host = Host(internet)
    peer.elements()
    peer.send(result(PEER, ONE))
    authority = host.answer()
    authority.welcome_securely(files)
    authority.vouch()
    internet.wait(1)
    return "".join(peer.hears())


def dial(internet: Internet, site: Site, files: CertificateFiles) -> tuple[Client, Peer]:
    """Return who has written to the peer, and the peer behind TLS."""
    host = Host(internet)
    romeo: Client = site.login("romeo")
    romeo.send(f"<message to='juliet@{PEER}' id='m1'><body>Hush</body></message>")
    peer = host.answer()
    peer.welcome_securely(files, EXTERNAL)
    return romeo, peer


# -- who comes to us


@pytest.mark.parametrize("shown", BAD)
def test_where_a_certificate_is_required_no_other_is_let_in(
    internet: Internet, show_one: Callable[[Shown], CertificateFiles | None], shown: Shown
) -> None:
    site = internet.site(ONE, authentication="certificate")
    peer = visit(internet, site, show_one(shown))
    *_, error = peer.elements()
    assert "<not-authorized" in show(error)
    assert _WORDS[shown] in show(error)
    assert peer.is_gone


@pytest.mark.parametrize("shown", BAD)
def test_where_it_is_not_required_dialback_is_enough(
    internet: Internet, show_one: Callable[[Shown], CertificateFiles | None], shown: Shown
) -> None:
    site = internet.site(ONE)
    files = show_one(shown)
    peer = visit(internet, site, files)
    assert "EXTERNAL" not in "".join(peer.hears())
    answer = prove_by_dialback(internet, peer, files or internet.authority.self_signed(PEER))
    assert answer == f"<result from='{ONE}' to='{PEER}' type='valid' xmlns='{ns.DIALBACK}'/>"
    peer.send(message(to=ONE))
    assert peer.pipe.is_open
    assert [stream.authentication for stream in site.streams()] == ["dialback"]


@pytest.mark.parametrize("shown", BAD)
@pytest.mark.parametrize("how", ["header", "log-in", "dialback"])
def test_who_has_once_shown_a_good_one_is_held_to_it(
    internet: Internet, show_one: Callable[[Shown], CertificateFiles | None], shown: Shown, how: str
) -> None:
    site = internet.site(ONE)
    good = internet.authority.issue(PEER)
    if how == "log-in":
        call(internet, site).log_in(good)
    elif how == "header":
        visit(internet, site, good)
    else:
        other = call(internet, site, "other.example")
        other.open_securely(internet.authority.issue("other.example", PEER))
        other.send(result(PEER, ONE))
    thief = visit(internet, site, show_one(shown))
    *_, error = thief.elements()
    assert "<not-authorized" in show(error)
    assert thief.is_gone


def test_who_is_held_to_it_is_so_by_dialback_too(internet: Internet) -> None:
    site = internet.site(ONE)
    call(internet, site).log_in(internet.authority.issue(PEER))
    thief = call(internet, site, "else.example")
    thief.open_securely(internet.authority.self_signed(PEER))
    thief.send(result(PEER, ONE))
    [answer] = thief.hears()
    assert "type='error'" in answer
    assert "<not-authorized" in answer
    thief.send(message())
    assert thief.fails() == "not-authorized"


def test_by_dialback_alone_nobody_is_held_to_anything(internet: Internet) -> None:
    site = internet.site(ONE, authentication="dialback")
    call(internet, site).log_in(internet.authority.issue(PEER))
    files = internet.authority.self_signed(PEER)
    assert "valid" in prove_by_dialback(internet, visit(internet, site, files), files)


def test_one_peer_may_be_an_exception(internet: Internet) -> None:
    site = internet.site(ONE, authentication="certificate", peer={PEER: {"authentication": "dialback"}})
    files = internet.authority.self_signed(PEER)
    assert "valid" in prove_by_dialback(internet, visit(internet, site, files), files)
    other = call(internet, site, "else.example")
    other.open(ONE)
    other.start_tls(files)
    other.begin(ONE)
    assert other.fails() == "not-authorized"


@pytest.mark.parametrize(
    "rules",
    [
        {"deny": [PEER]},
        {"deny": ["*.example"]},
        {"allow": ["else.example"]},
        {"allow": [PEER], "deny": [PEER]},
        {"enabled": False},
    ],
)
def test_whom_the_rules_forbid_is_told_so(internet: Internet, rules: dict[str, object]) -> None:
    site = internet.site(ONE, **rules)
    peer = call(internet, site)
    peer.begin(ONE)
    assert peer.fails() == "policy-violation"
    host = Host(internet)
    romeo = site.login("romeo")
    romeo.send(f"<message to='juliet@{PEER}'/>")
    assert "<not-allowed" in romeo.hears()[0]
    assert not host.is_called


def test_nobody_gets_around_the_rules_by_dialback(internet: Internet) -> None:
    site = internet.site(ONE, deny=[PEER])
    other = call(internet, site, "other.example")
    other.log_in(internet.authority.issue("other.example", PEER))
    other.send(result(PEER, ONE))
    assert "<policy-violation" in other.hears()[0]
    other.send(message())
    assert other.fails() == "invalid-from"


@pytest.mark.parametrize("authentication", ["certificate", "certificate-if-valid", "dialback"])
@pytest.mark.parametrize("sender", [ONE, "two.example", ONE.upper()])
def test_nobody_is_one_of_us(internet: Internet, authentication: str, sender: str) -> None:
    """Even who has our key: what our users say does not come from outside."""
    site = internet.site(ONE, "two.example", authentication=authentication)
    ours = internet.authority.issue(ONE, "two.example", PEER)
    assert_refused(internet, site, ours, sender)
    peer = call(internet, site)
    peer.log_in(ours)
    peer.send(result(sender, ONE))
    internet.wait(1)
    assert "valid'" not in "".join(peer.hears()).replace("invalid", "")
    peer.send(message(f"romeo@{sender}", ONE))
    assert peer.fails() == "invalid-from"


def assert_refused(internet: Internet, site: Site, files: CertificateFiles, sender: str) -> None:
    peer = call(internet, site, sender)
    peer.begin(ONE)
    if not peer.is_gone:
        peer.elements()
        peer.start_tls(files)
        peer.open(ONE)
        peer.auth()
        peer.begin(ONE)
        peer.elements()
    assert list(site.streams()) == []


# -- whom we come to


@pytest.mark.parametrize("shown", [each for each in BAD if each != "none"])
def test_where_a_certificate_is_required_nothing_is_sent_to_another(
    internet: Internet, show_one: Callable[[Shown], CertificateFiles | None], shown: Shown
) -> None:
    site = internet.site(ONE, authentication="certificate")
    files = show_one(shown)
    assert files is not None
    romeo, peer = dial(internet, site, files)
    assert peer.hears() == []
    [error] = romeo.hears()
    assert "<not-authorized" in error
    assert _WORDS[shown] in error


@pytest.mark.parametrize("shown", [each for each in BAD if each != "none"])
def test_who_is_held_to_it_is_so_when_we_come(
    internet: Internet, show_one: Callable[[Shown], CertificateFiles | None], shown: Shown
) -> None:
    site = internet.site(ONE)
    call(internet, site).log_in(internet.authority.issue(PEER))
    files = show_one(shown)
    assert files is not None
    romeo, peer = dial(internet, site, files)
    assert peer.hears() == []
    assert "<not-authorized" in romeo.hears()[0]


@pytest.mark.parametrize("authentication", ["certificate-if-valid", "dialback"])
def test_where_it_is_not_required_we_speak_to_who_the_dns_says(internet: Internet, authentication: str) -> None:
    site = internet.site(ONE, authentication=authentication)
    _, peer = dial(internet, site, internet.authority.self_signed(PEER))
    peer.believe_certificate()
    assert "Hush" in peer.hears()[0]


def test_without_tls_nothing_is_said_to_who_is_held_to_a_certificate(internet: Internet) -> None:
    site = internet.site(ONE, tls="optional")
    call(internet, site).log_in(internet.authority.issue(PEER))
    host = Host(internet)
    romeo = site.login("romeo")
    romeo.send(f"<message to='juliet@{PEER}' id='m1'><body>Hush</body></message>")
    peer = host.answer()
    peer.welcome()
    assert peer.hears() == []
    assert "<not-authorized" in romeo.hears()[0]


def test_without_tls_who_is_held_to_a_certificate_is_not_let_in(internet: Internet) -> None:
    site = internet.site(ONE, tls="optional")
    call(internet, site).log_in(internet.authority.issue(PEER))
    thief = call(internet, site)
    thief.open(ONE)
    thief.send(result(PEER, ONE))
    internet.wait(1)
    assert "<not-authorized" in thief.hears()[0]
    assert list(site.streams()) != []
    thief.send(message())
    assert thief.fails() == "not-authorized"
