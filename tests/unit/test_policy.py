"""Who may talk to whom between servers: patterns, what beats what, and what is said to those who may not."""

from __future__ import annotations

import pytest

from vrxmpp.jid import InvalidJid
from vrxmpp.net.policy import Authentication, Federation, Forbidden, PeerException, Policy, Rules, prepare_pattern

HERE = "library.example"
CERTIFICATE, DIALBACK = Authentication.CERTIFICATE, Authentication.DIALBACK


def open_to(*, allow: tuple[str, ...] = (), deny: tuple[str, ...] = ()) -> Policy:
    """Return the policy of one domain with these lists."""
    federation = Federation(
        enabled=True,
        authentication=CERTIFICATE,
        tls_required=True,
        allow=frozenset(map(prepare_pattern, allow)),
        deny=frozenset(map(prepare_pattern, deny)),
    )
    return Policy({HERE: federation}, {})


def refusal(policy: Policy, local: str, remote: str) -> str:
    with pytest.raises(Forbidden) as caught:
        policy.rules(local, remote)
    return str(caught.value)


def test_without_lists_everybody_may_come() -> None:
    assert open_to().rules(HERE, "museum.example") == Rules(CERTIFICATE, tls_required=True)


@pytest.mark.parametrize(
    ("pattern", "domain", "fits"),
    [
        ("museum.example", "museum.example", True),
        ("MUSEUM.example.", "museum.example", True),
        ("museum.example", "art.museum.example", False),
        ("museum.example", "artmuseum.example", False),
        ("museum.example", "museum.example.net", False),
        ("*.museum.example", "art.museum.example", True),
        ("*.museum.example", "modern.art.museum.example", True),
        ("*.museum.example", "museum.example", False),
        ("*.museum.example", "artmuseum.example", False),
        ("*.museum.example", "art.museum.example.net", False),
        ("*.example", "museum.example", True),
        ("*.example", "example", False),
        ("xn--bcher-kva.example", "bücher.example", True),
        ("*.BÜCHER.example", "neue.bücher.example", True),
        ("[2001:DB8::1]", "[2001:db8::1]", True),
        ("*.0.0.1", "10.0.0.1", True),
    ],
)
def test_patterns_fit_whole_labels(pattern: str, domain: str, fits: bool) -> None:
    denied = open_to(deny=(pattern,))
    allowed = open_to(allow=(pattern,))
    refusing, letting_in = (denied, allowed) if fits else (allowed, denied)
    assert letting_in.rules(HERE, domain)
    refusal(refusing, HERE, domain)


@pytest.mark.parametrize("pattern", ["", "*", "*.", "*.*.example", "museum.*", "a*.example", ".example", "a b"])
def test_what_is_not_a_pattern(pattern: str) -> None:
    with pytest.raises(InvalidJid):
        prepare_pattern(pattern)


def test_a_very_long_domain_is_matched_quickly() -> None:
    refusal(open_to(allow=("*.museum.example",)), HERE, ".".join("a" * 512))


def test_who_is_denied_is_denied_though_allowed() -> None:
    policy = open_to(allow=("*.example",), deny=("*.spam.example", "museum.example"))
    assert policy.rules(HERE, "spam.example")
    assert refusal(policy, HERE, "a.spam.example") == (
        "library.example does not talk to a.spam.example: *.spam.example is denied"
    )
    assert refusal(policy, HERE, "museum.example") == (
        "library.example does not talk to museum.example: museum.example is denied"
    )
    assert refusal(policy, HERE, "museum.test") == (
        "library.example does not talk to museum.test: it is not among the allowed"
    )


def test_each_domain_has_rules_of_its_own() -> None:
    closed = Federation(enabled=False, authentication=DIALBACK, tls_required=False)
    opened = Federation(enabled=True, authentication=DIALBACK, tls_required=False)
    policy = Policy({HERE: closed, "chat.library.example": opened}, {})
    assert policy.rules("chat.library.example", "museum.example") == Rules(DIALBACK, tls_required=False)
    assert refusal(policy, HERE, "museum.example") == "library.example does not talk to other servers"
    assert refusal(policy, "elsewhere.example", "museum.example") == "elsewhere.example is not served here"


@pytest.mark.parametrize(
    ("exception", "rules"),
    [
        (PeerException(), Rules(CERTIFICATE, tls_required=True)),
        (PeerException(authentication=DIALBACK), Rules(DIALBACK, tls_required=True)),
        (PeerException(tls_required=False), Rules(CERTIFICATE, tls_required=False)),
    ],
)
def test_what_is_said_of_a_peer_beats_the_rest(exception: PeerException, rules: Rules) -> None:
    federation = Federation(
        enabled=True, authentication=CERTIFICATE, tls_required=True, deny=frozenset({"old.denied.example"})
    )
    policy = Policy({HERE: federation}, {"old.example": exception, "old.denied.example": exception})
    assert policy.rules(HERE, "old.example") == rules
    assert policy.rules(HERE, "very.old.example") == Rules(CERTIFICATE, tls_required=True)
    refusal(policy, HERE, "old.denied.example")
