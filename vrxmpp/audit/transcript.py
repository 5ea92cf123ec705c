"""The transcript of a conversation-day, for people: kept in a file while records are gone through, then read in one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import NamedTuple

from vrxmpp.audit.found import Found, written


@dataclass(frozen=True, slots=True)
class Said:
    """One record of a conversation."""

    index: int
    time: int  # microseconds since 1970, UTC
    kind: str
    sender: str
    recipient: str
    id: str  # that its sender gave it
    refers_to: str  # the id of what it corrects, retracts or reacts to
    outcome: str  # what became of another message, if it is about that
    text: str

    @classmethod
    def of(cls, found: Found) -> Said:
        """Return what people read of a record."""
        return cls(
            found.index,
            found.time,
            found.kind,
            found.sender,
            found.recipient,
            found.id,
            found.refers_to,
            found.outcome,
            found.text,
        )

    @property
    def heading(self) -> str:
        """All but the text, in one line."""
        parts = [written(self.time), f"#{self.index}", self.kind]
        parts += [f"{self.sender} to {self.recipient}"] if self.sender or self.recipient else []
        parts += [f"id={self.id}"] if self.id else []
        parts += [f"about id={self.refers_to}"] if self.refers_to else []
        parts += [f"({self.outcome})"] if self.outcome else []
        return " ".join(" ".join(parts).split())


class Transcript(NamedTuple):
    """A conversation-day, in the order of the log."""

    class_name: str
    day: date
    name: str  # of the conversation; "" where it is not known
    said: list[Said]

    @property
    def participants(self) -> list[str]:
        """Who has spoken or was spoken to, as bare addresses, each once."""
        people = (side.partition("/")[0] for each in self.said for side in (each.sender, each.recipient))
        return list(dict.fromkeys(filter(None, people)))

    @property
    def title(self) -> str:
        """What it is, in one line."""
        return " ".join(f"{self.name.replace(' ', ' and ') or 'A conversation'}, {self.day}".split())


class Transcripts:
    """The transcripts of an export, in a directory of their own until they are written in a form for people."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        self._directory = directory
        self._order: dict[tuple[str, date, bytes], str] = {}  # the names of the conversations

    def __len__(self) -> int:
        return len(self._order)

    def add(self, found: Found) -> None:
        """Take a record. Raises OSError."""
        of = found.class_name, found.day, found.conversation_id
        if not self._order.get(of):
            self._order[of] = found.conversation
        with self._path(of).open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(Said.of(found))) + "\n")

    def __iter__(self) -> Iterator[Transcript]:
        for of, name in self._order.items():
            with self._path(of).open(encoding="utf-8") as file:
                yield Transcript(of[0], of[1], name, [Said(**json.loads(line)) for line in file])

    def _path(self, of: tuple[str, date, bytes]) -> Path:
        class_name, day, id = of
        return self._directory / f"{day}.{class_name}.{id.hex()}"
