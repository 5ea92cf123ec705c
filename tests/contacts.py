"""A world with rosters, subscriptions and presence, for the plays about them."""

from __future__ import annotations

from tests.world import Client, World, run
from vrxmpp.core.router import Router
from vrxmpp.jid import Jid
from vrxmpp.modules.presence import Presence
from vrxmpp.modules.roster import Roster
from vrxmpp.modules.subscription import Subscriptions
from vrxmpp.store.interfaces import RosterItem

GET = "<iq type='get' id='get'><query xmlns='jabber:iq:roster'/></iq>"


def make(
    *names: str, limit: int = 100, directed: int = 100, domain: str = "example.net", router: Router | None = None
) -> World:
    """Return a world with these users and the three modules."""
    world = World(domain=domain, router=router)
    presence = Presence(directed)
    roster = Roster(world.stores.rosters, presence, limit)
    world.mount(presence, roster, Subscriptions(roster, presence))
    world.add(*names)
    return world


def come(world: World, name: str, resource: str = "here") -> Client:
    """Log in as a client does: bind, ask for the roster, send presence; what that brings is heard already."""
    client = world.login(name, resource)
    client.says(f"{GET}<presence/>")
    client.hears()
    return client


def give(world: World, name: str, item: RosterItem) -> None:
    """Put an item into a roster, before its owner wakes."""
    state = run(world.stores.accounts.wake(name))
    assert state is not None
    run(world.stores.rosters.put(state.id, item))


def item(world: World, name: str, contact: str) -> RosterItem | None:
    """Return what the store has, having seen that memory has the same."""
    state = run(world.stores.accounts.wake(name))
    assert state is not None
    stored = {each.jid.text: each for each in state.roster}
    account = world.host.awake.get(name)
    if account is not None:
        assert account.roster == stored
        assert account.roster_version == state.roster_version
    return stored.get(Jid.parse(contact).text)
