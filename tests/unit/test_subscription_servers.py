"""RFC 6121 Appendix A between two servers: whatever their users say, both ends agree about it in the end."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from tests.contacts import come, give, item, make
from tests.world import Client, World, parse, run
from vrxmpp.errors import Condition, StanzaError
from vrxmpp.jid import Jid
from vrxmpp.stanza import Stanza
from vrxmpp.store.interfaces import RosterItem, Subscription

PEOPLE = {"alice": "alice@one.example", "bob": "bob@two.example"}
OTHER = {"alice": "bob", "bob": "alice"}
TYPES = ("subscribe", "subscribed", "unsubscribe", "unsubscribed")
Half = tuple[bool, bool, bool, bool]
"""Sees the other, is seen, has asked, is asked."""


class Cable:
    """The way out of one server: what is under way, in order, and where it leads."""

    def __init__(self, sender: World, recipient: World) -> None:
        self.sender, self.recipient = sender, recipient
        self.under_way: deque[Stanza] = deque()
        sender.router.remote = self

    def send(self, stanza: Stanza) -> None:
        self.under_way.append(stanza)

    def deliver(self) -> None:
        [stanza] = parse(self.under_way.popleft().raw)
        assert isinstance(stanza, Stanza)
        waiting = self.recipient.router.route(stanza)
        if waiting is not None:
            run(waiting)

    def lose_all(self, *, bounced: bool) -> None:
        while self.under_way:
            stanza = self.under_way.popleft()
            if bounced:
                self.sender.router.refuse(stanza, StanzaError(Condition.REMOTE_SERVER_TIMEOUT))


class Two(RuleBasedStateMachine):
    """A user of one server, and one of another."""

    def __init__(self) -> None:
        super().__init__()
        self.worlds = {name: make(name, domain=jid.partition("@")[2]) for name, jid in PEOPLE.items()}
        self.cables = {name: Cable(self.worlds[name], self.worlds[OTHER[name]]) for name in PEOPLE}
        self.clients: dict[str, Client | None] = dict.fromkeys(PEOPLE)

    @initialize(are_friends=st.booleans())
    def begin(self, are_friends: bool) -> None:
        if are_friends:
            for name, world in self.worlds.items():
                give(world, name, RosterItem(Jid.parse(PEOPLE[OTHER[name]]), subscription=Subscription.BOTH))

    def settle(self) -> None:
        for _ in range(100):
            if not any(cable.under_way for cable in self.cables.values()):
                return
            for cable in self.cables.values():
                while cable.under_way:
                    cable.deliver()
        raise AssertionError("they never stop talking to each other")

    def speak(self, name: str, stanza: str) -> None:
        client = self.clients[name] or come(self.worlds[name], name)
        client.says(stanza)
        if self.clients[name] is None:
            client.leaves()

    @rule(name=st.sampled_from(sorted(PEOPLE)))
    def comes_or_goes(self, name: str) -> None:
        client = self.clients[name]
        if client is None:
            self.clients[name] = come(self.worlds[name], name)
        else:
            client.leaves()
            self.clients[name] = None
        self.then()

    @rule(name=st.sampled_from(sorted(PEOPLE)), type=st.sampled_from(TYPES))
    def says(self, name: str, type: str) -> None:
        self.speak(name, f"<presence to='{PEOPLE[OTHER[name]]}' type='{type}'/>")
        self.then()

    @rule(name=st.sampled_from(sorted(PEOPLE)), remove=st.booleans())
    def edits(self, name: str, remove: bool) -> None:
        contact = f"<item jid='{PEOPLE[OTHER[name]]}' {'subscription' if remove else 'name'}='remove'/>"
        self.speak(name, f"<iq type='set' id='1'><query xmlns='jabber:iq:roster'>{contact}</query></iq>")
        self.then()

    def then(self) -> None:
        """Go on after somebody has done something."""

    def half(self, name: str) -> Half:
        jid = Jid.parse(PEOPLE[OTHER[name]])
        found = item(self.worlds[name], name, jid.text) or RosterItem(jid, listed=False)
        assert found.listed or replace(found, request=None) == RosterItem(jid, listed=False)
        sees = found.subscription in {Subscription.TO, Subscription.BOTH}
        is_seen = found.subscription in {Subscription.FROM, Subscription.BOTH}
        assert not (sees and found.asked)
        assert not (is_seen and found.request is not None)
        return sees, is_seen, found.asked, found.request is not None


class Connected(Two):
    """The network works, and nobody speaks before the other has been heard."""

    def then(self) -> None:
        self.settle()
        alice, bob = self.half("alice"), self.half("bob")
        assert alice == (bob[1], bob[0], bob[3], bob[2])


Connected.TestCase.settings = settings(
    max_examples=25, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestConnected = Connected.TestCase


class Unreliable(Two):
    """Stanzas cross, are lost, or come back."""

    def happens(self, chance: random.Random) -> None:
        name = chance.choice(sorted(PEOPLE))
        match chance.randrange(12):
            case 0:
                self.comes_or_goes(name)
            case 1:
                self.edits(name, chance.choice([True, False]))
            case 2 | 3 | 4 | 5:
                self.says(name, chance.choice(TYPES))
            case 6 | 7:
                self.cables[name].lose_all(bounced=chance.choice([True, False]))
            case _:
                if self.cables[name].under_way:
                    self.cables[name].deliver()

    def log_in_again(self) -> None:
        for name, client in self.clients.items():
            if client is not None:
                client.leaves()
            self.settle()
            come(self.worlds[name], name)
            self.settle()


@pytest.mark.parametrize("seed", range(80))
def test_nobody_believes_to_see_whom_they_do_not_see(seed: int) -> None:
    """What was lost is found out at the next log-in, by probes (§4.3.2) and by requests sent again (§3.1.2)."""
    chance = random.Random(seed)
    two = Unreliable()
    two.begin(are_friends=chance.choice([True, False]))
    for _ in range(chance.randrange(5, 30)):
        two.happens(chance)
    two.log_in_again()
    for name in PEOPLE:
        sees, _, asks, _ = two.half(name)
        _, is_seen, _, is_asked = two.half(OTHER[name])
        assert is_seen or not sees
        assert is_asked or not asks
