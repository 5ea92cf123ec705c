"""What of a changed configuration a running server cannot take."""

from __future__ import annotations

from vrxmpp.config import Config
from vrxmpp.federation import is_federated

_RULES = {"enabled", "peers", "allow", "deny", "authentication", "tls"}  # of [s2s], which a reload takes
_S2S_LIMITS = (
    "queue_stanzas",
    "queue_bytes",
    "queue_seconds",
    "connect_seconds",
    "dialbacks_per_stream",
    "dialbacks_per_address",
    "connections_per_address",
    "unauthenticated_per_address",
    "new_per_second",
)


def changed_for_next_start(old: Config, new: Config) -> list[str]:
    """Return the tables whose change waits for the next start."""
    before, after = _lasting(old), _lasting(new)
    return [table for table in before if before[table] != after[table]]


def _lasting(config: Config) -> dict[str, object]:
    """Return what holds until the next start, by table."""
    return {
        "state": config.state,
        "the domains": {host.domain for host in config.hosts},
        "[c2s]": config.c2s,
        **{f"[s2s] {key}": value for key, value in config.s2s.model_dump(by_alias=True, exclude=_RULES).items()},
        "whether other servers are listened to": is_federated(config),
        **{f"[limits.s2s] {key}": getattr(config.limits.s2s, key) for key in _S2S_LIMITS},
        "[[component]]": config.components,
        "[components]": config.component_connections,
        "[database]": config.database,
        "[limits.connections]": config.limits.connections,
        "[audit]": config.audit.model_copy(update={"encrypted": ""}),
        "[host.audit] class": {host.domain: config.archived(host).class_name for host in config.hosts},
        "[metrics]": config.metrics,
    }
