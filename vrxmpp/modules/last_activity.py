"""XEP-0012: Last Activity. How long somebody has been away, and how long the server has been there."""

from __future__ import annotations

from datetime import datetime

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from vrxmpp import dom, ns, xml
from vrxmpp.core.account import Account
from vrxmpp.core.module import At, Module, Request, Xep, iq, stage
from vrxmpp.core.session import Session
from vrxmpp.core.stages import Side, Stage, Walk
from vrxmpp.errors import Condition, StanzaError
from vrxmpp.store import interfaces
from vrxmpp.store.interfaces import Accounts, StorageError

_QUERY = ns.qname(ns.LAST_ACTIVITY, "query")
_STATUS_LENGTH = 1000  # characters of a status that are kept


class LastActivity(Module):
    """Notes when the last available session of a user goes, and tells who may see their presence (§8).

    ``started`` is when the server was.
    """

    implements = (Xep(12, "2.0"),)
    features = (ns.LAST_ACTIVITY,)
    account_features = (ns.LAST_ACTIVITY,)
    log = Logger()

    def __init__(self, accounts: Accounts, started: datetime) -> None:
        self._accounts = accounts
        self._started = started

    @iq("get", ns.LAST_ACTIVITY, "query", at=At.HOST)
    def uptime(self, request: Request) -> bytes:
        """§5."""
        return self._write(self._started)

    @iq("get", ns.LAST_ACTIVITY, "query", at=At.ACCOUNT, shared=True)
    def last_activity(self, request: Request) -> bytes:
        """§3: for strangers it is forbidden, whether there is such an account or not."""
        account = request.account
        if account is None or not account.is_seen_by(request.sender):
            raise StanzaError(Condition.FORBIDDEN)
        if account.present:
            return self._write(self.host.clock())
        if account.last_activity is None:
            raise StanzaError(Condition.ITEM_NOT_FOUND, "never seen yet")
        return self._write(account.last_activity.at, account.last_activity.status)

    @stage(Stage.SCREEN, Side.RECIPIENT, "iq")
    def refuse_strangers(self, walk: Walk) -> None:
        """§4: a client is not asked by who may not see the user's presence.

        The condition is that of RFC 6121 §8.5.1 and not the "forbidden" of §4, which would tell that there is such an
        account.
        """
        stanza, to = walk.stanza, walk.stanza.to
        if stanza.type == "get" and stanza.payloads[0] == _QUERY and to is not None and to.resource:
            assert stanza.sender is not None
            if not walk.account.is_seen_by(stanza.sender):
                raise StanzaError(Condition.SERVICE_UNAVAILABLE)

    @stage(Stage.COPY, Side.SENDER, "presence")
    def note_unavailable(self, walk: Walk) -> None:
        """§3: the status of the last unavailable presence is kept with its time."""
        stanza, account = walk.stanza, walk.account
        if stanza.type == "unavailable" and stanza.to is None and account.present == (walk.session,):
            status = dom.child(stanza.element(), ns.CLIENT, "status")
            self._note(account, dom.text(status)[:_STATUS_LENGTH] if status is not None else "")

    def session_ended(self, session: Session) -> None:
        """§3: whoever is cut off, or leaves without a word, leaves without a status."""
        if session.presence is not None and not session.account.present:
            self._note(session.account, "")

    def _note(self, account: Account, status: str) -> None:
        if not account.is_guest:
            account.last_activity = interfaces.LastActivity(self.host.clock(), status)
            Deferred.fromCoroutine(self._store(account, account.last_activity))

    async def _store(self, account: Account, activity: interfaces.LastActivity) -> None:
        try:
            await self._accounts.set_last_activity(account.id, activity)
        except StorageError as error:
            self.log.warn("the last activity of {jid} is not stored: {reason}", jid=account.jid, reason=str(error))

    def _write(self, since: datetime, status: str = "") -> bytes:
        seconds = max(0, int((self.host.clock() - since).total_seconds()))
        return f"<query xmlns='{ns.LAST_ACTIVITY}' seconds='{seconds}'>{xml.text(status)}</query>".encode()
