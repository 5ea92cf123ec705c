"""What a server and its recorder say to each other over their socket pair: frames of a length, a kind and a body.

A frame is `length (4) ‖ kind (1) ‖ body`, the length being that of kind and body. All numbers are big-endian.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from enum import IntEnum
from struct import Struct
from typing import Any, NamedTuple

LONGEST = 16_777_216  # bytes of one frame

SOCKET = "recorder.sock"
"""Where the command line asks a recorder, in the directory of the log: ASK and ANSWER."""

_HEAD = Struct(">IB")
_ENTRY = Struct(">QBBH")
_RANGE = Struct(">QQQ")


class Kind(IntEnum):
    """What a frame says."""

    # from the server
    HELLO = 1  # JSON: {"run": hex, "classes": [...], "origin": text}; first of all
    ENTRY = 2  # an entry for the log
    ASK = 3  # JSON: {"ask": name, "id": number, ...}; answered by ANSWER
    # from the recorder
    READY = 16  # JSON: {"committed": the last entry of this run, or 0; "size": n}; answers HELLO
    COMMITTED = 17  # first entry, last entry, place of the first in the log: these are on the disk
    FAILED = 18  # first entry, last entry, 0, and the reason: these are not, and will not be
    ANSWER = 19  # JSON: {"id": number, "ok": ...} or {"id": number, "error": text}
    NEWS = 20  # JSON, unasked: {"alarm": text} and the like


_KINDS = {kind.value: kind for kind in Kind}  # calling an enum costs more than cutting a frame


class Entry(NamedTuple):
    """Something to be recorded. ``class_name`` "" makes it public."""

    type: int
    class_name: str
    conversation: str
    envelope: bytes


class Range(NamedTuple):
    """Entries that were dealt with, by their numbers within the run, and the place in the log of the first."""

    first: int
    last: int
    at: int


def frame(kind: Kind, body: bytes) -> bytes:
    """Write a frame."""
    return _HEAD.pack(len(body) + 1, kind) + body


def frame_json(kind: Kind, value: Any) -> bytes:
    """Write a frame whose body is JSON."""
    return frame(kind, json.dumps(value, separators=(",", ":")).encode())


def frame_entry(number: int, type: int, class_index: int, conversation: bytes, envelope: bytes) -> bytes:
    """Write an entry. Numbers begin with 1 in each run; the class is a place in the list of HELLO."""
    length = len(conversation)
    head = _HEAD.pack(1 + _ENTRY.size + length + len(envelope), Kind.ENTRY)
    return b"".join((head, _ENTRY.pack(number, type, class_index, length), conversation, envelope))


def frame_range(kind: Kind, done: Range, reason: str = "") -> bytes:
    """Write COMMITTED or FAILED."""
    return frame(kind, _RANGE.pack(*done) + reason.encode())


def read_entry(body: bytes, classes: list[str]) -> tuple[int, Entry]:
    """Read the body of an entry: its number and itself. ValueError or IndexError if it is none."""
    number, type, class_index, length = _ENTRY.unpack_from(body)
    start = _ENTRY.size + length
    if start > len(body):
        raise ValueError("the entry is cut short")
    conversation = body[_ENTRY.size : start].decode()
    return number, Entry(type, classes[class_index], conversation, body[start:])


def read_range(body: bytes) -> tuple[Range, str]:
    """Read COMMITTED or FAILED: which entries, and the reason."""
    return Range._make(_RANGE.unpack_from(body)), body[_RANGE.size :].decode()


class Frames:
    """Cuts bytes into frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[Kind, bytes]]:
        """Take bytes; yield the frames that are whole. ValueError where a frame cannot be one."""
        self._buffer += data
        start, end = 0, len(self._buffer)
        try:
            while end - start >= _HEAD.size:
                length, kind = _HEAD.unpack_from(self._buffer, start)
                if not 0 < length <= LONGEST:
                    raise ValueError("a frame of an impossible length")
                after = start + 4 + length
                if after > end:
                    return
                body = bytes(self._buffer[start + _HEAD.size : after])
                start = after
                if kind not in _KINDS:
                    raise ValueError(f"a frame of the unknown kind {kind}")
                yield _KINDS[kind], body
        finally:
            del self._buffer[:start]
