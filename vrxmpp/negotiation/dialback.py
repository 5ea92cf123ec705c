"""XEP-0220: Server Dialback, its elements and keys (XEP-0185); whom to ask, and when, is the connections' business.

A server that opens a stream sends a key for a pair of domains, ``Result``. Who gets it asks the server that DNS names
for the domain of the sender whether the key is its own, ``Verify``. Both are answered by an ``Answer``.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256
from typing import Literal

from vrxmpp import dom, ns, xml
from vrxmpp.errors import Condition, StanzaError, StreamCondition, StreamError
from vrxmpp.jid import InvalidJid, Jid
from vrxmpp.wire.events import Nonza

# What a server that handles the errors of dialback announces (XEP-0220 §2.4.2).
FEATURE = f"<dialback xmlns='{ns.DIALBACK_FEATURE}'><errors/></dialback>".encode()

_RESULT = ns.qname(ns.DIALBACK, "result")
_VERIFY = ns.qname(ns.DIALBACK, "verify")
_LONGEST = 256  # characters of a key or a stream id; a key of XEP-0185 has 64
_CONDITIONS: dict[str, Condition] = {condition.value: condition for condition in Condition}

Kind = Literal["result", "verify"]


class Outcome(StrEnum):
    """What an answer says of the request (XEP-0220 §2.1.1, §2.5)."""

    VALID = "valid"
    INVALID = "invalid"
    ERROR = "error"  # nothing is known of the key


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a request. ``id`` is empty for a result, ``condition`` is there for an error only."""

    kind: Kind
    sender: str
    to: str
    id: str
    outcome: Outcome
    condition: Condition | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """A server asks to be believed that it is ``originating``; it wants to send to ``receiving`` (step 1)."""

    originating: str
    receiving: str
    key: str = field(repr=False)

    def answer(self, outcome: Outcome, condition: Condition | None = None) -> Answer:
        """Return what the receiving server says (step 4)."""
        return Answer("result", self.receiving, self.originating, "", outcome, condition)


@dataclass(frozen=True, slots=True)
class Verify:
    """The server of ``receiving`` asks that of ``originating`` for its key to the stream ``id`` (step 2)."""

    originating: str
    receiving: str
    id: str
    key: str = field(repr=False)

    def answer(self, outcome: Outcome, condition: Condition | None = None) -> Answer:
        """Return what the authoritative server says (step 3)."""
        return Answer("verify", self.originating, self.receiving, self.id, outcome, condition)


class Keys:
    """Makes keys and knows its own again, without a memory (XEP-0185 §2). Domains are prepared ones."""

    def __init__(self, secret: bytes) -> None:
        self._secret = sha256(secret).hexdigest().encode()

    def make(self, receiving: str, originating: str, stream_id: str) -> str:
        """Return the key; ``stream_id`` is what the receiving server has given to the stream."""
        return hmac.new(self._secret, f"{receiving} {originating} {stream_id}".encode(), sha256).hexdigest()

    def is_valid(self, key: str, receiving: str, originating: str, stream_id: str) -> bool:
        """Tell in constant time whether the key was made here, for these domains and this stream."""
        made = self.make(receiving, originating, stream_id)
        return hmac.compare_digest(key.encode(), made.encode())


class Outstanding:
    """What was asked on one stream and is not answered. Only such an answer counts (XEP-0220 §3.1)."""

    LIMIT = 8

    def __init__(self) -> None:
        self._requests: dict[tuple[str, str, str, str], Result | Verify] = {}

    def add(self, request: Result | Verify) -> bool:
        """Note what is going to be asked; False if it must not: it would be one too many, or is asked already."""
        expected = _identify(request.answer(Outcome.VALID))
        if expected in self._requests or len(self._requests) >= self.LIMIT:
            return False
        self._requests[expected] = request
        return True

    def take(self, answer: Answer) -> Result | Verify | None:
        """Return what this answers, which is then no longer outstanding; None if nobody has asked."""
        return self._requests.pop(_identify(answer), None)


def _identify(answer: Answer) -> tuple[str, str, str, str]:
    return answer.kind, answer.sender, answer.to, answer.id


def read(nonza: Nonza) -> Result | Verify | Answer:
    """Return what an element of the dialback namespace says, its domains prepared; ``StreamError`` if it is none."""
    if nonza.name not in (_RESULT, _VERIFY):
        raise StreamError(StreamCondition.UNSUPPORTED_STANZA_TYPE)
    sender, to = (_read_domain(nonza.attributes.get(name, "")) for name in ("from", "to"))
    id = nonza.attributes.get("id", "") if nonza.name == _VERIFY else ""
    if nonza.name == _VERIFY:
        _check_length("stream id", id)
    type = nonza.attributes.get("type")
    if type is None:
        key = _read_key(nonza)
        return Verify(to, sender, id, key) if nonza.name == _VERIFY else Result(sender, to, key)
    try:
        outcome = Outcome(type)
    except ValueError:
        raise StreamError(StreamCondition.BAD_FORMAT, "unknown type of dialback") from None
    condition = _read_condition(nonza) if outcome is Outcome.ERROR else None
    return Answer("verify" if nonza.name == _VERIFY else "result", sender, to, id, outcome, condition)


def _read_domain(address: str) -> str:
    """RFC 6120 §4.9.3.7 has the error for an address that is missing or wrong."""
    try:
        jid = Jid.parse(address)
    except InvalidJid as error:
        raise StreamError(StreamCondition.IMPROPER_ADDRESSING, str(error)) from None
    if jid.text != jid.domain:
        raise StreamError(StreamCondition.IMPROPER_ADDRESSING, "an address of dialback is a domain")
    return jid.domain


def _read_key(nonza: Nonza) -> str:
    content = _parse(nonza)
    if content is None or dom.children(content):
        raise StreamError(StreamCondition.BAD_FORMAT, "a dialback key is text")
    key = dom.text(content).strip()
    _check_length("dialback key", key)
    return key


def _check_length(what: str, value: str) -> None:
    if not value:
        raise StreamError(StreamCondition.BAD_FORMAT, f"no {what}")
    if len(value) > _LONGEST:
        raise StreamError(StreamCondition.POLICY_VIOLATION, f"{what} too long")


def _read_condition(nonza: Nonza) -> Condition:
    """Return the condition (XEP-0220 §2.5). An error it is also without one that is known."""
    content = _parse(nonza)
    for error in dom.children(content) if content is not None else ():
        for child in dom.children(error):
            if error.name == "error" and child.uri == ns.STANZA_ERRORS and child.name in _CONDITIONS:
                return _CONDITIONS[child.name]
    return Condition.UNDEFINED_CONDITION


def _parse(nonza: Nonza) -> dom.Element | None:
    try:
        return nonza.content()
    except ValueError:
        return None


def write(element: Result | Verify | Answer) -> bytes:
    """Return the element as it goes onto a stream whose header declares the prefix "db" (XEP-0220 §2)."""
    match element:
        case Result(originating, receiving, key):
            return _write("result", {"from": originating, "to": receiving}, xml.text(key))
        case Verify(originating, receiving, id, key):
            return _write("verify", {"from": receiving, "to": originating, "id": id}, xml.text(key))
        case Answer(kind, sender, to, id, outcome, condition):
            error = _write_error(condition) if condition is not None else ""
            return _write(kind, {"from": sender, "to": to, "id": id, "type": outcome}, error)


def _write(kind: Kind, attributes: dict[str, str], content: str) -> bytes:
    written = "".join(f" {name}='{xml.attribute(value)}'" for name, value in attributes.items() if value)
    return f"<db:{kind}{written}>{content}</db:{kind}>".encode()


def _write_error(condition: Condition) -> str:
    """The element is in the content namespace of the stream (XEP-0220 §2.5)."""
    return f"<error type='{StanzaError(condition).type}'><{condition} xmlns='{ns.STANZA_ERRORS}'/></error>"
