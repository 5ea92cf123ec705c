"""A network that drops, stalls and cuts connections between two servers: each message arrives once or comes back once.

XEP-0198 between the two makes it so, as long as they find each other again while a session can be resumed.
"""

from __future__ import annotations

import random
import re
from collections import Counter

import pytest

from tests.internet import Internet
from tests.streams import Client, chat

QUEUE_SECONDS = 60  # as is the default


class Couple:
    """Romeo at one server and Juliet at another: what they say, what arrives, and what comes back."""

    def __init__(self, internet: Internet) -> None:
        self.internet = internet
        one, two = internet.site("one.example"), internet.site("two.example")
        self.people: dict[str, Client] = {
            "juliet@two.example": one.login("romeo"),
            "romeo@one.example": two.login("juliet"),
        }
        self.said: list[str] = []
        self.arrived: dict[str, list[str]] = {to: [] for to in self.people}
        self.returned: Counter[str] = Counter()
        for client in self.people.values():
            client.send("<presence/>")

    def talk(self, to: str) -> None:
        word = f"word {len(self.said)}"
        self.said.append(word)
        self.people[to].send(chat(word, to).replace("<message", f"<message id='{word}'"))

    def listen(self) -> None:
        for other, client in self.people.items():
            own = next(to for to in self.people if to != other)
            for heard in client.hears():
                if "type='error'" in heard:
                    returned = re.search("id='([^']*)'", heard)
                    assert returned is not None
                    self.returned[returned[1]] += 1
                elif body := re.search("<body>(.*)</body>", heard):
                    self.arrived[own].append(body[1])

    def outcome(self) -> dict[str, tuple[int, int]]:
        """Return of each word how often it has arrived, and how often it came back."""
        arrived = Counter(word for words in self.arrived.values() for word in words)
        return {word: (arrived[word], self.returned[word]) for word in self.said}


def trouble(internet: Internet, chance: random.Random) -> None:
    """Let something happen to the network, more often not."""
    match chance.randrange(12):
        case 0:
            for cable in internet.cables:
                cable.reset()
        case 1 if internet.cables:
            chance.choice(internet.cables).go_dead()
        case 2:
            internet.works = False
        case 3:
            internet.answers = False


@pytest.mark.parametrize("seed", range(25))
def test_each_message_arrives_once_or_comes_back_once(internet: Internet, seed: int) -> None:
    chance = random.Random(seed)
    random.seed(seed)  # the jitter of back-off
    couple = Couple(internet)
    for _ in range(60):
        for _ in range(chance.randrange(4)):
            couple.talk(chance.choice(list(couple.people)))
        trouble(internet, chance)
        internet.wait(chance.choice((0, 0.25, 1, 3)))
        internet.works = internet.answers = True
        couple.listen()
    internet.wait(3 * QUEUE_SECONDS)
    couple.listen()
    outcome = couple.outcome()
    assert {word: what for word, what in outcome.items() if what not in ((1, 0), (0, 1))} == {}
    for words in couple.arrived.values():
        assert words == sorted(words, key=lambda word: int(word.split()[1]))
