"""XEP-0356: Privileged Entity."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contacts import come, give, item, make
from tests.world import Client, World, parse, run
from vrxmpp import ns
from vrxmpp.errors import Condition, StanzaError, StreamCondition
from vrxmpp.jid import Jid
from vrxmpp.modules.blocking import Blocking
from vrxmpp.modules.ping import Ping
from vrxmpp.modules.presence import Presence
from vrxmpp.modules.privilege import Grant, PrivilegedEntities
from vrxmpp.modules.roster import Roster
from vrxmpp.stanza import Stanza
from vrxmpp.store.interfaces import RosterItem, StorageError, Subscription

GATEWAY = "irc.example.net"
BUDDY = f"buddy@{GATEWAY}"
EVERYTHING = Grant("both", message=True, presence=True, iq={"urn:a": "both", "urn:b": "get"})


class Service:
    """A component: writes down what it is sent."""

    def __init__(self, world: World, grant: Grant) -> None:
        self.world = world
        self.received: list[str] = []
        self.is_up = True
        presence, roster = (next(m for m in world.host.modules if type(m) is kind) for kind in (Presence, Roster))
        assert isinstance(presence, Presence)
        assert isinstance(roster, Roster)
        self.module = PrivilegedEntities({GATEWAY: grant}, roster, presence)
        world.mount(self.module, Blocking(world.stores.blocklists, presence, 100))
        world.router.services[GATEWAY] = self

    def send(self, stanza: Stanza) -> None:
        if not self.is_up:
            raise StanzaError(Condition.REMOTE_SERVER_TIMEOUT)
        self.received.append(stanza.raw.decode())

    def says(self, xml: str) -> list[str]:
        """Send stanzas, as a component does; return what it hears."""
        for event in parse(xml):
            assert isinstance(event, Stanza)
            waiting = self.module.take(event) or self.world.router.route(event)
            if waiting is not None:
                run(waiting)
        return self.hears()

    def hears(self) -> list[str]:
        received, self.received = self.received, []
        return received


class Upload:
    """Another service, which is asked on behalf of users."""

    def __init__(self, world: World) -> None:
        self.received: list[Stanza] = []
        world.router.services["upload.example.net"] = self

    def send(self, stanza: Stanza) -> None:
        self.received.append(stanza)


@pytest.fixture
def world() -> World:
    return make("alice", "bob")


def roster(type: str, inner: str = "", sender: str = GATEWAY, to: str = "alice@example.net") -> str:
    return f"<iq type='{type}' id='1' from='{sender}' to='{to}'><query xmlns='{ns.ROSTER}'>{inner}</query></iq>"


def privileged(inner: str, to: str = "example.net", sender: str = GATEWAY) -> str:
    forwarded = f"<forwarded xmlns='{ns.FORWARD}'>{inner}</forwarded>"
    return (
        f"<message from='{sender}' to='{to}' id='1'><privilege xmlns='{ns.PRIVILEGE}'>{forwarded}</privilege></message>"
    )


def said(sender: str = "alice@example.net", to: str = "bob@example.net") -> str:
    return (
        f"<message xmlns='jabber:client' from='{sender}' to='{to}' type='chat' id='x'><body>a &lt; b</body></message>"
    )


def on_behalf(inner: str, type: str = "get", to: str = "alice@example.net") -> str:
    content = f"<privileged_iq xmlns='{ns.PRIVILEGE}'>{inner}</privileged_iq>"
    return f"<iq type='{type}' id='outer' from='{GATEWAY}' to='{to}'>{content}</iq>"


def inner_iq(
    namespace: str = "urn:a", type: str = "get", sender: str = "alice@example.net", to: str = "upload.example.net"
) -> str:
    written = f" from='{sender}'" if sender else ""
    return f"<iq xmlns='jabber:client' type='{type}' id='inner'{written} to='{to}'><x xmlns='{namespace}'/></iq>"


# -- what is told


def test_only_what_is_granted_is_advertised(world: World) -> None:
    service = Service(world, EVERYTHING)
    service.module.welcome(Jid.parse(GATEWAY))
    assert service.hears() == [
        f"<message to='{GATEWAY}' from='example.net'><privilege xmlns='{ns.PRIVILEGE}'>"
        "<perm access='roster' type='both' push='false'/><perm access='message' type='outgoing'/>"
        "<perm access='iq'><namespace ns='urn:a' type='both'/><namespace ns='urn:b' type='get'/></perm>"
        "<perm access='presence' type='managed_entity'/></privilege></message>"
    ]


@pytest.mark.parametrize("domain", [GATEWAY, "other.example.net"])
def test_who_has_no_privilege_is_told_nothing(world: World, domain: str) -> None:
    service = Service(world, Grant() if domain == GATEWAY else EVERYTHING)
    service.module.welcome(Jid.parse(domain))
    assert service.hears() == []


# -- rosters


def test_a_roster_is_read(world: World) -> None:
    """§4.3, of somebody who is not even awake."""
    give(world, "alice", RosterItem(Jid.parse("bob@example.net"), "Bob", subscription=Subscription.BOTH))
    [answer] = Service(world, EVERYTHING).says(roster("get"))
    assert f"<iq to='{GATEWAY}' from='alice@example.net' id='1' type='result'>" in answer
    assert "<item jid='bob@example.net' subscription='both' name='Bob'/>" in answer


def test_reading_a_roster_makes_nobody_interested(world: World) -> None:
    alice = world.login("alice")
    service = Service(world, EVERYTHING)
    service.says(roster("get"))
    service.says(roster("set", f"<item jid='{BUDDY}'/>"))
    assert alice.hears() == []


def test_a_contact_is_added_with_its_subscription(world: World) -> None:
    """The component speaks for its own users; the user's clients see the contact, and the contact the user."""
    alice = come(world, "alice")
    service = Service(world, EVERYTHING)
    answer, presence = service.says(
        roster("set", f"<item jid='{BUDDY}' name='Buddy' subscription='both'><group>IRC</group></item>")
    )[::-1]
    assert answer == f"<iq to='{GATEWAY}' from='alice@example.net' id='1' type='result'/>"
    assert presence.startswith(f"<presence to='{BUDDY}' from='alice@example.net/here'")
    expected = RosterItem(Jid.parse(BUDDY), "Buddy", ("IRC",), Subscription.BOTH)
    assert item(world, "alice", BUDDY) == expected
    assert "subscription='both'" in alice.hears()[-1]


def test_nobody_elses_consent_is_given_for_them(world: World) -> None:
    """A subscription to somebody who is not the component's own stays what it is."""
    give(world, "alice", RosterItem(Jid.parse("bob@example.net")))
    Service(world, EVERYTHING).says(roster("set", "<item jid='bob@example.net' name='B' subscription='both'/>"))
    assert item(world, "alice", "bob@example.net") == RosterItem(Jid.parse("bob@example.net"), "B")


def test_a_subscription_that_comes_true_is_asked_for_no_longer(world: World) -> None:
    give(world, "alice", RosterItem(Jid.parse(BUDDY), asked=True, request=b"<presence type='subscribe'/>"))
    Service(world, EVERYTHING).says(roster("set", f"<item jid='{BUDDY}' subscription='both'/>"))
    assert item(world, "alice", BUDDY) == RosterItem(Jid.parse(BUDDY), subscription=Subscription.BOTH)


def test_the_subscription_may_be_left_out(world: World) -> None:
    give(world, "alice", RosterItem(Jid.parse(BUDDY), subscription=Subscription.BOTH))
    Service(world, EVERYTHING).says(roster("set", f"<item jid='{BUDDY}' name='B'/>"))
    assert item(world, "alice", BUDDY) == RosterItem(Jid.parse(BUDDY), "B", subscription=Subscription.BOTH)


def test_a_contact_who_may_see_the_user_no_longer_sees_them_go(world: World) -> None:
    give(world, "alice", RosterItem(Jid.parse(BUDDY), subscription=Subscription.BOTH))
    service = Service(world, Grant("set"))
    come(world, "alice")
    service.hears()
    heard = service.says(roster("set", f"<item jid='{BUDDY}' subscription='to'/>"))
    assert f"<presence to='{BUDDY}' from='alice@example.net/here' type='unavailable'/>" in heard


def test_a_contact_is_removed(world: World) -> None:
    give(world, "alice", RosterItem(Jid.parse(BUDDY), subscription=Subscription.BOTH))
    Service(world, EVERYTHING).says(roster("set", f"<item jid='{BUDDY}' subscription='remove'/>"))
    assert item(world, "alice", BUDDY) is None


@pytest.mark.parametrize(
    ("grant", "type", "allowed"),
    [
        (Grant("get"), "get", True),
        (Grant("get"), "set", False),
        (Grant("set"), "set", True),
        (Grant("set"), "get", False),
        (Grant(message=True), "get", False),
    ],
)
def test_only_what_is_granted_is_done_with_rosters(world: World, grant: Grant, type: str, allowed: bool) -> None:
    inner = f"<item jid='{BUDDY}'/>" if type == "set" else ""
    answer = Service(world, grant).says(roster(type, inner))[-1]
    assert ("type='result'" in answer) == allowed
    assert ("<forbidden" in answer) != allowed
    assert (item(world, "alice", BUDDY) is not None) == (allowed and type == "set")


@pytest.mark.parametrize("sender", ["other.example.net", f"nick@{GATEWAY}", f"{GATEWAY}/x", "mallory@other.example"])
def test_others_have_no_privilege(world: World, sender: str) -> None:
    """A user behind a gateway is not the gateway."""
    service = Service(world, EVERYTHING)
    world.router.services[Jid.parse(sender).domain] = service
    [answer] = service.says(roster("get", sender=sender))
    assert "<service-unavailable" in answer
    [refusal] = service.says(privileged(said(), sender=sender))
    assert "<service-unavailable" in refusal


@pytest.mark.parametrize(
    ("to", "inner", "condition"),
    [
        ("nobody@example.net", "<item jid='a@b'/>", "forbidden"),
        ("alice@example.net", "", "bad-request"),
        ("alice@example.net", "<item jid='@'/>", "jid-malformed"),
        ("alice@example.net", "<item jid='alice@example.net' subscription='both'/>", "not-allowed"),
    ],
)
def test_a_bad_change_is_refused(world: World, to: str, inner: str, condition: str) -> None:
    [answer] = Service(world, EVERYTHING).says(roster("set", inner, to=to))
    assert f"<{condition}" in answer


@pytest.mark.parametrize(
    ("failure", "condition"), [(StorageError("full"), "resource-constraint"), (OSError(), "internal-server-error")]
)
def test_what_fails_is_answered(
    world: World, failure: Exception, condition: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(local: str) -> Any:
        raise failure

    service = Service(world, EVERYTHING)
    monkeypatch.setattr(world.host, "wake", fail)
    [answer] = service.says(roster("get"))
    assert f"<{condition}" in answer


# -- messages


def test_a_message_is_sent_for_a_user(world: World) -> None:
    """§5.3."""
    bob = come(world, "bob")
    assert Service(world, EVERYTHING).says(privileged(said())) == []
    assert bob.hears() == [
        "<message to='bob@example.net' from='alice@example.net' id='x' type='chat'><body>a &lt; b</body></message>"
    ]


def test_a_message_to_the_gateway_itself_comes_back_to_it(world: World) -> None:
    """What the user wrote elsewhere: the server sees it as one that the user has sent here."""
    [message] = Service(world, EVERYTHING).says(privileged(said(to=BUDDY)))
    assert message.startswith(f"<message to='{BUDDY}' from='alice@example.net' id='x'")


@pytest.mark.parametrize(
    "sender",
    ["alice@example.net/here", "example.net", "nobody@example.net", "bob@other.example", BUDDY, f"alice@{GATEWAY}"],
)
def test_only_users_of_the_domain_are_spoken_for(world: World, sender: str) -> None:
    bob = come(world, "bob")
    [error] = Service(world, EVERYTHING).says(privileged(said(sender)))
    assert "<forbidden" in error
    assert bob.hears() == []


def test_messages_need_the_permission(world: World) -> None:
    bob = come(world, "bob")
    [error] = Service(world, Grant("both")).says(privileged(said()))
    assert "<forbidden" in error
    assert bob.hears() == []


@pytest.mark.parametrize(
    "inner",
    ["", said() * 2, said().replace("jabber:client", "urn:other"), said().replace("message", "presence")],
    ids=["none", "two", "of another namespace", "no message"],
)
def test_one_message_is_forwarded(world: World, inner: str) -> None:
    [error] = Service(world, EVERYTHING).says(privileged(inner))
    assert "<forbidden" in error


def test_the_domain_of_another_host_is_not_asked_in_vain(world: World) -> None:
    """The privilege holds for the domain that granted it."""
    other = make("carol", domain="other.example", router=world.router)
    [error] = Service(world, EVERYTHING).says(privileged(said("carol@other.example"), to="other.example"))
    assert "<service-unavailable" in error
    assert other.host.awake == {}


def test_a_user_who_has_blocked_somebody_does_not_write_to_them(world: World) -> None:
    """XEP-0356 §9: no more than the user could do."""
    service, alice, bob = Service(world, EVERYTHING), come(world, "alice"), come(world, "bob")
    alice.says(f"<iq type='set' id='b'><block xmlns='{ns.BLOCKING}'><item jid='bob@example.net'/></block></iq>")
    service.hears()
    [error] = service.says(privileged(said()))
    assert "<not-acceptable" in error
    assert bob.hears() == []


# -- who is managed


@pytest.mark.parametrize(
    "asked",
    [roster("get"), roster("set", f"<item jid='{BUDDY}'/>"), privileged(said()), on_behalf(inner_iq())],
    ids=["roster get", "roster set", "message", "iq"],
)
def test_nothing_is_done_for_who_has_blocked_the_service(world: World, asked: str) -> None:
    service, alice, bob, upload = Service(world, EVERYTHING), come(world, "alice"), come(world, "bob"), Upload(world)
    alice.says(f"<iq type='set' id='b'><block xmlns='{ns.BLOCKING}'><item jid='{GATEWAY}'/></block></iq>")
    for each in (service, alice):
        each.hears()
    [error] = service.says(asked)
    assert "<forbidden" in error
    assert alice.hears() == bob.hears() == []
    assert upload.received == []
    assert item(world, "alice", BUDDY) is None


@pytest.mark.parametrize(
    "asked",
    [
        roster("get", to="ghost@example.net"),
        privileged(said("ghost@example.net")),
        on_behalf(inner_iq(sender=""), to="ghost@example.net"),
    ],
    ids=["roster", "message", "iq"],
)
def test_nothing_is_done_for_guests(world: World, asked: str) -> None:
    """XEP-0175 §4: they have nothing that is kept, and stay in the house; nor are they shown."""
    service, bob, upload, ghost = Service(world, EVERYTHING), come(world, "bob"), Upload(world), Client()
    ghost.session = run(world.host.bind("ghost", "here", ghost, guest=True))
    service.hears()
    ghost.says("<presence/>")
    [error] = service.says(asked)
    assert "<forbidden" in error
    assert bob.hears() == []
    assert upload.received == []


# -- requests


def test_a_request_is_sent_for_a_user_and_its_answer_handed_on(world: World) -> None:
    """§6.3."""
    service, upload = Service(world, EVERYTHING), Upload(world)
    assert service.says(on_behalf(inner_iq())) == []
    [request] = upload.received
    assert request.raw == (
        b"<iq to='upload.example.net' from='alice@example.net' id='inner' type='get'><x xmlns='urn:a'/></iq>"
    )
    world.router.send(request.reply(b"<slot xmlns='urn:a'/>"))
    assert service.hears() == [
        f"<iq to='{GATEWAY}' from='alice@example.net' id='outer' type='result'><privilege xmlns='{ns.PRIVILEGE}'>"
        f"<forwarded xmlns='{ns.FORWARD}'><iq xmlns='jabber:client' to='alice@example.net' from='upload.example.net'"
        " id='inner' type='result'><slot xmlns='urn:a'/></iq></forwarded></privilege></iq>"
    ]
    world.router.send(request.reply())
    assert service.hears() == []  # once


def test_an_answer_that_comes_late_is_handed_on(world: World) -> None:
    """The account need not be in memory any more."""
    service, upload = Service(world, EVERYTHING), Upload(world)
    service.says(on_behalf(inner_iq()))
    world.host.forget("alice", StreamCondition.RESET)
    world.router.send(upload.received[0].reply())
    assert len(service.hears()) == 1


def test_this_server_and_its_users_are_asked_as_well(world: World) -> None:
    world.mount(Ping())
    service, bob = Service(world, Grant(iq={ns.PING: "get"})), come(world, "bob")
    ping = inner_iq(ns.PING, to="example.net").replace("<x", "<ping")
    [answer] = service.says(on_behalf(ping))
    assert "id='outer' type='result'" in answer
    assert "from='example.net' id='inner' type='result'" in answer
    assert service.says(on_behalf(ping.replace("to='example.net'", "to='bob@example.net/here'"))) == []
    [asked] = bob.hears()
    assert "from='alice@example.net' id='inner' type='get'" in asked
    bob.says("<iq type='result' id='inner' to='alice@example.net'/>")
    [answer] = service.hears()
    assert "from='bob@example.net/here' id='inner' type='result'" in answer


def test_who_is_blocked_is_not_asked(world: World) -> None:
    """§9, XEP-0191 §3.3: the user could not do it either; and the id is free again."""
    service, upload, alice = Service(world, EVERYTHING), Upload(world), world.login("alice")
    block = f"<iq type='set' id='b'><%s xmlns='{ns.BLOCKING}'><item jid='upload.example.net'/></%s></iq>"
    alice.says(block % ("block", "block"))
    [error] = service.says(on_behalf(inner_iq()))
    assert "<not-acceptable" in error
    assert upload.received == []
    alice.says(block % ("unblock", "unblock"))
    assert service.says(on_behalf(inner_iq())) == []
    assert len(upload.received) == 1


def test_of_a_request_only_what_an_answer_needs_is_kept(world: World) -> None:
    """There may be a thousand of half a megabyte."""
    service, _ = Service(world, EVERYTHING), Upload(world)
    service.says(on_behalf(inner_iq().replace("<x xmlns='urn:a'/>", f"<x xmlns='urn:a'>{'x' * 9000}</x>")))
    [kept] = service.module._asked.values()
    assert len(kept.raw) < 1000


def test_an_error_is_handed_on_as_one(world: World) -> None:
    service, upload = Service(world, EVERYTHING), Upload(world)
    service.says(on_behalf(inner_iq(sender="")))
    world.router.send(upload.received[0].refusal(StanzaError(Condition.NOT_ACCEPTABLE)))
    [answer] = service.hears()
    assert "id='outer' type='error'" in answer
    assert answer.endswith(
        f"</privilege><error type='modify'><not-acceptable xmlns='{ns.STANZA_ERRORS}'/></error></iq>"
    )


def test_a_forged_answer_is_not_handed_on(world: World) -> None:
    service, upload = Service(world, EVERYTHING), Upload(world)
    service.says(on_behalf(inner_iq()))
    world.router.send(upload.received[0].reply().with_sender(Jid.parse("mallory@other.example")))
    assert service.hears() == []


@pytest.mark.parametrize(
    "request_",
    [
        on_behalf(inner_iq("urn:c")),
        on_behalf(inner_iq("urn:b", "set"), "set"),
        on_behalf(inner_iq(type="set"), "get"),
        on_behalf(inner_iq(sender="bob@example.net")),
        on_behalf(inner_iq(sender="alice@example.net/here")),
        on_behalf(inner_iq().replace("<x xmlns='urn:a'/>", "")),
        on_behalf(inner_iq().replace("<x xmlns='urn:a'/>", "<x xmlns='urn:a'/><x xmlns='urn:c'/>")),
    ],
    ids=["namespace", "type for namespace", "types differ", "another user", "a resource", "no payload", "two payloads"],
)
def test_a_request_that_is_not_granted_is_refused(world: World, request_: str) -> None:
    service, upload = Service(world, EVERYTHING), Upload(world)
    [error] = service.says(request_)
    assert "<forbidden" in error
    assert upload.received == []


@pytest.mark.parametrize(
    ("request_", "condition"),
    [
        (on_behalf(""), "forbidden"),
        (on_behalf(inner_iq() * 2), "forbidden"),
        (on_behalf(inner_iq().replace("jabber:client", "urn:other")), "forbidden"),
        (on_behalf(inner_iq().replace(" id='inner'", "")), "bad-request"),
        (on_behalf(inner_iq().replace("inner", "i" * 1024)), "bad-request"),
        (on_behalf(inner_iq(to="@")), "jid-malformed"),
        (on_behalf(inner_iq(sender=""), to="nobody@example.net"), "forbidden"),
    ],
)
def test_a_bad_request_is_refused(world: World, request_: str, condition: str) -> None:
    service, upload = Service(world, EVERYTHING), Upload(world)
    [error] = service.says(request_)
    assert f"<{condition}" in error
    assert upload.received == []


@pytest.mark.parametrize("to", ["alice@example.net", "bob@example.net/here", "example.net", "unreachable.example"])
def test_what_cannot_be_asked_is_answered(world: World, to: str) -> None:
    [answer] = Service(world, EVERYTHING).says(on_behalf(inner_iq(to=to)))
    assert "id='outer' type='error'" in answer
    assert f"from='{to}' id='inner' type='error'" in answer


def test_an_id_that_is_in_use_is_refused(world: World) -> None:
    service, upload = Service(world, EVERYTHING), Upload(world)
    service.says(on_behalf(inner_iq()))
    [error] = service.says(on_behalf(inner_iq()))
    assert "<conflict" in error
    assert len(upload.received) == 1


def test_unanswered_requests_are_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vrxmpp.modules.privilege._UNANSWERED", 1)
    service, upload = Service(world, EVERYTHING), Upload(world)
    service.says(on_behalf(inner_iq()))
    [error] = service.says(on_behalf(inner_iq().replace("inner", "second")).replace("outer", "next"))
    assert "id='outer' type='error'" in error
    assert len(upload.received) == 2


def test_a_component_that_is_gone_is_told_nothing(world: World) -> None:
    service, upload = Service(world, EVERYTHING), Upload(world)
    service.says(on_behalf(inner_iq()))
    world.router.lost(GATEWAY)
    world.router.send(upload.received[0].reply())
    assert service.hears() == []


# -- presence


def online(client: Client) -> None:
    client.says("<presence/>")
    client.hears()


def test_a_user_is_seen_to_come_change_and_go(world: World) -> None:
    """§7.3."""
    service, alice = Service(world, EVERYTHING), world.login("alice")
    alice.says("<presence><show>away</show></presence><presence to='bob@example.net'/><presence type='unavailable'/>")
    alice.says("<presence type='unavailable'/>")
    assert service.hears() == [
        f"<presence to='{GATEWAY}' from='alice@example.net/here'><show>away</show></presence>",
        f"<presence to='{GATEWAY}' from='alice@example.net/here' type='unavailable'/>",
    ]


def test_a_user_who_is_cut_off_is_seen_to_go(world: World) -> None:
    service, alice, bob = Service(world, EVERYTHING), world.login("alice"), world.login("bob")
    online(alice)
    service.hears()
    alice.leaves()
    bob.leaves()
    assert service.hears() == [f"<presence to='{GATEWAY}' from='alice@example.net/here' type='unavailable'/>"]


def test_who_is_online_already_is_shown_upon_connection(world: World) -> None:
    """§8 rule 1."""
    service, alice = Service(world, EVERYTHING), world.login("alice")
    online(alice)
    world.login("bob")
    service.hears()
    service.module.welcome(Jid.parse(GATEWAY))
    _, presence = service.hears()
    assert presence == f"<presence to='{GATEWAY}' from='alice@example.net/here'/>"


def test_a_contact_sees_presence_once(world: World) -> None:
    """§8 rule 2."""
    give(world, "alice", RosterItem(Jid.parse(GATEWAY), subscription=Subscription.BOTH))
    service, alice = Service(world, EVERYTHING), world.login("alice")
    online(alice)
    assert sum("type='probe'" not in heard for heard in service.hears()) == 1


def test_presence_needs_the_permission(world: World) -> None:
    service = Service(world, Grant("both"))
    online(world.login("alice"))
    assert service.hears() == []


def test_a_blocked_component_sees_nothing(world: World) -> None:
    service, alice = Service(world, EVERYTHING), world.login("alice")
    alice.says(f"<iq type='set' id='b'><block xmlns='{ns.BLOCKING}'><item jid='{GATEWAY}'/></block></iq>")
    online(alice)
    assert service.hears() == []


def test_a_component_that_is_not_there_harms_nobody(world: World) -> None:
    service, alice = Service(world, EVERYTHING), world.login("alice")
    service.is_up = False
    alice.says("<presence/>")
    assert not any("error" in heard for heard in alice.hears())
