"""XEP-0114: components that connect, in bytes; with the clients that talk to them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from xml.etree.ElementTree import Element

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred

from tests.house import House
from tests.internet import Internet
from tests.network import MemoryPipe, Wire
from tests.streams import DOMAIN, END, Client, show
from vrxmpp import assembly, ns
from vrxmpp.config import Config
from vrxmpp.federation import server_rules
from vrxmpp.jid import Jid
from vrxmpp.net.components import Authority, Component, ComponentFactory, Components
from vrxmpp.net.limits import Addresses
from vrxmpp.stanza import Stanza

GATEWAY = f"irc.{DOMAIN}"
SECRET = "a plague o' both your houses"
HEADER = f"<?xml version='1.0'?><stream:stream xmlns='{ns.COMPONENT_ACCEPT}' xmlns:stream='{ns.STREAM}' to='%s'>"


class Peer(Client):
    """A component, before or after it has proven itself."""

    def open_stream(self, to: str = GATEWAY) -> str:
        """Open a stream; return its id."""
        self.send(HEADER % to)
        self._heard += self.reader.feed(self.pipe.read())
        assert self.reader.header is not None
        return self.reader.header["id"]

    def prove(self, stream_id: str, secret: str = SECRET) -> None:
        self.send(f"<handshake>{hashlib.sha1(stream_id.encode() + secret.encode()).hexdigest()}</handshake>")

    def join(self) -> Peer:
        self.prove(self.open_stream())
        assert self.hears() == ["<handshake/>"]
        return self

    def hears(self) -> list[str]:
        return [show(element, ns.COMPONENT_ACCEPT) for element in self.elements()]

    def hears_one(self) -> Element:
        [element] = self.elements()
        return element


class Rig:
    """A server with one component configured, connected or not."""

    def __init__(self, house: House, authorities: Callable[[], list[Authority]] = list) -> None:
        self.house = house
        self.components = Components(house.clients.policy, Addresses(20, 20, 20), house.loop)
        self.components.start()
        self.component = Component(GATEWAY, SECRET, house.router, authorities)
        self.components.add(self.component)
        self.factory = ComponentFactory(self.components)

    def connect(self) -> Peer:
        peer = IPv4Address("TCP", "127.0.0.1", 50_000)
        wire = Wire(self.house.loop, peer)
        wire.protocol = self.factory.buildProtocol(peer)
        wire.startReading()  # type: ignore[no-untyped-call]
        wire.protocol.makeConnection(wire)
        visitor = Peer(MemoryPipe(wire, self.house.loop))
        self.house.visitors.append(visitor)
        return visitor

    def login(self, name: str) -> Client:
        client = self.house.login(name)
        client.send("<presence/>")
        client.hears()
        return client


@pytest.fixture
def rig(house: House) -> Rig:
    return Rig(house)


def version(id: str, to: str = GATEWAY, **attributes: str) -> str:
    written = "".join(f" {name}='{value}'" for name, value in attributes.items())
    return f"<iq type='get' id='{id}' to='{to}'{written}><query xmlns='{ns.VERSION}'/></iq>"


# -- the beginning


def test_a_component_proves_itself(rig: Rig) -> None:
    peer = rig.connect()
    stream_id = peer.open_stream()
    assert peer.reader.header == {"from": GATEWAY, "id": stream_id}  # no version: it is older than stream features
    peer.prove(stream_id)
    assert peer.hears() == ["<handshake/>"]
    assert rig.component.is_up


def test_the_id_of_each_stream_is_another(rig: Rig) -> None:
    assert rig.connect().open_stream() != rig.connect().open_stream()


@pytest.mark.parametrize("piece", [1, 7])
def test_bytes_arrive_in_pieces(rig: Rig, piece: int) -> None:
    peer = rig.connect()
    peer.piece = piece
    assert peer.join()


@pytest.mark.parametrize("to", [DOMAIN, "x" + GATEWAY, f"nick@{GATEWAY}", "", "@"])
def test_nobody_else_may_connect(rig: Rig, to: str) -> None:
    peer = rig.connect()
    peer.send(HEADER % to)
    assert peer.fails() == "host-unknown"


def test_the_name_is_prepared(rig: Rig) -> None:
    peer = rig.connect()
    peer.prove(peer.open_stream(GATEWAY.upper()))
    assert peer.hears() == ["<handshake/>"]


@pytest.mark.parametrize("proof", ["", "a" * 40, "é", "<a/>", "0" * 100])
def test_a_wrong_proof_is_refused(rig: Rig, proof: str) -> None:
    peer = rig.connect()
    peer.open_stream()
    peer.send(f"<handshake>{proof}</handshake>")
    assert peer.fails() == "not-authorized"
    assert not rig.component.is_up


def test_the_proof_of_another_stream_is_refused(rig: Rig) -> None:
    first, second = rig.connect(), rig.connect()
    stream_id = first.open_stream()
    second.open_stream()
    second.prove(stream_id)
    assert second.fails() == "not-authorized"


@pytest.mark.parametrize(
    "stanza",
    [f"<message from='{GATEWAY}' to='romeo@{DOMAIN}'><body>x</body></message>", "<presence to='@'/>"],
    ids=["well-formed", "malformed"],
)
def test_a_stanza_before_the_proof_is_refused(rig: Rig, stanza: str) -> None:
    peer, romeo = rig.connect(), rig.login("romeo")
    peer.open_stream()
    peer.send(stanza)
    assert peer.fails() == "not-authorized"
    assert romeo.hears() == []


def test_a_second_proof_is_nothing_known(rig: Rig) -> None:
    peer = rig.connect().join()
    peer.send("<handshake/>")
    assert peer.fails() == "unsupported-stanza-type"


def test_a_clients_stream_is_refused(rig: Rig) -> None:
    peer = rig.connect()
    peer.begin()
    assert peer.fails() == "invalid-namespace"


def test_who_proves_nothing_is_sent_away(rig: Rig) -> None:
    peer = rig.connect()
    peer.open_stream()
    rig.house.wait(rig.components.policy.timeouts.login + 1)
    assert peer.fails() == "connection-timeout"


def test_the_first_of_two_stays(rig: Rig) -> None:
    """Two processes with the same settings must not throw each other out for ever."""
    first, second, romeo = rig.connect().join(), rig.connect(), rig.login("romeo")
    second.prove(second.open_stream())
    assert second.fails() == "conflict"
    romeo.send(f"<message to='{GATEWAY}'><body>still there?</body></message>")
    assert len(first.hears()) == 1


def test_the_next_may_come_when_the_first_is_gone(rig: Rig) -> None:
    rig.connect().join().pipe.close()
    rig.connect().join()
    assert rig.component.is_up


# -- stanzas


def test_stanzas_come_and_go(rig: Rig) -> None:
    peer, romeo = rig.connect().join(), rig.login("romeo")
    romeo.send(f"<message type='chat' to='#verona%net@{GATEWAY}/nick'><body>hello</body></message>")
    assert peer.hears() == [
        f"<message from='romeo@{DOMAIN}/here' to='#verona%net@{GATEWAY}/nick' type='chat'><body>hello</body></message>"
    ]
    peer.send(f"<message from='#verona%net@{GATEWAY}/nick' to='romeo@{DOMAIN}/here'><body>hi</body></message>")
    assert romeo.hears() == [
        f"<message from='#verona%net@{GATEWAY}/nick' to='romeo@{DOMAIN}/here'><body>hi</body></message>"
    ]


def test_a_client_asks_a_component_and_a_component_a_client(rig: Rig) -> None:
    peer, romeo = rig.connect().join(), rig.login("romeo")
    romeo.send(version("1"))
    assert peer.hears_one().get("from") == f"romeo@{DOMAIN}/here"
    peer.send(f"<iq type='result' id='1' from='{GATEWAY}' to='romeo@{DOMAIN}/here'><query xmlns='{ns.VERSION}'/></iq>")
    assert romeo.hears() == [
        f"<iq from='{GATEWAY}' id='1' to='romeo@{DOMAIN}/here' type='result'><query xmlns='{ns.VERSION}'/></iq>"
    ]
    peer.send(version("2", f"romeo@{DOMAIN}/here", **{"from": GATEWAY}))
    assert romeo.element().get("from") == GATEWAY
    romeo.send(f"<iq type='result' id='2' to='{GATEWAY}'/>")
    assert peer.hears() == [f"<iq from='romeo@{DOMAIN}/here' id='2' to='{GATEWAY}' type='result'/>"]


def test_the_host_answers_a_component(rig: Rig) -> None:
    peer = rig.connect().join()
    peer.send(f"<iq type='get' id='1' from='a@{GATEWAY}' to='{DOMAIN}'><ping xmlns='{ns.PING}'/></iq>")
    assert peer.hears() == [f"<iq from='{DOMAIN}' id='1' to='a@{GATEWAY}' type='result'/>"]


def test_an_answer_goes_only_to_who_has_asked(rig: Rig) -> None:
    peer, romeo, juliet = rig.connect().join(), rig.login("romeo"), rig.login("juliet")
    answer = "<iq type='result' id='1' from='{}' to='{}@example.net/here'/>"
    romeo.send(version("1", f"room@{GATEWAY}"))
    peer.hears()
    for forged in (answer.format(f"room@{GATEWAY}", "juliet"), answer.format(GATEWAY, "romeo")):
        peer.send(forged)
    assert juliet.hears() == romeo.hears() == []
    peer.send(answer.format(f"room@{GATEWAY}", "romeo"))
    peer.send(answer.format(f"room@{GATEWAY}", "romeo"))
    assert len(romeo.hears()) == 1


def test_the_same_id_may_be_used_towards_two_addresses(rig: Rig) -> None:
    peer, romeo = rig.connect().join(), rig.login("romeo")
    romeo.send(version("1", f"a@{GATEWAY}") + version("1", f"b@{GATEWAY}"))
    peer.send(f"<iq type='result' id='1' from='b@{GATEWAY}' to='romeo@{DOMAIN}/here'/>")
    peer.send(f"<iq type='result' id='1' from='a@{GATEWAY}' to='romeo@{DOMAIN}/here'/>")
    assert [element.get("from") for element in romeo.elements()] == [f"b@{GATEWAY}", f"a@{GATEWAY}"]


def test_unanswered_requests_are_bounded(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest is given up, and answered."""
    monkeypatch.setattr(rig.component._pending, "_limit", 2)
    rig.connect().join()
    romeo = rig.login("romeo")
    romeo.send(version("1") + version("2") + version("3"))
    answer = romeo.element()
    assert (answer.get("id"), answer.get("type")) == ("1", "error")


def test_presence_passes(rig: Rig) -> None:
    peer, romeo = rig.connect().join(), rig.login("romeo")
    romeo.send(f"<presence to='#verona@{GATEWAY}/romeo'/>")
    assert peer.hears_one().get("to") == f"#verona@{GATEWAY}/romeo"
    peer.send(f"<presence from='#verona@{GATEWAY}/romeo' to='romeo@{DOMAIN}/here'/>")
    assert romeo.hears() == [f"<presence from='#verona@{GATEWAY}/romeo' to='romeo@{DOMAIN}/here'/>"]


@pytest.mark.parametrize("sender", [f"romeo@{DOMAIN}", DOMAIN, f"sub.{GATEWAY}", "net"])
def test_a_component_speaks_for_its_domain_only(rig: Rig, sender: str) -> None:
    peer, juliet = rig.connect().join(), rig.login("juliet")
    peer.send(f"<message from='{sender}' to='juliet@{DOMAIN}'><body>it is I</body></message>")
    assert peer.fails() == "invalid-from"
    assert juliet.hears() == []


@pytest.mark.parametrize("addresses", [f"from='{GATEWAY}'", f"to='romeo@{DOMAIN}'", ""])
def test_both_addresses_are_needed(rig: Rig, addresses: str) -> None:
    peer = rig.connect().join()
    peer.send(f"<presence {addresses}/>")
    assert peer.fails() == "improper-addressing"


@pytest.mark.parametrize(
    ("addresses", "answered"),
    [
        (f"from='a@{GATEWAY}' to='@'", f"a@{GATEWAY}"),
        (f"from='@' to='romeo@{DOMAIN}'", GATEWAY),
        ("from='@' to='@'", GATEWAY),
    ],
)
def test_an_address_that_is_none_is_answered(rig: Rig, addresses: str, answered: str) -> None:
    """Names on other networks are wild; one that does not fit costs its stanza, and not the stream."""
    peer = rig.connect().join()
    peer.send(f"<message {addresses} id='1'><body>x</body></message>")
    [error] = peer.hears()
    assert f"to='{answered}' type='error'" in error
    assert "<jid-malformed" in error
    peer.send(f"<message {addresses} id='1' type='error'/>")
    assert peer.hears() == []
    assert rig.component.is_up


def test_a_bad_recipient_hides_no_false_sender(rig: Rig) -> None:
    peer = rig.connect().join()
    peer.send(f"<message from='romeo@{DOMAIN}' to='@'/>")
    assert peer.fails() == "invalid-from"


def test_nobody_can_be_reached_is_told(rig: Rig) -> None:
    peer = rig.connect().join()
    peer.send(f"<message from='a@{GATEWAY}' to='nobody@{DOMAIN}' id='1'><body>x</body></message>")
    [error] = peer.hears()
    assert "<service-unavailable" in error


def test_a_component_talks_to_itself(rig: Rig) -> None:
    peer = rig.connect().join()
    peer.send(f"<message from='a@{GATEWAY}' to='b@{GATEWAY}'><body>x</body></message>")
    assert peer.hears_one().get("to") == f"b@{GATEWAY}"


# -- not there


def test_stanzas_for_a_component_that_is_not_there_come_back(rig: Rig) -> None:
    romeo = rig.login("romeo")
    romeo.send(f"<message to='a@{GATEWAY}' id='1'><body>x</body></message>" + version("2"))
    for error in romeo.hears():
        assert "type='error'" in error
        assert "<error type='wait'><remote-server-timeout" in error


@pytest.mark.parametrize(
    "leave",
    [
        lambda peer: peer.pipe.close(),
        lambda peer: peer.send(END),
        lambda peer: peer.send("<oops"),
        lambda peer: peer.send("</oops>"),
    ],
    ids=["is cut", "says goodbye", "falls silent in the middle", "errs"],
)
def test_a_component_dies(rig: Rig, leave: Callable[[Peer], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits for its answer is told, once; its domain is lost."""
    peer, romeo = rig.connect().join(), rig.login("romeo")
    lost: list[str] = []
    monkeypatch.setattr(rig.house.router, "lost", lost.append)
    romeo.send(version("1") + version("2"))
    leave(peer)
    rig.house.wait(rig.components.policy.timeouts.stanza + 10)
    errors = romeo.hears()
    assert len(errors) == 2
    assert all("<remote-server-timeout" in error for error in errors)
    assert lost == [GATEWAY]
    assert not rig.component.is_up
    assert not rig.components.connections


def test_who_was_refused_takes_nobody_along(rig: Rig) -> None:
    first, second, romeo = rig.connect().join(), rig.connect(), rig.login("romeo")
    romeo.send(version("1"))
    second.prove(second.open_stream())
    assert second.fails() == "conflict"
    assert romeo.hears() == []
    assert len(first.hears()) == 1


def flood(rig: Rig, peer: Peer, romeo: Client, sent: int) -> int:
    """Let a component that does not read be written to, more than is kept for it; return how much comes back."""
    output = replace(rig.components.policy.output, pause_bytes=50_000, cut_bytes=100_000)
    rig.components.policy = replace(rig.components.policy, output=output)
    peer.wire.client_reads = False
    for _ in range(sent):
        romeo.send(f"<message to='{GATEWAY}'><body>{'x' * 9000}</body></message>")
    errors = romeo.hears()
    assert all("<error type='wait'><resource-constraint" in error for error in errors)
    return len(errors)


def test_who_sends_more_than_a_component_reads_does_not_kill_it(rig: Rig) -> None:
    peer, romeo = rig.connect().join(), rig.login("romeo")
    refused = flood(rig, peer, romeo, 40)
    assert 0 < refused < 40
    peer.wire.client_reads = True
    assert len(peer.hears()) == 40 - refused
    romeo.send(f"<message to='{GATEWAY}'><body>and now?</body></message>")
    assert len(peer.hears()) == 1


def test_a_component_that_does_not_read_at_all_is_cut_off(rig: Rig) -> None:
    peer, romeo = rig.connect().join(), rig.login("romeo")
    romeo.send(version("1"))
    assert flood(rig, peer, romeo, 40)
    rig.house.wait(rig.components.policy.output.stalled_seconds + 2)
    assert not rig.component.is_up
    assert not rig.components.connections
    romeo.send(version("2"))
    assert ["<remote-server-timeout" in answer for answer in romeo.hears()] == [True, True]


def test_when_a_component_comes_back_much_may_wait_for_it(rig: Rig) -> None:
    """Thousands of users show themselves to it, and ask for its users."""
    peer = rig.connect().join()
    peer.wire.client_reads = False
    presence = Stanza("presence", to=Jid.parse(GATEWAY), sender=Jid.parse(f"romeo@{DOMAIN}/here"), inner=b"x" * 4000)
    for _ in range(3000):
        rig.component.send(presence)
    assert rig.component.is_up


def test_a_component_that_was_cut_off_is_left_before_the_next_one_comes(rig: Rig) -> None:
    """It may be back sooner than the end of its connection is told."""
    peer, romeo, next_one = rig.connect().join(), rig.login("romeo"), rig.connect()
    stream_id = next_one.open_stream()
    romeo.send(version("1"))
    rig.house.loop.callLater(0, peer.wire.protocol.abort)
    assert isinstance(next_one.pipe, MemoryPipe)
    next_one.pipe.delivers = False
    next_one.prove(stream_id)
    rig.house.loop.settle()
    assert rig.component.is_up
    [error] = romeo.hears()
    assert "<remote-server-timeout" in error


def test_its_users_are_asked_for_again_when_a_component_is_back(rig: Rig) -> None:
    """RFC 6121 §4.3.1, for those who have seen them go."""
    buddy = f"buddy@{GATEWAY}"
    peer, romeo = rig.connect().join(), rig.login("romeo")
    romeo.send(f"<presence type='subscribe' to='{buddy}'/>")
    for type in ("type='subscribed'", ""):
        peer.send(f"<presence {type} from='{buddy}' to='romeo@{DOMAIN}'/>")
    romeo.hears()
    peer.pipe.close()
    assert romeo.hears() == [f"<presence from='{buddy}' to='romeo@{DOMAIN}/here' type='unavailable'/>"]
    again = rig.connect()
    again.prove(again.open_stream())
    assert again.hears() == ["<handshake/>", f"<presence from='romeo@{DOMAIN}' to='{buddy}' type='probe'/>"]


def test_a_stanza_that_is_too_big_ends_the_stream(rig: Rig) -> None:
    peer = rig.connect().join()
    peer.send(f"<message from='{GATEWAY}' to='romeo@{DOMAIN}'><body>{'x' * 300_000}</body></message>")
    assert peer.fails() == "policy-violation"


def test_the_server_goes_down(rig: Rig) -> None:
    peer = rig.connect().join()
    done: list[object] = []
    Deferred.fromCoroutine(rig.components.stop()).addCallback(done.append)
    assert peer.fails() == "system-shutdown"
    assert done == [None]


# -- privileges


def test_a_privileged_component_is_told_and_may(build: Callable[..., House]) -> None:
    """XEP-0356, as the configuration grants it; it comes behind the handshake, and in order with all else."""
    privileges = {"roster": "both", "message": "outgoing"}
    house = build(component=[{"domain": GATEWAY, "secret": SECRET, "privileges": privileges}])
    rig = Rig(house, lambda: assembly._authorities(house.router, [DOMAIN]))
    peer = rig.connect()
    peer.prove(peer.open_stream())
    handshake, told = peer.elements()
    assert handshake.tag == f"{{{ns.COMPONENT_ACCEPT}}}handshake"
    [privilege] = told
    assert [(perm.get("access"), perm.get("type")) for perm in privilege] == [
        ("roster", "both"),
        ("message", "outgoing"),
    ]
    roster, item = f"<query xmlns='{ns.ROSTER}'/>", f"<query xmlns='{ns.ROSTER}'><item jid='a@{GATEWAY}'/></query>"
    for id, type, query in (("1", "set", item), ("2", "get", roster)):
        peer.send(f"<iq type='{type}' id='{id}' from='{GATEWAY}' to='romeo@{DOMAIN}'>{query}</iq>")
    done, shown = peer.elements()
    assert done.get("type") == "result"
    assert shown[0][0].get("jid") == f"a@{GATEWAY}"


def test_a_component_without_privileges_has_none(rig: Rig) -> None:
    peer = rig.connect().join()
    peer.send(f"<iq type='get' id='1' from='{GATEWAY}' to='romeo@{DOMAIN}'><query xmlns='{ns.ROSTER}'/></iq>")
    [error] = peer.hears()
    assert "<service-unavailable" in error


# -- how clients find them


def test_a_service_is_listed_by_the_nearest_domain_while_it_is_there(build: Callable[..., House]) -> None:
    """XEP-0030 §4.1."""
    lower = f"lower.{DOMAIN}"
    house = build(domains=(DOMAIN, lower))
    rig, romeo = Rig(house), house.login("romeo")
    near = Component(f"irc.{lower}", SECRET, house.router)
    rig.components.add(near)

    def listed(domain: str) -> list[str | None]:
        romeo.send(f"<iq type='get' id='1' to='{domain}'><query xmlns='{ns.DISCO_ITEMS}'/></iq>")
        [query] = romeo.element()
        return [item.get("jid") for item in query]

    assert listed(DOMAIN) == listed(lower) == []
    peer = rig.connect().join()
    other = rig.connect()
    other.prove(other.open_stream(near.jid.text))
    assert (listed(DOMAIN), listed(lower)) == ([GATEWAY], [near.jid.text])
    peer.pipe.close()
    assert listed(DOMAIN) == []


# -- other servers


@pytest.mark.parametrize(("names", "proof"), [((GATEWAY,), "certificate"), ((), "dialback")])
def test_another_server_reaches_a_component(internet: Internet, names: tuple[str, ...], proof: str) -> None:
    """It shows the certificate of the domain above; where that does not name it, dialback proves it."""
    one = internet.site(DOMAIN, certificates=[internet.authority.issue(DOMAIN, *names)])
    internet.zone.a(GATEWAY, "192.0.2.1")
    tables = one.house.config.model_dump(by_alias=True)
    components = [{"domain": GATEWAY, "secret": SECRET}]
    one.servers.fit(server_rules(Config.model_validate({**tables, "component": components})))
    two = internet.site("two.example")
    peer, juliet = Rig(one.house).connect().join(), two.login("juliet")
    juliet.send(version("1"))
    internet.wait(2)
    assert peer.hears_one().get("from") == "juliet@two.example/here"
    peer.send(f"<iq type='result' id='1' from='{GATEWAY}' to='juliet@two.example/here'/>")
    peer.send(f"<message from='a@{GATEWAY}' to='juliet@two.example/here'><body>unasked</body></message>")
    internet.wait(2)
    answer, message = juliet.elements()
    assert (answer.get("from"), answer.get("type")) == (GATEWAY, "result")
    assert message.get("from") == f"a@{GATEWAY}"
    stream = one.servers.ways[GATEWAY, "two.example"].stream
    assert stream is not None
    assert stream.authentication == proof
    peer.pipe.close()
    juliet.send(version("2"))
    internet.wait(2)
    assert "<remote-server-timeout" in juliet.hears()[0]


def test_another_server_does_not_speak_for_a_component(internet: Internet) -> None:
    """Nor does a component for a user of another server."""
    one, two = internet.site(DOMAIN), internet.site("two.example")
    peer, romeo = Rig(one.house).connect().join(), one.login("romeo")
    juliet = two.login("juliet")
    juliet.send(f"<message to='romeo@{DOMAIN}/here'><body>hello</body></message>")
    internet.wait(2)
    assert len(romeo.hears()) == 1
    way = two.servers.ways["two.example", DOMAIN]
    assert way.stream is not None
    way.stream.send(f"<message from='{GATEWAY}' to='romeo@{DOMAIN}/here'><body>forged</body></message>".encode())
    internet.wait(2)
    assert not list(one.streams())
    peer.send(f"<message from='juliet@two.example' to='romeo@{DOMAIN}/here'><body>forged</body></message>")
    assert peer.fails() == "invalid-from"
    assert romeo.hears() == []


def test_who_came_while_a_component_was_away_sees_its_users_when_it_is_back(rig: Rig) -> None:
    buddy = f"buddy@{GATEWAY}"
    peer, romeo = rig.connect().join(), rig.login("romeo")
    romeo.send(f"<presence type='subscribe' to='{buddy}'/>")
    peer.send(f"<presence type='subscribed' from='{buddy}' to='romeo@{DOMAIN}'/>")
    romeo.pipe.close()
    peer.pipe.close()
    romeo = rig.login("romeo")
    again = rig.connect()
    again.prove(again.open_stream())
    assert again.hears() == ["<handshake/>", f"<presence from='romeo@{DOMAIN}' to='{buddy}' type='probe'/>"]
