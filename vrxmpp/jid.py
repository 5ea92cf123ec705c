"""Addresses, prepared once and then compared as plain text (RFC 7622 with PRECIS and IDNA 2008)."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import IPv6Address
from typing import final

import idna
from precis_i18n import get_profile

_MAX_OCTETS = 1023  # of each part, in UTF-8 (RFC 7622 §3.2, §3.3, §3.4)
_MAX_LABEL = 63  # octets of a domain label as an A-label (RFC 1035 §2.3.4)
_CACHED_JIDS = 20_000
_CACHED_LENGTH = 200  # characters; longer texts are parsed anew, so that the cache stays a few MB

_USERNAME = get_profile("UsernameCaseMapped")
_OPAQUE = get_profile("OpaqueString")

_FORBIDDEN_IN_LOCAL = frozenset("\"&'/:<>@")  # RFC 7622 §3.3.1

# Lower-case texts that preparation leaves as they are: asking PRECIS and IDNA costs a hundred times more.
_PLAIN_LOCAL = re.compile(r"[a-z0-9!#$%()*+,.;=?\[\\\]^_`{|}~-]{1,1023}")
_PLAIN_LABEL = r"(?!..--)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_PLAIN_DOMAIN = re.compile(rf"(?!.{{1024}}){_PLAIN_LABEL}(?:\.{_PLAIN_LABEL})*")


class InvalidJid(ValueError):  # noqa: N818, it is named for what the text is
    """The text is not an address; the message says why and quotes little of it."""

    def __init__(self, part: str, value: str, reason: str) -> None:
        super().__init__(f"{part} {value[:40]!r} {reason}")


@final
@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Jid:
    """A prepared address; two are equal when their texts are.

    Made by ``Jid.parse`` and ``with_resource`` only: the constructor trusts its parts.
    """

    local: str
    domain: str
    resource: str
    text: str = field(init=False)
    bare: Jid = field(init=False)

    def __post_init__(self) -> None:
        bare = f"{self.local}@{self.domain}" if self.local else self.domain
        if self.resource:
            object.__setattr__(self, "text", f"{bare}/{self.resource}")
            object.__setattr__(self, "bare", Jid.parse(bare))
        else:
            object.__setattr__(self, "text", bare)
            object.__setattr__(self, "bare", self)

    @staticmethod
    def parse(text: str) -> Jid:
        """Return the address written in ``text``, or raise ``InvalidJid``."""
        return _parse_cached(text) if len(text) <= _CACHED_LENGTH else _parse(text)

    def with_resource(self, resource: str) -> Jid:
        """Return the full address of this account at ``resource``, or raise ``InvalidJid``."""
        return Jid(self.local, self.domain, prepare_resource(resource))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Jid) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"Jid({self.text!r})"


def _parse(text: str) -> Jid:
    """RFC 7622 §3.1: the resourcepart follows the first slash, the localpart precedes the first at sign."""
    address, slash, resource = text.partition("/")
    before, at, after = address.partition("@")
    local = prepare_local(before) if at else ""
    domain = prepare_domain(after if at else before)
    return Jid(local, domain, prepare_resource(resource) if slash else "")


_parse_cached = lru_cache(_CACHED_JIDS)(_parse)


def prepare_local(value: str) -> str:
    """Return the localpart in its one canonical form, or raise ``InvalidJid`` (RFC 7622 §3.3)."""
    plain = value.lower()
    if _PLAIN_LOCAL.fullmatch(plain):
        return plain
    prepared = _enforce("localpart", value, _USERNAME.enforce)
    # Width mapping can produce these, so look only afterwards.
    if not _FORBIDDEN_IN_LOCAL.isdisjoint(prepared):
        raise InvalidJid("localpart", value, "contains a forbidden character")
    return prepared


def prepare_resource(value: str) -> str:
    """Return the resourcepart in its one canonical form, or raise ``InvalidJid`` (RFC 7622 §3.4)."""
    if value.isascii() and value.isprintable() and 0 < len(value) <= _MAX_OCTETS:
        return value
    return _enforce("resourcepart", value, _OPAQUE.enforce)


def prepare_domain(value: str) -> str:
    """Return the domainpart with U-labels in lower case, or raise ``InvalidJid`` (RFC 7622 §3.2).

    An IPv4 literal is a domain name as far as syntax goes; an IPv6 literal comes in brackets.
    """
    plain = value.lower().removesuffix(".")
    if _PLAIN_DOMAIN.fullmatch(plain):
        return plain
    if value.startswith("["):
        return _prepare_ipv6(value)
    try:
        mapped = idna.uts46_remap(value, std3_rules=True)
        # RFC 7622 §3.2: the dot of the DNS root is not part of the address.
        prepared = ".".join(_prepare_label(label) for label in mapped.removesuffix(".").split("."))
    except UnicodeError:
        raise InvalidJid("domainpart", value, "is not a domain name") from None
    return _bounded("domainpart", value, prepared)


def _prepare_label(label: str) -> str:
    """Return one label as a U-label, or raise ``UnicodeError`` (RFC 5891 §5.4)."""
    if len(label) > _MAX_LABEL:  # punycode takes quadratic time
        raise UnicodeError("label too long")
    prepared = idna.ulabel(label)
    idna.alabel(prepared)  # refuses what would be too long for the DNS
    return prepared


def _prepare_ipv6(value: str) -> str:
    try:
        if not value.endswith("]") or "%" in value:  # a zone means nothing to another machine
            raise ValueError(value)
        return f"[{IPv6Address(value[1:-1])}]"
    except ValueError:
        raise InvalidJid("domainpart", value, "is not an IPv6 address") from None


def _enforce(part: str, value: str, enforce: Callable[[str], str]) -> str:
    """Apply a PRECIS profile, which refuses by itself what would not stay the same if prepared again."""
    if len(value) > _MAX_OCTETS:
        raise InvalidJid(part, value, "is too long")
    try:
        return _bounded(part, value, enforce(value))
    except UnicodeEncodeError as error:
        raise InvalidJid(part, value, f"is not allowed ({error.reason})") from None


def _bounded(part: str, value: str, prepared: str) -> str:
    if len(prepared.encode()) > _MAX_OCTETS:
        raise InvalidJid(part, value, "is too long")
    return prepared
