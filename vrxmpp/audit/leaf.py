"""The leaf of a record: a header of fixed size, of which the tree is made (docs/audit-format.md)."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from functools import partial
from struct import Struct
from typing import NamedTuple

MAGIC = b"VXA1"
NONE = 2**64 - 1  # no record
PUBLIC = bytes(16)  # the key id, and the conversation-day, of what is not sealed

_LAYOUT = Struct(">4sBQQ16sIQ16s32s32sI")
LEAF_BYTES = _LAYOUT.size

# Where the fields are that are looked at without unpacking the rest.
TYPE = 4
CONVERSATION = slice(21, 37)
KEY_ID = slice(49, 65)
COMMITMENT = slice(65, 97)

pack = partial(_LAYOUT.pack, MAGIC)
"""Writes a leaf, from the fields of ``Leaf``."""


class Type(IntEnum):
    """What a record is about."""

    MESSAGE = 1
    EDIT = 2
    RETRACT = 3
    OUTCOME = 4
    SESSION = 5
    STREAM = 6
    ROSTER = 7
    CONFIG = 8
    ACCESS = 9
    EXPORT = 10
    HOLD = 11
    ERASE = 12
    CLOCK = 13
    RECONCILE = 14
    CLOSE = 15
    WITNESS = 16
    VERIFY = 17
    POLICY = 18


MESSAGES = frozenset((Type.MESSAGE, Type.EDIT, Type.RETRACT))
"""What somebody has said; each is accepted once by the server, and then routed or refused."""

WITH_STANZA = MESSAGES | {Type.OUTCOME}


class Leaf(NamedTuple):
    """The fields of a leaf, in their order on the disk."""

    type: int
    number: int
    time: int  # microseconds since 1970, UTC
    conversation: bytes  # its id on that day
    counter: int
    previous: int
    key_id: bytes
    commitment: bytes
    digest: bytes  # of the payload
    length: int  # of the payload

    def pack(self) -> bytes:
        """Write the leaf."""
        return pack(*self)

    @classmethod
    def unpack(cls, raw: bytes) -> Leaf:
        """Read a leaf; ValueError if it is none."""
        if len(raw) != LEAF_BYTES or raw[:4] != MAGIC:
            raise ValueError("this is no leaf")
        return cls._make(_LAYOUT.unpack(raw)[1:])


def _column(field: slice) -> str:
    return f"substr(leaf, {field.start + 1}, {field.stop - field.start})"


# The same fields of the column ``leaf``, as SQL has them, which counts from 1.
TYPE_COLUMN = _column(slice(TYPE, TYPE + 1))
CONVERSATION_COLUMN = _column(CONVERSATION)
KEY_ID_COLUMN = _column(KEY_ID)


def literals(values: Iterable[bytes]) -> str:
    """Return what a column may be, for the IN of SQL."""
    return ",".join(f"x'{value.hex()}'" for value in values)
