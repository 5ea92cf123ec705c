"""The control socket: lines of JSON from the administrator's command line, one request and one answer at a time."""

from __future__ import annotations

import json
import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import UNIXServerEndpoint
from twisted.internet.interfaces import IReactorUNIX
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.protocols.basic import LineOnlyReceiver

from vrxmpp.admin import (
    CONFIGURATION,
    CONTROL_SOCKET,
    REQUEST_BYTES,
    AdminError,
    Administration,
    Json,
    facts_of,
    perform,
)
from vrxmpp.core.peers import Audit, NoAudit

_log = Logger()


def control_endpoint(reactor: IReactorUNIX, state: Path) -> UNIXServerEndpoint:
    """Return where the control socket of the server with this state directory listens.

    The directory, which is private, guards the moment between making the socket and setting its mode.
    """
    path = str(state / CONTROL_SOCKET)
    return UNIXServerEndpoint(reactor, path, mode=0o600)


def peer_uid(transport: Any) -> int:
    """Return the numeric user of the process at the other end of a Unix socket."""
    credentials = transport.getHandle().getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _, uid, _ = struct.unpack("3i", credentials)
    return int(uid)


class ControlFactory(Factory):
    """Serves ``administration`` to root and to the user the server runs as."""

    noisy = False

    def __init__(
        self, administration: Administration, audit: Audit | None = None, uid_of: Callable[[Any], int] = peer_uid
    ) -> None:
        self.administration = administration
        self.uid_of = uid_of
        self.audit: Audit = audit or NoAudit()

    def buildProtocol(self, addr: object) -> ControlProtocol:
        return ControlProtocol(self)


class ControlProtocol(LineOnlyReceiver):
    """One connection of the command line."""

    delimiter = b"\n"
    MAX_LENGTH = REQUEST_BYTES

    def __init__(self, factory: ControlFactory) -> None:
        self._factory = factory
        self._busy = False
        self._uid = -1

    def connectionMade(self) -> None:
        # The socket's mode says so already; this holds where someone has changed it.
        self._uid = self._factory.uid_of(self.transport)
        if self._uid not in {0, os.geteuid()}:
            self._factory.audit.note("config", CONFIGURATION, event="administrator refused", uid=self._uid)
            self._close()

    def lineReceived(self, line: bytes) -> None:
        if self._busy:
            self._refuse("busy", "the answer to the last request is not given yet")
        else:
            self._busy = True
            Deferred.fromCoroutine(self._answer(line))

    def lineLengthExceeded(self, line: bytes) -> None:
        self._refuse("too-long", f"a request is at most {REQUEST_BYTES} bytes")

    def _refuse(self, code: str, message: str) -> None:
        self._send(_error(code, message))
        self._close()

    async def _answer(self, line: bytes) -> None:
        answer: Json
        request: Json = None
        outcome = "done"
        try:
            request = _read(line)
            answer = {"ok": await perform(self._factory.administration, request)}
        except AdminError as error:
            answer, outcome = _error(error.code, error.message), error.code
        except Exception:
            _log.failure("a request on the control socket failed")
            answer, outcome = _error("internal", "the server failed; its log says why"), "internal"
        self._note(request, outcome)
        self._busy = False
        self._send(answer)

    def _note(self, request: Json, outcome: str) -> None:
        """Have it on record who did what to whom."""
        on_record = facts_of(request, outcome, self._uid)
        if on_record is not None:
            conversation, facts = on_record
            self._factory.audit.note("config", conversation, **facts)

    def _send(self, answer: Json) -> None:
        self.sendLine(json.dumps(answer).encode())  # type: ignore[no-untyped-call]

    def _close(self) -> None:
        cast(Any, self.transport).loseConnection()


def _read(line: bytes) -> Json:
    try:
        request = json.loads(line)
    except (ValueError, RecursionError):
        raise AdminError("bad-request", "the request is not JSON") from None
    if isinstance(request, dict):
        command, jid = request.get("command"), request.get("jid")
        _log.info("administrator: {command} {jid}" if jid else "administrator: {command}", command=command, jid=jid)
    return request


def _error(code: str, message: str) -> Json:
    return {"error": {"code": code, "message": message}}
