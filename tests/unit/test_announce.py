"""XEP-0133 §4.23: Send Announcement to Online Users, with XEP-0050."""

from __future__ import annotations

import re

import pytest

from tests.world import Client, World
from vrxmpp import dom, ns
from vrxmpp.modules.announce import Announcements
from vrxmpp.modules.disco import ServiceDiscovery

ITEM = f"<item jid='example.net' node='{ns.ADMIN_ANNOUNCE}' name='Send Announcement to Online Users'/>"


@pytest.fixture
def world() -> World:
    world = World(ServiceDiscovery(), Announcements(frozenset({"admin@example.net"})))
    world.add("admin", "alice", "bob")
    return world


def form(*lines: str) -> str:
    values = "".join(f"<value>{line}</value>" for line in lines)
    return (
        "<x xmlns='jabber:x:data' type='submit'>"
        "<field type='hidden' var='FORM_TYPE'><value>http://jabber.org/protocol/admin</value></field>"
        f"<field var='announcement'>{values}</field></x>"
    )


def command(client: Client, content: str = "", node: str = ns.ADMIN_ANNOUNCE, **attributes: str) -> str:
    more = "".join(f" {name}='{value}'" for name, value in attributes.items())
    client.says(
        f"<iq type='set' id='c' to='example.net'><command xmlns='{ns.COMMANDS}' node='{node}'{more}>{content}"
        "</command></iq>"
    )
    [answer] = [heard for heard in client.hears() if " id='c'" in heard]
    return answer


def disco(client: Client, namespace: str, node: str) -> str:
    client.says(f"<iq type='get' id='1' to='example.net'><query xmlns='{namespace}' node='{node}'/></iq>")
    [answer] = client.hears()
    return answer


def test_an_administrator_is_given_a_form(world: World) -> None:
    """XEP-0133 §4.23."""
    answer = command(world.login("admin"), action="execute")
    payload = dom.children(dom.parse(answer.encode()))[0]
    assert (payload.attributes["node"], payload.attributes["status"]) == (ns.ADMIN_ANNOUNCE, "executing")
    assert payload.attributes["sessionid"]
    x = dom.child(payload, ns.DATA_FORMS, "x")
    assert x is not None
    assert x.attributes["type"] == "form"
    fields = {field.attributes["var"]: field for field in dom.children(x) if field.name == "field"}
    assert dom.text(dom.children(fields["FORM_TYPE"])[0]) == "http://jabber.org/protocol/admin"
    assert fields["announcement"].attributes["type"] == "text-multi"
    assert dom.child(fields["announcement"], ns.DATA_FORMS, "required") is not None


def test_every_session_hears_the_announcement(world: World) -> None:
    """XEP-0133 §4.23: all who have a session, and nobody else."""
    admin = world.login("admin")
    users = [world.login("alice", "one"), world.login("alice", "two"), world.login("bob")]
    answer = command(admin, form("Down at 8 &lt;pm&gt;", "Sorry"), sessionid="s&amp;1")
    assert "sessionid='s&amp;1' status='completed'><note type='info'>Sent to 4 sessions.</note></command>" in answer
    for user in users:
        assert user.hears() == [
            f"<message to='{user.session.jid}' from='example.net' type='headline'>"
            "<body>Down at 8 &lt;pm&gt;\nSorry</body></message>"
        ]


def test_cancelling(world: World) -> None:
    """XEP-0050 §2.4.3."""
    admin = world.login("admin")
    assert "sessionid='1' status='canceled'></command>" in command(admin, form("a"), sessionid="1", action="cancel")
    assert admin.hears() == []


@pytest.mark.parametrize(
    ("content", "action", "condition"),
    [
        (form(), "complete", "bad-payload"),
        (form(" ", ""), "complete", "bad-payload"),
        ("<x xmlns='jabber:x:data' type='submit'/>", "", "bad-payload"),
        (form("a"), "next", "bad-action"),
        (form("a"), "prev", "bad-action"),
        (form("a"), "dance", "malformed-action"),
    ],
)
def test_bad_requests(world: World, content: str, action: str, condition: str) -> None:
    """XEP-0050 §4.4."""
    alice = world.login("alice")
    answer = command(world.login("admin"), content, action=action)
    assert re.search(f"<bad-request [^>]*/><{condition} xmlns='{ns.COMMANDS}'/>", answer)
    assert alice.hears() == []


def test_another_command_is_not_found(world: World) -> None:
    """XEP-0050 §4.4."""
    assert "<item-not-found" in command(world.login("admin"), node="http://jabber.org/protocol/admin#shutdown")


@pytest.mark.parametrize("node", [ns.ADMIN_ANNOUNCE, "any"])
def test_others_may_not(world: World, node: str) -> None:
    """XEP-0133 §7; no node tells them that it exists."""
    bob = world.login("bob")
    assert "<forbidden" in command(world.login("alice"), form("a"), node)
    assert bob.hears() == []


def test_only_administrators_find_the_command(world: World) -> None:
    """XEP-0050 §2.2."""
    admin, alice = world.login("admin"), world.login("alice")
    assert ITEM in disco(admin, ns.DISCO_ITEMS, ns.COMMANDS)
    assert "<item" not in disco(alice, ns.DISCO_ITEMS, ns.COMMANDS)
    assert "type='result'" in disco(admin, ns.DISCO_ITEMS, ns.ADMIN_ANNOUNCE)
    assert "<item-not-found" in disco(alice, ns.DISCO_ITEMS, ns.ADMIN_ANNOUNCE)
    assert "category='automation' type='command-list'" in disco(alice, ns.DISCO_INFO, ns.COMMANDS)
    described = disco(admin, ns.DISCO_INFO, ns.ADMIN_ANNOUNCE)
    assert "category='automation' type='command-node' name='Send Announcement to Online Users'" in described
    assert f"<feature var='{ns.COMMANDS}'/><feature var='jabber:x:data'/>" in described
    assert "<forbidden" in disco(alice, ns.DISCO_INFO, ns.ADMIN_ANNOUNCE)


def test_accounts_have_no_commands(world: World) -> None:
    admin = world.login("admin")
    for namespace in (ns.DISCO_INFO, ns.DISCO_ITEMS):
        admin.says(f"<iq type='get' id='1'><query xmlns='{namespace}' node='{ns.COMMANDS}'/></iq>")
        assert "<item-not-found" in admin.hears()[0]
