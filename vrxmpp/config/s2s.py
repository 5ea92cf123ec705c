"""The tables of federation: where other servers connect, who may, and how they prove who they are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationInfo, ValidatorFunctionWrapHandler
from pydantic import field_validator as check

from vrxmpp.config.addresses import HostPort, IpPort
from vrxmpp.config.files import certified_key
from vrxmpp.config.tables import Endpoint, StatePath, Table, number, reading, switch
from vrxmpp.jid import prepare_domain
from vrxmpp.net.policy import prepare_pattern


def _another_server(domain: str, info: ValidationInfo) -> str:
    prepared = prepare_domain(domain)
    if prepared in reading(info).domains:
        raise ValueError("is served here: no other server is asked for it")
    return prepared


Pattern = Annotated[str, AfterValidator(prepare_pattern)]
Remote = Annotated[str, AfterValidator(_another_server)]
Tls = Literal["required", "optional"]
Authentication = Literal["certificate-if-valid", "certificate", "dialback"]


class Peer(Table):
    """What holds for one other server, for all domains here; what is absent is as without this table."""

    authentication: Authentication | None = Field(default=None, description="How it proves who it is.")
    tls: Tls | None = Field(default=None, description="Whether its streams need TLS.")


class HostFederation(Table):
    """How this domain federates; what is absent is as in [s2s], and a list stands in place of the one there."""

    enabled: bool | None = switch(None, "Whether other servers are reached, and let in.")
    authentication: Authentication | None = Field(default=None, description="How other servers prove who they are.")
    allow: tuple[Pattern, ...] | None = Field(default=None, description="If not empty, only these domains.")
    deny: tuple[Pattern, ...] | None = Field(default=None, description="Never these; wins over allow.")


class ServerConnections(Table):
    """Federation: where other servers connect, and which. By default it is as with mail: anyone who proves a domain."""

    enabled: bool = switch(True, "false: no other server is reached, and none is let in.")
    starttls: tuple[Endpoint, ...] = Field(
        default=("tcp:5269",), description="Listeners that begin in the clear and change to TLS (RFC 6120)."
    )
    direct_tls: tuple[Endpoint, ...] = Field(
        default=("tcp:5270",), description="Listeners with TLS from the start (XEP-0368)."
    )
    tls: Tls = Field(default="required", description="Whether streams need TLS, in both directions.")
    authentication: Authentication = Field(
        default="certificate-if-valid",
        description='How other servers prove who they are. "certificate-if-valid": one that has shown a valid '
        'certificate must do so from then on, the others may use dialback (XEP-0220). "certificate": always by a valid '
        'certificate. "dialback": that is enough, whatever was shown before.',
    )
    allow: tuple[Pattern, ...] = Field(
        default=(),
        description='If not empty, only these domains. "library.example" is one, "*.example" all that are below.',
    )
    deny: tuple[Pattern, ...] = Field(default=(), description="Never these; wins over allow.")
    resolver: IpPort | None = Field(
        default=None, description='The DNS server to ask, "IP:PORT" or "[IPv6]:PORT". Absent: those of the system.'
    )
    ca_file: StatePath | None = Field(
        default=None, description="PEM file: authorities to trust beside those of the system."
    )
    idle_seconds: int = number(600, 10, 86_400, "Time without traffic after which a stream is closed.")
    routes: dict[Remote, HostPort] = Field(
        default={},
        alias="route",
        description='Fixed ways to other servers, by STARTTLS, without SRV records: "peer.example" = "127.0.0.3:5269".',
    )
    peers: dict[Remote, Peer] = Field(default={}, alias="peer", description=Peer.__doc__)

    @check("ca_file")
    @classmethod
    def _holds_certificate(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        if value and reading(info).files:
            certified_key(value)
        return value

    @check("routes", "peers", mode="wrap")
    @classmethod
    def _each_once(cls, value: object, validate: ValidatorFunctionWrapHandler) -> dict[str, Any]:
        prepared: dict[str, Any] = validate(value)
        if isinstance(value, dict) and len(prepared) < len(value):
            raise ValueError("names a domain twice")
        return prepared
