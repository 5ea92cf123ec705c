"""What the archive learns of connections: log-ins and their failures, streams of servers and of components."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.testing import StringTransport

from tests.archive import Archive
from tests.house import House
from tests.internet import Internet, Site
from tests.network import MemoryPipe, Wire
from tests.peer import PEER, Peer, call, header, result
from tests.streams import DOMAIN, END, PASSWORD, Client, chat, encode
from vrxmpp import ns
from vrxmpp.admin import Administration, Keys, keys_to_json
from vrxmpp.config.reference import in_force
from vrxmpp.errors import StreamCondition, StreamError
from vrxmpp.negotiation.scram import derive_keys
from vrxmpp.net.components import Component, ComponentFactory, Components
from vrxmpp.net.control import ControlFactory
from vrxmpp.net.limits import Addresses
from vrxmpp.store import open_stores

Build = Callable[..., House]
ROMEO = f"romeo@{DOMAIN}"
HERE = {"address": "192.0.2.1", "tls": ""}


def watch(house: House) -> Archive:
    archive = Archive()
    house.router.audit = house.clients.audit = archive
    return archive


@pytest.fixture
def archive(house: House) -> Archive:
    return watch(house)


# -- log-ins


def test_a_log_in_with_tls(house: House, archive: Archive) -> None:
    client = house.connect()
    client.open()
    client.secure()
    client.open()
    assert client.authenticate("romeo", binding="tls-exporter", mechanism="SCRAM-SHA-256-PLUS").tag.endswith("success")
    assert archive.take("session") == []  # which one it is, is not known yet
    client.open()
    client.bind("here")
    [(conversation, facts)] = archive.take("session")
    version, cipher = facts.pop("tls").split()
    assert (conversation, version, cipher[:4]) == (ROMEO, "TLSv1.3", "TLS_")
    assert facts == {
        "event": "logged in",
        "session": f"{ROMEO}/here",
        "address": "192.0.2.1",
        "mechanism": "SCRAM-SHA-256-PLUS",
        "guest": False,
    }


@pytest.mark.parametrize(
    ("name", "password", "mechanism"), [("romeo", "wrong", "SCRAM-SHA-1"), ("nobody", "any", "SCRAM-SHA-256")]
)
def test_a_failed_log_in(house: House, archive: Archive, name: str, password: str, mechanism: str) -> None:
    client = house.connect()
    client.open()
    client.authenticate(name, password, mechanism)
    assert password not in repr(archive.notes)
    assert archive.take("session") == [
        (
            f"{name}@{DOMAIN}",
            {
                "event": "log-in failed",
                "account": f"{name}@{DOMAIN}",
                "mechanism": mechanism,
                "reason": "not-authorized",
                **HERE,
            },
        )
    ]


def test_a_log_in_that_names_nobody(house: House, archive: Archive) -> None:
    client = house.connect()
    client.open()
    client.send(f"<auth xmlns='{ns.SASL}' mechanism='SECRET'>{encode(PASSWORD)}</auth>")
    client.answer()
    assert archive.take("session") == [
        (DOMAIN, {"event": "log-in failed", "account": DOMAIN, "mechanism": "", "reason": "invalid-mechanism", **HERE})
    ]


def test_strangers_who_guess_cannot_fill_the_archive(house: House, archive: Archive) -> None:
    for number in range(12):
        client = house.connect(f"192.0.2.{number + 10}")
        client.open()
        client.send(f"<auth xmlns='{ns.SASL}' mechanism='NONE'/>")
    noted = [facts["event"] for _, facts in archive.take("session")]
    assert noted == ["log-in failed"] * 10
    house.wait(1)
    assert archive.take("session") == [(DOMAIN, {"event": "log-in failed", "account": DOMAIN, "more": 2})]
    client.send(f"<auth xmlns='{ns.SASL}' mechanism='NONE'/>")
    house.wait(1)
    assert [facts["event"] for _, facts in archive.take("session")] == ["log-in failed"]


def test_who_gives_up_has_not_failed(house: House, archive: Archive) -> None:
    client = house.connect()
    client.open()
    client.send(f"<auth xmlns='{ns.SASL}' mechanism='SCRAM-SHA-1'>{encode('n,,n=romeo,r=abcdefgh')}</auth>")
    client.send(f"<abort xmlns='{ns.SASL}'/>")
    client.hears()
    assert archive.notes == []


def test_who_only_tries_a_password_is_seen(house: House, archive: Archive) -> None:
    client = house.connect()
    client.open()
    client.authenticate("romeo")
    client.pipe.close()
    event = {"event": "logged in without a session", "account": ROMEO, "mechanism": "SCRAM-SHA-256", **HERE}
    assert archive.take("session") == [(ROMEO, event)]


def test_a_guest(build: Build) -> None:
    house = build(host={"anonymous": True})
    archive = watch(house)
    client = house.connect()
    client.open()
    client.send(f"<auth xmlns='{ns.SASL}' mechanism='ANONYMOUS'/>")
    client.hears()
    client.open()
    jid = client.bind("here")[0][0].text or ""
    client.send(END)
    began, ended = archive.take("session")
    assert began[0] == ended[0] == jid.partition("/")[0]
    assert (began[1]["session"], began[1]["mechanism"], began[1]["guest"]) == (jid, "ANONYMOUS", True)
    assert ended[1] == {"event": "ended", "session": jid, "reason": "ended by the peer"}


def end_by_stream(house: House, client: Client) -> None:
    client.send(END)


def lose(house: House, client: Client) -> None:
    client.pipe.close()


def violate(house: House, client: Client) -> None:
    client.send("<oops/>")


def report(house: House, client: Client) -> None:
    client.send(f"<stream:error><undefined-condition xmlns='{ns.STREAM_ERRORS}'/></stream:error>{END}")


def displace(house: House, client: Client) -> None:
    house.login("romeo", "here")


def go_down(house: House, client: Client) -> None:
    for connection in list(house.clients.connections):
        connection.close(StreamError(StreamCondition.SYSTEM_SHUTDOWN))


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        (end_by_stream, "ended by the peer"),
        (lose, "the connection was lost"),
        (violate, "unsupported-stanza-type"),
        (report, "the peer has reported an error"),
        (displace, "conflict"),
        (go_down, "system-shutdown"),
    ],
)
def test_a_session_ends_for_a_reason(
    house: House, archive: Archive, end: Callable[[House, Client], None], reason: str
) -> None:
    client = house.login("romeo", "here")
    archive.notes.clear()
    end(house, client)
    ends = [note for note in archive.take("session") if note[1]["event"] == "ended"]
    assert ends == [(ROMEO, {"event": "ended", "session": f"{ROMEO}/here", "reason": reason})]


def test_a_client_that_does_not_read(build: Build) -> None:
    house = build(limits={"output": {"pause_bytes": 16_384, "cut_bytes": 65_536, "stalled_seconds": 30}})
    archive = watch(house)
    romeo, juliet = house.login("romeo"), house.login("juliet", "here")
    juliet.send("<presence/>")
    juliet.wire.client_reads = False
    archive.notes.clear()
    for _ in range(20):
        romeo.send(chat("x" * 10_000))
    house.wait(1)
    assert [facts["reason"] for _, facts in archive.take("session")] == ["the peer does not read"]


def test_a_registration(build: Build) -> None:
    house = build(host={"registration": True})
    archive = watch(house)
    client = house.connect()
    client.open()
    for _ in range(2):
        fields = "<username>rosaline</username><password>geheim</password>"
        client.send(f"<iq type='set' id='r'><query xmlns='{ns.REGISTER}'>{fields}</query></iq>")
    assert "geheim" not in repr(archive.notes)
    assert archive.take("config") == [
        (f"rosaline@{DOMAIN}", {"event": "account registered", "account": f"rosaline@{DOMAIN}", **HERE})
    ]


# -- administrators


class Desk:
    """The control socket of a server, and its archive."""

    def __init__(self, house: House, uid: int = 0) -> None:
        accounts = {DOMAIN: open_stores(house.database, DOMAIN).accounts}
        factory = ControlFactory(Administration(accounts, None), uid_of=lambda transport: uid)
        factory.audit = self.archive = Archive()
        self.protocol: Any = factory.buildProtocol(None)
        self.transport: Any = StringTransport()
        self.protocol.makeConnection(self.transport)  # type: ignore[no-untyped-call]

    def ask(self, command: str, **arguments: object) -> None:
        self.protocol.dataReceived(json.dumps({"command": command, **arguments}).encode() + b"\n")


def test_what_an_administrator_does_is_noted(house: House) -> None:
    desk = Desk(house)
    keys = keys_to_json(Keys(*derive_keys("geheim", 4096)))
    desk.ask("user add", jid=f"Rosaline@{DOMAIN}", keys=keys)
    desk.ask("user add", jid=f"rosaline@{DOMAIN}", keys=keys)
    desk.ask("user import", users={f"paris@{DOMAIN}": keys})
    desk.ask("user list", domain=None)
    desk.ask("session kick", jid="@@")
    common = {"event": "administrator", "uid": 0}
    account = f"rosaline@{DOMAIN}"
    about = {**common, "command": "user add", "account": account}
    assert keys[0][2] not in repr(desk.archive.notes)
    assert desk.archive.take("config") == [
        (account, {**about, "outcome": "done", "jid": f"Rosaline@{DOMAIN}"}),
        (account, {**about, "outcome": "exists", "jid": account}),
        ("configuration", {**common, "outcome": "done", "command": "user import", "users": [f"paris@{DOMAIN}"]}),
        ("configuration", {**common, "outcome": "done", "command": "user list", "domain": None}),
        ("configuration", {**common, "outcome": "invalid-jid", "command": "session kick", "jid": "@@"}),
    ]


@pytest.mark.parametrize("command", ["status", "audit status", "s2s status", "s2s test"])
def test_what_concerns_no_person_and_changes_nothing_is_not(house: House, command: str) -> None:
    desk = Desk(house)
    desk.ask(command, jid="elsewhere.example")
    assert desk.archive.notes == []


@pytest.mark.parametrize("line", [b"not JSON\n", b"[]\n", b'"user list"\n'])
def test_what_is_no_request_is_not(house: House, line: bytes) -> None:
    desk = Desk(house)
    desk.protocol.dataReceived(line)
    assert b"error" in desk.transport.value()
    assert desk.archive.notes == []


@pytest.mark.parametrize("request_line", [b'{"command": []}\n', b'{"command": {}, "jid": [], "users": {}}\n', b"{}\n"])
def test_nonsense_hurts_nobody(house: House, request_line: bytes) -> None:
    desk = Desk(house)
    desk.protocol.dataReceived(request_line)
    assert b"bad-request" in desk.transport.value()
    assert [facts["outcome"] for _, facts in desk.archive.take("config")] == ["bad-request"]


def test_who_may_not_is_noted(house: House) -> None:
    desk = Desk(house, uid=os.geteuid() + 1)
    assert desk.archive.take("config") == [
        ("configuration", {"event": "administrator refused", "uid": os.geteuid() + 1})
    ]


def test_the_configuration_can_be_noted_whole_and_without_secrets(build: Build) -> None:
    components = [
        {"domain": "a.example.net", "secret": "geheim"},
        {"domain": "b.example.net", "handler": "package:Class", "options": {"password": "geheim"}},
    ]
    house = build(component=components, audit={"encrypted": "refuse"}, host={"audit": {"class": "patron"}})
    archive = watch(house)
    archive.note("config", "configuration", after=in_force(house.config))
    [(_, facts)] = archive.take("config")
    assert "geheim" not in repr(facts)
    assert [each["domain"] for each in facts["after"]["component"]] == ["a.example.net", "b.example.net"]
    assert facts["after"]["host"][0]["audit"] == {"class": "patron", "encrypted": "refuse"}
    assert facts["after"]["limits"]["rate"]


# -- components

GATEWAY = f"irc.{DOMAIN}"


class Gate:
    """Where a component connects."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.components = Components(house.clients.policy, Addresses(20, 20, 20), house.loop)
        self.components.add(Component(GATEWAY, "secret", house.router))
        self.components.audit = house.router.audit
        self.factory = ComponentFactory(self.components)

    def connect(self, to: str = GATEWAY, secret: str = "secret") -> Client:
        """Connect, and try to prove oneself."""
        address = IPv4Address("TCP", "127.0.0.1", 50_000)
        wire = Wire(self.house.loop, address)
        wire.protocol = self.factory.buildProtocol(address)
        wire.startReading()  # type: ignore[no-untyped-call]
        wire.protocol.makeConnection(wire)
        client = Client(MemoryPipe(wire, self.house.loop))
        self.house.visitors.append(client)
        client.send(f"<stream:stream xmlns='{ns.COMPONENT_ACCEPT}' xmlns:stream='{ns.STREAM}' to='{to}'>")
        client.elements()
        assert client.reader.header is not None
        proof = hashlib.sha1(client.reader.header["id"].encode() + secret.encode()).hexdigest()
        client.send(f"<handshake>{proof}</handshake>")
        return client


def test_a_component_comes_and_goes(house: House, archive: Archive) -> None:
    client = Gate(house).connect()
    client.send(END)
    local = {"direction": "from", "address": "127.0.0.1", "component": GATEWAY}
    assert archive.take("stream") == [
        (f"stream {GATEWAY}", {"event": "began", "tls": "", **local}),
        (f"stream {GATEWAY}", {"event": "ended", "reason": "ended by the peer", **local}),
    ]


@pytest.mark.parametrize(
    ("to", "named", "reason"), [(GATEWAY, GATEWAY, "not-authorized"), ("other.example", "", "host-unknown")]
)
def test_a_component_is_refused(house: House, archive: Archive, to: str, named: str, reason: str) -> None:
    Gate(house).connect(to, "wrong")
    facts = {"event": "refused", "direction": "from", "component": named, "address": "127.0.0.1", "reason": reason}
    assert archive.take("stream") == [("stream refused", facts)]


def test_of_many_components_that_are_refused_the_rest_of_a_second_is_counted(house: House, archive: Archive) -> None:
    gate = Gate(house)
    for _ in range(15):
        gate.connect(GATEWAY, "wrong")
    assert len(archive.take("stream")) == 10
    gate.components.sweep()  # as each second
    assert archive.take("stream") == [("stream refused", {"event": "refused", "direction": "from", "more": 5})]


def test_a_second_component_is_refused(house: House, archive: Archive) -> None:
    gate = Gate(house)
    gate.connect()
    archive.notes.clear()
    gate.connect()
    [(_, facts)] = archive.take("stream")
    assert (facts["event"], facts["reason"]) == ("refused", "conflict: the component is connected already")


# -- servers


def observe(site: Site) -> Archive:
    archive = watch(site.house)
    site.servers.audit = archive
    return archive


@pytest.fixture
def one(internet: Internet) -> Site:
    return internet.site("one.example")


@pytest.fixture
def two(internet: Internet) -> Site:
    return internet.site("two.example")


def test_a_stream_is_noted_at_both_ends(internet: Internet, one: Site, two: Site) -> None:
    there, here = observe(two), observe(one)
    romeo = one.login("romeo")
    two.login("juliet")
    romeo.send(chat("Hark!", "juliet@two.example"))
    internet.wait(3)
    for site in (one, two):
        for stream in site.streams():
            stream.retire()
    internet.wait(3)
    for archive, peer, local, direction in (
        (here, "two.example", "one.example", "to"),
        (there, "one.example", "two.example", "from"),
    ):
        began, ended = archive.take("stream")
        assert began[0] == ended[0] == f"stream {peer}"
        version, cipher = began[1].pop("tls").split()
        assert (version, cipher[:4]) == ("TLSv1.3", "TLS_")
        address = began[1].pop("address")
        assert began[1] == {
            "event": "began",
            "local": local,
            "peer": peer,
            "authentication": "certificate",
            "direction": direction,
        }
        reason = ended[1].pop("reason")
        assert reason in ("ended in order", "ended by the peer")
        assert ended[1] == {
            "event": "ended",
            "local": local,
            "peer": peer,
            "address": address,
            "direction": direction,
        }


def test_a_stream_that_breaks(internet: Internet, one: Site) -> None:
    archive = observe(one)
    peer = call(internet, one)
    peer.log_in(internet.authority.issue(PEER))
    peer.pipe.close()
    [ended] = [facts for _, facts in archive.take("stream") if facts["event"] == "ended"]
    assert ended["reason"] == "the connection was lost"


def test_a_further_pair_is_noted(internet: Internet) -> None:
    site = internet.site("one.example", "other.example")
    archive = observe(site)
    peer = call(internet, site)
    peer.log_in(internet.authority.issue(PEER))
    archive.notes.clear()
    for _ in range(2):
        peer.send(result(PEER, "other.example"))
        peer.hears()
    assert archive.take("stream") == [
        (
            f"stream {PEER}",
            {
                "event": "proven",
                "local": "other.example",
                "peer": PEER,
                "authentication": "dialback",
                "direction": "from",
            },
        )
    ]


def without_certificate(internet: Internet, peer: Peer) -> None:
    peer.open("one.example")
    peer.start_tls(None)
    peer.begin()


def for_somebody_else(internet: Internet, peer: Peer) -> None:
    peer.begin("elsewhere.example")


def in_our_name(internet: Internet, peer: Peer) -> None:
    peer.send(header("one.example", "one.example"))


def too_early(internet: Internet, peer: Peer) -> None:
    peer.open("one.example")
    peer.send("<message from='a@peer.example' to='romeo@one.example'/>")


def silent(internet: Internet, peer: Peer) -> None:
    peer.open("one.example")
    internet.wait(600)


def nobody(internet: Internet, peer: Peer) -> None:
    peer.send("GET / HTTP/1.1\r\n\r\n")


@pytest.mark.parametrize(
    ("beginning", "named", "reason"),
    [
        (without_certificate, ("one.example", PEER), f"{PEER} shows no certificate"),
        (for_somebody_else, ("elsewhere.example", PEER), "host-unknown"),
        (in_our_name, ("one.example", "one.example"), "invalid-from"),
        (too_early, ("one.example", PEER), "not-authorized"),
        (silent, ("one.example", PEER), "connection-timeout"),
    ],
)
def test_who_is_not_let_in_is_noted_once(
    internet: Internet, beginning: Callable[[Internet, Peer], None], named: tuple[str, str], reason: str
) -> None:
    archive = observe(internet.site("one.example", authentication="certificate"))
    beginning(internet, call(internet, internet.sites[0]))
    internet.wait(60)
    [(conversation, facts)] = archive.take("stream")
    assert conversation == "stream refused"
    assert (facts["event"], facts["direction"]) == ("refused", "from")
    assert (facts["local"], facts["peer"]) == named
    assert facts["reason"].startswith(reason)
    assert facts["address"] == "192.0.2.99"


def test_who_says_nothing_of_servers_is_not(internet: Internet, one: Site) -> None:
    archive = observe(one)
    nobody(internet, call(internet, one))
    internet.wait(60)
    assert archive.notes == []


def test_strangers_cannot_fill_the_archive(internet: Internet, one: Site) -> None:
    archive = observe(one)
    for _ in range(15):
        call(internet, one, f"{len(archive.notes)}.example").begin("elsewhere.example")
    assert len(archive.take("stream")) == 10
    internet.wait(1)
    more = [facts["more"] for _, facts in archive.take("stream") if "more" in facts]
    assert more == [5]


def test_who_cannot_be_reached_is_noted_each_time(internet: Internet, one: Site) -> None:
    archive = observe(one)
    romeo = one.login("romeo")
    archive.notes.clear()
    romeo.send(chat("Hark!", "juliet@nowhere.example"))
    internet.wait(1)
    [(conversation, facts)] = archive.take("stream")
    assert conversation == "stream nowhere.example"
    assert (facts["event"], facts["direction"], facts["peer"]) == ("refused", "to", "nowhere.example")
    assert facts["reason"]
