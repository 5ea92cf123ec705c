"""Frames between a server and its recorder: cut anywhere, they come out whole; what cannot be one is refused."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vrxmpp.audit.frames import (
    LONGEST,
    Entry,
    Frames,
    Kind,
    Range,
    frame,
    frame_entry,
    frame_json,
    frame_range,
    read_entry,
    read_range,
)

CLASSES = ["", "audit", "staff"]


@given(
    st.lists(st.tuples(st.sampled_from(list(Kind)), st.binary(max_size=300)), max_size=8),
    st.lists(st.integers(1, 40), min_size=1),
)
def test_frames_come_out_as_they_went_in_however_they_are_cut(
    frames: list[tuple[Kind, bytes]], steps: list[int]
) -> None:
    data = b"".join(frame(kind, body) for kind, body in frames)
    reader, at = Frames(), 0
    found: list[tuple[Kind, bytes]] = []
    while at < len(data):
        step = steps[at % len(steps)]
        found += reader.feed(data[at : at + step])
        at += step
    assert found == frames


@given(st.integers(1, 2**64 - 1), st.integers(1, 255), st.integers(0, 2), st.text(max_size=50), st.binary(max_size=90))
def test_an_entry_comes_out_as_it_went_in(
    number: int, type: int, class_index: int, conversation: str, envelope: bytes
) -> None:
    [(kind, body)] = Frames().feed(frame_entry(number, type, class_index, conversation.encode(), envelope))
    assert kind is Kind.ENTRY
    assert read_entry(body, CLASSES) == (number, Entry(type, CLASSES[class_index], conversation, envelope))


def test_what_was_dealt_with_comes_with_its_reason() -> None:
    [(kind, body)] = Frames().feed(frame_range(Kind.FAILED, Range(3, 9, 0), "the disk is full: 0 bytes left … sorry"))
    assert (kind, *read_range(body)) == (Kind.FAILED, Range(3, 9, 0), "the disk is full: 0 bytes left … sorry")


@pytest.mark.parametrize("length", [0, LONGEST + 1, 2**32 - 1])
def test_an_impossible_length_is_refused_before_anything_is_kept(length: int) -> None:
    with pytest.raises(ValueError, match="impossible length"):
        list(Frames().feed(struct.pack(">IB", length, Kind.ASK)))


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="99"):
        list(Frames().feed(struct.pack(">IB", 1, 99)))


def test_what_came_before_nonsense_is_heard() -> None:
    heard: list[tuple[Kind, bytes]] = []
    frames = Frames().feed(frame_json(Kind.ASK, 1) + frame_json(Kind.ASK, 2) + struct.pack(">IB", 1, 99))
    with pytest.raises(ValueError, match="99"):
        heard.extend(frames)
    assert heard == [(Kind.ASK, b"1"), (Kind.ASK, b"2")]


def test_an_entry_that_is_cut_short_is_refused() -> None:
    body = frame_entry(1, 1, 2, b"a@example.org b@example.org", b"")[5:]
    with pytest.raises(ValueError, match="cut short"):
        read_entry(body[:-1], CLASSES)
    with pytest.raises(struct.error):
        read_entry(body[:4], CLASSES)


def test_a_class_that_nobody_has_named_is_refused() -> None:
    with pytest.raises(IndexError):
        read_entry(frame_entry(1, 1, 3, b"a", b"")[5:], CLASSES)
