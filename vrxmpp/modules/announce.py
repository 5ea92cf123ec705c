"""XEP-0133 §4.23: Send Announcement to Online Users, a command (XEP-0050) for administrators."""

from __future__ import annotations

from secrets import token_hex

from vrxmpp import dom, ns, xml
from vrxmpp.core.info import Identity, Info, Item
from vrxmpp.core.module import At, Module, Request, Xep, iq
from vrxmpp.dom import Element, Field, Form
from vrxmpp.errors import Condition, StanzaError
from vrxmpp.jid import Jid
from vrxmpp.stanza import Stanza

_BODY = ns.qname(ns.CLIENT, "body")
_NAME = "Send Announcement to Online Users"
_FORM = Form(
    "form",
    title="Making an Announcement",
    instructions=["Fill out this form to make an announcement to all users who are online."],
    formNamespace=ns.ADMIN,
    fields=[Field("text-multi", "announcement", label="Announcement", required=True)],
)


class Announcements(Module):
    """``admins`` are the bare addresses of those who may announce."""

    implements = (Xep(50, "1.3.0"), Xep(133, "1.3.1", "announcements"))
    features = (ns.COMMANDS,)

    def __init__(self, admins: frozenset[str]) -> None:
        self._admins = admins

    def node_info(self, request: Request, node: str) -> Info | None:
        """XEP-0050 §2.2."""
        if request.account is not None:
            return None
        if node == ns.COMMANDS:
            return Info((Identity("automation", "command-list"),), (ns.DISCO_INFO, ns.DISCO_ITEMS))
        if node == ns.ADMIN_ANNOUNCE:
            self._require_admin(request)
            return Info((Identity("automation", "command-node", _NAME),), (ns.COMMANDS, ns.DATA_FORMS))
        return None

    def node_items(self, request: Request, node: str) -> tuple[Item, ...] | None:
        """XEP-0050 §2.2: only who may use a command finds it."""
        if request.account is not None:
            return None
        if node == ns.COMMANDS:
            return (Item(self.host.jid, ns.ADMIN_ANNOUNCE, _NAME),) if self._is_admin(request) else ()
        return () if node == ns.ADMIN_ANNOUNCE and self._is_admin(request) else None

    @iq("set", ns.COMMANDS, "command", at=At.HOST)
    async def execute(self, request: Request) -> bytes:
        """XEP-0050 §2.4: the form, then what was filled in, or the end of it.

        All there is to know is in each request: a session is no more than an id.
        """
        command = request.payload()
        node, action = (command.attributes.get(name, "") for name in ("node", "action"))
        self._require_admin(request)
        if node != ns.ADMIN_ANNOUNCE:
            raise StanzaError(Condition.ITEM_NOT_FOUND)
        if action == "cancel":
            return _answer(command, "canceled")
        if action not in {"", "execute", "complete"}:
            raise _refuse("malformed-action" if action not in {"prev", "next"} else "bad-action")
        form = dom.child(command, ns.DATA_FORMS, "x")
        if form is None:
            return _answer(command, "executing", dom.serialise(_FORM.toElement(), ns.COMMANDS))
        text = _read(form)
        if not text.strip():
            raise _refuse("bad-payload")
        reached = await self._announce(text, request.sender)
        return _answer(command, "completed", f"<note type='info'>Sent to {reached} sessions.</note>".encode())

    async def _announce(self, text: str, sender: Jid) -> int:
        """Deliver to all who are there, once the archive has it: as one message of the domain to itself."""
        router, host = self.host.router, self.host.jid
        body = f"<body>{xml.text(text)}</body>".encode()
        message = Stanza("message", to=host, sender=host, type="headline", payloads=(_BODY,), inner=body)
        await router.archive(message, {"announced_by": sender.text})
        router.routed += message.record >= 0
        sessions = list(self.host.all_sessions())
        for session in sessions:
            session.deliver(message.with_to(session.jid))
        names = [session.jid.text for session in sessions]
        router.audit.note("config", sender.bare.text, event="announced", by=sender.text, sessions=names)
        return len(sessions)

    def _is_admin(self, request: Request) -> bool:
        return request.sender.bare.text in self._admins

    def _require_admin(self, request: Request) -> None:
        if not self._is_admin(request):
            raise StanzaError(Condition.FORBIDDEN)


def _read(form: Element) -> str:
    lines = [
        dom.text(value)
        for field in dom.children(form)
        if field.attributes.get("var") == "announcement"
        for value in dom.children(field)
    ]
    return "\n".join(lines)


def _answer(command: Element, status: str, content: bytes = b"") -> bytes:
    session_id = xml.attribute(command.attributes.get("sessionid", "") or token_hex(8))
    head = f"<command xmlns='{ns.COMMANDS}' node='{ns.ADMIN_ANNOUNCE}' sessionid='{session_id}' status='{status}'>"
    return head.encode() + content + b"</command>"


def _refuse(condition: str) -> StanzaError:
    """XEP-0050 §4.4."""
    return StanzaError(Condition.BAD_REQUEST, application=f"<{condition} xmlns='{ns.COMMANDS}'/>".encode())
