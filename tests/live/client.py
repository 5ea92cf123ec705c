"""slixmpp as a person's client: it logs in, keeps what it is sent, and checks certificates."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any, ClassVar

import slixmpp
from slixmpp.exceptions import IqError

from tests.live.server import PASSWORD, Server

PATIENCE = 10.0  # seconds for anything that is to come
PLUGINS = (
    "xep_0012",
    "xep_0030",
    "xep_0049",
    "xep_0050",
    "xep_0054",
    "xep_0077",
    "xep_0092",
    "xep_0191",
    "xep_0199",
    "xep_0202",
    "xep_0203",
)

Stanza = Any


class LoginRefused(Exception):  # noqa: N818, it is what was meant to happen
    """The server did not let the client in; holds the SASL conditions it has answered."""


class Client(slixmpp.ClientXMPP):
    """One client. ``inbox`` holds what was received and not yet expected."""

    everyone: ClassVar[list[Client]] = []

    def __init__(self, server: Server, jid: str, password: str, mechanism: str | None, *, direct_tls: bool) -> None:
        super().__init__(jid, password, sasl_mech=mechanism)
        for plugin in PLUGINS:
            self.register_plugin(plugin)
        self.enable_direct_tls = direct_tls
        self.enable_starttls = not direct_tls
        self.enable_plaintext = False
        self.roster.auto_authorize = None
        self.roster.auto_subscribe = None
        self.ssl_context = trusting(server, slixmpp.JID(jid).domain)
        self.inbox: list[Stanza] = []
        self.refusals: list[str] = []
        self.stream_error = ""
        self.gone = asyncio.Event()
        self._arrived = asyncio.Event()
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.add_filter("in", self._keep)
        self.add_event_handler("session_start", lambda _: self._ready.done() or self._ready.set_result(None))
        self.add_event_handler("failed_auth", lambda failure: self.refusals.append(failure["condition"]))
        self.add_event_handler("failed_all_auth", lambda _: self._refuse())
        self.add_event_handler("stream_error", self._note_stream_error)
        self.add_event_handler("disconnected", lambda _: self._leave())
        Client.everyone.append(self)

    def _keep(self, stanza: Stanza) -> Stanza:
        if stanza.name in {"message", "presence"} or (stanza.name == "iq" and stanza.xml.get("type") == "set"):
            self.inbox.append(stanza)
            self._arrived.set()
        return stanza

    def _refuse(self) -> None:
        if not self._ready.done():
            self._ready.set_exception(LoginRefused(self.refusals))

    def _note_stream_error(self, error: Stanza) -> None:
        self.stream_error = error["condition"]

    def _leave(self) -> None:
        self.gone.set()
        self._refuse()

    # -- what a person does

    async def enter(self, port: int) -> None:
        """Connect and log in."""
        self.connect("127.0.0.1", port)
        async with asyncio.timeout(PATIENCE):
            await self._ready

    async def come(self) -> None:
        """Fetch the roster and tell everybody that one is there, as clients do."""
        await self.get_roster()
        self.send_presence()
        await self.expect("presence", sender=self.boundjid.full)

    async def leave(self) -> None:
        """Log out."""
        await self.disconnect()
        await self.gone.wait()

    def cut(self) -> None:
        """Lose the connection, without a word."""
        self.transport.abort()

    async def expect(self, kind: str, *, sender: str = "", type: str | None = None) -> Stanza:
        """Return the first message, presence or IQ set that fits, and take it out of the inbox."""
        try:
            async with asyncio.timeout(PATIENCE):
                while True:
                    for index, stanza in enumerate(self.inbox):
                        if (
                            stanza.name == kind
                            and stanza.xml.get("from", "").startswith(sender)
                            and type in {None, stanza.xml.get("type", "")}
                        ):
                            return self.inbox.pop(index)
                    self._arrived.clear()
                    await self._arrived.wait()
        except TimeoutError:
            raise AssertionError(f"no {kind} {type or ''} from {sender or 'anyone'} in {self.inbox}") from None

    async def settle(self) -> None:
        """Wait until everything has come that the server had to say to this client before now."""
        await self.plugin["xep_0199"].send_ping(self.boundjid.domain, timeout=PATIENCE)

    async def hears_nothing(self) -> None:
        await self.settle()
        assert self.inbox == []

    async def push(self) -> tuple[str, dict[str, Any]]:
        """Return the contact and the item of the next roster push."""
        items = (await self.expect("iq"))["roster"]["items"]
        [(jid, item)] = items.items()
        return jid.bare, item

    async def contacts(self) -> dict[str, str]:
        """Return the subscription of each contact, as the server's roster has it now."""
        request = self.make_iq_get()
        request.enable("roster")
        answer = await request.send()
        return {jid.bare: item["subscription"] for jid, item in answer["roster"]["items"].items()}


def trusting(server: Server, domain: str) -> ssl.SSLContext:
    """Return a context that takes only the certificate the server has made for ``domain``."""
    context = ssl.create_default_context(cafile=str(server.state / f"{domain}.crt"))
    context.verify_flags = ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    context.set_alpn_protocols(["xmpp-client"])
    return context


async def login(
    server: Server,
    jid: str,
    password: str = PASSWORD,
    *,
    mechanism: str | None = None,
    direct_tls: bool = False,
    tls: ssl.TLSVersion | None = None,
) -> Client:
    """Return a client that has logged in; raise LoginRefused."""
    client = Client(server, jid, password, mechanism, direct_tls=direct_tls)
    if tls is not None:
        client.ssl_context.minimum_version = client.ssl_context.maximum_version = tls
    await client.enter(server.direct_tls if direct_tls else server.starttls)
    return client


async def error_of(answer: Any) -> str:
    """Return the condition of an IQ that is answered with an error."""
    try:
        await answer
    except IqError as error:
        return str(error.condition)
    raise AssertionError("no error")
