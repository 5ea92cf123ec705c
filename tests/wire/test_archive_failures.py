"""A disk that takes nothing, and a recorder that does not answer: what is not archived is refused, or passed on."""

from __future__ import annotations

import pytest
from twisted.logger import LogEvent

from tests.recorder import Scene, facts, logged, message
from vrxmpp.audit.frames import Kind, Range, frame, frame_json, frame_range
from vrxmpp.audit.leaf import Type
from vrxmpp.stanza import PENDING, REFUSED, UNARCHIVED


@pytest.fixture
def lenient() -> Scene:
    """One that passes on what it cannot archive."""
    scene = Scene(refuse_on_failure=False)
    scene.recorder.ready()
    return scene


# -- a disk that takes nothing


def test_what_is_not_on_the_disk_is_refused_and_nothing_else(scene: Scene, log: list[LogEvent]) -> None:
    first, second = message("first"), message("second")
    scene.record(first)
    scene.turn()
    scene.recorder.fail("the disk is full")
    assert (first.record, scene.done) == (REFUSED, ["somebody"])
    assert scene.archive.status()["trouble"] == "the disk is full"

    scene.record(second)
    scene.turn()
    scene.recorder.commit()
    assert (second.record, scene.done) == (0, ["somebody", "somebody"])
    assert scene.archive.status()["trouble"] == ""
    assert scene.texts() == ["second"]
    assert "messages are refused: the disk is full" in logged(log)
    assert "archived again" in logged(log)


def test_trouble_is_logged_once_and_without_what_was_said(scene: Scene, log: list[LogEvent]) -> None:
    for _ in range(10):
        scene.record(message("a secret"))
        scene.turn()
        scene.recorder.fail()
    assert logged(log).count("messages are refused") == 1
    assert "secret" not in logged(log)


def test_notes_are_kept_until_they_can_be_written(scene: Scene) -> None:
    for number in range(3):
        scene.audit.note("session", "romeo@example.net", number=number)
    scene.turn()
    scene.recorder.fail()
    scene.wait(1)
    scene.recorder.fail()
    scene.wait(1)
    assert len(scene.recorder.got) == 3
    scene.recorder.commit()
    scene.wait(5)
    assert [facts(entry)["number"] for _, entry in scene.log.entries] == [0, 1, 2]
    assert scene.recorder.got == []


def test_many_notes_are_written_in_parts_that_leave_room_for_messages(scene: Scene) -> None:
    for number in range(1200):
        scene.audit.note("session", "romeo@example.net", number=number)
    scene.turn()
    scene.recorder.fail()
    scene.wait(1)
    assert len(scene.recorder.got) == 500
    scene.recorder.commit()
    scene.turn()
    scene.recorder.commit()
    scene.turn()
    scene.recorder.commit()
    assert [facts(entry)["number"] for _, entry in scene.log.entries] == list(range(1200))


def test_nothing_is_refused_because_a_note_fails(scene: Scene) -> None:
    hello = message()
    scene.audit.note("session", "romeo@example.net")
    scene.record(hello)
    scene.turn()
    [note, entry] = scene.recorder.got
    scene.recorder.got = [note]
    scene.recorder.fail()
    scene.recorder.got = [entry]
    scene.recorder.commit()
    assert hello.record == 0


# -- a recorder that does not answer


def test_a_message_that_waits_too_long_is_refused(scene: Scene) -> None:
    hello = message()
    scene.record(hello)
    scene.wait(9)
    assert hello.record == PENDING
    scene.wait(2.5)
    assert (hello.record, scene.done) == (REFUSED, ["somebody"])


def test_while_the_recorder_is_silent_new_messages_are_refused_at_once_but_not_within_the_call(scene: Scene) -> None:
    scene.record(message())
    scene.wait(12)
    late = message()
    scene.record(late, who="another")
    assert (late.record, scene.done) == (PENDING, ["somebody"])
    scene.turn()
    assert (late.record, scene.done) == (REFUSED, ["somebody", "another"])


def test_a_message_that_was_refused_and_is_on_the_disk_after_all_is_noted_as_refused(scene: Scene) -> None:
    hello = message()
    scene.record(hello)
    scene.turn()
    batch = scene.recorder.write_down()
    scene.wait(11)
    scene.recorder.say(batch)
    assert hello.record == REFUSED
    assert scene.done == ["somebody"], "it is not told twice"
    scene.turn()
    [(_, entry)] = scene.recorder.got
    assert entry.type == Type.OUTCOME
    assert facts(entry) == {"outcome": "refused", "record": 0}
    assert scene.archive.status()["late"] == 1


def test_a_late_answer_means_that_new_messages_are_taken_again(scene: Scene) -> None:
    scene.record(message())
    scene.wait(11)
    assert scene.archive.status()["trouble"]
    scene.recorder.commit()
    hello = message()
    scene.record(hello)
    scene.turn()
    scene.recorder.commit()
    assert hello.record >= 0


def test_a_late_refusal_of_the_recorder_means_that_new_messages_are_tried_again(scene: Scene) -> None:
    scene.recorder.say(frame_json(Kind.NEWS, {"busy": "expire"}))
    scene.record(message())
    scene.wait(12)
    scene.recorder.say(frame_json(Kind.NEWS, {"busy": ""}))
    scene.recorder.fail("the disk is full")
    hello = message()
    scene.record(hello)
    scene.turn()
    scene.recorder.commit()
    assert hello.record == 0


def test_a_silent_recorder_is_killed_and_another_started(scene: Scene, log: list[LogEvent]) -> None:
    scene.record(message())
    scene.wait(9)
    assert scene.recorder.status is None
    scene.wait(2)
    assert scene.recorder.status == -9
    assert "nothing was heard of it for 10 seconds" in logged(log)
    scene.recorder.is_seen_dead()
    scene.bring_back()
    assert len(scene.recorders) == 2
    hello = message()
    scene.record(hello)
    scene.turn()
    scene.recorder.commit()
    assert hello.record == 0


def test_a_slow_recorder_is_not_killed(scene: Scene) -> None:
    for _ in range(10):
        scene.record(message(), message())
        scene.wait(5)
        scene.recorder.commit(1)
    assert scene.recorder.status is None


def test_an_idle_recorder_is_not_killed(scene: Scene) -> None:
    scene.wait(3700)
    assert scene.recorder.status is None


def test_a_recorder_that_is_busy_for_the_command_line_is_given_time_but_messages_are_not_kept_waiting(
    scene: Scene,
) -> None:
    scene.recorder.say(frame_json(Kind.NEWS, {"busy": "erase"}))
    hello = message()
    scene.record(hello)
    scene.wait(300)
    assert hello.record == REFUSED
    assert scene.recorder.status is None
    scene.recorder.say(frame_json(Kind.NEWS, {"busy": ""}))
    scene.wait(11)
    assert scene.recorder.status == -9


def test_a_server_that_was_stopped_itself_does_not_kill_its_recorder(scene: Scene) -> None:
    scene.record(message())
    scene.turn()
    scene.clock.advance(600)
    assert scene.recorder.status is None


@pytest.mark.parametrize(
    "nonsense",
    [
        bytes(5),
        frame(Kind.HELLO, b"{}"),
        frame(Kind.READY, b"{}"),
        frame(Kind.READY, b"nonsense"),
        frame(Kind.ANSWER, b'{"id": 99, "ok": 1}'),
        frame(Kind.ANSWER, b"[]"),
        frame_range(Kind.COMMITTED, Range(1, 2, 0)),
        frame_range(Kind.COMMITTED, Range(2, 2, 0)),
        frame_range(Kind.FAILED, Range(0, 0, 0)),
        frame(Kind.COMMITTED, b""),
    ],
)
def test_a_recorder_that_makes_no_sense_is_ended(scene: Scene, nonsense: bytes) -> None:
    hello = message()
    scene.record(hello)
    scene.turn()
    scene.recorder.say(nonsense)
    assert scene.recorder.status == -9
    assert hello.record == PENDING
    scene.recorder.is_seen_dead()
    scene.bring_back()
    scene.recorder.commit()
    assert hello.record == 0


# -- where messages are passed on


def test_it_is_said_at_every_start_that_messages_may_be_missing(log: list[LogEvent]) -> None:
    Scene(refuse_on_failure=False)
    assert "passed on even when they cannot be archived" in logged(log)


def test_what_is_not_on_the_disk_is_passed_on_and_written_later(lenient: Scene) -> None:
    hello = message("hello")
    lenient.record(hello)
    lenient.turn()
    lenient.recorder.fail()
    assert (hello.record, lenient.done) == (UNARCHIVED, ["somebody"])
    assert lenient.archive.status()["unarchived"] == 1
    lenient.wait(1)
    lenient.recorder.commit()
    lenient.wait(5)
    assert (hello.record, lenient.done) == (UNARCHIVED, ["somebody"])
    assert lenient.written() == [(Type.MESSAGE, "staff", "juliet@library.example romeo@example.net")]


def test_while_there_is_no_recorder_messages_are_passed_on_at_once_and_written_later(lenient: Scene) -> None:
    lenient.record(message("0"))
    lenient.turn()
    lenient.recorder.write_down()
    lenient.cannot_start = True
    lenient.recorder.die()
    lenient.wait(12)
    lenient.record(message("1"), message("2"))
    lenient.turn()
    assert lenient.done == ["somebody"] * 2
    lenient.cannot_start = False
    lenient.bring_back()
    lenient.recorder.commit()
    lenient.wait(5)
    assert lenient.texts() == ["0", "1", "2"], "once each, and without outcomes"
    assert len(lenient.log.entries) == 3


def test_where_there_is_no_room_they_are_passed_on_all_the_same() -> None:
    scene = Scene(refuse_on_failure=False, most_entries=2)
    scene.recorder.ready()
    messages = [message() for _ in range(4)]
    scene.record(*messages)
    scene.turn()
    assert [each.record for each in messages] == [PENDING, PENDING, UNARCHIVED, UNARCHIVED]
    scene.recorder.commit()
    assert len(scene.log.entries) == 2
