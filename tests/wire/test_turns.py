"""Stanzas that are few and small but cost much, such as presence to many contacts, leave others their turn, too."""

from __future__ import annotations

from tests.house import House
from tests.network import MemoryPipe
from tests.streams import DOMAIN, chat
from vrxmpp.core.module import Module, stage
from vrxmpp.core.stages import Side, Stage, Walk


class Costly(Module):
    """Takes four milliseconds for a message."""

    def __init__(self, house: House) -> None:
        self._house = house
        self.taken = 0

    @stage(Stage.SCREEN, Side.SENDER, "message")
    def take_time(self, walk: Walk) -> None:
        self._house.loop.rightNow += 0.004
        self.taken += 1


def test_costly_stanzas_of_one_client_do_not_keep_others_waiting(house: House) -> None:
    costly = Costly(house)
    house.host.mount(costly)
    romeo, juliet = house.login("romeo"), house.login("juliet")
    assert isinstance(romeo.pipe, MemoryPipe)
    romeo.pipe.delivers = False
    romeo.send("".join(chat(str(number), f"juliet@{DOMAIN}/here") for number in range(10)))
    house.loop.turn()
    assert costly.taken == 2, "five milliseconds are over"
    house.loop.settle()
    assert len(juliet.hears()) == 10
