"""Server dialback on real streams: who asks whom, what counts as an answer, how much there may be (XEP-0220)."""

from __future__ import annotations

import pytest

from tests.internet import Internet, Site
from tests.peer import DIALBACK, EXTERNAL, PEER, Host, Peer, call, header, message, result, verify
from tests.streams import END, Client
from vrxmpp import ns
from vrxmpp.net.tls import CertificateFiles

ONE, TWO = "one.example", "two.example"
DB = ns.DIALBACK


@pytest.fixture
def one(internet: Internet) -> Site:
    return internet.site(ONE, TWO)


@pytest.fixture
def romeo(one: Site) -> Client:
    romeo: Client = one.login("romeo")
    romeo.send("<presence/>")
    romeo.hears()
    return romeo


@pytest.fixture
def unproven(internet: Internet) -> CertificateFiles:
    return internet.authority.self_signed(PEER)


@pytest.fixture
def peer(internet: Internet, one: Site, unproven: CertificateFiles) -> Peer:
    """One whose certificate proves nothing."""
    peer = call(internet, one)
    peer.open_securely(unproven)
    return peer


@pytest.fixture
def host(internet: Internet) -> Host:
    """Where its domain leads."""
    return Host(internet)


def asked(host: Host, files: CertificateFiles) -> Peer:
    """Return the server that DNS names, when it is asked about a key."""
    authority = host.answer()
    authority.welcome_securely(files)
    return authority


def told(peer: Peer, to: str = PEER, sender: str = ONE) -> str:
    """Return the outcome of the one answer to a key."""
    element = peer.element()
    assert element.tag == f"{{{DB}}}result"
    assert (element.get("from"), element.get("to"), element.get("id")) == (sender, to, None)
    type = element.get("type", "")
    return f"{type}: {element[0][0].tag.partition('}')[2]}" if type == "error" else type


# -- a key is verified


def test_the_server_that_dns_names_is_asked(peer: Peer, host: Host, unproven: CertificateFiles, romeo: Client) -> None:
    assert peer.reader.header is not None
    peer.send(result(PEER, ONE, "the key"))
    authority = asked(host, unproven)
    question = authority.vouch()
    assert question.attrib == {"from": ONE, "to": PEER, "id": peer.reader.header["id"]}
    assert question.text == "the key"
    assert told(peer) == "valid"
    peer.send(message())
    assert romeo.hears() == [message()]
    assert authority.is_gone or authority.reader.ended


@pytest.mark.parametrize("outcome", ["invalid", "error"])
def test_a_key_that_is_not_vouched_for_proves_nothing(
    peer: Peer, host: Host, unproven: CertificateFiles, romeo: Client, *, outcome: str
) -> None:
    peer.send(result(PEER, ONE))
    asked(host, unproven).vouch(outcome)
    peer.pipe.wait(1)
    answer = told(peer)
    assert answer == ("invalid" if outcome == "invalid" else "error: remote-server-not-found")
    peer.send(message())
    assert peer.is_gone
    assert romeo.hears() == []


def test_an_invalid_first_key_ends_the_stream(peer: Peer, host: Host, unproven: CertificateFiles) -> None:
    """XEP-0220 §2.4.1: if no other pair is valid, it MUST close the stream."""
    peer.send(result(PEER, ONE))
    asked(host, unproven).vouch("invalid")
    peer.pipe.wait(1)
    assert told(peer) == "invalid"
    assert peer.reader.ended


def test_an_invalid_second_key_does_no_harm(internet: Internet, one: Site, romeo: Client) -> None:
    peer = call(internet, one)
    peer.log_in(internet.authority.issue(PEER))
    other = Host(internet, "else.example")
    peer.send(result("else.example", ONE))
    asked(other, internet.authority.self_signed("else.example")).vouch("invalid")
    internet.wait(1)
    peer.elements()
    peer.send(message())
    assert romeo.hears() == [message()]
    peer.send(message("a@else.example"))
    assert peer.fails() == "invalid-from"


def test_stanzas_have_to_wait_for_the_answer(peer: Peer, host: Host, romeo: Client) -> None:
    peer.send(result(PEER, ONE) + message())
    assert peer.fails() == "not-authorized"
    assert romeo.hears() == []
    assert host.is_called  # all the same: and nothing comes of it


def test_the_answer_may_come_when_the_stream_is_gone(
    internet: Internet, one: Site, peer: Peer, host: Host, unproven: CertificateFiles
) -> None:
    peer.send(result(PEER, ONE))
    authority = asked(host, unproven)
    peer.send(END)
    assert peer.is_gone
    authority.vouch()
    internet.wait(1)
    assert list(one.streams()) == []


def test_the_answer_may_come_when_the_stream_is_broken(
    internet: Internet, one: Site, peer: Peer, host: Host, unproven: CertificateFiles
) -> None:
    peer.send(result(PEER, ONE))
    authority = asked(host, unproven)
    internet.cables[0].reset()
    internet.wait(1)
    authority.vouch()
    internet.wait(1)
    assert list(one.streams()) == []


@pytest.mark.parametrize(
    "answer",
    [
        f"<db:verify from='{PEER}' to='{ONE}' id='another' type='valid'/>",
        f"<db:verify from='{PEER}' to='{TWO}' id='ID' type='valid'/>",
        f"<db:verify from='else.example' to='{ONE}' id='ID' type='valid'/>",
        f"<db:verify from='{ONE}' to='{PEER}' id='ID' type='valid'/>",
        f"<db:result from='{PEER}' to='{ONE}' id='ID' type='valid'/>",
    ],
)
def test_an_answer_to_something_else_proves_nothing(
    peer: Peer, host: Host, unproven: CertificateFiles, romeo: Client, *, answer: str
) -> None:
    assert peer.reader.header is not None
    peer.send(result(PEER, ONE))
    authority = asked(host, unproven)
    authority.send(answer.replace("ID", peer.reader.header["id"]))
    authority.pipe.wait(1)
    assert peer.hears() == []
    peer.send(message())
    assert peer.fails() == "not-authorized"
    assert romeo.hears() == []


@pytest.mark.parametrize("type", ["valid", "invalid", "error"])
@pytest.mark.parametrize("kind", ["result", "verify"])
def test_who_has_called_cannot_answer_itself(
    peer: Peer, host: Host, unproven: CertificateFiles, kind: str, type: str
) -> None:
    assert peer.reader.header is not None
    id = peer.reader.header["id"]
    peer.send(result(PEER, ONE))
    asked(host, unproven)
    peer.send(f"<db:{kind} from='{PEER}' to='{ONE}' id='{id}' type='{type}'/>")
    assert peer.fails() == "unsupported-stanza-type"


def test_the_answer_of_another_server_proves_nothing(internet: Internet, one: Site, peer: Peer, host: Host) -> None:
    """The stream was opened to one domain; it says something about another."""
    assert peer.reader.header is not None
    elsewhere = Host(internet, "else.example")
    one.login("nurse").send("<message to='a@else.example'/>")
    bad = elsewhere.answer()
    bad.welcome_securely(internet.authority.issue("else.example"), EXTERNAL)
    bad.believe_certificate()
    peer.send(result(PEER, ONE))
    assert host.is_called
    bad.send(f"<db:verify from='{PEER}' to='{ONE}' id='{peer.reader.header['id']}' type='valid'/>")
    assert peer.hears() == []


def test_a_key_from_before_tls_proves_nothing_behind_it(internet: Internet, unproven: CertificateFiles) -> None:
    """RFC 6120 §5.4.3.3: what was learnt before TLS is forgotten."""
    site = internet.site(ONE, tls="optional")
    host = Host(internet)
    peer = call(internet, site)
    peer.open(ONE)
    peer.send(result(PEER, ONE))
    authority = asked(host, unproven)
    peer.start_tls(unproven)
    peer.open(ONE)
    authority.vouch()
    internet.wait(1)
    assert list(site.streams()) == []


def test_a_certificate_proves_without_a_question(internet: Internet, one: Site, host: Host, romeo: Client) -> None:
    peer = call(internet, one)
    peer.open_securely(internet.authority.issue(PEER))
    peer.send(result(PEER, ONE))
    assert told(peer) == "valid"
    peer.send(message())
    assert romeo.hears() == [message()]
    assert not host.is_called


def test_the_same_key_again_is_answered_again(internet: Internet, one: Site) -> None:
    peer = call(internet, one)
    peer.open_securely(internet.authority.issue(PEER))
    for _ in range(3):
        peer.send(result(PEER, ONE))
        assert told(peer) == "valid"
    assert len(list(one.streams())) == 1


# -- errors


@pytest.mark.parametrize(
    ("trouble", "condition"),
    [
        ("no name", "remote-server-not-found"),
        ("no service", "remote-server-not-found"),
        ("refused", "remote-server-timeout"),
        ("ends", "remote-server-timeout"),
        ("host-unknown", "remote-server-not-found"),
        ("no TLS", "not-authorized"),
    ],
)
def test_the_peer_is_told_why_nobody_could_be_asked(
    internet: Internet, peer: Peer, *, trouble: str, condition: str
) -> None:
    if trouble == "no service":
        internet.zone.srv(PEER, ".", 0)
    elif trouble != "no name":
        host = Host(internet)
    internet.works = trouble != "refused"
    peer.send(result(PEER, ONE))
    if trouble == "ends":
        host.answer().pipe.close()
    elif trouble == "host-unknown":
        authority = host.answer()
        authority.send(header(ONE, PEER, id="x"))
        authority.send(f"<stream:error><host-unknown xmlns='{ns.STREAM_ERRORS}'/></stream:error></stream:stream>")
    elif trouble == "no TLS":
        host.answer().welcome()
    internet.wait(20)
    assert told(peer) == f"error: {condition}"
    assert peer.pipe.is_open


def test_who_is_proven_already_is_told_that_nobody_answers(internet: Internet, one: Site) -> None:
    peer = call(internet, one)
    peer.log_in(internet.authority.issue(PEER))
    Host(internet, "else.example")
    internet.answers = False
    peer.send(result("else.example", ONE))
    internet.wait(35)
    assert told(peer, "else.example") == "error: remote-server-timeout"


def test_an_old_stream_that_says_nothing_is_not_waited_for_either(internet: Internet, one: Site) -> None:
    elsewhere = Host(internet, "else.example")
    one.login("nurse").send("<message to='a@else.example'/>")
    deaf = elsewhere.answer()
    deaf.welcome_securely(internet.authority.self_signed("else.example"), EXTERNAL)
    deaf.believe_certificate()
    peer = call(internet, one)
    peer.log_in(internet.authority.issue(PEER))
    peer.send(result("else.example", ONE))
    internet.wait(60)
    assert told(peer, "else.example") == "error: remote-server-timeout"


def test_where_tls_comes_first_the_peer_is_told_so(internet: Internet) -> None:
    """XEP-0220 §2.5: policy-violation. The rule is for the domain of the key, not for that of the header."""
    site = internet.site(ONE, tls="optional", peer={PEER: {"tls": "required"}})
    peer = call(internet, site, "other.example")
    peer.open(ONE)
    peer.send(result(PEER, ONE))
    assert told(peer) == "error: policy-violation"


@pytest.mark.parametrize("to", ["else.example", "sub.one.example"])
def test_a_key_for_another_server_is_not_ours_to_verify(peer: Peer, host: Host, to: str) -> None:
    peer.send(result(PEER, to))
    assert told(peer, sender=to) == "error: item-not-found"
    assert not host.is_called
    peer.send(result(PEER, ONE))
    assert host.is_called


@pytest.mark.parametrize(
    ("what", "condition"),
    [
        (f"<db:result from='{PEER}'>key</db:result>", "improper-addressing"),
        (f"<db:result to='{ONE}'>key</db:result>", "improper-addressing"),
        (result(f"a@{PEER}", ONE), "improper-addressing"),
        (result(PEER, f"{ONE}/a"), "improper-addressing"),
        (result(PEER, ONE, ""), "bad-format"),
        (result(PEER, ONE, "<x/>"), "bad-format"),
        (result(PEER, ONE, "x" * 257), "policy-violation"),
        (verify(PEER, ONE, "", "key"), "bad-format"),
        (f"<db:verify from='{PEER}' to='{ONE}' id='x' type='maybe'/>", "bad-format"),
        (f"<db:unheard-of from='{PEER}' to='{ONE}'/>", "unsupported-stanza-type"),
    ],
)
def test_what_is_no_dialback_ends_the_stream(peer: Peer, what: str, condition: str) -> None:
    peer.send(what)
    assert peer.fails() == condition


# -- how much


def test_so_many_keys_are_verified_at_once_for_one_stream(internet: Internet, peer: Peer) -> None:
    internet.answers = False
    for number in range(9):
        internet.zone.a(f"d{number}.example", "198.51.100.1")
        peer.send(result(f"d{number}.example", ONE))
    assert told(peer, "d8.example") == "error: resource-constraint"
    peer.send(result(PEER, ONE))
    assert told(peer) == "error: resource-constraint"


def test_so_many_keys_are_verified_at_once_for_one_address(internet: Internet, one: Site) -> None:
    internet.answers = False
    unproven = internet.authority.self_signed(PEER)
    peers = [call(internet, one) for _ in range(9)]
    for index, each in enumerate(peers):
        each.open_securely(unproven)
        internet.wait(0.25)
        for number in range(8):
            internet.zone.a(f"d{index}-{number}.example", "198.51.100.1")
            each.send(result(f"d{index}-{number}.example", ONE))
    assert all(each.hears() == [] for each in peers[:8])
    assert [answer.count("<resource-constraint") for answer in peers[8].hears()] == [1] * 8
    internet.wait(40)
    assert not one.servers.verifier._asking


# -- we are asked


@pytest.fixture
def key(internet: Internet, one: Site, host: Host) -> str:
    """A key of ours, for the stream "an-id" to the peer."""
    one.login("nurse").send(f"<message to='juliet@{PEER}'/>")
    dialled = host.answer()
    dialled.welcome_securely(internet.authority.issue(PEER), DIALBACK)
    element = dialled.believe_key()
    assert len(element.text or "") == 64
    return element.text or ""


def outcome(peer: Peer, sender: str, to: str, id: str, key: str) -> str:
    peer.send(verify(sender, to, id, key))
    element = peer.element()
    assert element.tag == f"{{{DB}}}verify"
    assert (element.get("from"), element.get("to"), element.get("id")) == (to, sender, id)
    type = element.get("type", "")
    return f"{type}: {element[0][0].tag.partition('}')[2]}" if type == "error" else type


def test_we_know_our_own_keys(peer: Peer, key: str) -> None:
    for _ in range(3):
        assert outcome(peer, PEER, ONE, "an-id", key) == "valid"
    assert outcome(peer, PEER, ONE, "another", key) == "invalid"
    assert outcome(peer, "else.example", ONE, "an-id", key) == "invalid"
    assert outcome(peer, PEER, TWO, "an-id", key) == "invalid"
    assert outcome(peer, PEER, ONE, "an-id", key[:-1]) == "invalid"
    assert outcome(peer, PEER, ONE, "an-id", key.upper()) == "invalid"
    assert outcome(peer, PEER, ONE, "an-id", "é") == "invalid"
    assert outcome(peer, PEER, "else.example", "an-id", key) == "error: item-not-found"
    assert outcome(peer, PEER, f"sub.{ONE}", "an-id", key) == "error: item-not-found"


def test_to_ask_proves_nothing(peer: Peer, key: str) -> None:
    outcome(peer, PEER, ONE, "an-id", key)
    peer.send(message())
    assert peer.fails() == "not-authorized"


def test_our_key_does_not_prove_others_to_us(peer: Peer, host: Host, key: str, romeo: Client) -> None:
    """A key that was made for one stream is shown on another."""
    peer.send(result(PEER, TWO, key))
    peer.send(message(to=f"romeo@{TWO}"))
    assert peer.fails() == "not-authorized"
    assert romeo.hears() == []
    assert not host.is_called or host.answer() is not None


def test_who_says_no_name_may_ask_too(internet: Internet, one: Site, key: str) -> None:
    peer = call(internet, one)
    peer.open_securely(None, sender="")
    assert outcome(peer, PEER, ONE, "an-id", key) == "valid"
