"""What the server does beside messages and presence, asked for by a real client."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from slixmpp.plugins.xep_0048.stanza import Bookmarks
from slixmpp.plugins.xep_0049.stanza import PrivateXML
from slixmpp.stanza import Iq
from slixmpp.xmlstream import register_stanza_plugin

from tests.live.client import Client, LoginRefused, error_of, login
from tests.live.server import PASSWORD, Server
from vrxmpp import __version__, ns


async def test_the_server_says_what_it_can(server: Server) -> None:
    alice = await login(server, server.user("alice"))

    info = (await alice.plugin["xep_0030"].get_info("localhost"))["disco_info"]
    items = (await alice.plugin["xep_0030"].get_items("localhost"))["disco_items"]

    assert ("server", "im") in {identity[:2] for identity in info["identities"]}
    assert {ns.PING, ns.BLOCKING, ns.OFFLINE_MESSAGES} <= set(info["features"])
    assert items["items"] == set()


async def test_the_server_answers_a_ping_and_tells_version_time_and_uptime(server: Server) -> None:
    alice = await login(server, server.user("alice"))

    await alice.plugin["xep_0199"].send_ping("localhost")
    version = (await alice.plugin["xep_0092"].get_version("localhost"))["software_version"]
    time = (await alice.plugin["xep_0202"].get_entity_time("localhost"))["entity_time"]
    uptime = (await alice.plugin["xep_0012"].get_last_activity("localhost"))["last_activity"]

    assert (version["name"], version["version"]) == ("vrxmpp", __version__)
    told = datetime.fromisoformat(time.xml.findtext("{urn:xmpp:time}utc"))  # slixmpp itself trips over the "Z"
    assert abs((told - datetime.now(UTC)).total_seconds()) < 60
    assert 0 <= uptime["seconds"] < 3600


async def test_an_unknown_request_is_answered(server: Server) -> None:
    alice = await login(server, server.user("alice"))
    request = alice.make_iq_get(queryxmlns="urn:example:unknown", ito="localhost")

    assert await error_of(request.send()) == "service-unavailable"


async def test_others_see_a_vcard(server: Server) -> None:
    alice, bob = [await login(server, server.user(name)) for name in ("alice", "bob")]
    card = alice.plugin["xep_0054"].make_vcard()
    card["FN"] = "Alice Liddell"

    await alice.plugin["xep_0054"].publish_vcard(card)

    answer = await bob.plugin["xep_0054"].get_vcard(alice.boundjid.bare, cached=False)
    assert answer["vcard_temp"]["FN"] == "Alice Liddell"


async def test_private_data_is_kept(server: Server) -> None:
    register_stanza_plugin(PrivateXML, Bookmarks)
    jid = server.user("alice")
    alice = await login(server, jid)
    bookmarks = Bookmarks()
    bookmarks.add_conference("room@rooms.example", "alice")

    await alice.plugin["xep_0049"].store(bookmarks)
    await alice.leave()

    answer = await (await login(server, jid)).plugin["xep_0049"].retrieve("bookmarks")
    [conference] = answer["private"]["bookmarks"]["conferences"]
    assert conference["jid"] == "room@rooms.example"


async def test_a_user_changes_the_password(server: Server) -> None:
    jid = server.user("alice")
    alice = await login(server, jid)

    await alice.plugin["xep_0077"].change_password("battery staple", jid="localhost")
    await alice.leave()

    with pytest.raises(LoginRefused):
        await login(server, jid, PASSWORD, mechanism="SCRAM-SHA-256")
    await login(server, jid, "battery staple")


async def announce(client: Client, text: str) -> Iq:
    """Fill in the form of XEP-0133 §4.23."""
    node = "http://jabber.org/protocol/admin#announce"
    first = (await client.plugin["xep_0050"].send_command("localhost", node))["command"]
    form = first["form"]
    form["type"] = "submit"
    form["values"] = {"FORM_TYPE": "http://jabber.org/protocol/admin", "announcement": text}
    return await client.plugin["xep_0050"].send_command(
        "localhost", node, action="complete", payload=form, sessionid=first["sessionid"]
    )


async def test_an_administrator_announces_to_everyone_online(server: Server) -> None:
    admin = await login(server, "admin@localhost")
    alice, bob = [await login(server, server.user(name)) for name in ("alice", "bob")]
    guest = await login(server, "library.example", mechanism="ANONYMOUS")
    for client in (alice, bob, guest):
        await client.come()

    answer = await announce(admin, "The library closes at six.")

    assert answer["command"]["status"] == "completed"
    for client in (alice, bob):
        message = await client.expect("message", sender="localhost")
        assert message["body"] == "The library closes at six."
    await guest.hears_nothing()
    assert await error_of(announce(alice, "I am no administrator")) == "forbidden"
