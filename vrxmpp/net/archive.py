"""The archive as the house sees it: messages are on its disk before anybody has them, and no two of them are mixed up.

Entries go to the recorder in the order they came, and stay here until it has answered. One that has waited for too long
is refused, or passed on if the settings say so; what becomes of it in the archive is still followed. A recorder that
died in between is asked, when it is back, how far it had come: nothing is archived twice.
"""

from __future__ import annotations

import json
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from secrets import token_hex
from typing import Any, NamedTuple

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from vrxmpp.audit.frames import Range
from vrxmpp.audit.leaf import Type
from vrxmpp.core.router import Router
from vrxmpp.net.child import Start, start_module
from vrxmpp.net.entries import Done, Entries, Entry
from vrxmpp.net.filing import Filing, Place
from vrxmpp.net.reconciliation import Reconciliation
from vrxmpp.net.recorder import ArchiveError, Json, Recorder
from vrxmpp.stanza import PENDING, REFUSED, UNARCHIVED, Stanza

SOMEWHERE = 2**63 - 1
"""Where a message is in the archive whose recorder died before it could say."""

_AGAIN = 500  # entries that are tried again at a time
_COUNT_EVERY = 10  # seconds, so that counting never takes long
_TOTALS = ("accepted", "archived", "refused", "unarchived", "late", "lost", "commits", "commit_entries")


@dataclass(frozen=True)
class ArchiveSettings:
    """What the archive must know. ``classes`` has the class of records of each domain here that has its own."""

    state: Path
    root_key: str  # where it comes from
    origin: str  # of the checkpoints: DOMAIN/audit
    default_class: str
    classes: Mapping[str, str]
    refuse_on_failure: bool = True  # otherwise messages are passed on
    patience: float = 10.0  # seconds a message may wait
    silence_seconds: int = 10  # after which a recorder that has messages is given up
    most_entries: int = 50_000  # that wait
    most_bytes: int = 67_108_864
    reconcile_seconds: int = 3600


class Turn(NamedTuple):
    """When entries up to this one were sent, or would have been."""

    last: int
    at: float  # seconds


class Archive:
    """``core.peers.Audit``. Everything in it is a plain call; the recorder's answers bring the messages further."""

    log = Logger()

    def __init__(
        self, settings: ArchiveSettings, router: Router, clock: Any, start_recorder: Start | None = None
    ) -> None:
        self._settings = settings
        self._router = router
        self._clock = clock
        self._filing = filing = Filing(router, settings.classes, settings.default_class)
        self.wants = filing.wants  # asked about every message
        process = {"state": str(settings.state.absolute()), "root_key": settings.root_key}
        hello = {"run": token_hex(16), "classes": filing.classes, "origin": settings.origin}
        start = start_recorder or start_module("vrxmpp.audit.recorder", process, clock)
        self._recorder = Recorder(hello, self, clock, start, silence_seconds=settings.silence_seconds)
        self._entries = Entries(filing.classes, settings.most_entries, settings.most_bytes)
        self._turned_away: list[tuple[Stanza, Done]] = []
        self._turn_comes = False
        self._turns: deque[Turn] = deque()
        self._away_since: float | None = None
        self._is_refusing = False  # at once, without waiting for the recorder
        self._trouble = ""
        self._emptied: Deferred[None] | None = None
        self._size = 0  # of the log, as far as it is known here
        self._totals: Counter[str] = Counter()
        self._reconciliation = Reconciliation(self.ask)
        self._looks = 0
        self._sweep = LoopingCall(self._look)
        self._sweep.clock = clock

    # -- its life

    async def start(self) -> bytes:
        """Start the recorder; return the storage key. Raises ArchiveError, one line for people."""
        if not self._settings.refuse_on_failure:
            self.log.warn("messages are passed on even when they cannot be archived")
        self._sweep.start(1.0, now=False)
        try:
            key = await self._recorder.start()
        except ArchiveError:
            self._sweep.stop()
            raise
        self._reconciliation.begin(self._size)
        return key

    async def stop(self) -> None:
        """Have everything written that waits, as far as patience allows, and end the recorder."""
        if not self._sweep.running:
            return
        await self._count()
        self._reconcile()
        if self._entries.waiting and not self._is_refusing:
            self._emptied = Deferred()
            late = self._clock.callLater(self._settings.patience, self._let_go)
            await self._emptied
            if late.active():
                late.cancel()
        self._sweep.stop()
        await self._recorder.stop()

    def _let_go(self) -> None:
        emptied, self._emptied = self._emptied, None
        if emptied is not None:
            emptied.callback(None)

    def ask(self, name: str, **arguments: Json) -> Deferred[Json]:
        """Ask the recorder something, behind all that was recorded so far; fails with ArchiveError."""
        self._flush()
        return self._recorder.ask(name, arguments)

    def status(self) -> dict[str, Json]:
        """Return how the archive does: what it has taken since the start, and what waits. Times are in seconds."""
        is_waiting = self._entries.waiting and self._turns
        return {
            "recorder": "ready" if self._recorder.is_ready else "away",
            "starts": self._recorder.starts,
            "trouble": self._trouble,
            "on_failure": "refuse" if self._settings.refuse_on_failure else "deliver",
            "size": self._size,
            "waiting": len(self._entries),
            "waiting_bytes": self._entries.bytes,
            "lag_seconds": self._clock.seconds() - self._turns[0].at if is_waiting else 0.0,
            "commit_seconds": self._totals["commit_microseconds"] / 1e6,
            **{name: self._totals[name] for name in _TOTALS},
            "routed": self._router.routed,
            "missing": self._reconciliation.missing,
        }

    # -- what the house records

    def record(self, stanza: Stanza, facts: bytes, done: Done) -> None:
        """Take a message for the log; see ``core.peers.Audit``."""
        stanza.record = PENDING
        filing, entries = self._filing, self._entries
        type, place = filing.type_of(stanza), filing.of_message(stanza)
        envelope = b"%b\n%b" % (facts, stanza.raw)
        has_room = entries.has_room(envelope)
        if has_room and not self._is_refusing:
            entries.put(type, place, envelope, stanza, done)
        else:
            self._turned_away.append((stanza, done))
            if has_room and not self._settings.refuse_on_failure:
                entries.put(type, place, envelope, stanza)
        if not self._turn_comes:
            self._have_turn()

    def outcome(self, stanza: Stanza, outcome: str) -> None:
        """Note what became of a message that is in the archive."""
        self._note_outcome(stanza, stanza.record, outcome)

    def note(self, type: str, conversation: str, **facts: object) -> None:
        """Note something else that happened. It never waits."""
        kind = Type[type.upper()]
        self._note(kind, self._filing.of_note(kind, conversation), _line(facts))

    def _note_outcome(self, stanza: Stanza, record: int, outcome: str) -> None:
        facts: dict[str, object] = {"outcome": outcome}
        if record != SOMEWHERE:
            facts["record"] = record
        # Without what was said, which is in the record of the message: strangers must not fill the disk twice as fast.
        head = Stanza("message", to=stanza.to, sender=stanza.sender, type=stanza.type, id=stanza.id)
        self._note(Type.OUTCOME, self._filing.of_message(stanza), _line(facts) + head.raw)

    def _note(self, type: Type, place: Place, envelope: bytes) -> None:
        if self._entries.has_room_for_note(envelope):
            self._entries.put(type, place, envelope)
            self._have_turn()
        else:
            self._totals["lost"] += 1

    # -- on the way to the recorder

    def _have_turn(self) -> None:
        """Send at once all that comes in one turn of the reactor."""
        if not self._turn_comes:
            self._turn_comes = True
            self._clock.callLater(0, self._turn)

    def _turn(self) -> None:
        self._turn_comes = False
        self._flush()
        turned_away, self._turned_away = self._turned_away, []
        self._give_up(turned_away)

    def _flush(self) -> None:
        entries = self._entries
        if entries.unsent:
            unsent, entries.unsent = entries.unsent, []
            self._turns.append(Turn(entries.last, self._clock.seconds()))
            if self._recorder.is_ready:
                self._recorder.write(unsent)

    # -- what the recorder answers

    def ready(self, committed: int, size: int) -> None:
        """Settle what the last recorder had done without saying so; have this one do the rest."""
        entries = self._entries
        self._away_since = None
        self._is_refusing = False
        self._size = size
        self._settle(entries.take(committed), repeat(SOMEWHERE))
        if self._settings.refuse_on_failure:
            entries.forget_given_up()
        entries.unsent = []
        if entries.waiting:
            self._turns.append(Turn(entries.last, self._clock.seconds()))
            self._recorder.write([entry.frame for entry in entries.waiting])

    def committed(self, done: Range) -> None:
        """Bring further what is on the disk."""
        entries = self._entries.take_range(done)
        self._is_refusing = False
        self._size = done.at + len(entries)
        self._well()
        self._totals["commits"] += 1
        self._totals["commit_entries"] += len(entries)
        if self._turns:
            self._totals["commit_microseconds"] += int((self._clock.seconds() - self._turns[0].at) * 1e6)
        while self._turns and self._turns[0].last <= done.last:
            self._turns.popleft()
        self._settle(entries, range(done.at, self._size))
        self._try_again()

    def failed(self, done: Range, reason: str) -> None:
        """Refuse, or pass on, what is not on the disk; keep for later what nobody waits for."""
        entries = self._entries.take_range(done)
        self._is_refusing = False  # it answers: the next may be written
        self._ill(reason)
        given_up = [each for entry in entries for each in entry.give_up()]
        for entry in entries:
            if entry.stanza is None or not self._settings.refuse_on_failure:
                self._entries.put_aside(entry)
        self._give_up(given_up)
        if not self._entries.waiting:
            self._let_go()

    def gone(self) -> None:
        """There is no recorder for the moment."""
        self._away_since = self._clock.seconds()

    def _settle(self, entries: Iterable[Entry], places: Iterable[int]) -> None:
        """These are on the disk: set all places, then call each who waits once."""
        waiters: dict[Done, None] = {}
        archived = 0
        for entry, place in zip(entries, places, strict=False):
            stanza, done = entry.stanza, entry.done
            if stanza is None:
                continue
            if done is None:
                self._settle_late(stanza, place)
                continue
            stanza.record = place
            waiters[done] = None
            if stanza.type != "error":
                archived += 1
        self._totals["accepted"] += archived
        self._totals["archived"] += archived
        self._call(waiters)
        if not self._entries.waiting:
            self._let_go()

    def _settle_late(self, stanza: Stanza, place: int) -> None:
        """A message is on the disk that was given up before."""
        if stanza.type != "error":
            self._totals["late"] += 1
        if self._settings.refuse_on_failure:
            self._note_outcome(stanza, place, "refused")

    def _give_up(self, given_up: Iterable[tuple[Stanza, Done]]) -> None:
        """Refuse messages, or pass them on."""
        refuses = self._settings.refuse_on_failure
        waiters: dict[Done, None] = {}
        for stanza, done in given_up:
            stanza.record = REFUSED if refuses else UNARCHIVED
            waiters[done] = None
            if stanza.type != "error":
                self._totals["accepted"] += 1
                self._totals["refused" if refuses else "unarchived"] += 1
        self._call(waiters)

    def _call(self, waiters: Iterable[Done]) -> None:
        for done in waiters:
            try:
                done()
            except Exception:
                self.log.failure("what waited for the archive failed")

    # -- time

    def _look(self) -> None:
        """Look after everything, once a second."""
        now, patience = self._clock.seconds(), self._settings.patience
        given_up = list(self._late(now - patience))
        if given_up or (self._away_since is not None and now - self._away_since > patience):
            self._is_refusing = True
            self._ill("the recorder does not answer")
        self._give_up(given_up)
        self._recorder.sweep(bool(self._entries.waiting))
        self._try_again()
        self._looks += 1
        if self._looks % _COUNT_EVERY == 0:
            Deferred.fromCoroutine(self._count())
        if self._looks % self._settings.reconcile_seconds == 0:
            self._reconcile()

    def _late(self, before: float) -> Iterable[tuple[Stanza, Done]]:
        """Yield the messages that have waited since before this moment."""
        late = 0
        while self._turns and self._turns[0].at <= before:
            late = self._turns.popleft().last
        for entry in self._entries.waiting:
            if entry.number > late:
                return
            yield from entry.give_up()

    def _try_again(self) -> None:
        """Send again a part of what could not be written."""
        if self._recorder.is_ready and self._entries.put_back(_AGAIN):
            self._have_turn()

    def _ill(self, reason: str) -> None:
        if reason != self._trouble:
            what = "refused" if self._settings.refuse_on_failure else "passed on without being archived"
            self.log.error("messages are {what}: {reason}", what=what, reason=reason)
        self._trouble = reason

    def _well(self) -> None:
        if self._trouble:
            self.log.info("messages are archived again")
        self._trouble = ""

    async def _count(self) -> None:
        await self._reconciliation.count(self._size, self._totals | Counter(routed=self._router.routed))

    def _reconcile(self) -> None:
        """Put on record what was counted."""
        facts = self._reconciliation.take()
        if facts:
            self.note("reconcile", "", **facts)


def _line(facts: Mapping[str, object]) -> bytes:
    return json.dumps(facts, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"
