"""Puts one served domain together: its stores, its modules, and what a new stream is offered."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

from vrxmpp import config
from vrxmpp.core.host import Host
from vrxmpp.core.module import Module
from vrxmpp.core.router import Router
from vrxmpp.negotiation.announced import Announced
from vrxmpp.negotiation.bind import Bind
from vrxmpp.negotiation.feature import Feature, Have
from vrxmpp.negotiation.login import Login
from vrxmpp.negotiation.sasl import Authenticator
from vrxmpp.negotiation.starttls import StartTls
from vrxmpp.negotiation.throttle import Throttle
from vrxmpp.net.c2s import Served
from vrxmpp.store import Stores, open_stores
from vrxmpp.store.database import Database

T = TypeVar("T")


@dataclass(frozen=True)
class Foundations:
    """What all domains stand on."""

    database: Database
    router: Router
    throttle: Throttle
    secret: bytes  # of this server, kept across restarts
    run_in_thread: Callable[[Callable[[], T]], Awaitable[T]]
    started: datetime


def utc_now() -> datetime:
    """The clock of the house."""
    return datetime.now(UTC)


def assemble(settings: config.Config, domain: config.Host, foundations: Foundations) -> Served:
    """Build the host of one domain with all of its modules."""
    stores = open_stores(foundations.database, domain.domain)
    limits = settings.account_limits(domain)
    host = Host(domain.domain, stores.accounts, foundations.router, utc_now, sessions=limits.sessions)
    host.mount(*_modules(stores, limits, domain, foundations))
    authenticator = Authenticator(
        domain=domain.domain,
        credentials=stores.accounts.credentials,
        run=foundations.run_in_thread,
        fake_secret=foundations.secret,
        iterations=settings.authentication.scram_iterations,
        plain=settings.authentication.plain,
        anonymous=domain.anonymous,
    )
    tls_required = settings.c2s.tls == "required"

    def features() -> list[Feature]:
        return [
            StartTls(required=tls_required),
            Login(
                authenticator,
                foundations.throttle,
                failures=settings.authentication.failures_per_stream,
                needs=Have.SECURE if tls_required else Have.NOTHING,
            ),
            Bind(),
            Announced([module.stream_feature for module in host.modules]),
        ]

    return Served(host, features)


def _modules(
    stores: Stores, limits: config.AccountLimits, domain: config.Host, foundations: Foundations
) -> list[Module]:
    return []
