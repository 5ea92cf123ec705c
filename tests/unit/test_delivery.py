"""Where a message goes: the table of RFC 6121 §8.5.4, by address, by who is there, and by type."""

from __future__ import annotations

from functools import cache

import pytest

from tests.world import Client, World
from vrxmpp.core import delivery
from vrxmpp.core.account import Account
from vrxmpp.core.delivery import Action, Address, Situation
from vrxmpp.core.module import Module, absent
from vrxmpp.core.session import Session
from vrxmpp.stanza import Stanza
from vrxmpp.waiting import Waiting

# The priorities of the resources that there are; None: bound, but no presence was sent.
SITUATIONS: dict[str, dict[str, int | None] | None] = {
    "no account": None,
    "nobody": {},
    "not yet": {"bound": None},
    "negative": {"negative": -1},
    "one": {"one": 0},
    "many": {"high": 5, "low": 1, "bound": None, "as high": 5, "negative": -1},
}
# RFC 6121 §8.5.4, in its order: normal, chat, groupchat, headline; errors follow from §8.5.1 to §8.5.3.
# D: delivered to the one that is addressed, M: to the most available, A: to all of non-negative priority, O: kept for
# later, E: refused, -: ignored. Where the RFC leaves the choice between E and -, what this server does.
TYPES = ("normal", "chat", "groupchat", "headline", "error")
TABLE = {
    ("no account", ""): "EEE--",
    ("no account", "other"): "EEE--",
    ("nobody", ""): "OOE--",
    ("nobody", "other"): "EOE--",
    ("not yet", ""): "OOE--",
    ("not yet", "other"): "EOE--",
    ("not yet", "bound"): "DDDDD",
    ("negative", ""): "OOE--",
    ("negative", "other"): "EOE--",
    ("negative", "negative"): "DDDDD",
    ("one", ""): "MMEA-",
    ("one", "other"): "EME--",
    ("one", "one"): "DDDDD",
    ("many", ""): "MMEA-",
    ("many", "other"): "EME--",
    ("many", "low"): "DDDDD",
    ("many", "negative"): "DDDDD",
    ("many", "bound"): "DDDDD",
}
MOST = {"one": ["one"], "many": ["as high", "high"]}
ALL = {"one": ["one"], "many": ["as high", "high", "low"]}
CASES = [
    (situation, resource, kind, outcome)
    for (situation, resource), outcomes in TABLE.items()
    # §5.2.2: a type that is missing or unknown is normal.
    for kind, outcome in zip((*TYPES, "", "odd"), (*outcomes, outcomes[0], outcomes[0]), strict=True)
]


class Keeper(Module):
    """Notes what it is given to keep."""

    def __init__(self) -> None:
        self.kept: list[Stanza] = []

    @absent
    def keep(self, account: Account, stanza: Stanza) -> Waiting | None:
        self.kept.append(stanza)
        return None


@cache
def arrange(situation: str) -> tuple[Client, dict[str, Client], Keeper]:
    """Return Romeo, Juliet's clients and who keeps her messages; the same for all cases, which change nothing."""
    keeper = Keeper()
    world = World(keeper)
    world.add("romeo")
    return world.login("romeo"), populate(world, situation), keeper


def populate(world: World, situation: str) -> dict[str, Client]:
    """Let Juliet's resources be there."""
    resources = SITUATIONS[situation]
    if resources is None:
        return {}
    world.add("juliet")
    clients = {resource: world.login("juliet", resource) for resource in resources}
    for resource, priority in resources.items():
        session = clients[resource].session
        if priority is not None:
            session.presence = Stanza("presence", sender=session.jid)
            session.priority = priority
        session.account.rank_sessions()
    return clients


@pytest.mark.parametrize(("situation", "resource", "type", "outcome"), CASES)
def test_follows_the_table(situation: str, resource: str, type: str, outcome: str) -> None:
    romeo, clients, keeper = arrange(situation)
    keeper.kept.clear()
    to = f"juliet@example.net/{resource}" if resource else "juliet@example.net"
    written = f" type='{type}'" if type else ""

    romeo.says(f"<message to='{to}' id='1'{written}><body>hi</body></message>")

    delivered = {"D": [resource], "M": MOST.get(situation), "A": ALL.get(situation)}.get(outcome, [])
    message = f"<message to='{to}' from='romeo@example.net/here' id='1'{written}><body>hi</body></message>"
    heard = {name: client.hears() for name, client in clients.items()}
    assert sorted(name for name, stanzas in heard.items() if stanzas) == delivered
    assert all(stanzas == [message] for stanzas in heard.values() if stanzas)
    assert [stanza.raw.decode() for stanza in keeper.kept] == ([message] if outcome == "O" else [])
    answers = romeo.hears()
    assert len(answers) == (outcome == "E")
    for answer in answers:
        assert answer.startswith(f"<message to='romeo@example.net/here' from='{to}' id='1' type='error'>")
        assert "<error type='cancel'><service-unavailable " in answer


@pytest.mark.parametrize("type", ["normal", "chat"])
def test_what_nobody_keeps_is_refused(type: str) -> None:
    world = World()
    world.add("romeo", "juliet")
    romeo = world.login("romeo")
    romeo.says(f"<message to='juliet@example.net' type='{type}'><body>hi</body></message>")
    (answer,) = romeo.hears()
    assert "<service-unavailable " in answer


def test_every_place_in_the_table_is_filled() -> None:
    assert set(delivery.MESSAGES) == {(address, situation) for address in Address for situation in Situation}
    assert all(set(row) == set(TYPES) for row in delivery.MESSAGES.values())


def test_an_unknown_type_is_normal() -> None:
    for address, situation in delivery.MESSAGES:
        normal = delivery.action(address, situation, "normal")
        assert delivery.action(address, situation, "") is normal
        assert delivery.action(address, situation, "Chat") is normal


def test_errors_are_never_answered() -> None:
    for address, situation in delivery.MESSAGES:
        assert delivery.action(address, situation, "error") is Action.IGNORE


def test_ranking_follows_presence() -> None:
    world = World()
    clients = populate(world, "many")
    account = clients["low"].session.account

    def names(sessions: tuple[Session, ...]) -> list[str]:
        return sorted(session.jid.resource for session in sessions)

    assert names(account.present) == ["as high", "high", "low", "negative"]
    assert names(account.available) == ALL["many"]
    assert names(account.most_available) == MOST["many"]
    clients["high"].leaves()
    assert names(account.most_available) == ["as high"]
    clients["as high"].leaves()
    clients["low"].leaves()
    assert (account.available, account.most_available) == ((), ())
    assert names(account.present) == ["negative"]
