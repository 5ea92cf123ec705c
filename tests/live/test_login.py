"""Logging in to the real server: mechanisms, TLS, certificates and domains (RFC 6120 §5, §6; RFC 7590)."""

from __future__ import annotations

import ssl
from collections.abc import Iterator

import pytest
from OpenSSL import SSL

from tests.live.client import LoginRefused, login
from tests.live.raw import connection
from tests.live.server import PASSWORD, Server

MECHANISMS = ["SCRAM-SHA-1", "SCRAM-SHA-256", "PLAIN"]


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of its own for the log-ins of slixmpp that fail: they slow down the next from the same address."""
    server = Server(tmp_path_factory.mktemp("guarded"))
    server.start()
    yield server
    server.kill()


@pytest.mark.parametrize("tls", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("direct_tls", [False, True])
@pytest.mark.parametrize("mechanism", MECHANISMS)
async def test_logs_in(server: Server, mechanism: str, direct_tls: bool, tls: ssl.TLSVersion) -> None:
    jid = server.user("alice")

    alice = await login(server, jid, mechanism=mechanism, direct_tls=direct_tls, tls=tls)

    assert alice.boundjid.bare == jid
    [session] = [each for each in server.ask({"command": "session list"}) if each["jid"] == alice.boundjid.full]
    assert session["security"] == {ssl.TLSVersion.TLSv1_2: "TLSv1.2", ssl.TLSVersion.TLSv1_3: "TLSv1.3"}[tls]


@pytest.mark.parametrize(
    ("version", "binding"),
    [
        (SSL.TLS1_3_VERSION, "tls-exporter"),
        (SSL.TLS1_3_VERSION, "tls-server-end-point"),
        (SSL.TLS1_2_VERSION, "tls-server-end-point"),
    ],
)
@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-1-PLUS", "SCRAM-SHA-256-PLUS"])
def test_logs_in_bound_to_the_channel(server: Server, mechanism: str, version: int, binding: str) -> None:
    local = server.user("alice").partition("@")[0]
    with connection(server.starttls) as client:
        client.start_tls(version=version)

        assert f"<channel-binding type='{binding}'/>" in client.header()
        assert client.authenticate(mechanism, local, binding=binding) == "success"


def test_a_binding_to_another_channel_is_refused(server: Server) -> None:
    local = server.user("alice").partition("@")[0]
    with connection(server.starttls) as client, connection(server.starttls) as other:
        client.start_tls()
        other.start_tls()
        client.header()
        client.binding = other.binding  # type: ignore[method-assign]

        answer = client.authenticate("SCRAM-SHA-256-PLUS", local, binding="tls-exporter")
        assert answer.startswith("<failure")
        assert "the channel bindings differ" in answer


async def test_a_client_that_knows_only_an_unknown_binding_logs_in_without(guarded: Server) -> None:
    """slixmpp offers tls-unique over TLS 1.2; it has to find its way to a mechanism that both know."""
    alice = await login(guarded, guarded.user("alice"), tls=ssl.TLSVersion.TLSv1_2)

    assert alice.authenticated


async def test_a_guest_logs_in_where_guests_are_let_in(server: Server) -> None:
    guest = await login(server, "library.example", mechanism="ANONYMOUS")

    assert guest.boundjid.domain == "library.example"
    assert guest.boundjid.local
    with pytest.raises(LoginRefused):
        await login(server, "localhost", mechanism="ANONYMOUS")


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "PLAIN"])
async def test_a_wrong_password_is_refused(guarded: Server, mechanism: str) -> None:
    with pytest.raises(LoginRefused, match="not-authorized"):
        await login(guarded, guarded.user("alice"), "wrong", mechanism=mechanism)


async def test_a_disabled_user_is_refused_until_enabled(guarded: Server) -> None:
    jid = guarded.user("alice")
    alice = await login(guarded, jid)
    guarded.ask({"command": "user disable", "jid": jid})

    await alice.gone.wait()
    assert alice.stream_error == "not-authorized"
    with pytest.raises(LoginRefused, match="not-authorized"):
        await login(guarded, jid, mechanism="SCRAM-SHA-256")

    guarded.ask({"command": "user enable", "jid": jid})
    await login(guarded, jid)


def test_nobody_learns_who_has_an_account(server: Server) -> None:
    known, disabled = (server.user(name).partition("@")[0] for name in ("known", "disabled"))
    server.ask({"command": "user disable", "jid": f"{disabled}@localhost"})

    answers = set()
    for user, password in ((known, "wrong"), (disabled, PASSWORD), ("nobody-at-all", "wrong")):
        with connection(server.direct_tls) as client:
            client.encrypt()
            client.header()
            answers.add(client.plain(user, password))

    assert len(answers) == 1
    assert "<not-authorized/>" in answers.pop()


def test_plain_is_not_offered_before_tls(server: Server) -> None:
    with connection(server.starttls) as client:
        features = client.header()

    assert "<required/>" in features
    assert "mechanism" not in features


def test_direct_tls_speaks_alpn(server: Server) -> None:
    with connection(server.direct_tls) as client:
        client.encrypt(alpn=b"xmpp-client")
        assert client.tls is not None
        assert client.tls.get_alpn_proto_negotiated() == b"xmpp-client"
        assert "SCRAM-SHA-256" in client.header()

    with connection(server.direct_tls) as browser, pytest.raises(SSL.Error):
        browser.encrypt(alpn=b"http/1.1")


@pytest.mark.parametrize("version", [SSL.TLS1_VERSION, SSL.TLS1_1_VERSION])
def test_old_tls_is_refused(server: Server, version: int) -> None:
    with connection(server.direct_tls) as client, pytest.raises(SSL.Error):
        client.encrypt(version=version)


@pytest.mark.parametrize("domain", ["localhost", "library.example"])
def test_the_certificate_is_the_one_asked_for_by_name(server: Server, domain: str) -> None:
    with connection(server.direct_tls) as client:
        client.encrypt(domain)
        assert client.common_name() == domain


@pytest.mark.parametrize("domain", ["localhost", "library.example"])
def test_the_certificate_is_that_of_the_stream_without_a_name(server: Server, domain: str) -> None:
    with connection(server.starttls) as client:
        client.start_tls(domain)
        assert client.common_name() == domain


async def test_the_same_name_on_two_domains_is_two_people(server: Server) -> None:
    here = server.user("alice")
    there = server.account(here.replace("localhost", "library.example"))

    alice, other = await login(server, here), await login(server, there)
    await alice.come()
    await other.come()
    alice.send_message(there, "who are you?")

    assert (await other.expect("message"))["body"] == "who are you?"
    await alice.hears_nothing()


def test_a_domain_that_is_not_served_is_refused(server: Server) -> None:
    with connection(server.starttls) as client:
        client.send(
            "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' "
            "to='elsewhere.example' version='1.0'>"
        )
        assert "<host-unknown" in client.read_all()
