"""What becomes of a message, by whom it is for and who is there: the table of RFC 6121 §8.5.4."""

from __future__ import annotations

from enum import Enum, auto


class Address(Enum):
    """How a message is addressed. FULL: to a resource that is not there; to one that is, it is always delivered."""

    BARE = auto()
    FULL = auto()


class Situation(Enum):
    """Who could take a message: is there an account, has it an available resource of non-negative priority?"""

    NO_ACCOUNT = auto()
    ABSENT = auto()
    AVAILABLE = auto()


class Action(Enum):
    """What is done with the message."""

    MOST_AVAILABLE = auto()  # to the available resources of the highest priority
    ALL_AVAILABLE = auto()  # to all available resources of non-negative priority
    KEEP = auto()  # for later (XEP-0160)
    REFUSE = auto()  # answer service-unavailable
    IGNORE = auto()


# RFC 6121 §8.5.1 to §8.5.3. Where the RFC leaves the choice between silence and an error, the sender is told.
MESSAGES: dict[tuple[Address, Situation], dict[str, Action]] = {
    (Address.BARE, Situation.NO_ACCOUNT): {
        "normal": Action.REFUSE,
        "chat": Action.REFUSE,
        "groupchat": Action.REFUSE,
        "headline": Action.IGNORE,
        "error": Action.IGNORE,
    },
    (Address.FULL, Situation.NO_ACCOUNT): {
        "normal": Action.REFUSE,
        "chat": Action.REFUSE,
        "groupchat": Action.REFUSE,
        "headline": Action.IGNORE,
        "error": Action.IGNORE,
    },
    (Address.BARE, Situation.ABSENT): {
        "normal": Action.KEEP,
        "chat": Action.KEEP,
        "groupchat": Action.REFUSE,
        "headline": Action.IGNORE,
        "error": Action.IGNORE,
    },
    (Address.BARE, Situation.AVAILABLE): {
        "normal": Action.MOST_AVAILABLE,
        "chat": Action.MOST_AVAILABLE,
        "groupchat": Action.REFUSE,
        "headline": Action.ALL_AVAILABLE,
        "error": Action.IGNORE,
    },
    (Address.FULL, Situation.ABSENT): {
        "normal": Action.REFUSE,
        "chat": Action.KEEP,
        "groupchat": Action.REFUSE,
        "headline": Action.IGNORE,
        "error": Action.IGNORE,
    },
    (Address.FULL, Situation.AVAILABLE): {
        "normal": Action.REFUSE,
        "chat": Action.MOST_AVAILABLE,
        "groupchat": Action.REFUSE,
        "headline": Action.IGNORE,
        "error": Action.IGNORE,
    },
}


def action(address: Address, situation: Situation, type: str) -> Action:
    """Look the table up; a type that is missing or unknown is normal (RFC 6121 §5.2.2)."""
    row = MESSAGES[address, situation]
    return row.get(type, row["normal"])
