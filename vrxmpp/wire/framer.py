"""Bytes in, stanzas out: the XML of a stream without a tree (RFC 6120 §4, §11), on expat.

expat checks all of it and calls back for each element; here that is only counted, but for the first two levels: the
stanza with its attributes, and the names of its direct children. The bytes themselves are kept from the input.

- Every violation is an event, the last one: a ``StreamError`` in the list that ``feed`` returns.
- Limits hold while bytes arrive, inside an unfinished tag too.
- expat remembers every name it has ever seen, so a parser is replaced once it has read ``_PARSER_BYTES``, and given up
  while a stream rests. What it has left unfinished the next one reads again.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from xml.parsers import expat

from vrxmpp import ns, xml
from vrxmpp.errors import StreamCondition, StreamError
from vrxmpp.jid import InvalidJid, Jid
from vrxmpp.stanza import Kind, Stanza
from vrxmpp.wire.content import CONTENT_NAMESPACES, payloads_of, rewrite
from vrxmpp.wire.events import End, Event, Header, Malformed, Nonza

# A start tag that expat has accepted, up to its ">": outside quotes there is none before.
_START_TAG = re.compile(rb"<[^'\">]*(?:'[^']*'[^'\">]*|\"[^\"]*\"[^'\">]*)*>")
_UNDEFINED_ENTITY = expat.errors.codes[expat.errors.XML_ERROR_UNDEFINED_ENTITY]
_UTF_16_STARTS = (b"\xff\xfe", b"\xfe\xff", b"<\0", b"\0<")  # expat reads these, whatever encoding it was told
_PARSER_BYTES = 250_000
# A start tag on the first level: two addresses, an id and little more. It is kept and repeated, in answers and copies,
# and written anew it can be six times as long. RFC 6120 §13.12: no limit is lower.
_START_TAG_BYTES = 10_000
# expat writes out the namespace of each name it reports.
_NAMESPACE_LENGTH = 512
# expat looks at an unfinished tag again from its beginning, each time that more of it comes.
_REREAD_BYTES = 64_000_000
_LANG = f"{ns.XML} lang"
_OWN_ATTRIBUTES = 5  # to, from, id, type and xml:lang, which a stanza can have when it leaves
_KINDS: tuple[Kind, ...] = ("message", "presence", "iq")
_UNPREFIXED = {kind: tuple(f"<{kind}{after}".encode() for after in " >/\t\n\r") for kind in _KINDS}


def _refuse_restricted(*_: object) -> None:
    raise StreamError(StreamCondition.RESTRICTED_XML)


def _refuse_text(between: bytes | bytearray) -> None:
    """RFC 6120 §4.6.1: between stanzas there is white space or nothing."""
    if between and not between.isspace():
        raise StreamError(StreamCondition.BAD_FORMAT, "text between stanzas")


@dataclass(frozen=True, slots=True)
class FramerLimits:
    """What one stanza may cost: bytes, nesting, elements, attributes and namespace declarations an element."""

    stanza_bytes: int
    depth: int
    elements: int
    attributes: int = 256
    namespaces: int = 64


class Framer:
    """Reads one direction of one stream. ``feed`` returns what is complete; an error is always the last event."""

    __slots__ = (
        "_attributes",
        "_base",
        "_buffer",
        "_content",
        "_declared",
        "_default",
        "_depth",
        "_elements",
        "_events",
        "_inherited",
        "_inner_start",
        "_kinds",
        "_marks",
        "_named",
        "_open",
        "_over",
        "_own",
        "_parser",
        "_payloads",
        "_read_up_to",
        "_reread",
        "_start",
        "limits",
    )

    def __init__(self, limits: FramerLimits, content: str = ns.CLIENT) -> None:
        self.limits = limits
        self._content = content
        self._kinds = {ns.qname(content, kind): kind for kind in _KINDS}
        self._events: list[Event] = []
        self._over = False
        self.restart()

    def restart(self) -> None:
        """Expect a new stream header (RFC 6120 §4.3.3); what was read and not yet used is forgotten."""
        self._parser: expat.XMLParserType | None = None
        self._open = False  # the stream header has come
        self._inherited: dict[str, str] = {}  # prefix -> namespace, as the stream header declares them
        self._marks: dict[bytes, tuple[str, str]] = {}  # the same by the prefix as it looks in use, "stream:"
        self._buffer: bytes | bytearray = b""  # what is not yet part of an event
        self._base = 0  # where in the parser's input the buffer begins
        self._depth = 0
        self._elements = 0

        self._declared: dict[str | None, str] = {}  # by the element that begins
        self._own: dict[str | None, str] = {}  # by the first-level element under way
        self._default = self._content  # its default namespace
        self._named = False  # one of the content namespaces, inside the first-level element under way
        self._payloads: list[str] = []
        self._attributes: list[str] = []
        # In the parser's input:
        self._start = self._inner_start = 0  # of the first-level element under way
        self._read_up_to = 0
        self._reread = 0  # bytes of unfinished tags, each time they were looked at

    @property
    def unfinished(self) -> bool:
        """Whether something has begun to arrive and is not complete."""
        return bool(self._buffer)

    def rest(self) -> None:
        """Give up the parser of a stream on which nothing is under way; the next bytes get a new one."""
        if self._open and not self._buffer and not self._over:
            self._parser = None

    def feed(self, data: bytes) -> list[Event]:
        """Take what has arrived and return the events it completes."""
        if self._over:
            return []
        events = self._events = []
        try:
            self._parse(data)
        except (StreamError, expat.ExpatError) as error:
            if not self._over:  # what follows the end of the stream is nobody's
                events.append(self._explain(error))
            self._end()
        return events

    def _end(self) -> None:
        self._over = True
        self._parser = None
        self._buffer = b""

    def _explain(self, error: StreamError | expat.ExpatError) -> StreamError:
        if not self._open and self._buffer[:2] in _UTF_16_STARTS:
            return StreamError(StreamCondition.UNSUPPORTED_ENCODING)
        if isinstance(error, StreamError):
            return error
        if error.code == _UNDEFINED_ENTITY:
            # RFC 6120 §11.1: no entity but the predefined ones.
            return StreamError(StreamCondition.RESTRICTED_XML, "undefined entity")
        return StreamError(StreamCondition.NOT_WELL_FORMED)

    def _parse(self, data: bytes) -> None:
        if self._buffer:
            self._buffer += data
        else:
            self._buffer = data
        parser = self._parser
        if parser is None:
            parser, data = self._new_parser(), bytes(self._buffer)
        self._read_up_to = self._base
        parser.Parse(data)
        if self._over:
            return
        used = self._read_up_to - self._base
        if used == len(self._buffer):
            self._buffer = b""
            self._base += used
        else:
            self._keep(used, self._base + len(self._buffer) - parser.CurrentByteIndex)
        if self._base > _PARSER_BYTES:
            self._parser = None

    def _keep(self, used: int, unfinished: int) -> None:
        """Drop what is used; hold the rest, of which so much is an unfinished tag, to the limits."""
        left = self._buffer[used:] if used else self._buffer
        if self._depth == 1:
            left = left.lstrip()
            _refuse_text(left.partition(b"<")[0])
        if len(left) > (self.limits.stanza_bytes if self._depth > 1 else _START_TAG_BYTES):
            raise StreamError(StreamCondition.POLICY_VIOLATION, "stanza too big")
        self._reread = unfinished if used else self._reread + unfinished
        if self._reread > _REREAD_BYTES:
            raise StreamError(StreamCondition.POLICY_VIOLATION, "a tag in too many pieces")
        self._base += len(self._buffer) - len(left)
        self._buffer = left if isinstance(left, bytearray) else bytearray(left)  # grows in place

    def _new_parser(self) -> expat.XMLParserType:
        parser = expat.ParserCreate("UTF-8", " ", None)  # None: do not remember every name once more
        parser.ordered_attributes = True
        if hasattr(parser, "SetReparseDeferralEnabled"):
            # Otherwise expat 2.6 leaves a tag that was cut between two reads unseen for long.
            parser.SetReparseDeferralEnabled(False)
        self._base = 0
        if self._open:
            self._base = self._prime(parser)
        parser.StartElementHandler = self._start_element
        parser.EndElementHandler = self._end_element
        parser.StartNamespaceDeclHandler = self._declare
        parser.XmlDeclHandler = self._check_declaration
        parser.StartDoctypeDeclHandler = _refuse_restricted
        parser.CommentHandler = _refuse_restricted
        parser.ProcessingInstructionHandler = _refuse_restricted
        self._parser = parser
        return parser

    def _prime(self, parser: expat.XMLParserType) -> int:
        """Put a new parser where the old one was, behind the stream header; return the bytes that took."""
        declarations = "".join(f" xmlns:{p}='{xml.attribute(uri)}'" for p, uri in self._inherited.items())
        header = f"<stream:stream xmlns='{self._content}'{declarations}>".encode()
        parser.Parse(header)
        self._depth = 1
        return len(header)

    def _check_declaration(self, version: str, encoding: str | None, standalone: int) -> None:
        # RFC 6120 §11.6: "Implementations MUST support the UTF-8 transformation" and no other is allowed.
        if encoding is not None and encoding.upper() != "UTF-8":
            raise StreamError(StreamCondition.UNSUPPORTED_ENCODING)

    def _declare(self, prefix: str | None, uri: str | None) -> None:
        self._declared[prefix] = uri = uri or ""
        if uri in CONTENT_NAMESPACES:
            self._named = True
        if len(self._declared) > self.limits.namespaces or len(uri) > _NAMESPACE_LENGTH:
            raise StreamError(StreamCondition.POLICY_VIOLATION, "too many namespaces, or too long ones")

    def _start_element(self, name: str, attributes: list[str]) -> None:
        depth = self._depth
        self._depth = depth + 1
        if depth == 1:
            self._begin(attributes)
            return
        if depth == 0:
            self._begin_stream(name, attributes)
            return
        if depth == 2:
            self._payloads.append(name)
        if self._declared:
            self._declared = {}
        self._elements += 1
        limits = self.limits
        if depth >= limits.depth or self._elements > limits.elements or len(attributes) > 2 * limits.attributes:
            raise StreamError(StreamCondition.POLICY_VIOLATION, "stanza too complex")

    def _here(self) -> int:
        """Return where in the buffer the tag begins that expat reports."""
        assert self._parser is not None
        return self._parser.CurrentByteIndex - self._base

    def _tag_end(self, start: int, attributes: list[str]) -> int:
        """Return where in the buffer the start tag ends that begins there."""
        if self._declared or ">" in "".join(attributes):  # only then can there be a ">" inside quotes
            tag = _START_TAG.match(self._buffer, start)
            assert tag is not None, "expat accepted this tag"
            end = tag.end()
        else:
            end = self._buffer.index(b">", start) + 1
        if end - start > _START_TAG_BYTES:
            raise StreamError(StreamCondition.POLICY_VIOLATION, "start tag too long")
        return end

    def _begin(self, attributes: list[str]) -> None:
        start = self._here()
        if self._base + start != self._read_up_to:
            _refuse_text(self._buffer[self._read_up_to - self._base : start])
        self._start = self._base + start
        self._inner_start = self._base + self._tag_end(start, attributes)
        self._attributes = attributes
        if self._declared:
            self._own, self._declared = self._declared, {}
            self._default = self._own.pop(None, self._content)
        else:
            self._own, self._default = {}, self._content
        self._elements = 1
        self._named = False  # on the start tag, which is written anew, only a prefix matters
        self._payloads = []

    def _begin_stream(self, name: str, attributes: list[str]) -> None:
        start = self._here()
        declared = self._declared
        if name != ns.qname(ns.STREAM, "stream"):
            known = name.rpartition(" ")[2] == "stream"
            raise StreamError(StreamCondition.INVALID_NAMESPACE if known else StreamCondition.BAD_FORMAT)
        if bytes(self._buffer[start : start + 8]) != b"<stream:":
            raise StreamError(StreamCondition.BAD_NAMESPACE_PREFIX)
        if declared.get(None) != self._content:
            raise StreamError(StreamCondition.INVALID_NAMESPACE)
        self._inherited = {prefix: uri for prefix, uri in declared.items() if prefix is not None}
        self._marks = {f"{prefix}:".encode(): (prefix, uri) for prefix, uri in self._inherited.items()}
        self._read_up_to = self._base + self._tag_end(start, attributes)
        self._declared = {}
        self._open = True
        values = dict(zip(attributes[::2], attributes[1::2], strict=True))
        self._events.append(
            Header(
                to=values.get("to", ""),
                sender=values.get("from", ""),
                id=values.get("id", ""),
                lang=values.get(_LANG, ""),
                version=values.get("version", ""),
            )
        )

    def _end_element(self, name: str) -> None:
        self._depth -= 1
        if self._depth > 1:
            return
        buffer = self._buffer
        if self._depth == 0:
            _refuse_text(buffer[self._read_up_to - self._base : self._here()])
            self._events.append(End())
            self._end()
            return
        start, inner_start = self._start - self._base, self._inner_start - self._base
        if buffer[inner_start - 2 : inner_start] == b"/>":
            inner, end = b"", inner_start
        else:
            inner_end = self._here()
            inner = bytes(buffer[inner_start:inner_end])
            end = buffer.index(b">", inner_end) + 1
        if end - start > self.limits.stanza_bytes:
            raise StreamError(StreamCondition.POLICY_VIOLATION, "stanza too big")
        self._read_up_to = self._base + end
        kind = self._kinds.get(name)
        if kind is not None:
            self._events.append(self._stanza(kind, start, inner, end))
        else:
            values = dict(zip(self._attributes[::2], self._attributes[1::2], strict=True))
            prefixes = [(None, self._default), *self._inherited.items(), *self._own.items()]
            self._events.append(Nonza(name, values, inner, tuple(prefixes)))

    def _stanza(self, kind: Kind, start: int, inner: bytes, end: int) -> Stanza | Malformed:
        if not self._buffer.startswith(_UNPREFIXED[kind], start):
            # RFC 6120 §4.8.5: the content namespace has no prefix.
            raise StreamError(StreamCondition.BAD_NAMESPACE_PREFIX)
        to: Jid | None = None
        sender: Jid | None = None
        id = type = lang = reason = ""
        others: list[tuple[str, str]] = []
        pairs = iter(self._attributes)
        for name, value in zip(pairs, pairs, strict=True):
            if name == "to" or name == "from":  # noqa: PLR1714 - half the time of "in"
                try:
                    jid = Jid.parse(value)
                except InvalidJid as error:
                    reason = f"'{name}': {error}"
                    continue
                if name == "to":
                    to = jid
                else:
                    sender = jid
            elif name == "id":
                id = value
            elif name == "type":
                type = value
            elif name == _LANG:
                lang = value
            else:
                others.append((name, value))
        inherited = {p: uri for mark, (p, uri) in self._marks.items() if self._buffer.find(mark, start, end) >= 0}
        prefixes = self._own | inherited | self._own  # its own come first, and hide those of the header
        extra = self._write_extra(others, prefixes) if others or prefixes else b""
        payloads = tuple(self._payloads)
        stanza = Stanza(
            kind, to=to, sender=sender, type=type, id=id, lang=lang, payloads=payloads, inner=inner, extra=extra
        )
        if self._named or prefixes or self._content != ns.CLIENT:
            self._unify(stanza, others, prefixes)
        return Malformed(stanza, reason) if reason else stanza

    def _unify(self, stanza: Stanza, others: list[tuple[str, str]], prefixes: dict[str | None, str]) -> None:
        """Give its content the one form that it has in the house, before anybody sees the stanza."""
        if not self._named and CONTENT_NAMESPACES.isdisjoint(prefixes.values()):
            stanza.payloads = payloads_of(stanza.payloads, self._content)
            return
        rewrite(stanza, self._content, self.limits.stanza_bytes, self.limits.namespaces)
        used = {name.rpartition(" ")[0] for name, _ in others}
        stanza.extra = self._write_extra(others, {prefix: uri for prefix, uri in prefixes.items() if uri in used})

    def _write_extra(self, others: list[tuple[str, str]], prefixes: dict[str | None, str]) -> bytes:
        """Write what else the start tag needs: the prefixes in use inside, and the attributes that are not ours.

        It must not exceed the limits: the next reader may have the same.
        """
        if len(prefixes) > self.limits.namespaces or len(others) > self.limits.attributes - _OWN_ATTRIBUTES:
            raise StreamError(StreamCondition.POLICY_VIOLATION, "too many attributes or namespaces")
        written = [f" xmlns:{prefix}='{xml.attribute(uri)}'" for prefix, uri in prefixes.items()]
        prefix_of = {uri: prefix for prefix, uri in prefixes.items()} | {ns.XML: "xml"}
        for name, value in others:
            uri, _, local = name.rpartition(" ")
            written.append(f" {f'{prefix_of[uri]}:' if uri else ''}{local}='{xml.attribute(value)}'")
        return "".join(written).encode()
