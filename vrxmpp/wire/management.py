"""Stream management (XEP-0198): its elements, read and written, and the stanzas nobody has acknowledged yet."""

from __future__ import annotations

import re
import secrets
from collections import deque
from dataclasses import dataclass

from vrxmpp import dom, ns, xml
from vrxmpp.errors import Condition, StanzaError, StreamCondition, StreamError
from vrxmpp.stanza import Stanza
from vrxmpp.wire.events import Nonza

FEATURE = f"<sm xmlns='{ns.STREAM_MANAGEMENT}'/>".encode()  # §2
_ASK_EVERY = 10  # stanzas
_COUNTERS = 2**32  # §4: from 2**32 - 1 they go on with 0
_NUMBER = re.compile("[0-9]{1,10}")
_ID_BYTES = 4000  # §5
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}


# -- the elements


@dataclass(frozen=True, slots=True)
class Enable:
    """The initiating entity asks for stream management (§3); ``max`` is in seconds, 0 where nothing is said."""

    resume: bool = False
    max: int = 0

    @property
    def raw(self) -> bytes:
        return _write("enable", resume="true" if self.resume else "", max=str(self.max or ""))


@dataclass(frozen=True, slots=True)
class Enabled:
    """It has it (§3). ``id`` is empty where the session cannot be resumed; ``max`` is in seconds, 0 if not said."""

    id: str = ""
    max: int = 0

    @property
    def raw(self) -> bytes:
        return _write("enabled", id=self.id, resume="true" if self.id else "", max=str(self.max or ""))


@dataclass(frozen=True, slots=True)
class Resume:
    """The initiating entity asks for a former session; ``h`` is what it has handled there (§5)."""

    previd: str
    h: int

    @property
    def raw(self) -> bytes:
        return _write("resume", previd=self.previd, h=str(self.h))


@dataclass(frozen=True, slots=True)
class Resumed:
    """It has it; ``h`` is what the other side has handled (§5)."""

    previd: str
    h: int

    @property
    def raw(self) -> bytes:
        return _write("resumed", previd=self.previd, h=str(self.h))


@dataclass(frozen=True, slots=True)
class Failed:
    """The refusal of either request; ``h`` may tell what was handled of a session that is no more (§5, §6)."""

    condition: Condition
    h: int | None = None

    @property
    def raw(self) -> bytes:
        condition = f"<{self.condition} xmlns='{ns.STANZA_ERRORS}'/>"
        return _write("failed", condition, h="" if self.h is None else str(self.h))


@dataclass(frozen=True, slots=True)
class Ask:
    """The request for an acknowledgement (§4)."""

    @property
    def raw(self) -> bytes:
        return _write("r")


@dataclass(frozen=True, slots=True)
class Answer:
    """An acknowledgement, asked for or not: ``h`` stanzas are handled (§4)."""

    h: int

    @property
    def raw(self) -> bytes:
        return _write("a", h=str(self.h))


Command = Enable | Enabled | Resume | Resumed | Failed | Ask | Answer


def read(nonza: Nonza) -> Command:
    """Read one of the elements, strictly.

    ``StanzaError`` where a request is malformed, to be answered with ``Failed`` (§6); ``StreamError`` where anything
    else is, or the element is none of these.
    """
    given = nonza.attributes
    name = nonza.name.removeprefix(ns.qname(ns.STREAM_MANAGEMENT, ""))
    command: Command
    try:
        match name:
            case "enable":
                command = Enable(_boolean(given), _seconds(given))
            case "enabled":
                # Prosody may repeat our resume='true' although it gives no id by which that could be done.
                command = Enabled(_id(given, "id") if _boolean(given) and "id" in given else "", _seconds(given))
            case "resume":
                command = Resume(_id(given, "previd"), _number(given["h"]))
            case "resumed":
                command = Resumed(_id(given, "previd"), _number(given["h"]))
            case "failed":
                command = Failed(_condition(nonza), _number(given["h"]) if "h" in given else None)
            case "r":
                command = Ask()
            case "a":
                command = Answer(_number(given["h"]))
            case _:
                raise StreamError(StreamCondition.UNSUPPORTED_STANZA_TYPE)
    except (KeyError, ValueError):
        if name in ("enable", "resume"):
            raise StanzaError(Condition.BAD_REQUEST) from None
        raise StreamError(StreamCondition.BAD_FORMAT, f"not an <{name}/> of XEP-0198") from None
    return command


def _boolean(given: dict[str, str]) -> bool:
    return _BOOLEANS[given.get("resume", "false")]


def _number(value: str) -> int:
    """Read an xs:unsignedInt in decimal digits, without the sign and the white space that XML Schema would allow."""
    if not _NUMBER.fullmatch(value) or (number := int(value)) >= _COUNTERS:
        raise ValueError("not an unsigned integer of 32 bits")
    return number


def _seconds(given: dict[str, str]) -> int:
    if "max" not in given:
        return 0
    seconds = _number(given["max"])
    if seconds == 0:
        raise ValueError("not a positive integer")
    return seconds


def _id(given: dict[str, str], attribute: str) -> str:
    id = given[attribute]
    if not 0 < len(id.encode()) <= _ID_BYTES:
        raise ValueError("an id that is empty or too long")
    return id


def _condition(nonza: Nonza) -> Condition:
    """Return what a ``<failed/>`` says; undefined-condition where that is nothing we know."""
    try:
        said = [each.name for each in dom.children(nonza.content()) if each.uri == ns.STANZA_ERRORS]
        return Condition(said[0]) if said else Condition.UNDEFINED_CONDITION
    except ValueError:
        return Condition.UNDEFINED_CONDITION


def _write(name: str, inner: str = "", **attributes: str) -> bytes:
    """Write an element; attributes that are empty are left out."""
    written = "".join(f" {key}='{xml.attribute(value)}'" for key, value in attributes.items() if value)
    start = f"<{name} xmlns='{ns.STREAM_MANAGEMENT}'{written}"
    return (f"{start}>{inner}</{name}>" if inner else f"{start}/>").encode()


_ASK = Ask().raw


def new_id() -> str:
    """Return an id for a session that can be resumed: 192 random bits, so that nobody can guess it."""
    return secrets.token_urlsafe(24)


# -- the counting


class Management:
    """One session, which may outlive its stream: what was sent and is not acknowledged, what came and is handled.

    Each side makes one when it writes ``<enable/>`` or ``<enabled/>``, and calls ``handled`` only for stanzas that come
    after the other's ``<enable/>`` or ``<enabled/>`` (§4). ``full`` says when so many ``stanzas`` or ``bytes`` wait for
    an acknowledgement that the caller must write no more. ``id`` is empty where there is no resumption; ``h`` is how
    many of their stanzas are handled, modulo 2**32.
    """

    def __init__(self, *, stanzas: int, bytes: int, id: str = "") -> None:
        self.id = id
        self.h = 0
        self._most_stanzas = stanzas
        self._most_bytes = bytes
        self._acknowledged = 0  # their h
        self._waiting: deque[tuple[Stanza, int]] = deque()  # with their sizes, oldest first
        self._bytes = 0
        self._unasked = 0  # sent since the last <r/>

    def __len__(self) -> int:
        """How many stanzas wait for an acknowledgement."""
        return len(self._waiting)

    @property
    def full(self) -> bool:
        """Whether nothing more should be sent until something is acknowledged."""
        return len(self._waiting) >= self._most_stanzas or self._bytes >= self._most_bytes

    # -- what we send

    def sent(self, stanza: Stanza) -> bytes:
        """Note a stanza that is written now; return what to write behind it: nothing, or the request to acknowledge."""
        size = len(stanza.raw)
        self._waiting.append((stanza, size))
        self._bytes += size
        self._unasked += 1
        return self.ask() if self._unasked >= _ASK_EVERY or self.full else b""

    def ask(self) -> bytes:
        """Return the request to acknowledge, if a stanza waits for that and was not asked about; to be written now."""
        if not (self._unasked and self._waiting):
            return b""
        self._unasked = 0
        return _ASK

    def acknowledged(self, h: int) -> None:
        """Forget what they have handled (§4); ``StreamError`` where that is more than they were sent (§6)."""
        count = (h - self._acknowledged) % _COUNTERS
        if count > len(self._waiting):
            raise self._too_high(h)
        for _ in range(count):
            _, size = self._waiting.popleft()
            self._bytes -= size
        self._acknowledged = h

    def resume(self, h: int) -> list[Stanza]:
        """Return what they did not get, in order, to be written behind ``<resumed/>`` before anything else (§5).

        It is counted already: ``sent`` is not called for it, but ``ask`` after it. ``StreamError`` as above.
        """
        self.acknowledged(h)
        self._unasked = len(self._waiting)
        return [stanza for stanza, _ in self._waiting]

    def give_up(self) -> list[Stanza]:
        """Return what was never acknowledged, in order, for the session is over (§4)."""
        stanzas = [stanza for stanza, _ in self._waiting]
        self._waiting.clear()
        self._bytes = 0
        return stanzas

    def _too_high(self, h: int) -> StreamError:
        sent = (self._acknowledged + len(self._waiting)) % _COUNTERS
        return StreamError(
            StreamCondition.UNDEFINED_CONDITION,
            f"You acknowledged {h} stanzas, but {sent} were sent.",
            application=_write("handled-count-too-high", **{"h": str(h), "send-count": str(sent)}),
        )

    # -- what they send

    def handled(self) -> None:
        """Count a stanza of theirs that is dealt with (§4)."""
        self.h = (self.h + 1) % _COUNTERS

    def answer(self) -> bytes:
        """Return the acknowledgement of all that is handled (§4)."""
        return Answer(self.h).raw
