"""Holding and forgetting: legal holds, erasure by destroying keys, and what expires with its retention."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Collection, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from datetime import date
from itertools import groupby
from os import urandom
from pathlib import Path

from vrxmpp.audit.days import AUDIT, day_of
from vrxmpp.audit.found import Found
from vrxmpp.audit.identity import PublicKey
from vrxmpp.audit.keys import KeyStore
from vrxmpp.audit.leaf import MESSAGES, Type
from vrxmpp.audit.office import Ask, Visit, finish, policy
from vrxmpp.audit.policy import Hold, Policy
from vrxmpp.audit.reader import ERASED, bare_address, conversation_name, people_of
from vrxmpp.audit.records import Records
from vrxmpp.audit.seal import KEY_BYTES, SealError, reseal


class ErasureError(Exception):
    """Nothing was held or erased: one line says why."""


@dataclass(frozen=True, slots=True)
class Erased:
    """What was erased of one class and day."""

    class_name: str
    day: date
    record: int  # index of the record that says so
    removed: int  # how many records have no text any more
    kept: int = 0  # how many of that day stay, because they are held


@dataclass(frozen=True, slots=True)
class Left:
    """What has outlived its retention, and is still there."""

    class_name: str
    day: date
    why: str


@dataclass(slots=True)
class Expired:
    """What a run of ``expire`` has done."""

    erased: list[Erased] = field(default_factory=list)
    left: list[Left] = field(default_factory=list)


# Holds


def add_hold(
    visit: Visit, *, person: str = "", conversation: str = "", first: date | None = None, last: date | None = None
) -> Hold:
    """Hold what a person has said or heard, or a conversation, or all of some days, until it is released.

    ErasureError if an address is none. Raises DeskError.
    """
    try:
        named = {"person": person and bare_address(person), "conversation": conversation_name(conversation)}
    except ValueError as error:
        raise ErasureError(str(error)) from None
    visit.change("add_hold", **named, first=first and first.isoformat(), last=last and last.isoformat())
    return visit.policy.holds[-1]


def release_hold(visit: Visit, id: int) -> None:
    """Release a hold. Raises DeskError."""
    visit.change("release_hold", hold=id)


def list_holds(visit: Visit) -> list[Hold]:
    """Record that the holds are looked at, and return those in force. Raises DeskError."""
    visit.record("holds")
    return [hold for hold in policy(visit.ask).holds if hold.released is None]


# Erasure


def erase_conversation(visit: Visit, conversation: str, first: date, last: date) -> list[Erased]:
    """Destroy the keys of a conversation on some days, and what they opened; all records of it stay provable.

    Nothing is erased if any of it is held, of a day that is not over, or cannot be opened by this officer:
    ErasureError. Raises DeskError, RecordsError.
    """
    try:
        conversation = conversation_name(conversation)
    except ValueError as error:
        raise ErasureError(str(error)) from None
    access = visit.record("erase", conversation=conversation, first=first.isoformat(), last=last.isoformat())
    erasures = []
    for class_name, day in visit.keys.list():
        if first <= day <= last and class_name != AUDIT:  # what officers have done only expires
            erasure = _Erasure(visit, class_name, day, access)
            erasure.leave_out(erasure.keys.conversation_id(conversation), conversation)
            if erasure.removed:
                erasures.append(erasure)
    if not erasures:
        raise ErasureError("there is nothing of this conversation on these days")
    with _finishing(visit.ask):
        return [erasure.do("conversation") for erasure in erasures]


def erase_message(visit: Visit, index: int) -> Erased:
    """Destroy one message, and the notes on what became of it; the rest of its conversation-day is sealed anew.

    ErasureError if it is held, of a day that is not over, or not to be opened. Raises DeskError, RecordsError.
    """
    access = visit.record("erase", index=index)
    found = visit.reader.show(index)
    if found.problem or found.type not in MESSAGES:
        raise ErasureError(f"record {index} is {found.problem or 'no message'}")
    erasure = _Erasure(visit, found.class_name, found.day, access)
    erasure.leave_out_message(found)
    with _finishing(visit.ask):
        return erasure.do("message")


def expire(ask: Ask, state: Path, *, by: str, today: date, visit: Visit | None = None) -> Expired:
    """Destroy the keys of all days that have outlived the retention of their class, and what they opened.

    Days on which something is held need an officer, who keeps what is held of them; without, they are left, and
    named. Nothing is recorded where nothing is due. Raises DeskError, ErasureError, RecordsError.
    """
    due = outlived(policy(ask), KeyStore(state / "keys"), today)
    result = Expired()
    if not due:
        return result
    days = [[class_name, day.isoformat()] for class_name, day in due]
    if visit is not None:
        access = visit.record("expire", days=days)
    else:
        access = ask("record", type="access", facts={"by": by, "what": "expire", "days": days})
    in_force = policy(ask)
    with closing(Records(state / "audit")) as records, _finishing(ask):
        for (class_name, day), key_id in due.items():
            holds = in_force.holds_on_day(day)
            if not holds:
                readable = [index for index, _ in records.readable(*records.day(day), key_id)]
                removed = [[readable[0], readable[-1]]] if readable else []
                key = [class_name, day.isoformat(), key_id.hex()]
                record = ask("erase", kind="expiry", access=access, key=key, removed=removed, holds=[])
                result.erased.append(Erased(class_name, day, record, len(readable)))
            elif visit is None:
                result.left.append(Left(class_name, day, f"hold {holds[0].id}: an officer can expire the rest"))
            else:
                _expire_rest(_Erasure(visit, class_name, day, access), result)
    return result


def outlived(in_force: Policy, store: KeyStore, today: date) -> dict[tuple[str, date], bytes]:
    """Return which days are to expire, the oldest first, and their key ids."""
    try:
        key_ids = {of: key_id for key_id, of in store.key_ids().items()}
    except SealError as error:
        raise ErasureError(str(error)) from None
    due = {}
    for class_name, day in sorted(key_ids, key=lambda of: (of[1], of[0])):
        if in_force.retention_of(class_name).is_over(day, today):
            due[class_name, day] = key_ids[class_name, day]
    return due


def _expire_rest(erasure: _Erasure, result: Expired) -> None:
    erasure.keep_held()
    if erasure.removed:
        result.erased.append(erasure.do("expiry"))
    elif erasure.kept:
        result.left.append(Left(erasure.keys.class_name, erasure.keys.day, "all that is left of it is held"))


class _Erasure:
    """The erasure of a part of a class and day, which an officer's identity opens. Raises ErasureError."""

    def __init__(self, visit: Visit, class_name: str, day: date, access: int) -> None:
        reader = visit.reader
        if day >= day_of(reader.records.leaf(access).time):
            raise ErasureError(f"{day} is not over yet: it can be erased from tomorrow on")
        try:
            self.keys = reader.open_day(class_name, day)
        except SealError as error:
            raise ErasureError(str(error)) from None
        self._visit, self._access, self._reader = visit, access, reader
        self._policy = policy(visit.ask)
        self._readable = dict(reader.records.readable(*reader.records.day(day), self.keys.key_id))
        self._resealed: dict[int, bytes] = {}
        self._left: dict[bytes, bytes] = {}  # keys of conversation-days, by their ids
        self.removed: list[int] = []
        self.kept = 0

    def leave_out(self, id: bytes, name: str) -> None:
        """Leave a conversation out, unless it is held."""
        self.removed = [index for index, of in self._readable.items() if of == id]
        if self.removed:
            self._check_hold(name, self._reader.of_day(self.keys, id))
            self._keep(set(self._readable.values()) - {id})

    def leave_out_message(self, found: Found) -> None:
        """Leave a message out, unless its conversation is held."""
        id = found.conversation_id
        records = [each for each in self._reader.of_day(self.keys, id) if each.problem != ERASED]
        self._check_hold(found.conversation, records)
        self._keep(set(self._readable.values()))
        key = self._left[id] = urandom(KEY_BYTES)
        for each in records:
            if each.index == found.index or _is_about(each, found):
                self.removed.append(each.index)
            elif each.problem:
                raise ErasureError(f"record {each.index} is {each.problem}: it could not be sealed anew")
            else:
                self._resealed[each.index] = reseal(key, each.index, each.type, each.salt + each.envelope)

    def keep_held(self) -> None:
        """Leave all out but what is held; what cannot be read may be."""
        people: dict[bytes, set[str]] = {}
        names: dict[bytes, str] = {}
        held: set[bytes] = set()
        for found in self._reader.of_day(self.keys):
            if not found.problem:
                people.setdefault(found.conversation_id, set()).update(people_of(found.envelope, found.stanza))
                names[found.conversation_id] = found.conversation
            elif found.problem != ERASED:
                held.add(found.conversation_id)
        held.update(id for id, name in names.items() if self._policy.holds_on(name, self.keys.day, people[id]))
        self._keep(held)
        self.removed = [index for index, id in self._readable.items() if id not in held]
        self.kept = len(self._readable) - len(self.removed)

    def do(self, kind: str) -> Erased:
        """Have it done: the keys of what was left out are gone when this returns."""
        class_name, day, key_id = self.keys.class_name, self.keys.day, self.keys.key_id
        content = self._visit.keys.rewrite(replace(self.keys, day_key=None, conversations=self._left), self._officers())
        record = self._visit.ask(
            "erase",
            kind=kind,
            access=self._access,
            key=[class_name, day.isoformat(), key_id.hex()],
            removed=_ranges(self._readable, set(self.removed)),
            holds=[hold.id for hold in self._policy.holds_on_day(day)],
            content=b64encode(content).decode(),
            resealed={str(index): b64encode(payload).decode() for index, payload in self._resealed.items()},
        )
        return Erased(class_name, day, record, len(self.removed), self.kept)

    def _keep(self, ids: Iterable[bytes]) -> None:
        self._left = {id: self.keys.conversation_key(id) for id in ids}

    def _check_hold(self, name: str, records: Iterable[Found]) -> None:
        day = self.keys.day
        if not self._policy.holds_on_day(day):
            return
        people: set[str] = set()
        for found in records:
            if found.problem and found.problem != ERASED:
                raise ErasureError(f"record {found.index} is {found.problem}: it may be held")
            people.update(people_of(found.envelope, found.stanza))
        holds = self._policy.holds_on(name, day, people)
        if holds:
            raise ErasureError(f"this is held on {day}: hold {holds[0].id}")

    def _officers(self) -> dict[str, PublicKey]:
        """Return the officers whom the day is sealed to now: an erasure lets nobody else read."""
        sealed_to = self._visit.keys.officers(self.keys.class_name, self.keys.day)
        return {name: key for name, key in self._policy.public_keys().items() if name in sealed_to}


def _is_about(note: Found, message: Found) -> bool:
    """Is this a note on what became of the message, or its error, either of which may repeat it (RFC 6120 §8.3)?"""
    if note.type != Type.OUTCOME:
        return False
    if "record" in note.facts:
        return bool(note.facts["record"] == message.index)
    sides = {message.sender, message.recipient}
    return note.stanza == message.stanza or (note.id == message.id and {note.sender, note.recipient} == sides)


def _ranges(readable: Iterable[int], removed: Collection[int]) -> list[list[int]]:
    """Return what is removed of the records of a class and day, ascending, as first and last.

    What is of other classes and days may be between them: no erasure goes for that.
    """
    groups = [list(group) for is_removed, group in groupby(readable, removed.__contains__) if is_removed]
    return [[group[0], group[-1]] for group in groups]


@contextmanager
def _finishing(ask: Ask) -> Iterator[None]:
    """Have all of it done, the payloads dropped too, when this ends, in whatever way. Raises DeskError."""
    try:
        yield
    finally:
        finish(ask)
