"""Puts one served domain together: its stores, its modules, and what a new stream is offered."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TypeVar

from vrxmpp import __version__, config
from vrxmpp.archiving import Archiving
from vrxmpp.config.components import Privileges, parents
from vrxmpp.core.host import Host
from vrxmpp.core.info import Item
from vrxmpp.core.module import Module
from vrxmpp.core.peers import Derive
from vrxmpp.core.router import Router
from vrxmpp.modules.announce import Announcements
from vrxmpp.modules.blocking import Blocking
from vrxmpp.modules.caps import EntityCapabilities
from vrxmpp.modules.contact import ContactAddresses
from vrxmpp.modules.data_policy import DataPolicy
from vrxmpp.modules.disco import ServiceDiscovery
from vrxmpp.modules.encrypted import EncryptedMessages
from vrxmpp.modules.last_activity import LastActivity
from vrxmpp.modules.offline import OfflineMessages
from vrxmpp.modules.password import PasswordChange
from vrxmpp.modules.ping import Ping
from vrxmpp.modules.presence import Presence
from vrxmpp.modules.private import PrivateXmlStorage
from vrxmpp.modules.privilege import Grant, PrivilegedEntities
from vrxmpp.modules.roster import Roster
from vrxmpp.modules.session_request import SessionRequest
from vrxmpp.modules.subscription import Subscriptions
from vrxmpp.modules.time import EntityTime
from vrxmpp.modules.vcard import VCardTemp
from vrxmpp.modules.version import SoftwareVersion
from vrxmpp.modules.witness import Witness
from vrxmpp.negotiation.announced import Announced
from vrxmpp.negotiation.bind import Bind
from vrxmpp.negotiation.feature import Feature, Have
from vrxmpp.negotiation.login import Login
from vrxmpp.negotiation.registration import Registration
from vrxmpp.negotiation.sasl import Authenticator
from vrxmpp.negotiation.scram import derive_keys
from vrxmpp.negotiation.starttls import StartTls
from vrxmpp.negotiation.throttle import Throttle
from vrxmpp.net.clients import Served
from vrxmpp.net.components import Authority, Component, Components, Service
from vrxmpp.net.hosted import HostedService, ServiceError, make_handler
from vrxmpp.store import Stores, open_stores
from vrxmpp.store.database import Database
from vrxmpp.store.interfaces import Accounts, ScramKeys

T = TypeVar("T")
_CAPS_NODE = "https://vrxmpp.example/"  # XEP-0115 §4: a URI for the software, nothing is fetched from there


@dataclass(frozen=True)
class Foundations:
    """What all domains stand on."""

    database: Database
    router: Router
    throttle: Throttle
    secret: bytes  # of this server, kept across restarts
    run_in_thread: Callable[[Callable[[], T]], Awaitable[T]]
    started: datetime
    archiving: Archiving | None = None


def utc_now() -> datetime:
    """The clock of the house."""
    return datetime.now(UTC)


def assemble(settings: config.Config, domain: config.Host, foundations: Foundations) -> Served:
    """Build one domain with all of its modules; one that is served already is fitted anew, under its sessions."""
    archiving = foundations.archiving
    stores = open_stores(foundations.database, domain.domain, None if archiving is None else archiving.sealer)
    limits = settings.account_limits(domain)
    host = foundations.router.hosts.get(domain.domain)
    if host is None:
        host = Host(domain.domain, stores.accounts, foundations.router, utc_now, sessions=limits.sessions)
    host.clear()
    host.most_sessions = limits.sessions

    async def derive(password: str) -> tuple[ScramKeys, ScramKeys]:
        work = partial(derive_keys, password, settings.authentication.scram_iterations)
        return await foundations.run_in_thread(work)

    host.mount(*_modules(stores, settings, domain, foundations, derive))
    return Served(
        host, _stream_features(settings, domain, foundations, host=host, accounts=stores.accounts, derive=derive)
    )


def _stream_features(
    settings: config.Config,
    domain: config.Host,
    foundations: Foundations,
    *,
    host: Host,
    accounts: Accounts,
    derive: Derive,
) -> Callable[[], list[Feature]]:
    """Return what makes the features of one stream; log-ins have a state, registrations are counted for all streams."""
    authentication = settings.authentication
    authenticator = Authenticator(
        domain=domain.domain,
        credentials=accounts.credentials,
        run=foundations.run_in_thread,
        fake_secret=foundations.secret,
        iterations=authentication.scram_iterations,
        plain=authentication.plain,
        anonymous=domain.anonymous,
    )
    required = settings.c2s.tls == "required"
    needs = Have.SECURE if required else Have.NOTHING
    shared: list[Feature] = [Bind(), Announced([module.stream_feature for module in host.modules])]
    if domain.registration:
        shared.append(Registration(accounts, derive, utc_now, per_hour=domain.registrations_per_hour, needs=needs))
    failures = authentication.failures_per_stream
    return lambda: [
        StartTls(required=required),
        Login(domain.domain, authenticator, foundations.throttle, failures=failures, needs=needs),
        *shared,
    ]


def _modules(
    stores: Stores, settings: config.Config, domain: config.Host, foundations: Foundations, derive: Derive
) -> list[Module]:
    """Return every module of a domain; the order between them does not matter."""
    limits = settings.account_limits(domain)
    presence = Presence(limits.directed_presence)
    roster = Roster(stores.rosters, presence, limits.roster_items, limits.groups_per_item)
    return [
        Announcements(frozenset(admin.text for admin in domain.admins)),
        Blocking(stores.blocklists, presence, limits.blocked),
        ContactAddresses(domain.contacts.model_dump()),
        EntityCapabilities(_CAPS_NODE),
        EntityTime(),
        LastActivity(stores.accounts, foundations.started),
        OfflineMessages(stores.offline, limits.offline_messages),
        PasswordChange(stores.accounts, derive),
        Ping(),
        presence,
        PrivateXmlStorage(stores.private, limits.private_bytes),
        PrivilegedEntities(_grants(settings, domain.domain), roster, presence),
        roster,
        ServiceDiscovery(partial(_services_below, foundations.router, domain.domain)),
        SessionRequest(),
        SoftwareVersion("vrxmpp", __version__),
        Subscriptions(roster, presence),
        VCardTemp(stores.vcards, limits.vcard_bytes),
        *_archived(settings, domain, foundations),
    ]


def _archived(settings: config.Config, domain: config.Host, foundations: Foundations) -> Iterator[Module]:
    """Yield what the audit archive asks for."""
    policy = settings.archived(domain)
    if not policy.enabled:
        return
    refuses = policy.encrypted == "refuse"
    archiving = foundations.archiving
    yield DataPolicy(
        lambda: None if archiving is None else archiving.retention(policy.class_name),
        plain=settings.authentication.plain,
        refuses_encrypted=refuses,
    )
    if refuses:
        yield EncryptedMessages()
    served = frozenset(settings.audit.checkpoints.witness_for)
    if archiving is not None and served:
        yield Witness(archiving.checkpoints, served)


def _grants(settings: config.Config, domain: str) -> dict[str, Grant]:
    """Return what each component may do for the users of this domain."""
    return {
        component.domain: Grant(
            roster=component.privileges.roster,
            message=component.privileges.message == "outgoing",
            presence=component.privileges.presence != "none",
            iq=component.privileges.iq,
        )
        for component in settings.components
        if domain in settings.managed_hosts(component)
    }


def install_components(settings: config.Config, router: Router, components: Components) -> None:
    """Build the services beside the domains, and make each the router's way there. Raises ServiceError."""
    for each in settings.components:
        hosts = settings.managed_hosts(each) if each.privileges != Privileges() else ()
        authorities = partial(_authorities, router, hosts)
        if each.handler is None:
            try:
                secret = each.shared_secret()
            except ValueError as error:
                raise ServiceError(f"the secret of {each.domain} {error}") from None
            components.add(Component(each.domain, secret, router, authorities))
            continue
        handler = make_handler(each.handler, each.options)
        service = HostedService(
            each.domain,
            handler,
            router,
            authorities,
            clock=components.clock,
            limits=components.policy.after_login,
        )
        components.add(service)


def _authorities(router: Router, hosts: Iterable[str]) -> list[Authority]:
    """Return the modules that may do something for a service now: a reload puts others in their place."""
    modules = (module for host in hosts for module in router.hosts[host].modules)
    return [module for module in modules if isinstance(module, PrivilegedEntities)]


def _services_below(router: Router, domain: str) -> tuple[Item, ...]:
    """Return the services that are there, and below this domain rather than below one that is nearer."""
    return tuple(
        Item(service.jid)
        for service in router.services.values()
        if isinstance(service, Service)
        and service.is_up
        and next((above for above in parents(service.jid.domain) if above in router.hosts), "") == domain
    )
