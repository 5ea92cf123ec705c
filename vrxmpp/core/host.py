"""One served domain: its accounts that are awake, and the tables its modules have filled. Hosts share nothing."""

from __future__ import annotations

import inspect
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from secrets import token_urlsafe
from typing import TYPE_CHECKING, Any

from twisted.logger import Logger

from vrxmpp.core.account import Account
from vrxmpp.core.info import Info
from vrxmpp.core.module import AbsentClaim, At, Claim, Handler, IqClaim, Module, PresenceClaim, StageClaim
from vrxmpp.core.peers import Clock, Outlet
from vrxmpp.core.session import Session
from vrxmpp.core.stages import Side, Walk
from vrxmpp.errors import Condition, StanzaError, StreamCondition, StreamError
from vrxmpp.jid import InvalidJid, Jid
from vrxmpp.stanza import Kind, Stanza
from vrxmpp.store.interfaces import AccountId, Accounts, AccountState, Subscription
from vrxmpp.waiting import Waiting

if TYPE_CHECKING:
    from vrxmpp.core.router import Router

Step = Callable[[Walk], bool | None]
PresenceHandler = Callable[[Walk], Waiting | None]
AbsentHandler = Callable[[Account, Stanza], Waiting | None]

_KINDS: tuple[Kind, ...] = ("message", "presence", "iq")
_RESTING = 1000  # accounts without a session that stay in memory


@dataclass(frozen=True, slots=True)
class IqHandler:
    """What answers one kind of IQ request; ``shared``: for everybody, not for the account's owner alone."""

    call: Handler
    shared: bool


class Host:
    """One domain. ``mount`` modules first, then ``bind`` sessions."""

    log = Logger()

    def __init__(self, domain: str, accounts: Accounts, router: Router, clock: Clock, *, sessions: int) -> None:
        self.domain = domain
        self.jid = Jid.parse(domain)
        self.router = router
        self.clock = clock
        self.awake: dict[str, Account] = {}
        self.most_sessions = sessions  # of one account
        self._accounts = accounts
        self._resting: OrderedDict[str, None] = OrderedDict()
        self.clear()
        router.hosts[domain] = self

    # -- modules

    def clear(self) -> None:
        """Take all modules out, so that others can be mounted; accounts and sessions do not notice."""
        self.modules: list[Module] = []
        self.iq: dict[tuple[At, str, str], IqHandler] = {}
        self.presence: dict[tuple[Side, str], PresenceHandler] = {}
        self.leaving: dict[Kind, tuple[Step, ...]] = dict.fromkeys(_KINDS, ())
        self.arriving: dict[Kind, tuple[Step, ...]] = dict.fromkeys(_KINDS, ())
        self.keep: AbsentHandler | None = None
        self.account_info = Info((), ())  # what disco#info tells of each account
        self._info = Info((), ())  # and of the domain, but for forms
        self._steps: list[tuple[StageClaim, Step]] = []

    def mount(self, *modules: Module) -> None:
        """Fill the tables; two modules that claim the same place stop the start-up with a ValueError."""
        for module in modules:
            module.host = self
            self.modules.append(module)
            for function, claim in _claims(module):
                match claim:
                    case IqClaim():
                        _put(self.iq, (claim.at, claim.type, claim.name), IqHandler(function, claim.shared))
                    case PresenceClaim():
                        _put(self.presence, (claim.side, claim.type), function)
                    case StageClaim():
                        if inspect.iscoroutinefunction(function):
                            raise ValueError(f"a step cannot wait: {function.__qualname__}")
                        self._steps.append((claim, function))
                    case AbsentClaim():
                        if self.keep is not None:
                            raise ValueError("two modules keep the messages of the absent")
                        self.keep = function
        for kind in _KINDS:
            for side, table in ((Side.SENDER, self.leaving), (Side.RECIPIENT, self.arriving)):
                chosen = [(c.stage.value, f) for c, f in self._steps if c.side is side and kind in c.kinds]
                table[kind] = tuple(f for _, f in sorted(chosen, key=lambda pair: pair[0]))
        everything = self.modules
        self._info = Info(
            tuple(identity for module in everything for identity in module.identities),
            _unique(feature for module in everything for feature in module.features),
        )
        self.account_info = Info(
            tuple(identity for module in everything for identity in module.account_identities),
            _unique(feature for module in everything for feature in module.account_features),
        )

    @property
    def info(self) -> Info:
        """What disco#info tells of the domain now."""
        return replace(self._info, forms=tuple(form for module in self.modules for form in module.forms))

    # -- accounts

    async def wake(self, local: str) -> Account | None:
        """Return the account, read from the store if it is not in memory; None if there is none."""
        account = self.awake.get(local)
        if account is None:
            state = await self._accounts.wake(local)
            account = self.awake.get(local)  # somebody else may have been quicker
            if account is None and state is not None:
                account = self.awake[local] = Account(state, Jid.parse(f"{state.local}@{self.domain}"))
        if account is not None and not account.sessions:
            self._rest(local)
        return account

    def _rest(self, local: str) -> None:
        """Keep the account of a user without sessions for a while: the one that was needed last, longest."""
        self._resting[local] = None
        self._resting.move_to_end(local)
        while len(self._resting) > _RESTING:
            oldest, _ = self._resting.popitem(last=False)
            account = self.awake[oldest]
            if account.lock.locked:
                self._resting[oldest] = None
                break
            del self.awake[oldest]

    def forget(self, local: str, condition: StreamCondition) -> None:
        """Put an account out of memory that is removed or switched off, and end its sessions."""
        self._resting.pop(local, None)
        account = self.awake.get(local)
        if account is not None:
            for session in list(account.sessions.values()):
                self.end(session, StreamError(condition))
            self._resting.pop(local, None)
            self.awake.pop(local, None)

    def end_subscriptions(self, account: Account) -> None:
        """Take leave of an account's contacts, for it is removed (RFC 6121 §3.2, §3.3; XEP-0077 §3.2)."""
        for item in account.roster.values():
            if item.subscription in {Subscription.FROM, Subscription.BOTH}:
                self.router.send(Stanza("presence", to=item.jid, sender=account.jid, type="unsubscribed"))
            if item.asked or item.subscription in {Subscription.TO, Subscription.BOTH}:
                self.router.send(Stanza("presence", to=item.jid, sender=account.jid, type="unsubscribe"))

    # -- sessions

    async def bind(
        self,
        local: str,
        resource: str,
        outlet: Outlet,
        *,
        guest: bool = False,
        lang: str = "",
        address: str = "",
        security: str = "",
        cipher: str = "",
        mechanism: str = "",
    ) -> Session:
        """Bind a resource (RFC 6120 §7): the one asked for, or a new one. Raises StanzaError.

        A session that has the resource already is ended with a conflict: the newer one is the user's choice
        (§7.7.2.2). A guest has an account only for as long as the session lasts (XEP-0175). ``cipher`` of TLS and
        ``mechanism`` of SASL are for the archive.
        """
        account = self._welcome(local) if guest else await self.wake(local)
        if account is None:
            raise StanzaError(Condition.NOT_ALLOWED)
        try:
            jid = account.jid.with_resource(resource or token_urlsafe(12))
        except InvalidJid as error:
            raise StanzaError(Condition.BAD_REQUEST, str(error)) from error
        older = account.sessions.get(jid.resource)
        if older is not None:
            self.end(older, StreamError(StreamCondition.CONFLICT))
        elif len(account.sessions) >= self.most_sessions:
            raise StanzaError(Condition.RESOURCE_CONSTRAINT, "too many sessions")
        session = Session(self, account, jid, outlet, lang=lang, address=address, security=security)
        account.sessions[jid.resource] = session
        self.awake[local] = account
        self._resting.pop(local, None)
        tls = f"{security} {cipher}".strip()
        facts = {"session": jid.text, "address": address, "tls": tls, "mechanism": mechanism, "guest": guest}
        self.router.audit.note("session", account.jid.text, event="logged in", **facts)
        return session

    def _welcome(self, local: str) -> Account:
        account = Account(AccountState(AccountId(0), local, True), Jid.parse(f"{local}@{self.domain}"))
        account.is_guest = True
        return account

    def became_available(self, session: Session) -> list[Waiting]:
        """Tell every module that a session can take messages now; return what they still have to do."""
        return [waiting for module in self.modules if (waiting := module.became_available(session)) is not None]

    def end(self, session: Session, error: StreamError | None = None, *, reason: str = "") -> None:
        """End a session, for which reason ever; everybody who should learns of it. Ending it again does nothing.

        ``reason`` is for the archive where there is no ``error``.
        """
        account = session.account
        if account.sessions.get(session.jid.resource) is not session:
            return
        del account.sessions[session.jid.resource]
        why = reason if error is None else str(error)
        self.router.audit.note("session", account.jid.text, event="ended", session=session.jid.text, reason=why)
        account.rank_sessions()
        if error is not None:
            session.outlet.close(error)
        self._tell("a session ended", lambda module: module.session_ended(session))
        if session.pending is not None:
            for request in session.pending.give_up():
                self.router.refuse(request, StanzaError(Condition.SERVICE_UNAVAILABLE))
        if account.is_guest:
            del self.awake[account.jid.local]
        elif not account.sessions:
            self._rest(account.jid.local)

    def lost(self, domain: str) -> None:
        """Tell every module that another domain cannot be reached any more."""
        self._tell("another domain was lost", lambda module: module.domain_lost(domain))

    def found(self, domain: str) -> None:
        """Tell every module that another domain can be reached, perhaps again."""
        self._tell("another domain was found", lambda module: module.domain_found(domain))

    def _tell(self, event: str, hook: Callable[[Module], None]) -> None:
        for module in self.modules:
            try:
                hook(module)
            except Exception:
                self.log.failure("{module} failed when {event}", module=type(module).__name__, event=event)

    def all_sessions(self) -> Iterator[Session]:
        """Every session of this domain."""
        for account in list(self.awake.values()):
            yield from list(account.sessions.values())


def _claims(module: Module) -> Iterator[tuple[Callable[..., Any], Claim]]:
    for name, function in inspect.getmembers(type(module), callable):
        for claim in getattr(function, "claims", ()):
            yield getattr(module, name), claim


def _unique(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(names)))


def _put(table: dict[Any, Any], key: object, value: object) -> None:
    if key in table:
        raise ValueError(f"two modules claim {key}")
    table[key] = value
