"""An archive that writes everything at once, and remembers it: ``core.peers.Audit`` for tests."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from vrxmpp.stanza import PENDING, REFUSED, Stanza


class Archive:
    """``notes`` are (type, conversation, facts), facts as JSON has them; ``works`` False: it can take no message."""

    def __init__(self) -> None:
        self.records: list[tuple[str, dict[str, Any]]] = []
        self.outcomes: list[tuple[int, str]] = []
        self.notes: list[tuple[str, str, dict[str, Any]]] = []
        self.works = True
        self.is_slow = False
        self.waiting: list[Callable[[], None]] = []

    def wants(self, stanza: Stanza) -> bool:
        return True

    def record(self, stanza: Stanza, facts: bytes, done: Callable[[], None]) -> None:
        assert b"\n" not in facts
        stanza.record = PENDING

        def write() -> None:
            stanza.record = len(self.records) if self.works else REFUSED
            if self.works:
                self.records.append((stanza.raw.decode(), json.loads(facts)))
            done()

        if self.is_slow:
            self.waiting.append(write)
        else:
            write()

    def write(self) -> None:
        """Write what waits."""
        waiting, self.waiting = self.waiting, []
        for each in waiting:
            each()

    def outcome(self, stanza: Stanza, outcome: str) -> None:
        assert stanza.record >= 0
        self.outcomes.append((stanza.record, outcome))

    def note(self, type: str, conversation: str, **facts: object) -> None:
        assert "\n" not in conversation
        self.notes.append((type, conversation, json.loads(json.dumps(facts))))

    def take(self, type: str) -> list[tuple[str, dict[str, Any]]]:
        """Return what has been noted of a type since it was last asked, and forget everything."""
        notes, self.notes = self.notes, []
        return [(conversation, facts) for kind, conversation, facts in notes if kind == type]
