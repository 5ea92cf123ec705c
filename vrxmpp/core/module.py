"""How a module declares itself: what it implements, what it handles, at which stages it looks.

A module belongs to one host. Its methods say by decorator what they are for; ``Host.mount`` puts them into the tables.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from vrxmpp import ns
from vrxmpp.core.info import Identity, Info, Item
from vrxmpp.core.stages import Side, Stage
from vrxmpp.jid import Jid
from vrxmpp.stanza import Kind, Stanza
from vrxmpp.waiting import Waiting

if TYPE_CHECKING:
    from vrxmpp.core.account import Account
    from vrxmpp.core.host import Host
    from vrxmpp.core.session import Session
    from vrxmpp.dom import Element, Form


@dataclass(frozen=True, slots=True)
class Xep:
    """A XEP and the version of it that is implemented."""

    number: int
    version: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Rfc:
    """A part of an RFC."""

    number: int
    section: str
    note: str = ""


class At(Enum):
    """Whom an IQ request is addressed to: the served domain itself, or an account (its bare JID, or no ``to``)."""

    HOST = auto()
    ACCOUNT = auto()


class Request:
    """An IQ request that a module answers. ``account`` is whose it is about; None: the host's own, or nobody's.

    ``session`` is the local client that asked; None if another server's did.
    """

    __slots__ = ("account", "host", "session", "stanza")

    def __init__(self, stanza: Stanza, host: Host, account: Account | None, session: Session | None) -> None:
        self.stanza = stanza
        self.host = host
        self.account = account
        self.session = session

    @property
    def sender(self) -> Jid:
        """The full address of who asks."""
        assert self.stanza.sender is not None
        return self.stanza.sender

    def payload(self) -> Element:
        """The one child of the request, parsed."""
        from vrxmpp import dom  # noqa: PLC0415 - most requests are answered without

        return dom.children(self.stanza.element())[0]


Payload = bytes | None
"""What an IQ handler returns: the serialised child of the result, if it has one."""

Handler = Callable[[Request], Payload | Coroutine[Any, Any, Payload]]
F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class IqClaim:
    at: At
    type: str
    name: str
    shared: bool


@dataclass(frozen=True, slots=True)
class PresenceClaim:
    side: Side
    type: str


@dataclass(frozen=True, slots=True)
class StageClaim:
    stage: Stage
    side: Side
    kinds: tuple[Kind, ...]


@dataclass(frozen=True, slots=True)
class AbsentClaim:
    pass


Claim = IqClaim | PresenceClaim | StageClaim | AbsentClaim


def _claim(claim: Claim) -> Callable[[F], F]:
    def mark(function: F) -> F:
        claims: tuple[Claim, ...] = getattr(function, "claims", ())
        function.claims = (*claims, claim)  # type: ignore[attr-defined]
        return function

    return mark


def iq(type: Literal["get", "set"], namespace: str, name: str, *, at: At, shared: bool = False) -> Callable[[F], F]:
    """Answer IQ requests with this child. At an account only its owner is answered, unless it is ``shared``.

    A shared handler is asked for names that nobody has, too (``account`` is None), so that a stranger need not see
    the difference.
    """
    return _claim(IqClaim(at, type, ns.qname(namespace, name), shared))


def presence(side: Side, *types: str) -> Callable[[F], F]:
    """Handle presence of these types, "" for available. The handler gets a Walk and may be ``async``."""

    def mark(function: F) -> F:
        for each in types:
            _claim(PresenceClaim(side, each))(function)
        return function

    return mark


def stage(stage: Stage, side: Side, *kinds: Kind) -> Callable[[F], F]:
    """Look at every stanza of these kinds on this side. The step gets a Walk; it may raise StanzaError.

    To end the walk without an answer it returns True.
    """
    return _claim(StageClaim(stage, side, kinds))


def absent(function: F) -> F:
    """Take the messages that no session can take now: a function of the account and the stanza.

    It returns the rest of the work, None where the message is not worth keeping, or raises StanzaError.
    """
    return _claim(AbsentClaim())(function)


class Module:
    """One protocol extension on one host."""

    implements: tuple[Xep | Rfc, ...] = ()
    # What disco#info tells (XEP-0030): of the domain, and of each account.
    identities: tuple[Identity, ...] = ()
    features: tuple[str, ...] = ()
    account_identities: tuple[Identity, ...] = ()
    account_features: tuple[str, ...] = ()
    host: Host  # set when it is mounted

    @property
    def forms(self) -> tuple[Form, ...]:
        """What disco#info tells of the domain beside that (XEP-0128), as it is now."""
        return ()

    def stream_feature(self) -> bytes:
        """What is announced in the stream features of a client that has logged in."""
        return b""

    def node_info(self, request: Request, node: str) -> Info | None:
        """Return what disco#info tells about a node of the address that is asked; None if this module has no such."""
        return None

    def node_items(self, request: Request, node: str) -> tuple[Item, ...] | None:
        """Return the disco#items of a node of the address that is asked; None if this module has no such node."""
        return None

    def became_available(self, session: Session) -> Waiting | None:
        """A session can take messages from now on: initial presence, or a priority that was negative."""

    def session_ended(self, session: Session) -> None:
        """A session is over; it is out of its account's ``sessions`` already."""

    def domain_lost(self, domain: str) -> None:
        """Another domain, which is no host here, cannot be reached any more; its users are gone for ours."""

    def domain_found(self, domain: str) -> None:
        """Another domain, which is no host here, can be reached, perhaps again."""
