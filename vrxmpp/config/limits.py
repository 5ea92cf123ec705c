"""The tables below [limits]: bounds on what clients, other servers and accounts may do."""

from __future__ import annotations

from pydantic import Field, ValidationInfo
from pydantic import field_validator as check

from vrxmpp.config.tables import Table, number


class AccountLimits(Table):
    """What one account may keep and hold open."""

    sessions: int = number(10, 1, 1000, "Clients of one account connected at the same time.")
    offline_messages: int = number(500, 0, 100_000, "Messages kept for an absent user (XEP-0160).")
    roster_items: int = number(1000, 1, 100_000, "Contacts in a roster.")
    groups_per_item: int = number(20, 1, 1000, "Roster groups of one contact.")
    private_bytes: int = number(1_048_576, 0, 104_857_600, "Private storage in all (XEP-0049).")
    vcard_bytes: int = number(65_536, 0, 10_485_760, "Size of the vCard (XEP-0054).")
    blocked: int = number(1000, 1, 100_000, "Blocked addresses (XEP-0191).")
    directed_presence: int = number(1000, 1, 100_000, "Addresses one client sends directed presence to.")


class UnauthenticatedLimits(Table):
    """What a stream may send before login."""

    stanza_bytes: int = number(10_000, 10_000, 1_048_576, "Size of one element (RFC 6120 §13.12 asks for 10,000).")
    depth: int = number(16, 4, 1000, "Elements within elements.")
    elements: int = number(200, 10, 100_000, "Elements in one element, nested ones too.")


class StanzaLimits(Table):
    """What one stanza may be after login."""

    bytes: int = number(262_144, 10_000, 16_777_216, "Size (RFC 6120 §13.12).")
    depth: int = number(128, 8, 1000, "Elements within elements.")
    elements: int = number(10_000, 100, 1_000_000, "Elements, nested ones too.")
    attributes: int = number(256, 16, 10_000, "Attributes of one element.")
    namespaces: int = number(64, 8, 10_000, "Namespace declarations of one element.")


class Timeouts(Table):
    """How long a peer may take, in seconds."""

    handshake: int = number(10, 1, 600, "TLS handshake.")
    login: int = number(30, 1, 600, "From connecting to being logged in.")
    bind: int = number(30, 1, 600, "From being logged in to having a resource.")
    stanza: int = number(60, 1, 3600, "An unfinished stanza.")
    close: int = number(5, 1, 600, "The peer's answer to the end of the stream.")


class ConnectionLimits(Table):
    """Connections from one IP address."""

    unauthenticated_per_address: int = number(50, 1, 100_000, "Connections that are not logged in.")
    per_address: int = number(200, 1, 1_000_000, "Connections in all.")
    new_per_second: int = number(20, 1, 100_000, "New connections a second.")
    backlog: int = number(512, 1, 65_535, "Connections the system queues for a listener that names no backlog itself.")


class RateLimits(Table):
    """How fast one connection may send; a faster one is read more slowly."""

    bytes_per_second: int = number(100_000, 1000, 1_000_000_000, "Bytes a second in the long run.")
    burst_bytes: int = number(1_048_576, 10_000, 1_000_000_000, "Bytes at once.")
    stanzas_per_second: int = number(50, 1, 1_000_000, "Stanzas a second in the long run.")
    burst_stanzas: int = number(500, 1, 1_000_000, "Stanzas at once.")


class OutputLimits(Table):
    """What is held for a client that does not read."""

    pause_bytes: int = number(262_144, 16_384, 1_073_741_824, "Bytes waiting at which the client is read no further.")
    cut_bytes: int = number(1_048_576, 65_536, 1_073_741_824, "Bytes waiting at which it is cut off.")
    stalled_seconds: int = number(30, 1, 3600, "Time without any progress after which it is cut off.")

    @check("cut_bytes")
    @classmethod
    def _above_pause(cls, value: int, info: ValidationInfo) -> int:
        if value < info.data.get("pause_bytes", value):
            raise ValueError("must not be below pause_bytes")
        return value


class ServerLimits(Table):
    """Streams to and from other servers. Thousands of people may share one, so they are wider than those of clients."""

    stanza_bytes: int = number(524_288, 10_000, 16_777_216, "Size of one stanza, told to the peer (XEP-0478).")
    depth: int = number(128, 8, 1000, "Elements within elements.")
    elements: int = number(10_000, 100, 1_000_000, "Elements in one stanza, nested ones too.")
    bytes_per_second: int = number(10_000_000, 1000, 1_000_000_000, "Bytes a second one stream may send.")
    burst_bytes: int = number(10_000_000, 10_000, 1_000_000_000, "Bytes at once.")
    stanzas_per_second: int = number(5000, 1, 1_000_000, "Stanzas a second one stream may send.")
    burst_stanzas: int = number(10_000, 1, 1_000_000, "Stanzas at once.")
    queue_stanzas: int = number(1000, 1, 1_000_000, "Stanzas that may wait for one remote domain.")
    queue_bytes: int = number(4_194_304, 65_536, 1_073_741_824, "Bytes that may wait for one remote domain.")
    queue_seconds: int = number(60, 1, 3600, "How long a stanza waits before it goes back to its sender.")
    connect_seconds: int = number(30, 1, 60, "From the first look-up to a stream on which both sides are proven.")
    connections_per_address: int = number(1000, 1, 1_000_000, "Connections from one IP address.")
    unauthenticated_per_address: int = number(50, 1, 100_000, "Those of them that have proven no domain.")
    new_per_second: int = number(20, 1, 100_000, "New connections a second from one IP address.")
    dialbacks_per_stream: int = number(8, 1, 1000, "Dialback keys of one stream that are being verified.")
    dialbacks_per_address: int = number(64, 1, 100_000, "The same for one IP address.")

    @check("queue_bytes")
    @classmethod
    def _holds_a_stanza(cls, value: int, info: ValidationInfo) -> int:
        if value < info.data.get("stanza_bytes", value):
            raise ValueError("must not be below stanza_bytes")
        return value


class Limits(Table):
    """Bounds on what a peer may do. The defaults suit people; a benchmark or a busy robot needs more."""

    unauthenticated: UnauthenticatedLimits = Field(
        default=UnauthenticatedLimits(), description=UnauthenticatedLimits.__doc__
    )
    stanza: StanzaLimits = Field(default=StanzaLimits(), description=StanzaLimits.__doc__)
    timeout: Timeouts = Field(default=Timeouts(), description=Timeouts.__doc__)
    connections: ConnectionLimits = Field(default=ConnectionLimits(), description=ConnectionLimits.__doc__)
    rate: RateLimits = Field(default=RateLimits(), description=RateLimits.__doc__)
    output: OutputLimits = Field(default=OutputLimits(), description=OutputLimits.__doc__)
    s2s: ServerLimits = Field(default=ServerLimits(), description=ServerLimits.__doc__)
    account: AccountLimits = Field(default=AccountLimits(), description=AccountLimits.__doc__)

    @check("s2s")
    @classmethod
    def _takes_what_clients_may_send(cls, value: ServerLimits, info: ValidationInfo) -> ServerLimits:
        stanza: StanzaLimits | None = info.data.get("stanza")
        if stanza is None:
            return value
        pairs = {"stanza_bytes": stanza.bytes, "depth": stanza.depth, "elements": stanza.elements}
        if low := [f"{name} at least {least}" for name, least in pairs.items() if getattr(value, name) < least]:
            raise ValueError(f"must let pass what [limits.stanza] does: {', '.join(low)}")
        return value
