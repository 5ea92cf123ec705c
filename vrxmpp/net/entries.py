"""What waits for the recorder's answer, in order, and within bounds."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence

from vrxmpp.audit.frames import LONGEST, Range, frame_entry, read_entry
from vrxmpp.net.filing import Place
from vrxmpp.stanza import Stanza

Done = Callable[[], None]

_LONGEST = LONGEST - 70_000  # bytes of an envelope; the rest is for the name of the conversation


class Entry:
    """A message that ``done`` waits for; without ``done`` one that was given up; without both a note."""

    __slots__ = ("done", "frame", "number", "stanza")

    def __init__(self, number: int, frame: bytes, stanza: Stanza | None, done: Done | None) -> None:
        self.number = number
        self.frame = frame
        self.stanza = stanza
        self.done = done

    def give_up(self) -> Iterator[tuple[Stanza, Done]]:
        """Let nobody wait for it any more; yield the message and who did."""
        if self.stanza is not None and self.done is not None:
            yield self.stanza, self.done
            self.done = None


class Entries:
    """A queue that is numbered from 1. What could not be written, and nobody waits for, is put aside for later."""

    def __init__(self, classes: Sequence[str], most_entries: int, most_bytes: int) -> None:
        self._classes = classes
        self._most_entries = most_entries
        self._most_bytes = most_bytes
        self._aside: deque[Entry] = deque()
        self.waiting: deque[Entry] = deque()
        self.bytes = 0
        self.last = 0  # number given
        self.unsent: list[bytes] = []

    def __len__(self) -> int:
        return len(self.waiting) + len(self._aside)

    def has_room(self, envelope: bytes) -> bool:
        """Whether a message can be taken."""
        most = self._most_bytes - len(envelope)
        entries = len(self.waiting) + len(self._aside)
        return len(envelope) <= _LONGEST and entries < self._most_entries and self.bytes <= most

    def has_room_for_note(self, envelope: bytes) -> bool:
        """Whether a note can be taken: there is as much room again, so that what becomes of messages can be told."""
        return len(envelope) <= _LONGEST and len(self) < 2 * self._most_entries and self.bytes <= 2 * self._most_bytes

    def put(
        self, type: int, place: Place, envelope: bytes, stanza: Stanza | None = None, done: Done | None = None
    ) -> None:
        """Take an entry; there is room."""
        self.last = number = self.last + 1
        frame = frame_entry(number, type, place[1], place[0], envelope)
        self.bytes += len(frame)
        self.waiting.append(Entry(number, frame, stanza, done))
        self.unsent.append(frame)

    def take(self, last: int) -> list[Entry]:
        """Take out what waits, up to this number."""
        waiting, taken = self.waiting, []
        while waiting and waiting[0].number <= last:
            taken.append(waiting.popleft())
        self.bytes -= sum([len(entry.frame) for entry in taken])
        return taken

    def take_range(self, done: Range) -> list[Entry]:
        """Take out what was answered; ValueError if it is not what waits."""
        entries = self.take(done.last)
        if not entries or (entries[0].number, entries[-1].number) != done[:2]:
            self.waiting.extendleft(reversed(entries))
            self.bytes += sum([len(entry.frame) for entry in entries])
            raise ValueError(f"nobody has asked about the entries {done.first} to {done.last}")
        return entries

    def forget_given_up(self) -> None:
        """Take out the messages that nobody waits for any more."""
        waiting, self.waiting = self.waiting, deque()
        for entry in waiting:
            if entry.stanza is not None and entry.done is None:
                self.bytes -= len(entry.frame)
            else:
                self.waiting.append(entry)

    def put_aside(self, entry: Entry) -> None:
        """Keep for later what was taken out."""
        self.bytes += len(entry.frame)
        self._aside.append(entry)

    def put_back(self, most: int) -> bool:
        """Put what was kept for later, at most so many, behind all others; return whether there was any."""
        count = min(len(self._aside), most)
        for _ in range(count):
            old = self._aside.popleft()
            self.bytes -= len(old.frame)
            _, entry = read_entry(old.frame[5:], list(self._classes))
            place = Place(entry.conversation.encode(), self._classes.index(entry.class_name))
            self.put(entry.type, place, entry.envelope, old.stanza)
        return count > 0
