"""XEP-0160: Offline Messages, stamped by XEP-0203: Delayed Delivery. What came while nobody was there."""

from __future__ import annotations

from collections.abc import Iterator

from vrxmpp import dom, ns, xml
from vrxmpp.core.account import Account
from vrxmpp.core.module import Module, Xep, absent, stage
from vrxmpp.core.session import Session
from vrxmpp.core.stages import Side, Stage, Walk
from vrxmpp.errors import Condition, StanzaError
from vrxmpp.jid import InvalidJid, Jid
from vrxmpp.stanza import Stanza
from vrxmpp.store.interfaces import Offline, OfflineMessage
from vrxmpp.waiting import Waiting

_BATCH_BYTES = 65_536
_BODY = ns.qname(ns.CLIENT, "body")
_DELAY = ns.qname(ns.DELAY, "delay")
_STORE = ns.qname(ns.HINTS, "store")
_NO_STORE = ns.qname(ns.HINTS, "no-store")
_NEVER_KEPT = frozenset(("groupchat", "headline", "error"))  # XEP-0160 §3
# What says nothing without something beside it: chat states (XEP-0160 §3) and their usual company.
_SMALL_TALK = frozenset((ns.CHAT_STATES, ns.HINTS, ns.STANZA_IDS))
_THREAD = ns.qname(ns.CLIENT, "thread")


class OfflineMessages(Module):
    """Keeps at most ``limit`` messages for each user, and delivers them to the first session that can take messages.

    From that moment until it has them all the session is its account's ``catching_up``, and what comes for it is put
    behind what waits: nothing overtakes, and no sender waits for a slow reader.
    """

    implements = (Xep(160, "1.0.1"), Xep(203, "2.0"), Xep(334, "1.0.0", "no-store and store"))
    features = (ns.OFFLINE_MESSAGES,)

    def __init__(self, offline: Offline, limit: int) -> None:
        self._offline = offline
        self._limit = limit

    @stage(Stage.SCREEN, Side.SENDER, "message")
    def refuse_forged_delay(self, walk: Walk) -> None:
        """XEP-0203 §5: a client cannot say that it was this server that held a message back."""
        if _DELAY in walk.stanza.payloads and any(
            _is_delayed_by(element, self.host.jid) for element in dom.children(walk.stanza.element())
        ):
            raise StanzaError(Condition.NOT_ACCEPTABLE, "a delay in the name of the server")

    @absent
    def keep(self, account: Account, stanza: Stanza) -> Waiting | None:
        """XEP-0160 §3. A message that may not be kept is refused (RFC 6121 §8.5.2.2.1), small talk is dropped."""
        if _is_worth_keeping(stanza):
            return self._keep(account, stanza)
        if _BODY in stanza.payloads and not account.available:
            raise StanzaError(Condition.SERVICE_UNAVAILABLE)
        return None

    async def _keep(self, account: Account, stanza: Stanza) -> None:
        now = self.host.clock()
        async with account.lock:
            if account.available and account.catching_up is None:
                # A session has come, and has got all that waited, while this message waited for the lock.
                named = account.sessions.get(stanza.to.resource) if stanza.to is not None else None
                for session in account.most_available if named is None else (named,):
                    session.deliver(stanza)
                return
            delay = (
                f"<delay xmlns='{ns.DELAY}' from='{xml.attribute(self.host.domain)}' stamp='{now:%Y-%m-%dT%H:%M:%SZ}'/>"
            )
            raw = stanza.with_payload(_DELAY, delay.encode()).raw
            if not await self._offline.add(account.id, now, raw, self._limit):
                raise StanzaError(Condition.SERVICE_UNAVAILABLE)
            if stanza.record >= 0:
                self.host.router.audit.outcome(stanza, "kept")

    def became_available(self, session: Session) -> Waiting | None:
        """XEP-0160 §2: deliver what waits, unless another session is being given it already."""
        account = session.account
        if account.catching_up is not None:
            return None
        account.catching_up = session
        return self._catch_up(account)

    async def _catch_up(self, account: Account) -> None:
        try:
            while messages := await self._read(account):
                for batch in _batches(messages):
                    if not await self._hand_over(account, batch):
                        break
        except Exception:
            account.catching_up = None
            raise

    async def _read(self, account: Account) -> list[OfflineMessage]:
        """Return what waits for the session that catches up, or for the next best; nothing when all is done."""
        async with account.lock:
            if account.catching_up not in account.available:
                account.catching_up = next(iter(account.most_available), None)
            messages = await self._offline.waiting(account.id) if account.catching_up else []
            if not messages:
                account.catching_up = None
            return messages

    async def _hand_over(self, account: Account, batch: list[OfflineMessage]) -> bool:
        """Deliver messages and forget them; return false, with all of them kept, if the session has gone."""
        session = account.catching_up
        if session is None or session not in account.available:
            return False
        for message in batch:
            session.outlet.send(message.stanza)
        await session.outlet.drain()
        if account.sessions.get(session.jid.resource) is not session:
            return False
        await self._offline.discard(account.id, batch[-1].number)
        self.host.router.audit.note(
            "session", account.jid.text, event="handed over", session=session.jid.text, messages=len(batch)
        )
        return True


def _is_worth_keeping(stanza: Stanza) -> bool:
    if stanza.type in _NEVER_KEPT or _NO_STORE in stanza.payloads:
        return False
    if _STORE in stanza.payloads:
        return True
    return any(name != _THREAD and name.partition(" ")[0] not in _SMALL_TALK for name in stanza.payloads)


def _is_delayed_by(element: dom.Element, server: Jid) -> bool:
    try:
        return ns.qname(element.uri, element.name) == _DELAY and Jid.parse(element.attributes.get("from", "")) == server
    except InvalidJid:
        return False


def _batches(messages: list[OfflineMessage]) -> Iterator[list[OfflineMessage]]:
    """Cut the messages, in order, into pieces that a client can be sent at once."""
    batch: list[OfflineMessage] = []
    size = 0
    for message in messages:
        batch.append(message)
        size += len(message.stanza)
        if size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
