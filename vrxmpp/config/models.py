"""Every option of the configuration file: its type, its bounds, its default, and what it is for."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationInfo,
)
from pydantic import field_validator as check

from vrxmpp.config.endpoints import check_endpoint, is_local
from vrxmpp.config.files import certified_key, public_key
from vrxmpp.jid import Jid, prepare_domain


@dataclass(frozen=True)
class Reading:
    """What the validators know about the reading: the file's directory, whether to open the files it names, the domains
    seen so far."""

    directory: Path
    files: bool = False
    domains: set[str] = field(default_factory=set)


def _reading(info: ValidationInfo) -> Reading:
    return info.context if isinstance(info.context, Reading) else Reading(Path())


def _number(default: int, low: int, high: int, description: str) -> Any:
    return Field(default, ge=low, le=high, strict=True, description=description)


def _switch(default: bool, description: str) -> Any:
    return Field(default, strict=True, description=description)


def _from_directory(path: Path, info: ValidationInfo) -> Path:
    return _reading(info).directory / path


def _bare_jid(value: object) -> Jid:
    if not isinstance(value, str):
        raise ValueError("must be a text in quotes")
    jid = Jid.parse(value)
    if not jid.local or jid.resource:
        raise ValueError("must be the address of an account: user@domain")
    return jid


def _contact(uri: str) -> str:
    if not re.match(r"(mailto:|xmpp:|https://)\S+$", uri):
        raise ValueError("must begin with mailto:, xmpp: or https://")
    return uri


StatePath = Annotated[Path, AfterValidator(_from_directory)]
Endpoint = Annotated[str, AfterValidator(check_endpoint)]
BareJid = Annotated[Jid, BeforeValidator(_bare_jid), PlainSerializer(str)]
ContactUri = Annotated[str, AfterValidator(_contact)]


class _Table(BaseModel):
    """One table of the file."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True, validate_default=True)


class Contacts(_Table):
    """Whom to turn to, told to anyone who asks the domain (XEP-0157): mailto:, xmpp: or https:// addresses."""

    abuse: tuple[ContactUri, ...] = Field(default=(), description="For reports of abuse.")
    admin: tuple[ContactUri, ...] = Field(default=(), description="The administrators.")
    feedback: tuple[ContactUri, ...] = Field(default=(), description="For praise and complaints.")
    sales: tuple[ContactUri, ...] = Field(default=(), description="The sales department.")
    security: tuple[ContactUri, ...] = Field(default=(), description="For reports of weaknesses.")
    status: tuple[ContactUri, ...] = Field(default=(), description="Where it is told whether the service works.")
    support: tuple[ContactUri, ...] = Field(default=(), description="Help for users.")


class AccountLimits(_Table):
    """What one account may keep and hold open."""

    sessions: int = _number(10, 1, 1000, "Clients of one account connected at the same time.")
    offline_messages: int = _number(500, 0, 100_000, "Messages kept for an absent user (XEP-0160).")
    roster_items: int = _number(1000, 1, 100_000, "Contacts in a roster.")
    groups_per_item: int = _number(20, 1, 1000, "Roster groups of one contact.")
    private_bytes: int = _number(1_048_576, 0, 104_857_600, "Private storage in all (XEP-0049).")
    vcard_bytes: int = _number(65_536, 0, 10_485_760, "Size of the vCard (XEP-0054).")
    blocked: int = _number(1000, 1, 100_000, "Blocked addresses (XEP-0191).")
    directed_presence: int = _number(1000, 1, 100_000, "Addresses one client sends directed presence to.")


class HostLimits(AccountLimits):
    """Limits of this domain's accounts; what is absent is as in [limits.account]."""


class Host(_Table):
    """A served domain, with its own policy."""

    domain: str = Field(description="The domain, as in user@domain. Each may be served once.")
    certificate: StatePath | None = Field(
        default=None, description="PEM file: the certificate, then its chain. Absent: a self-signed one is made."
    )
    key: StatePath | None = Field(
        default=None, description="PEM file: the private key of the certificate, not encrypted."
    )
    anonymous: bool = _switch(False, "Let anyone in without an account, under a passing address (XEP-0175).")
    registration: bool = _switch(False, "Let anyone make an account from a client (XEP-0077).")
    registrations_per_hour: int = _number(5, 1, 10_000, "Accounts that may be made from one IP address.")
    admins: tuple[BareJid, ...] = Field(
        default=(), description="Accounts that may administer the domain from a client."
    )
    contacts: Contacts = Field(default=Contacts(), description=Contacts.__doc__)
    limits: HostLimits = Field(default=HostLimits(), description=HostLimits.__doc__)

    @check("domain")
    @classmethod
    def _prepare(cls, value: str, info: ValidationInfo) -> str:
        domain = prepare_domain(value)
        domains = _reading(info).domains
        if domain in domains:
            raise ValueError("is served already by another [[host]]")
        domains.add(domain)
        return domain

    @check("certificate")
    @classmethod
    def _holds_certificate(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        if value and _reading(info).files:
            certified_key(value)
        return value

    @check("key")
    @classmethod
    def _belongs_to_certificate(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        key = public_key(value) if value and _reading(info).files else None
        certificate = info.data.get("certificate")
        named = (
            certificate is not None or "certificate" not in info.data
        )  # it is not there if something is wrong with it
        if named != (value is not None):
            raise ValueError("certificate and key belong together: name both or neither")
        if key and certificate and key != certified_key(certificate):
            raise ValueError(f"does not belong to the certificate {certificate}")
        return value


class ClientConnections(_Table):
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


class Database(_Table):
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
        return f"sqlite:///{_reading(info).directory / path}"


class Authentication(_Table):
    """How users prove who they are."""

    scram_iterations: int = _number(10_000, 4096, 1_000_000, "Rounds of hashing of new passwords (RFC 5802, RFC 7677).")
    plain: bool = _switch(True, "Accept SASL PLAIN, under TLS only.")
    failures_per_stream: int = _number(5, 1, 100, "Failed attempts after which a stream is closed.")


class UnauthenticatedLimits(_Table):
    """What a stream may send before login."""

    stanza_bytes: int = _number(10_000, 10_000, 1_048_576, "Size of one element (RFC 6120 §13.12 asks for 10,000).")
    depth: int = _number(16, 4, 1000, "Elements within elements.")
    elements: int = _number(200, 10, 100_000, "Elements in one element, nested ones too.")


class StanzaLimits(_Table):
    """What one stanza may be after login."""

    bytes: int = _number(262_144, 10_000, 16_777_216, "Size (RFC 6120 §13.12).")
    depth: int = _number(128, 8, 1000, "Elements within elements.")
    elements: int = _number(10_000, 100, 1_000_000, "Elements, nested ones too.")
    attributes: int = _number(256, 16, 10_000, "Attributes of one element.")
    namespaces: int = _number(64, 8, 10_000, "Namespace declarations of one element.")


class Timeouts(_Table):
    """How long a peer may take, in seconds."""

    handshake: int = _number(10, 1, 600, "TLS handshake.")
    login: int = _number(30, 1, 600, "From connecting to being logged in.")
    bind: int = _number(30, 1, 600, "From being logged in to having a resource.")
    stanza: int = _number(60, 1, 3600, "An unfinished stanza.")
    close: int = _number(5, 1, 600, "The peer's answer to the end of the stream.")


class ConnectionLimits(_Table):
    """Connections from one IP address."""

    unauthenticated_per_address: int = _number(50, 1, 100_000, "Connections that are not logged in.")
    per_address: int = _number(200, 1, 1_000_000, "Connections in all.")
    new_per_second: int = _number(20, 1, 100_000, "New connections a second.")
    backlog: int = _number(512, 1, 65_535, "Connections the system queues for a listener that names no backlog itself.")


class RateLimits(_Table):
    """How fast one connection may send; a faster one is read more slowly."""

    bytes_per_second: int = _number(100_000, 1000, 1_000_000_000, "Bytes a second in the long run.")
    burst_bytes: int = _number(1_048_576, 10_000, 1_000_000_000, "Bytes at once.")
    stanzas_per_second: int = _number(50, 1, 1_000_000, "Stanzas a second in the long run.")
    burst_stanzas: int = _number(500, 1, 1_000_000, "Stanzas at once.")


class OutputLimits(_Table):
    """What is held for a client that does not read."""

    pause_bytes: int = _number(262_144, 16_384, 1_073_741_824, "Bytes waiting at which the client is read no further.")
    cut_bytes: int = _number(1_048_576, 65_536, 1_073_741_824, "Bytes waiting at which it is cut off.")
    stalled_seconds: int = _number(30, 1, 3600, "Time without any progress after which it is cut off.")

    @check("cut_bytes")
    @classmethod
    def _above_pause(cls, value: int, info: ValidationInfo) -> int:
        if value < info.data.get("pause_bytes", value):
            raise ValueError("must not be below pause_bytes")
        return value


class Limits(_Table):
    """Bounds on what a peer may do. The defaults suit people; a benchmark or a busy robot needs more."""

    unauthenticated: UnauthenticatedLimits = Field(
        default=UnauthenticatedLimits(), description=UnauthenticatedLimits.__doc__
    )
    stanza: StanzaLimits = Field(default=StanzaLimits(), description=StanzaLimits.__doc__)
    timeout: Timeouts = Field(default=Timeouts(), description=Timeouts.__doc__)
    connections: ConnectionLimits = Field(default=ConnectionLimits(), description=ConnectionLimits.__doc__)
    rate: RateLimits = Field(default=RateLimits(), description=RateLimits.__doc__)
    output: OutputLimits = Field(default=OutputLimits(), description=OutputLimits.__doc__)
    account: AccountLimits = Field(default=AccountLimits(), description=AccountLimits.__doc__)


class Config(_Table):
    """The whole file. Relative paths are relative to the directory the file is in."""

    state: StatePath = Field(default=Path("/var/lib/vrxmpp"), description="Directory of everything the server writes.")
    hosts: tuple[Host, ...] = Field(alias="host", description="The served domains, one table each.")
    c2s: ClientConnections = Field(default=ClientConnections(), description=ClientConnections.__doc__)
    database: Database = Field(default=Database(), description=Database.__doc__)
    authentication: Authentication = Field(default=Authentication(), description=Authentication.__doc__)
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
