"""Several servers in one memory: chat over s2s, proven by certificates or dialback (RFC 6120, XEP-0178, XEP-0220)."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.internet import DIRECT_TLS, STARTTLS, Internet, Site
from tests.streams import Client, chat
from vrxmpp import ns
from vrxmpp.net.s2s_out import OutgoingStream
from vrxmpp.wire import management

HOUR = 3600


def here(site: Site, name: str, domain: str = "") -> Client:
    """Return a client that is logged in and available."""
    client: Client = site.login(name, domain=domain)
    client.send("<presence/>")
    client.hears()
    return client


def words(client: Client) -> list[str]:
    """Return the bodies that have come."""
    return re.findall("<body>([^<]*)</body>", "".join(client.hears()))


def refusal(client: Client) -> tuple[str, str]:
    """Return the condition and the text of the one error that has come."""
    [error] = client.elements()
    assert error.get("type") == "error"
    [told] = [child for child in error if child.tag.endswith("}error")]
    texts = [child.text or "" for child in told if child.tag.endswith("}text")]
    return told[0].tag.removeprefix(f"{{{ns.STANZA_ERRORS}}}"), "".join(texts)


def authentications(site: Site) -> list[str]:
    return sorted(stream.authentication for stream in site.streams())


# -- proofs


def test_by_certificate(internet: Internet) -> None:
    one, two = internet.site("one.example"), internet.site("two.example")
    romeo, juliet = here(one, "romeo"), here(two, "juliet")
    romeo.send(chat("Hello", "juliet@two.example"))
    internet.wait(1)
    assert juliet.hears() == [
        "<message from='romeo@one.example/here' to='juliet@two.example' type='chat'><body>Hello</body></message>"
    ]
    [stream] = one.streams()
    assert (stream.authentication, stream.tls_version) == ("certificate", "TLSv1.3")


def test_one_connection_serves_both_ways(internet: Internet) -> None:
    one, two = internet.site("one.example"), internet.site("two.example")
    romeo, juliet = here(one, "romeo"), here(two, "juliet")
    romeo.send(chat("Hello", "juliet@two.example"))
    internet.wait(1)
    juliet.send(chat("Goodbye", "romeo@one.example"))
    internet.wait(1)
    assert (words(romeo), words(juliet)) == (["Goodbye"], ["Hello"])
    assert len(internet.cables) == 1


def test_direct_tls_by_srv(internet: Internet) -> None:
    one, two = internet.site("one.example"), internet.site("two.example", srv=True)
    romeo, juliet = here(one, "romeo"), here(two, "juliet")
    romeo.send(chat("Hello", "juliet@two.example"))
    internet.wait(1)
    assert words(juliet) == ["Hello"]
    assert [cable.port for cable in internet.cables] == [DIRECT_TLS]


def test_an_international_domain(internet: Internet) -> None:
    one, two = internet.site("one.example"), internet.site("bücher.example")
    romeo, juliet = here(one, "romeo"), here(two, "juliet")
    romeo.send(chat("Hallo", "juliet@bücher.example"))
    internet.wait(1)
    assert words(juliet) == ["Hallo"]
    assert authentications(one) == ["certificate"]


def test_by_dialback_where_certificates_prove_nothing(internet: Internet) -> None:
    files = {domain: [internet.authority.self_signed(domain)] for domain in ("one.example", "two.example")}
    one, two = (internet.site(domain, certificates=certificates) for domain, certificates in files.items())
    romeo, juliet = here(one, "romeo"), here(two, "juliet")
    romeo.send(chat("Hello", "juliet@two.example"))
    internet.wait(1)
    juliet.send(chat("Goodbye", "romeo@one.example"))
    internet.wait(1)
    assert (words(romeo), words(juliet)) == (["Goodbye"], ["Hello"])
    assert set(authentications(one) + authentications(two)) == {"dialback"}


def test_a_further_domain_of_ours_shares_the_stream(internet: Internet, monkeypatch: pytest.MonkeyPatch) -> None:
    # Where there are acknowledgements, each pair of domains has a stream of its own.
    monkeypatch.setattr(management, "FEATURE", b"")
    one, two = internet.site("one.example", "other.example"), internet.site("two.example")
    romeo, mercutio, juliet = here(one, "romeo"), here(one, "mercutio", "other.example"), here(two, "juliet")
    romeo.send(chat("Hello", "juliet@two.example"))
    internet.wait(3)
    mercutio.send(chat("A plague", "juliet@two.example"))
    internet.wait(3)
    assert words(juliet) == ["Hello", "A plague"]
    [stream] = one.streams()
    assert isinstance(stream, OutgoingStream)
    assert [way.local for way in stream.ways] == ["one.example", "other.example"]


# -- who is refused


def expired(internet: Internet) -> Any:
    return internet.authority.issue("two.example", expired=True)


def for_another(internet: Internet) -> Any:
    return internet.authority.issue("two.example", wrong_name="three.example")


def self_signed(internet: Internet) -> Any:
    return internet.authority.self_signed("two.example")


REASONS = {
    expired: "has expired on",
    for_another: "is for three.example, not for two.example",
    self_signed: "self-signed",
}


@pytest.mark.parametrize("fault", REASONS, ids=lambda fault: fault.__name__)
def test_a_bad_certificate_is_refused_and_the_sender_told(internet: Internet, fault: Any) -> None:
    one = internet.site("one.example", authentication="certificate")
    two = internet.site("two.example", certificates=[fault(internet)])
    romeo, juliet = here(one, "romeo"), here(two, "juliet")
    romeo.send(chat("Hello", "juliet@two.example"))
    internet.wait(1)
    condition, text = refusal(romeo)
    assert condition == "not-authorized"
    assert REASONS[fault] in text
    juliet.send(chat("Goodbye", "romeo@one.example"))
    internet.wait(1)
    condition, text = refusal(juliet)
    assert condition == "not-authorized"
    assert REASONS[fault] in text
    assert (words(romeo), words(juliet)) == ([], [])


def test_who_has_shown_a_certificate_is_held_to_it(internet: Internet) -> None:
    one, two = internet.site("one.example", idle_seconds=10), internet.site("two.example")
    romeo, juliet = here(one, "romeo"), here(two, "juliet")
    romeo.send(chat("Hello", "juliet@two.example"))
    internet.wait(60)
    assert words(juliet) == ["Hello"]
    assert list(one.streams()) == []
    two.servers.certificates.load([internet.authority.self_signed("two.example")])
    romeo.send(chat("Are you there?", "juliet@two.example"))
    internet.wait(1)
    assert refusal(romeo) == ("not-authorized", "the certificate of two.example is self-signed")


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"enabled": False}, "one.example does not talk to other servers"),
        ({"deny": ["*.example"]}, "one.example does not talk to two.example: *.example is denied"),
        ({"allow": ["three.example"]}, "one.example does not talk to two.example: it is not among the allowed"),
    ],
)
def test_policy_holds_both_ways(internet: Internet, settings: dict[str, object], text: str) -> None:
    one, two = internet.site("one.example", **settings), internet.site("two.example")
    romeo, juliet = here(one, "romeo"), here(two, "juliet")
    romeo.send(chat("Hello", "juliet@two.example"))
    internet.wait(1)
    assert refusal(romeo) == ("not-allowed", text)
    assert internet.cables == []
    juliet.send(chat("Goodbye", "romeo@one.example"))
    internet.wait(1)
    assert refusal(juliet)[0] == "not-authorized"


def test_rules_that_change_end_streams(internet: Internet) -> None:
    one, two = internet.site("one.example"), internet.site("two.example")
    romeo, juliet = here(one, "romeo"), here(two, "juliet")
    romeo.send(chat("Hello", "juliet@two.example"))
    internet.wait(1)
    one.fit(deny=["two.example"])
    internet.wait(1)
    assert list(one.streams()) == []
    romeo.send(chat("And now?", "juliet@two.example"))
    internet.wait(1)
    assert refusal(romeo)[0] == "not-allowed"
    assert words(juliet) == ["Hello"]


# -- who cannot be reached


def test_a_domain_that_does_not_exist(internet: Internet) -> None:
    romeo = here(internet.site("one.example"), "romeo")
    romeo.send(chat("Hello", "nobody@nowhere.example"))
    internet.wait(1)
    assert refusal(romeo)[0] == "remote-server-not-found"


def test_a_domain_that_wants_no_messages(internet: Internet) -> None:
    romeo = here(internet.site("one.example"), "romeo")
    internet.zone.srv("mute.example", ".", 0)
    internet.zone.a("mute.example", "192.0.2.1")
    romeo.send(chat("Hello", "nobody@mute.example"))
    internet.wait(1)
    assert refusal(romeo)[0] == "remote-server-not-found"


def test_a_server_that_is_away_for_long(internet: Internet) -> None:
    one = internet.site("one.example")
    romeo = here(one, "romeo")
    internet.zone.a("two.example", "192.0.2.77")
    romeo.send(chat("Hello", "juliet@two.example"))
    internet.wait(50)
    assert romeo.hears() == []
    internet.wait(60)
    condition, text = refusal(romeo)
    assert condition == "remote-server-timeout"
    assert "connection refused" in text
    internet.wait(120)
    assert one.servers.ways == {}


def test_a_server_that_comes_back(internet: Internet) -> None:
    one, two = internet.site("one.example"), internet.site("two.example")
    romeo, juliet = here(one, "romeo"), here(two, "juliet")
    internet.works = False
    for number in range(5):
        romeo.send(chat(f"word {number}", "juliet@two.example"))
    internet.wait(20)
    internet.works = True
    internet.wait(40)
    assert words(juliet) == [f"word {number}" for number in range(5)]
    assert romeo.hears() == []


def test_too_much_that_waits_comes_back_at_once(internet: Internet) -> None:
    one = internet.site("one.example", limits={"s2s": {"queue_stanzas": 3}})
    romeo = here(one, "romeo")
    internet.answers = False
    internet.zone.a("two.example", "192.0.2.77")
    for number in range(4):
        romeo.send(chat(f"word {number}", "juliet@two.example"))
    assert refusal(romeo)[0] == "resource-constraint"


# -- streams that nobody uses


def test_an_idle_stream_is_closed_and_opened_again(internet: Internet) -> None:
    one, two = internet.site("one.example"), internet.site("two.example")
    romeo, juliet = here(one, "romeo"), here(two, "juliet")
    romeo.send(chat("Hello", "juliet@two.example"))
    internet.wait(HOUR)
    assert list(one.streams()) == list(two.streams()) == []
    romeo.send(chat("Still there?", "juliet@two.example"))
    internet.wait(1)
    assert words(juliet) == ["Hello", "Still there?"]
    assert [cable.port for cable in internet.cables] == [STARTTLS, STARTTLS]


def test_a_server_that_goes_down_in_order_loses_nothing(internet: Internet) -> None:
    one, two = internet.site("one.example"), internet.site("two.example")
    romeo, juliet = here(one, "romeo"), here(two, "juliet")
    romeo.send(chat("Hello", "juliet@two.example"))
    internet.wait(1)
    romeo.send(chat("Wait!", "juliet@two.example"))
    two.stop()
    internet.wait(10)
    assert words(juliet) == ["Hello", "Wait!"]
    assert romeo.hears() == []
