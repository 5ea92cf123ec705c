"""What must survive a restart: one typed store per concern, on SQLAlchemy Core."""

from __future__ import annotations

from dataclasses import dataclass

from vrxmpp.store.accounts import SqlAccounts
from vrxmpp.store.blocklists import SqlBlocklists
from vrxmpp.store.database import Database
from vrxmpp.store.interfaces import Accounts, Blocklists, Offline, Peers, PrivateStorage, Rosters, Sealer, VCards
from vrxmpp.store.offline import SqlOffline
from vrxmpp.store.peers import SqlPeers
from vrxmpp.store.private import SqlPrivateStorage
from vrxmpp.store.rosters import SqlRosters
from vrxmpp.store.sealer import Unsealed
from vrxmpp.store.vcards import SqlVCards


@dataclass(frozen=True, slots=True)
class Stores:
    """One store per concern, for one domain."""

    accounts: Accounts
    rosters: Rosters
    blocklists: Blocklists
    offline: Offline
    vcards: VCards
    private: PrivateStorage


def open_stores(database: Database, domain: str, sealer: Sealer | None = None) -> Stores:
    """Return the stores of ``domain``, a prepared domainpart, in ``database``; without a sealer messages wait plain."""
    return Stores(
        accounts=SqlAccounts(database, domain),
        rosters=SqlRosters(database),
        blocklists=SqlBlocklists(database),
        offline=SqlOffline(database, sealer or Unsealed()),
        vcards=SqlVCards(database),
        private=SqlPrivateStorage(database),
    )


def open_peers(database: Database) -> Peers:
    """Return what ``database`` remembers of other servers."""
    return SqlPeers(database)
