"""From the configuration to what holds for each connection: how much may come of a peer, and of an address."""

from __future__ import annotations

from vrxmpp.config import Config
from vrxmpp.net.connections import StreamPolicy
from vrxmpp.net.limits import Addresses, Output, Rate, Timeouts
from vrxmpp.wire.framer import FramerLimits


def client_policy(config: Config) -> StreamPolicy:
    """Return what holds for each stream of a client."""
    own = config.limits.stanza
    return _policy(config, (own.bytes, own.depth, own.elements), Rate(**config.limits.rate.model_dump()))


def server_policy(config: Config) -> StreamPolicy:
    """Return what holds for each stream of another server, and of a component."""
    own = config.limits.s2s
    rate = Rate(own.bytes_per_second, own.burst_bytes, own.stanzas_per_second, own.burst_stanzas)
    return _policy(config, (own.stanza_bytes, own.depth, own.elements), rate)


def _policy(config: Config, after_login: tuple[int, int, int], rate: Rate) -> StreamPolicy:
    """``after_login``: the bytes, depth and elements of a stanza of somebody who is known."""
    limits = config.limits
    before = limits.unauthenticated
    common = {"attributes": limits.stanza.attributes, "namespaces": limits.stanza.namespaces}
    return StreamPolicy(
        before_login=FramerLimits(before.stanza_bytes, before.depth, before.elements, **common),
        after_login=FramerLimits(*after_login, **common),
        timeouts=Timeouts(**limits.timeout.model_dump()),
        rate=rate,
        output=Output(**limits.output.model_dump()),
    )


def client_addresses(config: Config) -> Addresses:
    """Return how many clients may come from one address; it is the same for components."""
    limits = config.limits.connections
    return Addresses(limits.per_address, limits.unauthenticated_per_address, limits.new_per_second)


def server_addresses(config: Config) -> Addresses:
    """Return how many servers may come from one address."""
    limits = config.limits.s2s
    return Addresses(limits.connections_per_address, limits.unauthenticated_per_address, limits.new_per_second)
