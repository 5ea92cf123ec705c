"""The policy of the archive: who reads it, how long it is kept, what is held, and how the server was configured."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import date
from typing import Any

from vrxmpp.audit.identity import PublicKey

Json = dict[str, Any]

RECOVERY = "recovery"
"""The officer of the recovery sheet, whom every archive has."""

_OFFICER = re.compile(r"[a-z][a-z0-9._-]{0,63}")
_CLASS = re.compile(r"[a-z][a-z0-9-]{0,31}")


class PolicyError(Exception):
    """The policy cannot be changed like that: one line says why."""


@dataclass(frozen=True, slots=True)
class Officer:
    """Somebody who may read. Times are microseconds since 1970, UTC; ``removed`` is None while they may."""

    public: str  # as PublicKey.text
    added: int
    removed: int | None = None


@dataclass(frozen=True, slots=True)
class Retention:
    """How long a class of records is kept. ``days`` None: for ever. ``locked``: it can only be lengthened."""

    days: int | None = None
    locked: bool = False

    def is_over(self, day: date, today: date) -> bool:
        """Whether what was recorded on a day has been kept for as long as it must be."""
        return self.days is not None and (today - day).days > self.days


@dataclass(frozen=True, slots=True)
class Hold:
    """What must be kept, whatever expires: empty and None mean any. Released where ``released`` is a time."""

    id: int
    person: str  # a bare JID
    conversation: str  # its name
    first: date | None
    last: date | None
    case: str
    by: str  # an officer
    since: int
    released: int | None = None

    def is_on(self, conversation: str, day: date, persons: Collection[str] = ()) -> bool:
        """Is this conversation of that day held? ``persons`` are those who spoke, for names that do not tell."""
        return (
            self.is_on_day(day)
            and self.conversation in ("", conversation)
            and (not self.person or self.person in persons or self.person in conversation.split(" "))
        )

    def is_on_day(self, day: date) -> bool:
        """Is anything of that day held?"""
        since_first = self.first is None or self.first <= day
        until_last = self.last is None or day <= self.last
        return self.released is None and since_first and until_last


@dataclass(frozen=True, slots=True)
class Policy:
    """All of it. It is never changed, but replaced: each change returns a new one."""

    officers: Mapping[str, Officer] = field(default_factory=dict)
    retention: Mapping[str, Retention] = field(default_factory=dict)
    holds: tuple[Hold, ...] = ()
    configuration: Json = field(default_factory=dict)

    def public_keys(self) -> dict[str, PublicKey]:
        """Return the keys of the officers who may read."""
        return {
            name: PublicKey.parse(officer.public) for name, officer in self.officers.items() if officer.removed is None
        }

    def add_officer(self, name: str, public: PublicKey, now: int) -> Policy:
        """Let somebody read from now on. A name is never given to another key: PolicyError."""
        check_officer_name(name)
        known = self.officers.get(name)
        if known and known.removed is None:
            raise PolicyError(f"there is an officer {name} already")
        if known and known.public != public.text:
            raise PolicyError(f"{name} was the name of an officer with another key; choose another name")
        return replace(self, officers={**self.officers, name: Officer(public.text, now)})

    def remove_officer(self, name: str, now: int) -> Policy:
        """Let somebody read no more. PolicyError if there is no such officer, or no other."""
        officer = self.officers.get(name)
        if officer is None or officer.removed is not None:
            raise PolicyError(f"there is no officer {name}")
        if len(self.public_keys()) == 1:
            raise PolicyError(f"{name} is the last officer: nobody could read the archive")
        return replace(self, officers={**self.officers, name: replace(officer, removed=now)})

    def retention_of(self, class_name: str) -> Retention:
        """Return how long a class is kept: for ever where nothing is said."""
        return self.retention.get(class_name, Retention())

    def change_retention(self, class_name: str, retention: Retention) -> Policy:
        """Change how long a class is kept. One that is locked can only be lengthened: PolicyError."""
        check_class_name(class_name)
        if retention.days is not None and retention.days < 1:
            raise PolicyError("a class is kept for one day at least")
        now = self.retention_of(class_name)
        if now.locked and not retention.locked:
            raise PolicyError(f"the retention of {class_name} is locked, and stays so")
        if now.locked and _is_shorter(retention.days, now.days):
            raise PolicyError(f"the retention of {class_name} is locked: it can only be lengthened")
        return replace(self, retention={**self.retention, class_name: retention})

    def add_hold(
        self, *, person: str, conversation: str, first: date | None, last: date | None, case: str, by: str, now: int
    ) -> Policy:
        """Hold a person's or a conversation's records; the new hold is the last of ``holds``."""
        if not (person or conversation or first or last):
            raise PolicyError("a hold names a person, a conversation or dates")
        if first and last and last < first:
            raise PolicyError("the hold ends before it begins")
        number = max((hold.id for hold in self.holds), default=0) + 1
        hold = Hold(number, person, conversation, first, last, case, by, now)
        return replace(self, holds=(*self.holds, hold))

    def release_hold(self, id: int, now: int) -> Policy:
        """Release a hold. PolicyError if there is none, or it is released."""
        if not any(hold.id == id and hold.released is None for hold in self.holds):
            raise PolicyError(f"there is no hold {id}")
        return replace(self, holds=tuple(replace(hold, released=now) if hold.id == id else hold for hold in self.holds))

    def holds_on(self, conversation: str, day: date, persons: Collection[str] = ()) -> list[Hold]:
        """Return the holds on a conversation of a day, in which ``persons`` have spoken."""
        return [hold for hold in self.holds if hold.is_on(conversation, day, persons)]

    def holds_on_day(self, day: date) -> list[Hold]:
        """Return the holds on anything of a day."""
        return [hold for hold in self.holds if hold.is_on_day(day)]

    def to_json(self) -> Json:
        """Return it as JSON has it."""
        return {
            "officers": {name: asdict(officer) for name, officer in self.officers.items()},
            "retention": {name: asdict(retention) for name, retention in self.retention.items()},
            "holds": [{**asdict(hold), "first": _text(hold.first), "last": _text(hold.last)} for hold in self.holds],
            "configuration": self.configuration,
        }

    @classmethod
    def from_json(cls, value: Json) -> Policy:
        """Read what ``to_json`` has written. PolicyError if it is not that."""
        try:
            return cls(
                officers={name: Officer(**officer) for name, officer in value["officers"].items()},
                retention={name: Retention(**retention) for name, retention in value["retention"].items()},
                holds=tuple(
                    Hold(**{**hold, "first": _date(hold["first"]), "last": _date(hold["last"])})
                    for hold in value["holds"]
                ),
                configuration=value["configuration"],
            )
        except (KeyError, TypeError, ValueError, AttributeError):
            raise PolicyError("the policy that is stored is none this program knows") from None


def check_officer_name(name: str) -> None:
    """Refuse what is no name for an officer: PolicyError."""
    if not _OFFICER.fullmatch(name):
        raise PolicyError("an officer's name is of a-z, 0-9, '.', '_' and '-', and begins with a letter")


def check_class_name(name: str) -> None:
    """Refuse what is no name for a class of records: PolicyError."""
    if not _CLASS.fullmatch(name):
        raise PolicyError("the name of a class is of a-z, 0-9 and '-', and begins with a letter")


def _is_shorter(days: int | None, than: int | None) -> bool:
    return days is not None and (than is None or days < than)


def _text(day: date | None) -> str | None:
    return None if day is None else day.isoformat()


def _date(text: str | None) -> date | None:
    return None if text is None else date.fromisoformat(text)
