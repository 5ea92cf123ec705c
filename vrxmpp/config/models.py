"""The configuration file as a whole: its domains, its listeners, its database; its other tables are beside this."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationInfo
from pydantic import field_validator as check

from vrxmpp.config.audit import Audit, HostAudit
from vrxmpp.config.components import Component, ComponentConnections, parents
from vrxmpp.config.endpoints import is_local
from vrxmpp.config.files import certified_key, public_key
from vrxmpp.config.limits import AccountLimits, Limits
from vrxmpp.config.s2s import HostFederation, ServerConnections
from vrxmpp.config.tables import BareJid, Endpoint, StatePath, Table, number, reading, switch


def _contact(uri: str) -> str:
    if not re.match(r"(mailto:|xmpp:|https://)\S+$", uri):
        raise ValueError("must begin with mailto:, xmpp: or https://")
    return uri


ContactUri = Annotated[str, AfterValidator(_contact)]


class Contacts(Table):
    """Whom to turn to, told to anyone who asks the domain (XEP-0157): mailto:, xmpp: or https:// addresses."""

    abuse: tuple[ContactUri, ...] = Field(default=(), description="For reports of abuse.")
    admin: tuple[ContactUri, ...] = Field(default=(), description="The administrators.")
    feedback: tuple[ContactUri, ...] = Field(default=(), description="For praise and complaints.")
    sales: tuple[ContactUri, ...] = Field(default=(), description="The sales department.")
    security: tuple[ContactUri, ...] = Field(default=(), description="For reports of weaknesses.")
    status: tuple[ContactUri, ...] = Field(default=(), description="Where it is told whether the service works.")
    support: tuple[ContactUri, ...] = Field(default=(), description="Help for users.")


class HostLimits(AccountLimits):
    """Limits of this domain's accounts; what is absent is as in [limits.account]."""


class Host(Table):
    """A served domain, with its own policy."""

    domain: str = Field(description="The domain, as in user@domain. Each may be served once.")
    certificate: StatePath | None = Field(
        default=None, description="PEM file: the certificate, then its chain. Absent: a self-signed one is made."
    )
    key: StatePath | None = Field(
        default=None, description="PEM file: the private key of the certificate, not encrypted."
    )
    anonymous: bool = switch(False, "Let anyone in without an account, under a passing address (XEP-0175).")
    registration: bool = switch(False, "Let anyone make an account from a client (XEP-0077).")
    registrations_per_hour: int = number(5, 1, 10_000, "Accounts that may be made from one IP address.")
    admins: tuple[BareJid, ...] = Field(
        default=(), description="Accounts that may administer the domain from a client."
    )
    contacts: Contacts = Field(default=Contacts(), description=Contacts.__doc__)
    s2s: HostFederation = Field(default=HostFederation(), description=HostFederation.__doc__)
    audit: HostAudit = Field(default=HostAudit(), description=HostAudit.__doc__)
    limits: HostLimits = Field(default=HostLimits(), description=HostLimits.__doc__)

    @check("domain")
    @classmethod
    def _prepare(cls, value: str, info: ValidationInfo) -> str:
        return reading(info).serve(value, "[[host]]")

    @check("certificate")
    @classmethod
    def _holds_certificate(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        if value and reading(info).files:
            certified_key(value)
        return value

    @check("key")
    @classmethod
    def _belongs_to_certificate(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        key = public_key(value) if value and reading(info).files else None
        certificate = info.data.get("certificate")
        named = (
            certificate is not None or "certificate" not in info.data
        )  # it is not there if something is wrong with it
        if named != (value is not None):
            raise ValueError("certificate and key belong together: name both or neither")
        if key and certificate and key != certified_key(certificate):
            raise ValueError(f"does not belong to the certificate {certificate}")
        return value


class ClientConnections(Table):
    """Where clients connect. Addresses are Twisted endpoint strings."""

    starttls: tuple[Endpoint, ...] = Field(
        default=("tcp:5222",), description="Listeners that begin in the clear and change to TLS (RFC 6120)."
    )
    direct_tls: tuple[Endpoint, ...] = Field(
        default=("tcp:5223",), description="Listeners with TLS from the start (XEP-0368)."
    )
    tls: Literal["required", "optional"] = Field(
        default="required",
        description='Whether login needs TLS; "optional" only where every starttls listener is a loopback address.',
    )

    @check("tls")
    @classmethod
    def _safe(cls, value: str, info: ValidationInfo) -> str:
        if value == "optional" and not all(is_local(endpoint) for endpoint in info.data.get("starttls", ())):
            raise ValueError("is accepted only if every starttls listener is a loopback address")
        return value


class Database(Table):
    """Where accounts and messages are kept."""

    url: str = Field(default="sqlite", description='"sqlite" for a file in the state directory, or sqlite:///PATH.')

    @check("url")
    @classmethod
    def _supported(cls, value: str, info: ValidationInfo) -> str:
        if value.startswith("postgres"):
            raise ValueError('PostgreSQL is not supported yet; use "sqlite"')
        if value == "sqlite":
            return value
        path = value.removeprefix("sqlite:///")
        if path in (value, "") or "?" in path:
            raise ValueError('must be "sqlite" or "sqlite:///PATH"')
        return f"sqlite:///{reading(info).directory / path}"


class Authentication(Table):
    """How users prove who they are."""

    scram_iterations: int = number(10_000, 4096, 1_000_000, "Rounds of hashing of new passwords (RFC 5802, RFC 7677).")
    plain: bool = switch(True, "Accept SASL PLAIN, under TLS only.")
    failures_per_stream: int = number(5, 1, 100, "Failed attempts after which a stream is closed.")


class Metrics(Table):
    """Where Prometheus may ask how the server is."""

    listen: tuple[Endpoint, ...] = Field(
        default=(), description="Listeners that answer GET /metrics; best a loopback address."
    )


class Config(Table):
    """The whole file. Relative paths are relative to the directory the file is in."""

    state: StatePath = Field(default=Path("/var/lib/vrxmpp"), description="Directory of everything the server writes.")
    hosts: tuple[Host, ...] = Field(alias="host", description="The served domains, one table each.")
    components: tuple[Component, ...] = Field(
        default=(), alias="component", description="Services at domains of their own, one table each."
    )
    component_connections: ComponentConnections = Field(
        default=ComponentConnections(), alias="components", description=ComponentConnections.__doc__
    )
    c2s: ClientConnections = Field(default=ClientConnections(), description=ClientConnections.__doc__)
    s2s: ServerConnections = Field(default=ServerConnections(), description=ServerConnections.__doc__)
    database: Database = Field(default=Database(), description=Database.__doc__)
    authentication: Authentication = Field(default=Authentication(), description=Authentication.__doc__)
    audit: Audit = Field(default=Audit(), description=Audit.__doc__)
    metrics: Metrics = Field(default=Metrics(), description=Metrics.__doc__)
    limits: Limits = Field(default=Limits(), description=Limits.__doc__)

    @check("hosts")
    @classmethod
    def _at_least_one(cls, value: tuple[Host, ...]) -> tuple[Host, ...]:
        if not value:
            raise ValueError("must not be empty")
        return value

    @property
    def database_url(self) -> str:
        """The database as SQLAlchemy names it."""
        return f"sqlite:///{self.state / 'vrxmpp.sqlite'}" if self.database.url == "sqlite" else self.database.url

    def account_limits(self, host: Host) -> AccountLimits:
        """Return the limits in force for the accounts of ``host``: its own, else the common ones."""
        own = {name: getattr(host.limits, name) for name in host.limits.model_fields_set}
        return self.limits.account.model_copy(update=own)

    def federation(self, host: Host) -> ServerConnections:
        """Return [s2s] as it is in force for ``host``: its own policy, else the common one."""
        return self.s2s.model_copy(update=host.s2s.model_dump(exclude_none=True))

    def archived(self, host: Host) -> Audit:
        """Return [audit] as it is in force for ``host``: its own policy, else the common one."""
        return self.audit.model_copy(update=host.audit.model_dump(exclude_none=True))

    def managed_hosts(self, component: Component) -> tuple[str, ...]:
        """Return the domains for whose users the component's privileges hold."""
        served = {host.domain for host in self.hosts}
        return component.privileges.hosts or next(
            ((above,) for above in parents(component.domain) if above in served), ()
        )
