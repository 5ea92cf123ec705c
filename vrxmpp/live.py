"""The running server as an administrator sees it, and what they do to it: ``admin.Live``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import datetime

from vrxmpp import __version__
from vrxmpp.admin import SessionInfo, Status
from vrxmpp.archiving import Archiving
from vrxmpp.core.router import Router
from vrxmpp.errors import StreamCondition, StreamError
from vrxmpp.jid import Jid
from vrxmpp.net.connections import Connections
from vrxmpp.net.inspection import Inspection
from vrxmpp.net.metrics import Measurements
from vrxmpp.net.servers import Servers


class RunningServer:
    """Looks at the hosts and the connections of every kind; ``listeners`` are keyed by their address."""

    def __init__(
        self,
        router: Router,
        clients: Connections,
        components: Connections,
        servers: Servers,
        *,
        listeners: Mapping[str, str],
        started: datetime,
        archiving: Archiving | None = None,
    ) -> None:
        self._router = router
        self._kinds = {"clients": clients, "components": components, "servers": servers}
        self._servers = servers
        self._listeners = listeners
        self._started = started
        self._archiving = archiving

    def _connections(self) -> dict[str, int]:
        return {name: len(kind.connections) for name, kind in self._kinds.items()}

    def _sessions(self) -> int:
        return sum(self.status().sessions.values())

    def measurements(self) -> Measurements:
        """Return what is measured of the server."""
        archiving = self._archiving
        if archiving is None:
            return Measurements(self._connections, self._sessions)
        return Measurements(self._connections, self._sessions, archiving.archive.status, archiving.checkpoints.status)

    def audit_status(self) -> object:
        """How the archive does, and how safe it is; None where there is none."""
        return self._archiving and self._archiving.status()

    def status(self) -> Status:
        """How the server is."""
        return Status(
            version=__version__,
            process=os.getpid(),
            started=self._started,
            listeners=list(self._listeners),
            connections=sum(self._connections().values()),
            sessions={name: sum(1 for _ in host.all_sessions()) for name, host in self._router.hosts.items()},
        )

    def sessions(self) -> list[SessionInfo]:
        """Every client that is logged in."""
        return [
            SessionInfo(
                jid=session.jid.text,
                address=session.address,
                security=session.security,
                since=session.started,
                priority=session.priority if session.presence is not None else None,
            )
            for host in self._router.hosts.values()
            for session in host.all_sessions()
        ]

    def federation(self) -> Inspection:
        """Return what looks at the streams of other servers."""
        return Inspection(self._servers)

    def kick(self, jid: Jid) -> int:
        """End the sessions of an address."""
        host = self._router.hosts[jid.domain]
        sessions = [
            s for s in host.all_sessions() if s.account.jid == jid.bare and jid.resource in {"", s.jid.resource}
        ]
        for session in sessions:
            host.end(session, StreamError(StreamCondition.POLICY_VIOLATION, "ended by an administrator"))
        return len(sessions)

    async def end_subscriptions(self, jid: Jid) -> None:
        """Tell the contacts of an account that it goes for good."""
        host = self._router.hosts[jid.domain]
        account = await host.wake(jid.local)
        if account is not None:
            host.end_subscriptions(account)

    def account_removed(self, jid: Jid) -> None:
        """Forget an account, and end its sessions."""
        self._router.hosts[jid.domain].forget(jid.local, StreamCondition.NOT_AUTHORIZED)

    account_disabled = account_removed

    def password_changed(self, jid: Jid) -> None:
        """Whoever is logged in by the old password has to prove the new one."""
        self.account_removed(jid)
