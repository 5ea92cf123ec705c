"""Scripts of bytes for the framer: fed in pieces, and their events made comparable."""

from __future__ import annotations

from itertools import pairwise

from vrxmpp import ns
from vrxmpp.errors import StreamCondition, StreamError
from vrxmpp.stanza import Stanza
from vrxmpp.wire.events import Event, Malformed
from vrxmpp.wire.framer import Framer, FramerLimits

LIMITS = FramerLimits(stanza_bytes=20_000, depth=10, elements=100, attributes=20, namespaces=10)
PLAIN = "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"
RICH = (
    "<?xml version='1.0'?>\n<stream:stream to='example.net' from='romeo@example.net' id='s1' version='1.0' "
    "xml:lang='it' xmlns:x='urn:x' xmlns:stream='http://etherx.jabber.org/streams' xmlns='jabber:client'>"
)


def header_of(content: str, declarations: str = "") -> str:
    """Return the header of a stream with that content namespace, and these declarations of more."""
    return f"<stream:stream xmlns='{content}' xmlns:stream='http://etherx.jabber.org/streams'{declarations}>"


def feed(
    script: str | bytes, *cuts: int, limits: FramerLimits = LIMITS, rests: bool = False, content: str = ns.CLIENT
) -> list[Event]:
    """Return the events of a script that arrives in pieces, cut at these places."""
    data = script.encode() if isinstance(script, str) else script
    framer = Framer(limits, content)
    places = sorted({0, len(data), *(min(cut, len(data)) for cut in cuts)})
    events: list[Event] = []
    for start, end in pairwise(places):
        events += framer.feed(data[start:end])
        if rests:
            framer.rest()
    return events


def facts(events: list[Event]) -> list[object]:
    """Return what makes events equal."""
    return [fact(event) for event in events]


def fact(event: Event) -> object:
    match event:
        case Stanza():
            return event.raw, event.payloads
        case Malformed():
            return fact(event.stanza), event.reason
        case StreamError():
            return event.condition
        case _:
            return event


def read(stanza: str | bytes, header: str = PLAIN, limits: FramerLimits = LIMITS) -> Event:
    """Return the one event of what follows a stream header."""
    _, event = feed(header.encode() + (stanza.encode() if isinstance(stanza, str) else stanza), limits=limits)
    return event


def read_stanza(stanza: str | bytes, header: str = PLAIN, limits: FramerLimits = LIMITS) -> Stanza:
    event = read(stanza, header, limits=limits)
    assert isinstance(event, Stanza), event
    return event


def refusal(script: str | bytes, limits: FramerLimits = LIMITS) -> StreamCondition:
    """Return the error that ends a script, and see that it is the same when the script comes byte by byte."""
    *_, last = feed(script, limits=limits)
    *_, last_by_byte = feed(script, *range(len(script)), limits=limits)
    assert isinstance(last, StreamError), last
    assert fact(last_by_byte) == last.condition
    return last.condition
