"""All clients' connections, looked after together."""

from __future__ import annotations

from typing import Any, cast

import pytest
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, Logger

from vrxmpp.net.c2s import ClientConnection
from vrxmpp.net.clients import Clients
from vrxmpp.net.limits import Addresses


class Connection:
    """Is looked after, or cannot be."""

    address = "192.0.2.1"

    def __init__(self, *, broken: bool = False) -> None:
        self.broken = broken
        self.swept = 0

    def sweep(self, now: float) -> None:
        self.swept += 1
        if self.broken:
            raise ZeroDivisionError


def test_a_bug_in_one_connection_leaves_the_limits_of_all_others_in_force(monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[LogEvent] = []
    monkeypatch.setattr(Clients, "log", Logger(observer=cast(ILogObserver, events.append)))
    clock = Clock()
    addresses = Addresses(per_address=100, unauthenticated=100, new_per_second=1)
    clients = Clients({}, cast(Any, None), cast(Any, None), addresses, clock)
    good = [Connection(), Connection()]
    for connection in (good[0], Connection(broken=True), good[1]):
        clients.connections.add(cast(ClientConnection, connection))
    clients.start()
    for second in (1, 2):
        assert addresses.admit("192.0.2.2")
        clock.advance(1)
        assert [each.swept for each in good] == [second, second]
    assert [event["log_failure"].type for event in events] == [ZeroDivisionError] * 2
