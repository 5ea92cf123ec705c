"""Who may talk to whom between servers, and what a peer has to prove (RFC 6120 §13.7, XEP-0178, XEP-0220)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from vrxmpp.jid import prepare_domain

_BELOW = "*."


class Authentication(StrEnum):
    """How another server proves who it is.

    CERTIFICATE_IF_VALID: one that has ever shown a valid certificate has to do so, the others may prove themselves by
    dialback. CERTIFICATE: nobody without a valid one. DIALBACK: it is enough, whatever was shown before.
    """

    CERTIFICATE_IF_VALID = "certificate-if-valid"
    CERTIFICATE = "certificate"
    DIALBACK = "dialback"


@dataclass(frozen=True, slots=True)
class Rules:
    """What holds between one domain here and one elsewhere, in both directions."""

    authentication: Authentication
    tls_required: bool


class Forbidden(Exception):  # noqa: N818, it is named for what the peer is
    """The two do not talk; the message says which rule forbids it."""


@dataclass(frozen=True, slots=True)
class Federation:
    """How one domain here federates. ``allow`` and ``deny`` are prepared patterns; where nobody is allowed by name,
    everybody is."""

    enabled: bool
    authentication: Authentication
    tls_required: bool
    allow: frozenset[str] = frozenset()
    deny: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class PeerException:
    """What is different for one domain elsewhere; ``None`` is as for all."""

    authentication: Authentication | None = None
    tls_required: bool | None = None


class Policy:
    """The rules of all domains here. Domains are prepared: those of the constructor, and those it is asked about."""

    def __init__(self, domains: Mapping[str, Federation], exceptions: Mapping[str, PeerException]) -> None:
        self._domains = domains
        self._exceptions = exceptions

    def rules(self, local: str, remote: str) -> Rules:
        """Return what holds between the two, or raise ``Forbidden``. What is said of a peer beats what is of a host."""
        federation = self._domains.get(local)
        if federation is None:
            raise Forbidden(f"{local} is not served here")
        _admit(federation, local, remote)
        exception = self._exceptions.get(remote, PeerException())
        return Rules(
            federation.authentication if exception.authentication is None else exception.authentication,
            federation.tls_required if exception.tls_required is None else exception.tls_required,
        )


def prepare_pattern(pattern: str) -> str:
    """Return a domain, or ``*.`` before a domain for all that are below it, in its one canonical form.

    Raise ``InvalidJid``.
    """
    below = pattern.startswith(_BELOW)
    return _BELOW * below + prepare_domain(pattern.removeprefix(_BELOW))


def _admit(federation: Federation, local: str, remote: str) -> None:
    if not federation.enabled:
        raise Forbidden(f"{local} does not talk to other servers")
    if pattern := _match(federation.deny, remote):
        raise Forbidden(f"{local} does not talk to {remote}: {pattern} is denied")
    if federation.allow and not _match(federation.allow, remote):
        raise Forbidden(f"{local} does not talk to {remote}: it is not among the allowed")


def _match(patterns: frozenset[str], domain: str) -> str | None:
    """Return the pattern a domain fits, if any: itself, or one for all that is below one of its parents."""
    if domain in patterns:
        return domain
    rest = domain
    while rest:
        _, _, rest = rest.partition(".")
        if rest and _BELOW + rest in patterns:
            return _BELOW + rest
    return None
