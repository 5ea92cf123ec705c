"""Plays: what several people say to the server and hear from it, in a text that reads like one.

    # What is said after a "#" is for the reader. This is all that a play is made of:

    Users: romeo, juliet                      the accounts there are
    Host: {"registration": true}              options of the domain, if it needs any
    Romeo is romeo@example.net/orchard        a part, and the address it logs in with

    Romeo connects                            ... and says nothing yet
    Romeo opens a stream                      sends a stream header, and will hear the features
    Romeo starts TLS                          goes through the handshake, after <proceed/>
    Romeo logs in                             all of it at once, up to the resource; nothing is left to hear
    Romeo sends:                              these bytes, but for line breaks and indentation
        <message to='juliet@example.net'><body>Art thou not Romeo?</body></message>
    Juliet receives:                          these elements, in this order, and no others before them
        <message from='romeo@example.net/orchard' to='juliet@example.net'><body>Art thou not Romeo?</body></message>
    Juliet receives, in any order:            the same, as a heap
    Juliet receives nothing                   not now, and not of anything that was sent before
    Romeo is told that the stream has ended   his connection is closed too
    Romeo vanishes                            his connection breaks

In what is received ``$name`` stands for any text (of an attribute, or between tags), the same wherever it is said
again, also in what is sent; ``$_`` for any, each time another. Attributes have no order; line breaks and indentation
between tags do not count; all else does. When the play is over, nobody may have anything left to hear.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from tests.house import House
from tests.streams import Client, ping, show
from vrxmpp import ns

SCRIPTS = sorted(Path(__file__).with_name("scripts").glob("*.xmpp"))
_LINE = re.compile(r"(?P<who>[A-Z][a-z]*) (?P<what>.*)")
_VARIABLE = re.compile(r"\$(\w+)")


@dataclass
class Line:
    """One direction, with the indented lines that follow it."""

    number: int
    text: str
    block: str


@dataclass
class Script:
    """A play that has been read."""

    users: list[str]
    host: dict[str, object]
    lines: list[Line]


def read(path: Path) -> Script:
    """Read a play; ValueError for what does not belong into one."""
    script = Script([], {}, [])
    for number, line in enumerate(path.read_text().splitlines(), 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        if line[0].isspace():
            script.lines[-1].block += text
        elif text.startswith("Users: "):
            script.users = text.removeprefix("Users: ").split(", ")
        elif text.startswith("Host: "):
            script.host = json.loads(text.removeprefix("Host: "))
        else:
            script.lines.append(Line(number, text, ""))
    return script


class Player:
    """Plays one script; ``connect`` opens a connection to the server."""

    def __init__(self, script: Script, connect: Callable[[], Client]) -> None:
        self._script = script
        self._connect = connect
        self._addresses: dict[str, str] = {}
        self._clients: dict[str, Client] = {}
        self._values: dict[str, str] = {}
        self._pings = 0

    def play(self) -> None:
        for line in self._script.lines:
            try:
                self._perform(line)
            except AssertionError as error:
                raise AssertionError(f"line {line.number}: {line.text}\n{error}") from error
        for who in list(self._clients):
            self._hear_nothing(who)

    def _perform(self, line: Line) -> None:
        match = _LINE.fullmatch(line.text)
        assert match is not None, "nobody says that"
        who, what = match["who"], match["what"]
        if what.startswith("is ") and "@" in what:
            self._addresses[who] = what.removeprefix("is ")
            return
        steps: dict[str, Callable[[], object]] = {
            "connects": lambda: self._enter(who),
            "opens a stream": lambda: self._client(who).begin(),
            "starts TLS": lambda: self._client(who).shake_hands(),
            "logs in": lambda: self._log_in(who),
            "sends:": lambda: self._client(who).send(self._put_in(line.block)),
            "receives:": lambda: self._hear(who, line.block, in_order=True),
            "receives, in any order:": lambda: self._hear(who, line.block, in_order=False),
            "receives nothing": lambda: self._hear_nothing(who),
            "is told that the stream has ended": lambda: self._hear_the_end(who),
            "vanishes": lambda: self._vanish(who),
        }
        assert what in steps, f"nobody {what!r}"
        steps[what]()

    def _client(self, who: str) -> Client:
        assert who in self._clients, f"{who} is not there"
        return self._clients[who]

    def _enter(self, who: str) -> Client:
        client = self._clients[who] = self._connect()
        return client

    def _log_in(self, who: str) -> None:
        local, _, rest = self._addresses[who].partition("@")
        client = self._enter(who)
        client.login(local, rest.partition("/")[2])
        assert client.jid == self._addresses[who]

    def _vanish(self, who: str) -> None:
        self._clients.pop(who).pipe.close()

    def _put_in(self, text: str) -> str:
        return _VARIABLE.sub(lambda found: self._values[found[1]], text)

    # -- hearing

    def _hear(self, who: str, block: str, *, in_order: bool) -> None:
        expected = list(_elements(block))
        client = self._client(who)
        heard = client.next_elements(len(expected))
        seen = "".join(f"\n    {show(element)}" for element in heard)
        assert len(heard) == len(expected), f"heard is:{seen}"
        for element in heard:
            candidates = expected[:1] if in_order else expected
            found = next((each for each in candidates if self._matches(each, element)), None)
            assert found is not None, f"heard is:{seen}\nand not:\n    {show(candidates[0])}"
            expected.remove(found)

    def _hear_nothing(self, who: str) -> None:
        """Let everything be done that was asked for by anybody, then listen."""
        for client in self._clients.values():
            if client.jid and client.pipe.is_open:
                self._pings += 1
                client.send(ping(f"ping-{self._pings}"))
                client.wait_for(f"ping-{self._pings}")
        heard = self._client(who).elements()
        assert not heard, "heard is:" + "".join(f"\n    {show(element)}" for element in heard)

    def _hear_the_end(self, who: str) -> None:
        client = self._clients.pop(who)
        client.listen_until(lambda: client.is_gone)
        assert client.is_gone
        assert client.reader.ended
        assert client.elements() == []

    # -- comparing

    def _matches(self, expected: Element, heard: Element) -> bool:
        """Compare; what variables stand for is known from then on, if all of it is equal."""
        values = dict(self._values)
        if _equal(expected, heard, values):
            self._values = values
            return True
        return False


def _elements(block: str) -> Iterator[Element]:
    yield from ElementTree.fromstring(f"<s xmlns='{ns.CLIENT}' xmlns:stream='{ns.STREAM}'>{block}</s>")


def _equal(expected: Element, heard: Element, values: dict[str, str]) -> bool:
    return (
        expected.tag == heard.tag
        and expected.attrib.keys() == heard.attrib.keys()
        and all(_same(expected.attrib[name], value, values) for name, value in heard.attrib.items())
        and _same(expected.text or "", heard.text or "", values)
        and len(expected) == len(heard)
        and all(
            _equal(one, other, values) and _same(one.tail or "", other.tail or "", values)
            for one, other in zip(expected, heard, strict=True)
        )
    )


def _same(expected: str, heard: str, values: dict[str, str]) -> bool:
    """Compare texts, in which variables stand for what is not empty."""
    parts = _VARIABLE.split(expected)
    pattern = ""
    for index, part in enumerate(parts):
        if index % 2 == 0:
            pattern += re.escape(part)
        elif part in values:
            pattern += re.escape(values[part])
        else:
            pattern += "(?s:.+)" if part == "_" else f"(?P<{part}>(?s:.+))"
    match = re.fullmatch(pattern, heard)
    if match is not None:
        values.update(match.groupdict())
    return match is not None


def perform(path: Path, build: Callable[..., House], *, piece: int = 0) -> None:
    """Play a script on a server made for it; ``piece`` bytes are sent at once, or all of them."""
    script = read(path)
    house = build(host=script.host)
    house.add(*script.users)

    def connect() -> Client:
        client = house.connect()
        client.piece = piece
        return client

    Player(script, connect).play()
