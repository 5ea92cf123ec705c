"""A person's client on any of the servers of a federation."""

from __future__ import annotations

import ssl
from asyncio import Future
from types import SimpleNamespace
from typing import Any, cast

from tests.live.client import Client
from tests.live.server import PASSWORD
from tests.peers.peer import Peer


class Person(Client):
    """It takes whatever certificate its own server shows: what servers prove to each other is the question here."""

    def __init__(self, peer: Peer, jid: str) -> None:
        where = SimpleNamespace(state=peer.directory)
        super().__init__(cast(Any, where), jid, PASSWORD, None, direct_tls=False)
        self._peer = peer
        self.ssl_context = ssl.create_default_context()
        self.ssl_context.check_hostname = False
        self.ssl_context.verify_mode = ssl.CERT_NONE

    def connect(self, host: str | None = None, port: int | None = None) -> Future[Any]:
        """Connect to the loopback address that the server has for itself."""
        return super().connect(self._peer.address, port)


async def enter(peer: Peer, jid: str) -> Person:
    """Log in with an account; nobody is told of it yet."""
    person = Person(peer, jid)
    await person.enter(peer.c2s_port)
    return person


async def newcomer(peer: Peer, name: str, domain: str | None = None) -> Person:
    """Return somebody with a new account, who is online."""
    person = await enter(peer, peer.account(name, domain))
    await person.come()
    return person
