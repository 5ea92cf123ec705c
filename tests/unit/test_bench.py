"""The load generator notices whatever a server may do to messages, and stays on this machine."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from bench import load, modes
from bench.checks import Lane, Tally
from bench.peers import Ejabberd, Peer, Place, Prosody, Vrxmpp, two_places
from bench.report import table
from bench.transport import Reader, Stanza, Target


@pytest.fixture
def tally() -> Tally:
    return Tally()


@pytest.fixture
def lane(tally: Tally) -> Lane:
    return Lane(tally, "run-1")


def bodies(lane: Lane, number: int) -> list[str]:
    return [lane.next_body(when) for when in range(number)]


def test_everything_once_in_order_and_unchanged_is_clean(tally: Tally, lane: Lane) -> None:
    sent = bodies(lane, 5)
    assert [lane.arrived(body) for body in sent] == [0, 1, 2, 3, 4]
    assert tally.clean
    assert tally == Tally(sent=5, delivered=5)


def test_nothing_sent_is_not_clean(tally: Tally) -> None:
    assert not tally.clean


def test_a_loss_is_noticed(tally: Tally, lane: Lane) -> None:
    first, _lost, last = bodies(lane, 3)
    lane.arrived(first)
    lane.arrived(last)
    assert not tally.clean
    assert (tally.lost, tally.reordered, tally.duplicated, tally.foreign) == (1, 0, 0, 0)


def test_a_duplicate_is_noticed(tally: Tally, lane: Lane) -> None:
    first, second = bodies(lane, 2)
    assert [lane.arrived(body) for body in (first, second, first)] == [0, 1, None]
    assert not tally.clean
    assert (tally.lost, tally.reordered, tally.duplicated, tally.foreign) == (0, 0, 1, 0)


def test_a_swap_is_noticed(tally: Tally, lane: Lane) -> None:
    first, second, third = bodies(lane, 3)
    assert [lane.arrived(body) for body in (second, first, third)] == [1, 0, 2]
    assert not tally.clean
    assert (tally.lost, tally.reordered, tally.duplicated, tally.foreign) == (0, 1, 0, 0)


@pytest.mark.parametrize(
    "foreign",
    ["", "hello", "run-1 0", "run-1 x see you", "run-1 7 see you at the station around noon then, and bring the"],
)
def test_a_foreign_body_is_noticed(tally: Tally, lane: Lane, foreign: str) -> None:
    (own,) = bodies(lane, 1)
    assert lane.arrived(foreign) is None
    lane.arrived(own)
    assert not tally.clean
    assert (tally.lost, tally.reordered, tally.duplicated, tally.foreign) == (0, 0, 0, 1)


@pytest.mark.parametrize("change", [lambda body: body[:-1], lambda body: body + " ", str.upper])
def test_a_changed_body_is_noticed(tally: Tally, lane: Lane, change: Callable[[str], str]) -> None:
    (own,) = bodies(lane, 1)
    assert lane.arrived(change(own)) is None
    assert not tally.clean
    assert (tally.lost, tally.foreign) == (1, 1)


def test_a_body_on_the_wrong_lane_is_noticed(tally: Tally, lane: Lane) -> None:
    other = Lane(tally, "run-2")
    lane.arrived(other.next_body(0))
    assert (tally.lost, tally.foreign) == (1, 1)


def test_a_refusal_is_not_clean() -> None:
    assert not Tally(sent=1, delivered=1, refused=1).clean


def test_bodies_within_other_elements_do_not_count() -> None:
    seen: list[Stanza] = []
    stream = (
        b"<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"
        b"<message type='chat'><x xmlns='y'><body>inner</body></x></message>"
        b"<message><body>out&amp;er</body></message>"
    )
    reader = Reader(seen.append, lambda: None)
    for byte in stream:
        reader.feed(bytes([byte]), False)
    assert [(stanza.attributes, stanza.children) for stanza in seen] == [
        ({"type": "chat"}, {"y x": ""}),
        ({}, {"jabber:client body": "out&er"}),
    ]


@pytest.mark.parametrize("host", ["192.0.2.1", "0.0.0.0", "2001:db8::1"])
def test_only_loopback_is_accepted(host: str) -> None:
    with pytest.raises(ValueError, match="not a loopback address"):
        Target(host, 5222, "bench.local", "none", "PLAIN", "secret")


@pytest.mark.parametrize(
    ("ports", "users"),
    [
        ([1], ["1 u0", "1 u1", "1 u2", "1 u3"]),
        ([1, 2], ["1 u0", "2 u0", "1 u1", "2 u1"]),
    ],
)
def test_users_live_on_the_servers_by_turns(
    monkeypatch: pytest.MonkeyPatch, ports: list[int], users: list[str]
) -> None:
    monkeypatch.setattr(modes, "Client", lambda loop, target, context, user: f"{target.port} {user}")
    targets = [Target("127.0.0.1", port, "one.example", "none", "PLAIN", "secret") for port in ports]
    run = modes.Run(targets, ports, 1)
    clients: list[object] = [run.client(user) for user in range(4)]
    assert clients == users


def test_in_every_pair_another_server_has_the_writer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modes.Run, "bring_up", lambda run, users: list(users))
    monkeypatch.setattr(modes, "Conversation", lambda run, number, sender, receiver: (sender, receiver))
    target = Target("127.0.0.1", 1, "one.example", "none", "PLAIN", "secret")
    run = modes.Run([target, target], [1, 2], 1)
    writers_and_readers: Sequence[object] = modes._conversations(run, 4)
    assert writers_and_readers == [(0, 1), (3, 2), (4, 5), (7, 6)]


def test_each_port_needs_a_domain() -> None:
    outcome = CliRunner().invoke(load.main, ["--port", "1", "--port", "2", "--pid", "1", "chat"])
    assert outcome.exit_code == 2
    assert "--domain" in outcome.output


@pytest.fixture
def places(tmp_path: Path) -> tuple[Place, Place]:
    return two_places(tmp_path, 1)


def test_two_servers_know_the_way_to_each_other(places: tuple[Place, Place]) -> None:
    one, two = places
    assert (one.peer_domain, one.peer_s2s_port) == (two.domain, two.s2s_port)
    assert (two.peer_domain, two.peer_s2s_port) == (one.domain, one.s2s_port)
    assert len({port for place in places for port in (place.port, place.direct_port, place.s2s_port)}) == 6


def test_servers_trust_each_others_certificates(places: tuple[Place, Place]) -> None:
    authorities = {(place.directory / "ca.pem").read_bytes() for place in places}
    (authority,) = (x509.load_pem_x509_certificate(pem) for pem in authorities)
    for place in places:
        certificate = x509.load_pem_x509_certificate((place.directory / "cert.pem").read_bytes())
        certificate.verify_directly_issued_by(authority)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        usages = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        assert names.get_values_for_type(x509.DNSName) == [place.domain]
        assert set(usages) == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}


@pytest.mark.parametrize(
    ("streams", "proven"),
    [
        ([("certificate", "TLSv1.3"), ("certificate", "TLSv1.3")], True),
        ([("certificate", "TLSv1.3"), ("dialback", "TLSv1.3")], False),
        ([("certificate", "")], False),
        ([], False),
    ],
)
def test_every_stream_between_servers_must_be_proven(
    monkeypatch: pytest.MonkeyPatch, places: tuple[Place, Place], streams: list[tuple[str, str]], proven: bool
) -> None:
    told = {"streams": [{"authentication": authentication, "tls": tls} for authentication, tls in streams]}
    monkeypatch.setattr("bench.peers.run_to_end", lambda *_: json.dumps(told))
    assert Vrxmpp().federated(places[0]) is proven


@pytest.mark.parametrize(
    ("peer", "log", "line"),
    [
        (Prosody(), "prosody.log", "Accepting SASL EXTERNAL identity from {}"),
        (Ejabberd(), "ejabberd.log", "Accepted inbound s2s EXTERNAL authentication {} -> one.example (127.0.0.1)"),
    ],
)
def test_logs_must_name_the_other_server(places: tuple[Place, Place], peer: Peer, log: str, line: str) -> None:
    place, _ = places
    for domain, proven in (("three.example", False), (place.peer_domain, True)):
        place.write(log, line.format(domain))
        assert peer.federated(place) is proven


def test_the_table_shows_medians_ratios_and_failures() -> None:
    good = {"ok": True, "scenario": "login"}
    results = [
        *({**good, "server": "prosody", "per_second": value} for value in (90, 100, 120)),
        {**good, "server": "vrxmpp", "per_second": 250},
        {"ok": False, "scenario": "chat", "server": "vrxmpp", "problem": "out of time", "lost": 3},
    ]
    assert table(results, ["prosody", "vrxmpp"]).splitlines()[1:] == [
        "log-ins/s".ljust(32) + "100 ±20%        ".rjust(24) + "250   x2.50".rjust(24),
        "FAILED: vrxmpp, chat: out of time; 3 lost",
    ]
