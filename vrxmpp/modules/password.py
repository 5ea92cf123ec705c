"""XEP-0077 §3.2, §3.3: a user who has logged in changes the password, or removes the account."""

from __future__ import annotations

from vrxmpp import dom, ns, xml
from vrxmpp.core.module import At, Module, Request, Xep, iq
from vrxmpp.core.peers import Derive
from vrxmpp.core.session import Session
from vrxmpp.dom import Element
from vrxmpp.errors import Condition, StanzaError, StreamCondition
from vrxmpp.jid import InvalidJid, prepare_local
from vrxmpp.stanza import Stanza
from vrxmpp.store.interfaces import Accounts


class PasswordChange(Module):
    """Serves the own users of the domain, each for their own account only."""

    implements = (Xep(77, "2.4", "§3.2 and §3.3"),)
    features = (ns.REGISTER,)

    def __init__(self, accounts: Accounts, derive: Derive) -> None:
        self._accounts = accounts
        self._derive = derive

    @iq("get", ns.REGISTER, "query", at=At.HOST)
    @iq("get", ns.REGISTER, "query", at=At.ACCOUNT)
    def tell(self, request: Request) -> bytes:
        """§3.1: who asks is registered already."""
        name = xml.text(self._session(request).account.jid.local)
        return (f"<query xmlns='{ns.REGISTER}'><registered/><username>{name}</username><password/></query>").encode()

    @iq("set", ns.REGISTER, "query", at=At.HOST)
    @iq("set", ns.REGISTER, "query", at=At.ACCOUNT)
    async def change(self, request: Request) -> None:
        """§3.2, §3.3."""
        session, query = self._session(request), request.payload()
        names = [child.name for child in dom.children(query)]
        if "remove" not in names:
            await self._change_password(session, query)
        elif names == ["remove"]:
            await self._remove(session, request.stanza)
        else:
            raise StanzaError(Condition.BAD_REQUEST, "more than a removal")

    def _session(self, request: Request) -> Session:
        if request.session is None or request.session.host is not self.host:
            raise StanzaError(Condition.SERVICE_UNAVAILABLE)
        return request.session

    async def _change_password(self, session: Session, query: Element) -> None:
        """§3.3. The other sessions of the account live on: the user is the same."""
        if not session.security:
            raise StanzaError(Condition.NOT_AUTHORIZED, "only over a secure connection")
        username, password = (dom.child(query, ns.REGISTER, name) for name in ("username", "password"))
        if username is None or password is None:
            raise StanzaError(Condition.BAD_REQUEST, "username or password is missing")
        local = session.account.jid.local
        if not _is_name_of(local, dom.text(username)):
            raise StanzaError(Condition.NOT_ALLOWED, "the password of another account")
        try:
            sha1, sha256 = await self._derive(dom.text(password))
        except ValueError as error:
            raise StanzaError(Condition.NOT_ACCEPTABLE, str(error)) from error
        if not await self._accounts.set_password(local, sha1, sha256):
            raise StanzaError(Condition.REGISTRATION_REQUIRED)
        self._note(session, "password changed")

    async def _remove(self, session: Session, request: Stanza) -> None:
        """§3.2: the result, the end of all sessions, the end of all subscriptions."""
        account = session.account
        if not await self._accounts.remove(account.jid.local):
            raise StanzaError(Condition.REGISTRATION_REQUIRED)
        self._note(session, "account removed")
        if account.sessions.get(session.jid.resource) is session:
            session.deliver(request.reply())  # here, as there will be no session when the router would answer
        self.host.forget(account.jid.local, StreamCondition.NOT_AUTHORIZED)
        self.host.end_subscriptions(account)

    def _note(self, session: Session, event: str) -> None:
        self.host.router.audit.note("config", session.account.jid.text, event=event, by=session.jid.text)


def _is_name_of(local: str, username: str) -> bool:
    try:
        return prepare_local(username) == local
    except InvalidJid:
        return False
