"""The desk of the archive: what the server and the command line ask of whoever has the log open for writing."""

from __future__ import annotations

import json
import time
from base64 import b64decode
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import date
from pathlib import Path
from typing import Any

from vrxmpp.audit.days import AUDIT, day_of
from vrxmpp.audit.frames import Entry
from vrxmpp.audit.identity import PublicKey
from vrxmpp.audit.keys import KeyStore
from vrxmpp.audit.leaf import MESSAGES, Type
from vrxmpp.audit.ledger import Ledger, LedgerError
from vrxmpp.audit.lines import json_line
from vrxmpp.audit.policy import Json, Policy, PolicyError, Retention
from vrxmpp.audit.records import Records, RecordsError, midnight
from vrxmpp.audit.recovery import SHEET
from vrxmpp.audit.seal import SealError

FOR_THE_SERVER = frozenset(("checkpoint", "configure", "count", "keep", "status", "witnessed"))
"""What the process that talks to strangers may ask."""

_HOUR = 3_600_000_000  # microseconds
_RECORDED = {
    "access": (Type.ACCESS, AUDIT),
    "export": (Type.EXPORT, AUDIT),
    "config": (Type.CONFIG, AUDIT),
    "verify": (Type.VERIFY, ""),
}


def _now() -> int:
    return time.time_ns() // 1000


class DeskError(Exception):
    """What was asked for cannot be done: one line says why."""


class Desk:
    """Answers what it is asked, one question after the other; ``state`` is the state directory."""

    def __init__(self, ledger: Ledger, state: Path, *, now: Callable[[], int] = _now) -> None:
        """``now`` is microseconds since 1970, UTC."""
        self._ledger, self._now = ledger, now
        self._keys = KeyStore(state / "keys")
        self._sheet = state / "keys" / SHEET
        self._records = Records(state / "audit")

    def perform(self, request: Json) -> Any:
        """Answer a question: ``{"ask": name, argument: value, ...}``. Raises DeskError.

        Where the question is to change or record something, that is on the disk when this returns.
        """
        questions: dict[str, Callable[..., Any]] = {
            "status": self.status,
            "checkpoint": self.checkpoint,
            "configure": self.configure,
            "count": self.count,
            "keep": self.keep,
            "witnessed": self.witnessed,
            "notes": self.notes,
            "policy": self.policy,
            "record": self.record,
            "change": self.change,
            "erase": self.erase,
            "finish": self.finish,
        }
        arguments = {name: value for name, value in request.items() if name not in ("ask", "id")}
        try:
            return questions[request["ask"]](**arguments)
        except (LedgerError, PolicyError, RecordsError, SealError) as error:
            raise DeskError(str(error)) from None
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DeskError(f"the archive does not understand this question: {error}") from None

    # What the server asks

    def status(self) -> Json:
        """Return what the log knows of itself; nothing that is secret, and nobody's address."""
        ledger, records = self._ledger, self._records
        policy = ledger.policy
        newest = ledger.newest_note()
        last = records.leaf(ledger.size - 1) if ledger.size else None
        today = None if last is None else midnight(last.time)
        return {
            "origin": ledger.origin,
            "size": ledger.size,
            "last": last and last.time,
            "today": 0 if today is None else ledger.size - records.place(today),
            "days": [[class_name, day.isoformat()] for class_name, day in self._keys.list()],
            "officers": sorted(policy.public_keys()),
            "holds": sum(hold.released is None for hold in policy.holds),
            "retention": {name: asdict(retention) for name, retention in policy.retention.items()},
            "checkpoint": newest and newest[0],
            "witnessed": [{"sink": sink, "size": size, "at": at} for sink, size, at, _ in ledger.witnessed()],
            "todo": records.todo(),
            "recovery_sheet": self._sheet.exists(),
        }

    def checkpoint(self, old: int, size: int | None = None) -> Json:
        """Return the root of the log, now or when it had this size, and the proof that it grew from size ``old``."""
        size = self._ledger.size if size is None else size
        proof = self._ledger.consistency_proof(old, size)
        return {"size": size, "root": self._ledger.root(size).hex(), "proof": [step.hex() for step in proof]}

    def configure(self, event: str, after: Json, not_in_force: list[str]) -> None:
        """Record the configuration of the server, and the one before if it was another; remember it for the next."""
        policy = self._ledger.policy
        facts: Json = {"event": event, "after": after, "not_in_force": not_in_force}
        if policy.configuration != after:
            facts["before"] = policy.configuration
        entry = Entry(Type.CONFIG, AUDIT, "configuration", json_line(facts))
        self._ledger.change_policy(replace(policy, configuration=after), [entry])

    def count(self, first: int, until: int) -> int:
        """Return how many messages there are from index ``first`` to before ``until``."""
        return self._records.count(first, until, MESSAGES)

    def keep(self, size: int, note: str) -> None:
        """Keep a signed note on the log when it had this size."""
        self._ledger.keep_note(size, note)

    def witnessed(self, sink: str, size: int, at: int, note: str) -> None:
        """Remember what an outside sink has taken; the first of each hour is a record too.

        Each of them would not do: a record makes another checkpoint, which goes to the sinks, and so on for ever.
        """
        known = next((each for each in self._ledger.witnessed() if each.sink == sink), None)
        self._ledger.keep_witness(sink, size, at, note)
        if known is None or known.at // _HOUR != at // _HOUR:
            self._append(Type.WITNESS, "", {"sink": sink, "size": size, "note": note})

    # What the command line asks

    def notes(self) -> list[str]:
        """Return the newest signed notes: what each outside sink has taken, the oldest first, and our own."""
        taken = sorted(self._ledger.witnessed(), key=lambda each: each.size)
        newest = self._ledger.newest_note()
        return [each.note for each in taken if each.note] + ([newest[1]] if newest else [])

    def policy(self) -> Json:
        """Return the policy in force."""
        return self._ledger.policy.to_json()

    def record(self, type: str, facts: Json, conversation: str = "") -> int:
        """Record an "access", "export", "config" or "verify"; return its index.

        ``conversation`` is where it is filed: under an account it is about, or with all else of its class.
        """
        kind, class_name = _RECORDED[type]
        return self._ledger.append([Entry(kind, class_name, conversation or class_name, json_line(facts))])

    def change(self, change: str, by: str, purpose: str, case: str, arguments: Json) -> Json:
        """Change the policy, and record what it was before and is after; return the new policy, and the record's index.

        ``change`` is add_officer(name, public), remove_officer(name), set_retention(class, days, locked),
        add_hold(person, conversation, first, last) or release_hold(hold). ``finish`` takes the days from an officer.
        """
        part, apply = _CHANGES[change]
        before = self._ledger.policy
        after = apply(before, {**arguments, "by": by, "case": case}, self._now())
        facts = {"what": change, "by": by, "purpose": purpose, "case": case, **arguments}
        facts |= {"before": before.to_json()[part], "after": after.to_json()[part]}
        kind = Type.HOLD if part == "holds" else Type.CONFIG
        if change == "remove_officer":
            self._keys.check_withdrawal(arguments["name"])
        index = self._ledger.change_policy(after, [_entry(kind, AUDIT, facts)])
        return {"record": index, "policy": after.to_json()}

    def erase(
        self,
        *,
        kind: str,
        access: int,
        key: list[str],
        removed: list[list[int]],
        holds: list[int],
        content: str | None = None,
        resealed: dict[str, str] | None = None,
    ) -> int:
        """Record an erasure and destroy the keys, ``finish`` does the rest; return the place of the record.

        ``key`` is the class, the day and the key id, and ``removed`` the first and last of records: what that key has
        sealed of them goes. ``content`` (base64) is the day's new file of keys, None destroys it. ``resealed`` has new
        payloads (base64) by index. ``holds`` are those on the day that were looked at: if it is held in another way by
        now, the whole day is to go, the file opens to somebody who is no officer, or the class is locked, nothing is
        erased.
        """
        class_name, day, key_id = key[0], date.fromisoformat(key[1]), key[2]
        retention = self._ledger.policy.retention_of(class_name)
        if retention.locked and not retention.is_over(day, day_of(self._now())):
            raise DeskError(f"the class {class_name} is locked: nothing of {day} can be erased before its time")
        on_day = [hold.id for hold in self._ledger.policy.holds_on_day(day)]
        if on_day and content is None:
            raise DeskError(f"{day} is held: hold {on_day[0]}")
        if on_day != holds:
            raise DeskError(f"the holds on {day} have just changed: try again")
        payloads = {int(index): b64decode(text, validate=True) for index, text in (resealed or {}).items()}
        facts = {"kind": kind, "access": access, "key_id": key_id, "removed": removed}
        file = None if content is None else b64decode(content, validate=True)
        if file and not set(json.loads(file)["wraps"]["officers"]) <= set(self._ledger.policy.public_keys()):
            raise DeskError("the officers have just changed: try again")
        return self._ledger.erase(facts, payloads, class_name, day, file)

    def finish(self) -> bool:
        """Do some of what is left of erasures and removals; return whether there is more: then ask again."""
        return self._ledger.step()

    def _append(self, type: Type, class_name: str, facts: Json) -> int:
        return self._ledger.append([_entry(type, class_name, facts)])


def _entry(type: Type, class_name: str, facts: Json) -> Entry:
    return Entry(type, class_name, class_name, json_line(facts))  # the conversation of the class audit is named so, too


def _add_officer(policy: Policy, arguments: Json, now: int) -> Policy:
    try:
        public = PublicKey.parse(arguments["public"])
    except ValueError as error:
        raise PolicyError(str(error)) from None
    return policy.add_officer(arguments["name"], public, now)


def _remove_officer(policy: Policy, arguments: Json, now: int) -> Policy:
    return policy.remove_officer(arguments["name"], now)


def _set_retention(policy: Policy, arguments: Json, now: int) -> Policy:
    return policy.change_retention(arguments["class"], Retention(arguments["days"], arguments["locked"]))


def _add_hold(policy: Policy, arguments: Json, now: int) -> Policy:
    first, last = (text and date.fromisoformat(text) for text in (arguments["first"], arguments["last"]))
    return policy.add_hold(
        person=arguments["person"],
        conversation=arguments["conversation"],
        first=first,
        last=last,
        case=arguments["case"],
        by=arguments["by"],
        now=now,
    )


def _release_hold(policy: Policy, arguments: Json, now: int) -> Policy:
    return policy.release_hold(arguments["hold"], now)


_CHANGES: dict[str, tuple[str, Callable[[Policy, Json, int], Policy]]] = {
    "add_officer": ("officers", _add_officer),
    "remove_officer": ("officers", _remove_officer),
    "set_retention": ("retention", _set_retention),
    "add_hold": ("holds", _add_hold),
    "release_hold": ("holds", _release_hold),
}
