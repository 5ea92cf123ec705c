"""An archive on the disk with officers, a clock that is moved by hand, and the desk that has its log open."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from vrxmpp.audit.desk import Desk, DeskError
from vrxmpp.audit.frames import Entry
from vrxmpp.audit.identity import Identity
from vrxmpp.audit.keys import KeyStore
from vrxmpp.audit.leaf import Leaf, Type
from vrxmpp.audit.ledger import Ledger
from vrxmpp.audit.office import Visit
from vrxmpp.audit.policy import Policy
from vrxmpp.audit.reader import Reader, name_of_pair
from vrxmpp.xml import attribute, text

DAY = 86_400_000_000
MONDAY, TUESDAY = date(2026, 11, 23), date(2026, 11, 24)
NOON = int(datetime(2026, 11, 23, 12, tzinfo=UTC).timestamp()) * 1_000_000  # of Monday
ROOT = bytes(range(32))
JANE, JOHN = Identity.generate(), Identity.generate()
ORIGIN = "example.org/audit"
ROMEO, JULIET, NURSE = "romeo@example.org/orchard", "juliet@example.org/balcony", "nurse@example.net/hall"
CHAT = "juliet@example.org romeo@example.org"


def bare(address: str) -> str:
    return address.partition("/")[0]


def stanza(sender: str, to: str, inner: str, *, id: str = "", type: str = "chat") -> bytes:
    """Return a message as the server writes it."""
    head = f"<message to='{attribute(to)}' from='{attribute(sender)}'" + (f" id='{id}'" if id else "")
    return f"{head} type='{type}'>{inner}</message>".encode()


def body(said: str) -> str:
    return f"<body>{text(said)}</body>"


def message(
    said: str,
    sender: str = ROMEO,
    to: str = JULIET,
    *,
    inner: str = "",
    id: str = "",
    type: Type = Type.MESSAGE,
    conversation: str = "",
    class_name: str = "staff",
    **facts: Any,
) -> Entry:
    """Return a message for the log; ``inner`` is the XML within it, in place of a body."""
    line = json.dumps({"address": "192.0.2.1", "tls": "TLSv1.3", **facts}).encode()
    name = conversation or name_of_pair(bare(sender), bare(to))
    return Entry(type, class_name, name, line + b"\n" + stanza(sender, to, inner or body(said), id=id))


@dataclass
class Archive:
    """All of it. Called, it is the way to its desk."""

    state: Path
    wall: int = NOON
    is_live: bool = False
    broken: str = ""  # what the desk says instead of recording
    asked: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.keys = KeyStore(self.state / "keys")
        policy = Policy().add_officer("jane", JANE.public, 0).add_officer("john", JOHN.public, 0)
        Ledger.create(self.state / "audit", ROOT, ORIGIN, policy)
        self.open()

    def open(self) -> None:
        self.ledger = Ledger.open(
            self.state / "audit", self.keys, ROOT, now=lambda: self.wall, monotonic=lambda: self.wall
        )
        self.desk = Desk(self.ledger, self.state, now=lambda: self.wall)

    def __call__(self, name: str, /, **arguments: Any) -> Any:
        self.asked.append(name)
        if self.broken and name != "policy":
            raise DeskError(self.broken)
        return self.desk.perform(json.loads(json.dumps({"ask": name, "id": 1, **arguments})))

    def add(self, *entries: Entry) -> int:
        self.wall += 1_000_000
        return self.ledger.append(entries)

    def next_day(self) -> None:
        self.wall += DAY

    def visit(self, name: str = "jane", identity: Identity = JANE) -> Visit:
        return Visit.begin(self.state, self, name, identity.text, purpose="a complaint", case="2026-7")

    def reader(self, name: str = "jane", identity: Identity = JANE) -> Reader:
        return Reader(self.state / "audit", self.keys, name, identity)

    def facts(self, type: Type) -> list[Any]:
        """Return what the records of a type say, in order, as an officer reads them."""
        reader = self.reader()
        return [
            reader.show(index).facts
            for index in range(self.ledger.size)
            if Leaf.unpack(reader.records.row(index)[1]).type == type
        ]

    def change(self, change: str, **arguments: Any) -> Any:
        return self("change", change=change, by="jane", purpose="p", case="c", arguments=arguments)


def said(found: Sequence[Any]) -> list[str]:
    return [each.text for each in found]
