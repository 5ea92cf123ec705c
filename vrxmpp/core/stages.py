"""The named moments at which a module may step into a stanza's way."""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vrxmpp.core.account import Account
    from vrxmpp.core.host import Host
    from vrxmpp.core.session import Session
    from vrxmpp.stanza import Stanza


class Side(Enum):
    """Which half of its way a stanza is on: leaving a local user, or arriving at one."""

    SENDER = auto()
    RECIPIENT = auto()


class Stage(Enum):
    """In this order: SCREEN may refuse, MARK may replace the stanza by a marked one, COPY may add copies."""

    SCREEN = auto()
    MARK = auto()
    COPY = auto()


class Walk:
    """One stanza on one side of its way. ``account`` is the local user of that side, ``session`` who sent it there.

    A step may put a new stanza in place of ``stanza`` and add to ``copies``; the router sends those afterwards and
    does not walk them again.
    """

    __slots__ = ("account", "copies", "host", "session", "stanza")

    def __init__(self, stanza: Stanza, host: Host, account: Account, session: Session | None = None) -> None:
        self.stanza = stanza
        self.host = host
        self.account = account
        self.session = session
        self.copies: list[tuple[Session, Stanza]] | None = None
