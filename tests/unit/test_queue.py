"""What waits for another server: in order, bounded, and not for ever."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vrxmpp.errors import Condition, StanzaError
from vrxmpp.net.queue import Queue
from vrxmpp.stanza import Stanza


def message(id: object, body: bytes = b"") -> Stanza:
    return Stanza("message", id=str(id), inner=body)


def ids(stanzas: list[Stanza]) -> list[str]:
    return [stanza.id for stanza in stanzas]


def make(*ids: object, stanzas: int = 10, bytes: int = 10_000, seconds: float = 60) -> Queue:
    """Return a queue in which these have waited since 0."""
    queue = Queue(stanzas=stanzas, bytes=bytes, seconds=seconds)
    for id in ids:
        queue.put(message(id), 0)
    return queue


def take_all(queue: Queue) -> list[str]:
    taken = []
    while (stanza := queue.take()) is not None:
        taken.append(stanza.id)
    return taken


def test_first_in_first_out() -> None:
    queue = make(1, 2, 3)
    assert len(queue) == 3
    assert take_all(queue) == ["1", "2", "3"]
    assert (len(queue), queue.bytes) == (0, 0)


def test_a_queue_full_of_stanzas_refuses_one_more() -> None:
    queue = make(1, 2, stanzas=2)
    with pytest.raises(StanzaError) as refused:
        queue.put(message(3), 0)
    assert (refused.value.condition, refused.value.type) == (Condition.RESOURCE_CONSTRAINT, "wait")
    queue.take()
    queue.put(message(4), 0)
    assert take_all(queue) == ["2", "4"]


def test_a_queue_full_of_bytes_refuses_what_does_not_fit() -> None:
    """To the byte; a small one may still fit where a large one does not."""
    size = len(message(1).raw)
    queue = make(1, bytes=3 * size)
    with pytest.raises(StanzaError):
        queue.put(message(2, b"x" * (2 * size)), 0)
    queue.put(message(3), 0)
    queue.put(message(4), 0)
    assert queue.bytes == 3 * size
    assert take_all(queue) == ["1", "3", "4"]


def test_who_has_waited_for_too_long_expires_in_order() -> None:
    queue = make(1, 2, seconds=60)
    queue.put(message(3), 10)
    assert queue.expired(60) == []
    assert ids(queue.expired(60.5)) == ["1", "2"]
    assert (len(queue), queue.bytes) == (1, len(message(3).raw))
    assert ids(queue.expired(71)) == ["3"]
    assert queue.expired(1000) == []


def test_all_can_be_taken_for_bouncing() -> None:
    queue = make(1, 2)
    assert ids(queue.clear()) == ["1", "2"]
    assert (len(queue), queue.bytes, queue.take()) == (0, 0, None)


@given(st.lists(st.sampled_from(["put", "take", "late"]), max_size=60))
def test_nothing_is_lost_or_doubled_and_the_order_stays(steps: list[str]) -> None:
    queue = make(stanzas=5, bytes=200, seconds=3)
    inside: list[str] = []  # what should wait, by id
    for now, step in enumerate(steps):
        match step:
            case "put":
                new = message(now, b"x" * (now % 40))
                fits = len(queue) < 5 and queue.bytes + len(new.raw) <= 200
                with nullcontext() if fits else pytest.raises(StanzaError):
                    queue.put(new, now)
                inside += [new.id] if fits else []
            case "take" if (stanza := queue.take()) is not None:
                assert stanza.id == inside.pop(0)
            case "late":
                late = ids(queue.expired(now))
                assert late == inside[: len(late)]
                del inside[: len(late)]
        assert len(queue) == len(inside)
        assert (queue.bytes == 0) == (not inside)
    assert ids(queue.clear()) == inside
    assert queue.bytes == 0
