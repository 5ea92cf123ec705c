"""What every SASL mechanism is made of: messages, failures and the shape of an exchange (RFC 6120 §6)."""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

# The longest sensible message: PLAIN with an authzid, a localpart and a password, each as long as it may be.
MAXIMUM_MESSAGE_BYTES = 4096


class SaslCondition(StrEnum):
    """The SASL error conditions of RFC 6120 §6.5."""

    ABORTED = "aborted"
    ACCOUNT_DISABLED = "account-disabled"
    CREDENTIALS_EXPIRED = "credentials-expired"
    ENCRYPTION_REQUIRED = "encryption-required"
    INCORRECT_ENCODING = "incorrect-encoding"
    INVALID_AUTHZID = "invalid-authzid"
    INVALID_MECHANISM = "invalid-mechanism"
    MALFORMED_REQUEST = "malformed-request"
    MECHANISM_TOO_WEAK = "mechanism-too-weak"
    NOT_AUTHORIZED = "not-authorized"
    TEMPORARY_AUTH_FAILURE = "temporary-auth-failure"


class SaslFailure(Exception):  # noqa: N818, RFC 6120 calls it so
    """The end of one login attempt, answered with ``<failure/>`` (RFC 6120 §6.4.5); the stream lives on.

    A failure to prove a password never has a text: whoever fails learns nothing about why.
    """

    def __init__(self, condition: SaslCondition, text: str = "") -> None:
        super().__init__(condition, text)
        self.condition = condition
        self.text = text


@dataclass(frozen=True, slots=True)
class Challenge:
    """The server's next message; the client must answer."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Success:
    """The login succeeded. ``local`` is a prepared localpart; ``data`` goes with ``<success/>`` (RFC 6120 §6.4.6)."""

    local: str
    data: bytes | None = field(repr=False)
    anonymous: bool = False


class ChannelBindings(dict[str, bytes]):
    """The channel bindings of one TLS connection: data by type (RFC 5056, RFC 9266, RFC 5929); empty without TLS."""


class Exchange(Protocol):
    """One login attempt, from the client's ``<auth/>`` to its success or failure."""

    @property
    def claimed(self) -> str:
        """The prepared localpart that the client says is its own; empty until it has named a possible one."""
        ...

    async def respond(self, data: bytes | None) -> Challenge | Success:
        """Take the client's next message; None is an ``<auth/>`` without initial response. Raises SaslFailure."""
        ...


class ClientFirstExchange:
    """An exchange whose first message is the client's: without an initial response it is asked for (RFC 4422 §5)."""

    def __init__(self, first: Callable[[bytes], Awaitable[Challenge | Success]]) -> None:
        self.claimed = ""
        self._next = first
        self._begun = False

    async def respond(self, data: bytes | None) -> Challenge | Success:
        begun, self._begun = self._begun, True
        if data is None and not begun:
            return Challenge(b"")
        message = data or b""
        if len(message) > MAXIMUM_MESSAGE_BYTES:
            raise SaslFailure(SaslCondition.MALFORMED_REQUEST, "the message is too long")
        step, self._next = self._next, _refuse
        return await step(message)


async def _refuse(data: bytes) -> Challenge | Success:
    raise SaslFailure(SaslCondition.MALFORMED_REQUEST, "this login attempt is over")


def decode_text(data: bytes) -> str:
    """Decode UTF-8; raises SaslFailure."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise SaslFailure(SaslCondition.MALFORMED_REQUEST, "the message is not UTF-8") from None


def decode_base64(text: str) -> bytes:
    """Decode the content of a SASL element, where ``=`` is empty data (RFC 6120 §6.4.2).

    Only the canonical encoding is taken: no white space, whole padding, pad bits of zero (RFC 4648 §3). Raises
    SaslFailure (RFC 6120 §6.5.5).
    """
    if text == "=":
        return b""
    try:
        data = base64.b64decode(text)
    except ValueError:
        raise SaslFailure(SaslCondition.INCORRECT_ENCODING) from None
    if base64.b64encode(data).decode() != text:
        raise SaslFailure(SaslCondition.INCORRECT_ENCODING)
    return data


def encode_base64(data: bytes) -> str:
    """Encode the content of a SASL element (RFC 6120 §6.4.2)."""
    return base64.b64encode(data).decode() or "="
