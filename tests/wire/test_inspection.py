"""What an administrator is told of other servers: who is connected, what waits, what is wrong and on whose side."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail
from twisted.internet.error import NoRouteError, TCPTimedOutError

from tests.internet import Internet, Site
from tests.peer import DIALBACK, EXTERNAL, PEER, REQUIRED, Host, Peer, call, result
from tests.streams import chat
from vrxmpp import ns
from vrxmpp.admin import AdminError
from vrxmpp.net.inspection import FederationStatus, Inspection, StreamInfo, Trial
from vrxmpp.net.tls import CertificateFiles

ONE, TWO = "one.example", "two.example"


@pytest.fixture
def one(internet: Internet) -> Site:
    return internet.site(ONE)


@pytest.fixture
def good(internet: Internet) -> CertificateFiles:
    return internet.authority.issue(PEER)


def status(site: Site, remote: str = "") -> FederationStatus:
    return Inspection(site.servers).status(remote)


def begin(site: Site, remote: str, local: str = "") -> Deferred[Trial]:
    return Deferred.fromCoroutine(Inspection(site.servers).test(local or site.domain, remote))


def attempt(site: Site, internet: Internet, remote: str) -> Trial:
    """Try to reach a domain, with all the time that may take."""
    outcome: list[Trial] = []
    begin(site, remote).addCallback(outcome.append)
    internet.wait(35)
    [trial] = outcome
    return trial


def last(trial: Trial) -> tuple[str, bool, str]:
    step = trial.steps[-1]
    return step.name, step.succeeded, step.text


def failed(trial: Trial) -> tuple[str, str, str]:
    """Return the step that failed, why, and on whose side."""
    assert not trial.reached
    assert trial.advice.endswith((".", "?"))
    name, succeeded, text = last(trial)
    assert not succeeded
    return name, text, trial.side


# -- test


def test_each_step_of_a_way_that_is_free(internet: Internet, one: Site) -> None:
    internet.site(TWO)
    trial = attempt(one, internet, TWO)
    assert trial.reached
    assert (trial.side, trial.advice) == ("", "")
    assert all(step.succeeded for step in trial.steps)
    assert [step.name for step in trial.steps] == ["DNS", "TCP", "TLS", "certificate", "authentication"]
    told = [step.text for step in trial.steps]
    assert told[:3] == ["192.0.2.2 port 5269 (STARTTLS)", "connected to 192.0.2.2 port 5269", "TLSv1.3"]
    assert told[3].startswith("is for two.example, until ")
    assert told[4] == "two.example believes that we are one.example, by certificate"


def test_nothing_is_left_of_a_test(internet: Internet, one: Site) -> None:
    two = internet.site(TWO)
    assert attempt(one, internet, TWO).reached
    for site in (one, two):
        assert not site.servers.connections
        assert status(site).failures == []


def test_direct_tls_and_dialback(internet: Internet, one: Site) -> None:
    internet.site(TWO, srv=True, certificates=[internet.authority.self_signed(TWO)])
    trial = attempt(one, internet, TWO)
    assert trial.reached
    told = {step.name: step.text for step in trial.steps}
    assert told["DNS"] == "192.0.2.2 port 5270 (direct TLS)"
    assert told["certificate"] == "the certificate of two.example is self-signed; dialback is enough here"
    assert told["authentication"].startswith("two.example believes that we are one.example")


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda authority: authority.issue(TWO, expired=True), "the certificate of two.example has expired on "),
        (
            lambda authority: authority.issue(TWO, wrong_name="else.example"),
            "the certificate of two.example is for else.example, not for two.example",
        ),
        (lambda authority: authority.self_signed(TWO), "the certificate of two.example is self-signed"),
    ],
)
def test_a_wrong_certificate_is_their_fault(
    internet: Internet, make: Callable[[Any], CertificateFiles], why: str
) -> None:
    one = internet.site(ONE, authentication="certificate")
    internet.site(TWO, certificates=[make(internet.authority)])
    step, text, side = failed(attempt(one, internet, TWO))
    assert (step, side) == ("certificate", "there")
    assert text.startswith(why)


def test_our_own_wrong_certificate_is_ours(internet: Internet) -> None:
    one = internet.site(ONE, certificates=[internet.authority.self_signed(ONE)])
    two = internet.site(TWO, authentication="certificate")
    trial = attempt(one, internet, TWO)
    said = "two.example says not-authorized: the certificate of one.example is self-signed"
    assert failed(trial) == ("stream", said, "here")
    assert "vrxmpp check certificates" in trial.advice
    [failure] = status(two).failures
    assert (failure.incoming, failure.local, failure.remote) == (True, TWO, ONE)
    assert failure.reason == "the certificate of one.example is self-signed"


def test_who_is_not_believed_by_external(internet: Internet, one: Site, good: CertificateFiles) -> None:
    host, outcome = Host(internet), begin(one, PEER)
    peer = host.answer()
    peer.welcome_securely(good, EXTERNAL)
    peer.send(f"<failure xmlns='{ns.SASL}'><not-authorized/></failure>")
    step, text, side = failed(one_result(outcome))
    assert (step, side) == ("authentication", "here")
    assert text == "peer.example does not take our certificate for one.example"


@pytest.mark.parametrize(
    ("condition", "side", "advice"),
    [
        ("", "here", "vrxmpp check dns"),
        ("remote-connection-failed", "here", "vrxmpp check dns"),
        ("remote-server-not-found", "here", "vrxmpp check dns"),
        ("not-authorized", "here", "vrxmpp check certificates"),
        ("policy-violation", "there", "Their rules"),
        ("item-not-found", "there", "does not know the domain"),
    ],
)
def test_dialback_that_fails(internet: Internet, one: Site, condition: str, side: str, advice: str) -> None:
    host, outcome = Host(internet), begin(one, PEER)
    peer = host.answer()
    peer.welcome_securely(internet.authority.issue(PEER), DIALBACK)
    error = f"<error type='cancel'><{condition} xmlns='{ns.STANZA_ERRORS}'/></error>" if condition else ""
    type = "error" if condition else "invalid"
    peer.send(f"<db:result from='{PEER}' to='{ONE}' type='{type}'>{error}</db:result>")
    trial = one_result(outcome)
    assert failed(trial)[::2] == ("authentication", side)
    assert advice in trial.advice


def one_result(outcome: Deferred[Trial]) -> Trial:
    assert outcome.called
    assert isinstance(outcome.result, Trial)
    return outcome.result


def test_a_name_that_does_not_exist(internet: Internet, one: Site) -> None:
    trial = attempt(one, internet, "no.example")
    assert failed(trial) == ("DNS", "there is no way to no.example: no.example does not exist", "there")
    assert trial.advice.startswith("Check the spelling.")


def test_name_servers_that_fail(internet: Internet, one: Site) -> None:
    internet.zone.failing(TWO)
    step, text, side = failed(attempt(one, internet, TWO))
    assert (step, side) == ("DNS", "between")
    assert "SERVFAIL" in text


def test_nothing_listens(internet: Internet, one: Site) -> None:
    internet.zone.a(TWO, "192.0.2.77")
    trial = attempt(one, internet, TWO)
    assert failed(trial)[::2] == ("TCP", "there")
    assert "192.0.2.77) port 5269: connection refused" in trial.steps[-1].text
    assert trial.advice.startswith("Nothing listens there")


def test_no_answer_at_all(internet: Internet, one: Site) -> None:
    internet.site(TWO)
    internet.answers = False
    text = "two.example cannot be connected to: two.example (192.0.2.2) port 5269: timed out"
    assert failed(attempt(one, internet, TWO)) == ("TCP", text, "between")


@pytest.mark.parametrize(
    ("errors", "side"),
    [
        ([NoRouteError()], "here"),
        ([NoRouteError(), TCPTimedOutError()], "between"),
        ([TCPTimedOutError(), NoRouteError()], "between"),
    ],
)
def test_ways_that_are_cut(
    internet: Internet, monkeypatch: pytest.MonkeyPatch, errors: list[Exception], side: str
) -> None:
    waiting = errors.copy()
    monkeypatch.setattr(internet, "connect", lambda address, factory: fail(waiting.pop(0)))
    one = internet.site(ONE)
    for number, _ in enumerate(errors):
        internet.zone.a(TWO, f"192.0.2.{77 + number}")
    assert failed(attempt(one, internet, TWO))[::2] == ("TCP", side)


def test_a_server_that_hangs_is_told_by_the_step(internet: Internet, one: Site) -> None:
    Host(internet)
    assert failed(attempt(one, internet, PEER)) == ("stream", "peer.example did not answer in time", "between")


def test_a_server_that_hangs_in_the_handshake(internet: Internet, one: Site) -> None:
    host, outcome = Host(internet), begin(one, PEER)
    peer = host.answer()
    peer.welcome(REQUIRED)
    peer.send(f"<proceed xmlns='{ns.TLS}'/>")
    internet.wait(35)
    assert failed(one_result(outcome))[0] == "TLS"


def test_a_server_without_tls(internet: Internet, one: Site) -> None:
    host, outcome = Host(internet), begin(one, PEER)
    host.answer().welcome(DIALBACK)
    trial = one_result(outcome)
    assert failed(trial) == ("TLS", "peer.example does not offer TLS", "there")
    assert 'tls = "optional"' in trial.advice


@pytest.mark.parametrize("condition", ["host-unknown", "host-gone"])
def test_a_server_that_does_not_serve_the_domain(internet: Internet, one: Site, condition: str) -> None:
    host, outcome = Host(internet), begin(one, PEER)
    peer = host.answer()
    peer.welcome(REQUIRED)
    peer.send(f"<stream:error><{condition} xmlns='{ns.STREAM_ERRORS}'/></stream:error></stream:stream>")
    trial = one_result(outcome)
    assert failed(trial) == ("TLS", f"peer.example says {condition}", "there")
    assert trial.advice.startswith("That server does not know the domain")


def test_another_address_is_tried_and_the_first_told(internet: Internet, one: Site, good: CertificateFiles) -> None:
    first, second = Host(internet), Host(internet)
    outcome = begin(one, PEER)
    hosts = [host for host in (first, second) if host.is_called]
    assert len(hosts) == 1
    peer = hosts[0].answer()
    peer.pipe.close()
    [other] = {first, second} - {*hosts}
    peer = other.answer()
    peer.welcome_securely(good, EXTERNAL)
    peer.believe_certificate()
    trial = one_result(outcome)
    assert trial.reached
    assert [(step.name, step.succeeded) for step in trial.steps][:4] == [
        ("DNS", True),
        ("TCP", True),
        ("stream", False),
        ("TCP", True),
    ]
    assert trial.steps[2].text == "peer.example has ended the connection"


def test_if_no_other_address_answers_the_first_failure_counts(internet: Internet, one: Site) -> None:
    host = Host(internet)
    internet.zone.srv(PEER, "dead.example", 5269, priority=9)
    internet.zone.a("dead.example", "192.0.2.77")
    outcome = begin(one, PEER)
    host.answer().pipe.close()
    internet.wait(1)
    trial = one_result(outcome)
    assert failed(trial) == ("TCP", "no other address can be connected to", "there")
    assert trial.steps[-2].text == "peer.example has ended the connection"


@pytest.mark.parametrize("deny", [TWO, "*.example"])
def test_our_own_rules_come_first(internet: Internet, deny: str) -> None:
    one = internet.site(ONE, deny=[deny])
    text = f"one.example does not talk to two.example: {deny} is denied"
    assert failed(attempt(one, internet, TWO)) == ("rules", text, "here")


def test_their_rules_are_theirs(internet: Internet, one: Site) -> None:
    two = internet.site(TWO, deny=[ONE])
    trial = attempt(one, internet, TWO)
    assert trial.side == "there"
    assert trial.steps[-1].text == (
        "two.example says policy-violation: two.example does not talk to one.example: one.example is denied"
    )
    assert [failure.reason for failure in status(two, ONE).failures] == [
        "two.example does not talk to one.example: one.example is denied"
    ]


@pytest.mark.parametrize(
    ("local", "remote", "code"),
    [
        (ONE, ONE, "served-here"),
        (ONE, "museum.example", "served-here"),
        ("else.example", TWO, "unknown-domain"),
    ],
)
def test_what_cannot_be_tested(internet: Internet, local: str, remote: str, code: str) -> None:
    site = internet.site(ONE, "museum.example")
    outcome = begin(site, remote, local)
    failure: list[Any] = []
    outcome.addErrback(failure.append)
    assert isinstance(failure[0].value, AdminError)
    assert failure[0].value.code == code


# -- status


def streams(site: Site, remote: str = "") -> list[StreamInfo]:
    return status(site, remote).streams


def test_nothing_is_there_at_first(one: Site) -> None:
    assert status(one) == FederationStatus([], [], [])


def test_an_established_stream(internet: Internet, one: Site) -> None:
    two = internet.site(TWO)
    romeo, juliet = one.login("romeo"), two.login("juliet")
    juliet.send("<presence/>")
    romeo.send(chat("Hush", f"juliet@{TWO}"))
    internet.wait(5)
    [ours], [theirs] = streams(one), streams(two)
    assert (ours.direction, ours.local, ours.remote) == ("both", [ONE], [TWO])
    assert (theirs.direction, theirs.local, theirs.remote) == ("both", [TWO], [ONE])
    for stream in (ours, theirs):
        assert (stream.state, stream.authentication, stream.tls) == ("established", "certificate", "TLSv1.3")
        assert stream.acknowledgements
        assert (stream.unacknowledged, stream.stanzas, stream.bytes) == (0, 0, 0)
    assert ours.address == "192.0.2.2"
    assert ours.since <= one.servers.now()
    [way] = status(one).ways
    assert (way.local, way.remote, way.state, way.seconds) == (ONE, TWO, "using a stream", None)


def test_only_one_domain_is_asked_about(internet: Internet, one: Site) -> None:
    internet.site(TWO)
    romeo = one.login("romeo")
    for domain in (TWO, "no.example"):
        romeo.send(chat("Hush", f"juliet@{domain}"))
    internet.wait(1)
    assert len(streams(one)) == len(streams(one, TWO)) == 1
    assert streams(one, "no.example") == []
    assert [way.remote for way in status(one, TWO).ways] == [TWO]
    assert [failure.remote for failure in status(one, "no.example").failures] == ["no.example"]
    assert status(one, TWO).failures == []


def test_what_waits_to_be_dialled_again(internet: Internet, one: Site) -> None:
    internet.zone.a(TWO, "192.0.2.77")
    one.login("romeo").send(chat("Hush", f"juliet@{TWO}") * 2)
    internet.wait(0.25)
    [way] = status(one).ways
    assert (way.state, way.stanzas) == ("waiting to dial again", 2)
    assert way.bytes > 100
    assert way.seconds is not None
    assert 0 <= way.seconds <= 1
    assert "connection refused" in way.failure
    [failure] = status(one).failures
    assert (failure.local, failure.remote, failure.incoming, failure.reason) == (ONE, TWO, False, way.failure)


def test_what_waits_while_it_is_dialled(internet: Internet, one: Site) -> None:
    internet.site(TWO)
    internet.answers = False
    one.login("romeo").send(chat("Hush", f"juliet@{TWO}"))
    internet.wait(1)
    [way] = status(one).ways
    assert (way.state, way.seconds, way.stanzas, way.failure) == ("connecting", None, 1, "")


def test_a_lasting_failure_is_shown_for_as_long_as_it_holds(internet: Internet, one: Site) -> None:
    one.login("romeo").send(chat("Hush", "juliet@no.example"))
    internet.wait(2)
    [way] = status(one).ways
    assert (way.state, way.stanzas) == ("refusing after a failure", 0)
    assert way.seconds is not None
    assert 5 <= way.seconds <= 10


def test_a_session_that_its_peer_may_resume(internet: Internet, one: Site, good: CertificateFiles) -> None:
    peer = call(internet, one)
    peer.log_in(good, bidirectional=True)
    peer.send(f"<enable xmlns='{ns.STREAM_MANAGEMENT}' resume='true'/>")
    [stream] = streams(one, PEER)
    assert (stream.direction, stream.acknowledgements, stream.unacknowledged) == ("both", True, 0)
    one.login("romeo").send(chat("Hush", f"juliet@{PEER}"))
    assert [stream.unacknowledged for stream in streams(one, PEER)] == [1]
    for cable in internet.cables:
        cable.reset()
    internet.wait(1)
    [way] = status(one, PEER).ways
    assert way.state == "waiting for them to come back"
    assert way.seconds is not None
    assert 40 <= way.seconds <= 45  # three quarters of what a stanza may wait


def test_a_stream_that_has_not_said_who_it_is(internet: Internet, one: Site) -> None:
    call(internet, one)
    [stream] = streams(one)
    assert (stream.direction, stream.local, stream.remote, stream.state) == ("in", [], [], "negotiating")
    assert (stream.authentication, stream.tls, stream.address) == ("", "", "192.0.2.99")
    assert not stream.acknowledgements
    assert streams(one, PEER) == []


def test_both_directions_are_not_there_before_the_proof(internet: Internet, one: Site, good: CertificateFiles) -> None:
    peer = call(internet, one)
    peer.open_securely(good)
    peer.send(f"<bidi xmlns='{ns.BIDI}'/>")
    [stream] = streams(one, PEER)
    assert (stream.direction, stream.state, stream.authentication) == ("in", "negotiating", "")


# -- incoming failures


def refusals(site: Site) -> list[tuple[str, str, str]]:
    found = status(site).failures
    assert all(failure.incoming for failure in found)
    return [(failure.local, failure.remote, failure.reason) for failure in found]


@pytest.fixture
def without_certificate(internet: Internet, one: Site) -> Peer:
    peer = call(internet, one)
    peer.open_securely(None)
    return peer


def test_a_key_that_is_not_theirs(
    internet: Internet, one: Site, without_certificate: Peer, good: CertificateFiles
) -> None:
    host = Host(internet)
    without_certificate.send(result(PEER, ONE))
    asked = host.answer()
    asked.welcome_securely(good, DIALBACK)
    asked.vouch("invalid")
    assert refusals(one) == [(ONE, PEER, "dialback: the key is not theirs")]


def test_a_key_that_nobody_can_be_asked_about(internet: Internet, one: Site, without_certificate: Peer) -> None:
    without_certificate.send(result(PEER, ONE))
    internet.wait(1)
    text = f"dialback: there is no way to {PEER}: {PEER} does not exist"
    assert refusals(one) == [(ONE, PEER, text)]


def test_a_log_in_by_another_name(internet: Internet, one: Site, good: CertificateFiles) -> None:
    peer = call(internet, one)
    peer.open_securely(good)
    peer.auth("b25lLmV4YW1wbGU=")
    assert refusals(one) == [(ONE, PEER, "EXTERNAL: invalid-authzid")]


def test_who_does_not_say_its_name_leaves_no_trace(internet: Internet, one: Site, good: CertificateFiles) -> None:
    peer = call(internet, one)
    peer.open_securely(good, sender="")
    peer.auth()
    assert refusals(one) == []


# -- close


def test_all_streams_of_a_domain_are_ended(internet: Internet, one: Site, good: CertificateFiles) -> None:
    internet.site(TWO)
    one.login("romeo").send(chat("Hush", f"juliet@{TWO}"))
    peers = [call(internet, one), call(internet, one)]
    for peer in peers:
        peer.log_in(good)
    internet.wait(1)
    assert len(streams(one)) == 3
    inspection = Inspection(one.servers)
    assert inspection.close(PEER) == 2
    assert [stream.state for stream in streams(one, PEER)] == ["closing", "closing"]
    assert inspection.close(PEER) == 0
    internet.wait(30)
    assert not any(peer.pipe.is_open for peer in peers)
    assert [stream.remote for stream in streams(one)] == [[TWO]]


def test_a_stream_that_is_being_opened_can_be_closed_and_what_waits_is_kept(internet: Internet, one: Site) -> None:
    host = Host(internet)
    one.login("romeo").send(chat("Hush", f"juliet@{PEER}"))
    peer = host.answer()
    peer.welcome(REQUIRED)
    assert Inspection(one.servers).close(PEER) == 1
    peer.pipe.close()
    internet.wait(0.25)
    [way] = status(one, PEER).ways
    assert (way.state, way.stanzas) == ("waiting to dial again", 1)


def test_what_is_sent_afterwards_opens_another(internet: Internet, one: Site, good: CertificateFiles) -> None:
    two = internet.site(TWO)
    romeo, juliet = one.login("romeo"), two.login("juliet")
    juliet.send("<presence/>")
    juliet.hears()
    for text in ("Hush", "Adieu"):
        romeo.send(chat(text, f"juliet@{TWO}"))
        internet.wait(3)
        [heard] = juliet.hears()
        assert text in heard
        assert Inspection(one.servers).close(TWO) == 1
        internet.wait(3)
