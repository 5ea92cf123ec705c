"""The day that is running: its time and keys, where its conversations have got to, how its records are sealed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import date
from os import urandom
from typing import NamedTuple

from vrxmpp.audit.database import Database
from vrxmpp.audit.frames import Entry
from vrxmpp.audit.keys import DayKeys
from vrxmpp.audit.leaf import NONE, PUBLIC, Leaf, Type, pack
from vrxmpp.audit.policy import check_class_name
from vrxmpp.audit.positions import Position, Positions
from vrxmpp.audit.seal import RANDOM_BYTES, Key, prepare, seal
from vrxmpp.audit.tree import leaf_hash

AUDIT = "audit"
"""The class of what officers and administrators do."""

PUBLIC_TYPES = frozenset(range(Type.ERASE, Type.POLICY + 1))
AUDIT_TYPES = frozenset((Type.CONFIG, Type.ACCESS, Type.EXPORT, Type.HOLD))

STEP = 2_000_000  # microseconds: a clock that jumps further is recorded

_SECOND = 1_000_000  # microseconds
_FAR = 3600 * _SECOND  # ahead: a clock that jumps further is not followed at once
_STANDING = 600 * _SECOND  # for which it must have stood before it is
_DAY = 86_400 * _SECOND
_LONG = 30 * _DAY  # without a record
_EPOCH = date(1970, 1, 1).toordinal()
_MOST_KEYS = 16_384  # of conversations that are at hand; others are derived again


class _Conversation(NamedTuple):
    id: bytes
    key: Key | None
    key_id: bytes


class Reading(NamedTuple):
    """What the clocks say, in microseconds."""

    wall: int
    passed: int
    time: int  # for the next records
    step: int  # by which the clock has jumped, or 0
    since: int | None  # by ``passed``: since when a clock that is far ahead has stood; None: it is not, or is followed
    alarm: str  # what somebody should look at, in one line


class Clock:
    """The time of the log, which never runs backwards, beside the time that has passed (both in microseconds).

    What is once recorded with a time far ahead cannot be taken back: all that comes later would have that time. So a
    clock that jumps ahead by more than an hour is not followed, and the log goes on by what has passed, until the
    clock has stood for ten minutes; who sets it right before that has nothing to regret.

    A log that is opened after a long time has nothing to compare the clock with, and follows it: a server may have been
    off for months, and to write what is certainly a wrong time, or to keep all messages waiting, would be worse. But
    after 30 days it is recorded as a jump, and somebody is told.
    """

    def __init__(self, now: Callable[[], int], monotonic: Callable[[], int], last: int) -> None:
        self._now, self._monotonic = now, monotonic
        self._last = max(now(), last)
        self._wall = last if last and self._last - last > _LONG else self._last
        self._passed = monotonic()
        self._since: int | None = None

    def read(self) -> Reading:
        """Return the time, and whether the clock has jumped since the last reading that was kept."""
        wall, passed = self._now(), self._monotonic()
        elapsed = passed - self._passed
        step = wall - self._wall - elapsed
        if abs(step) <= STEP:
            step = 0
        alarm = f"the clock has jumped by {step / _SECOND:+.1f} s" if step else ""
        if wall - self._last - elapsed <= _FAR:
            return Reading(wall, passed, max(wall, self._last), step, None, alarm)
        since = passed if step or self._since is None else self._since
        if passed - since < _STANDING:
            alarm = alarm and f"{alarm}: the archive follows it when it has stood for ten minutes, set it right before"
            return Reading(wall, passed, self._last + elapsed, step, since, alarm)
        ahead = (wall - self._last - elapsed) / _SECOND
        return Reading(wall, passed, wall, step, None, f"the archive now follows the clock, {ahead:.1f} s ahead")

    def keep(self, reading: Reading) -> None:
        """Go on from a reading: what was recorded has its time."""
        self._wall, self._passed, self._last, self._since = reading.wall, reading.passed, reading.time, reading.since


class Batch(NamedTuple):
    """Records ready to be committed."""

    rows: list[tuple[int, bytes, bytes]]  # index, leaf, payload
    hashes: list[bytes]  # of the leaves
    moved: dict[bytes, Position]
    begun: int  # conversation-days that are new


def day_of(time: int) -> date:
    """Return the day (UTC) of a time in microseconds."""
    return date.fromordinal(_EPOCH + time // _DAY)


def check_entries(entries: Iterable[Entry]) -> None:
    """Refuse what has no type or class, or one that does not go with the other: ValueError, PolicyError."""
    for type, class_name in {(entry.type, entry.class_name) for entry in entries}:
        name = Type(type).name.lower()
        if type == Type.POLICY:
            raise ValueError("only the log itself records what its policy is")
        if (class_name == "") != (type in PUBLIC_TYPES):
            raise ValueError(f"a record of type {name} is {'sealed: it has a class' if not class_name else 'public'}")
        if class_name:
            check_class_name(class_name)
        if type in AUDIT_TYPES and class_name != AUDIT:
            raise ValueError(f"a record of type {name} is of the class {AUDIT}")


class Day:
    """A day's conversations. ``open_keys`` returns the keys of a class for this day, new if there are none."""

    def __init__(self, day: date, positions: Positions, open_keys: Callable[[str, date], DayKeys]) -> None:
        self.date = day
        self.positions = positions
        self._open_keys = open_keys
        self._keys: dict[str, DayKeys] = {}
        self._conversations: dict[tuple[str, str], _Conversation] = {}

    @classmethod
    def resume(
        cls, leaves: Iterable[Leaf], database: Database, open_keys: Callable[[str, date], DayKeys]
    ) -> Day | None:
        """Return the day of the newest leaf, from the leaves, the newest first; None if there is none."""
        day: Day | None = None
        start = 0
        for leaf in leaves:
            if day is None:
                positions = Positions.resume(database, leaf.number)
                day, start = cls(day_of(leaf.time), positions, open_keys), leaf.time - leaf.time % _DAY
            if leaf.time < start or leaf.number < positions.until:
                break
            positions.first = min(positions.first, leaf.number)
            if leaf.conversation != PUBLIC:
                positions.recent.setdefault(leaf.conversation, (leaf.counter + 1, leaf.number))
                positions.count += not leaf.counter
        return day

    def seal(self, entries: Sequence[Entry], index: int, time: int) -> Batch:
        """Seal entries as records from ``index`` on. Raises SealError. The day moves only when told so."""
        rows: list[tuple[int, bytes, bytes]] = []
        hashes: list[bytes] = []
        moved: dict[bytes, Position] = {}
        begun = 0
        conversations, recent, find = self._conversations, self.positions.recent, self.positions.find
        random, used = (
            urandom(RANDOM_BYTES * len(entries)),
            0,
        )  # at once: a look into the kernel costs as much as a hash
        for type, class_name, name, envelope in entries:
            conversation = conversations.get((class_name, name)) or self._conversation(class_name, name)
            id, key, key_id = conversation
            payload, commitment, digest = seal(key, index, type, envelope, random[used : used + RANDOM_BYTES])
            used += RANDOM_BYTES
            if key is None:
                counter, last = 0, NONE
            else:
                counter, last = moved.get(id) or recent.get(id) or find(id)
                moved[id] = (counter + 1, index)
                begun += not counter
            leaf = pack(type, index, time, id, counter, last, key_id, commitment, digest, len(payload))
            rows.append((index, leaf, payload))
            hashes.append(leaf_hash(leaf))
            index += 1
        return Batch(rows, hashes, moved, begun)

    def _conversation(self, class_name: str, name: str) -> _Conversation:
        if not class_name:
            return _Conversation(PUBLIC, None, PUBLIC)
        keys = self._keys.get(class_name)
        if keys is None:
            keys = self._keys[class_name] = self._open_keys(class_name, self.date)
        id = keys.conversation_id(name)
        if len(self._conversations) >= _MOST_KEYS:
            self._conversations.clear()
        found = _Conversation(id, prepare(keys.conversation_key(id)), keys.key_id)
        self._conversations[class_name, name] = found
        return found
