"""Errors of streams and of stanzas, with the conditions RFC 6120 defines (§4.9.3, §8.3.3)."""

from __future__ import annotations

from enum import StrEnum


class StreamCondition(StrEnum):
    """The stream error conditions of RFC 6120 §4.9.3."""

    BAD_FORMAT = "bad-format"
    BAD_NAMESPACE_PREFIX = "bad-namespace-prefix"
    CONFLICT = "conflict"
    CONNECTION_TIMEOUT = "connection-timeout"
    HOST_GONE = "host-gone"
    HOST_UNKNOWN = "host-unknown"
    IMPROPER_ADDRESSING = "improper-addressing"
    INTERNAL_SERVER_ERROR = "internal-server-error"
    INVALID_FROM = "invalid-from"
    INVALID_NAMESPACE = "invalid-namespace"
    INVALID_XML = "invalid-xml"
    NOT_AUTHORIZED = "not-authorized"
    NOT_WELL_FORMED = "not-well-formed"
    POLICY_VIOLATION = "policy-violation"
    REMOTE_CONNECTION_FAILED = "remote-connection-failed"
    RESET = "reset"
    RESOURCE_CONSTRAINT = "resource-constraint"
    RESTRICTED_XML = "restricted-xml"
    SEE_OTHER_HOST = "see-other-host"
    SYSTEM_SHUTDOWN = "system-shutdown"
    UNDEFINED_CONDITION = "undefined-condition"
    UNSUPPORTED_ENCODING = "unsupported-encoding"
    UNSUPPORTED_FEATURE = "unsupported-feature"
    UNSUPPORTED_STANZA_TYPE = "unsupported-stanza-type"
    UNSUPPORTED_VERSION = "unsupported-version"


class Condition(StrEnum):
    """The stanza error conditions of RFC 6120 §8.3.3."""

    BAD_REQUEST = "bad-request"
    CONFLICT = "conflict"
    FEATURE_NOT_IMPLEMENTED = "feature-not-implemented"
    FORBIDDEN = "forbidden"
    GONE = "gone"
    INTERNAL_SERVER_ERROR = "internal-server-error"
    ITEM_NOT_FOUND = "item-not-found"
    JID_MALFORMED = "jid-malformed"
    NOT_ACCEPTABLE = "not-acceptable"
    NOT_ALLOWED = "not-allowed"
    NOT_AUTHORIZED = "not-authorized"
    POLICY_VIOLATION = "policy-violation"
    RECIPIENT_UNAVAILABLE = "recipient-unavailable"
    REDIRECT = "redirect"
    REGISTRATION_REQUIRED = "registration-required"
    REMOTE_SERVER_NOT_FOUND = "remote-server-not-found"
    REMOTE_SERVER_TIMEOUT = "remote-server-timeout"
    RESOURCE_CONSTRAINT = "resource-constraint"
    SERVICE_UNAVAILABLE = "service-unavailable"
    SUBSCRIPTION_REQUIRED = "subscription-required"
    UNDEFINED_CONDITION = "undefined-condition"
    UNEXPECTED_REQUEST = "unexpected-request"


# RFC 6120 §8.3.3: the error type each condition is defined with.
_DEFAULT_TYPES = {
    Condition.BAD_REQUEST: "modify",
    Condition.FORBIDDEN: "auth",
    Condition.JID_MALFORMED: "modify",
    Condition.NOT_ACCEPTABLE: "modify",
    Condition.NOT_AUTHORIZED: "auth",
    Condition.POLICY_VIOLATION: "modify",
    Condition.RECIPIENT_UNAVAILABLE: "wait",
    Condition.REDIRECT: "modify",
    Condition.REGISTRATION_REQUIRED: "auth",
    Condition.REMOTE_SERVER_TIMEOUT: "wait",
    Condition.RESOURCE_CONSTRAINT: "wait",
    Condition.SUBSCRIPTION_REQUIRED: "auth",
    Condition.UNEXPECTED_REQUEST: "wait",
}


class StanzaError(Exception):
    """A refusal of one stanza, answered to its sender (RFC 6120 §8.3); the stream lives on.

    ``application`` is the serialised application-specific condition (§8.3.4), if any.
    """

    def __init__(self, condition: Condition, text: str = "", *, type: str = "", application: bytes = b"") -> None:
        super().__init__(condition, text)
        self.condition = condition
        self.text = text
        self.type = type or _DEFAULT_TYPES.get(condition, "cancel")
        self.application = application


class StreamError(Exception):
    """The end of a stream with a reason (RFC 6120 §4.9): ours to send, or their violation of the protocol.

    ``application`` is the serialised application-specific condition (§4.9.4), if any.
    """

    def __init__(self, condition: StreamCondition, text: str = "", *, application: bytes = b"") -> None:
        super().__init__(condition, text)
        self.condition = condition
        self.text = text
        self.application = application

    def __str__(self) -> str:
        return f"{self.condition}: {self.text}" if self.text else str(self.condition)
