"""The archive as the house sees it: nothing goes further before it is on the disk; bounds; start and stop."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import LogEvent

from tests.recorder import KEY, Scene, logged, message
from vrxmpp.audit.frames import Entry, Kind, frame_json
from vrxmpp.audit.leaf import Type
from vrxmpp.net.recorder import ArchiveError
from vrxmpp.stanza import PENDING, REFUSED


def watch_writes(scene: Scene) -> list[bytes]:
    """Return what is written to the recorder from now on, as it is written."""
    writes: list[bytes] = []
    write = scene.recorder.write

    def note(data: bytes) -> None:
        writes.append(data)
        write(data)

    scene.recorder.write = note  # type: ignore[method-assign]
    return writes


# -- the usual way


def test_a_message_goes_no_further_before_it_is_on_the_disk(scene: Scene) -> None:
    hello = message()
    scene.record(hello)
    scene.wait(5)
    assert (hello.record, scene.done) == (PENDING, [])
    scene.recorder.commit()
    assert (hello.record, scene.done) == (0, ["somebody"])


def test_the_record_holds_where_it_came_from_and_the_bytes_that_travel(scene: Scene) -> None:
    hello = message()
    scene.record(hello)
    scene.turn()
    [(number, entry)] = scene.recorder.got
    assert (number, entry.type, entry.class_name) == (1, Type.MESSAGE, "staff")
    assert entry.conversation == "juliet@library.example romeo@example.net"
    assert entry.envelope == b'{"address":"192.0.2.1"}\n' + hello.raw


def test_the_recorder_is_told_the_run_the_classes_and_the_origin(scene: Scene) -> None:
    hello = scene.recorder.hello
    assert hello["classes"] == ["", "audit", "patron", "staff"]
    assert hello["origin"] == "example.net/audit"
    assert len(bytes.fromhex(hello["run"])) == 16


def test_all_of_one_turn_goes_together_and_in_order(scene: Scene) -> None:
    writes = watch_writes(scene)
    messages = [message(str(number)) for number in range(100)]
    scene.record(*messages)
    scene.turn()
    assert len(writes) == 1
    scene.recorder.commit()
    assert [each.record for each in messages] == list(range(100))
    assert scene.texts() == [str(number) for number in range(100)]


def test_each_who_waits_is_called_once_a_batch_when_all_its_places_are_set(scene: Scene) -> None:
    first, second, third = message(), message(), message()
    seen: list[tuple[str, tuple[int, ...]]] = []

    class Stream:
        """Streams give a new bound method each time."""

        def __init__(self, name: str) -> None:
            self.name = name

        def recorded(self) -> None:
            seen.append((self.name, (first.record, second.record, third.record)))

    one, other = Stream("one"), Stream("other")
    scene.audit.record(first, b"{}", one.recorded)
    scene.audit.record(second, b"{}", other.recorded)
    scene.audit.record(third, b"{}", one.recorded)
    scene.turn()
    scene.recorder.commit()
    assert seen == [("one", (0, 1, 2)), ("other", (0, 1, 2))]


def test_a_part_of_what_waits_is_answered(scene: Scene) -> None:
    messages = [message() for _ in range(5)]
    scene.record(*messages)
    scene.turn()
    scene.recorder.commit(2)
    assert [each.record for each in messages] == [0, 1, PENDING, PENDING, PENDING]
    scene.log.entries.append((0, Entry(Type.ACCESS, "audit", "audit", b"")))  # the command line
    scene.recorder.commit()
    assert [each.record for each in messages] == [0, 1, 3, 4, 5]
    assert scene.done == ["somebody"] * 2


def test_one_who_fails_does_not_keep_the_others_from_going_on(scene: Scene, log: list[LogEvent]) -> None:
    def fail() -> None:
        raise RuntimeError("a bug")

    scene.audit.record(message(), b"{}", fail)
    scene.record(message())
    scene.turn()
    scene.recorder.commit()
    assert scene.done == ["somebody"]
    assert "failed" in logged(log)


def test_what_is_said_while_an_answer_is_dealt_with_comes_after_it(scene: Scene) -> None:
    second = message("second")
    scene.audit.record(message("first"), b"{}", lambda: scene.record(second))
    scene.turn()
    scene.recorder.commit()
    assert (second.record, scene.done) == (PENDING, [])
    scene.turn()
    scene.recorder.commit()
    assert second.record == 1


def test_a_question_is_asked_behind_what_was_recorded(scene: Scene) -> None:
    writes = watch_writes(scene)
    scene.record(message())
    answer = scene.archive.ask("checkpoint", old=7)
    assert [b'"ask"' in data for data in writes] == [False, True]
    assert scene.recorder.asked[0] | {"id": 0} == {"ask": "checkpoint", "old": 7, "id": 0}
    scene.recorder.answer({"size": 9})
    assert answer.result == {"size": 9}


# -- questions, and their end


def test_questions_fail_with_the_recorder(scene: Scene) -> None:
    answer = scene.archive.ask("status")
    failures: list[Any] = []
    answer.addErrback(failures.append)
    scene.recorder.die()
    scene.archive.ask("status").addErrback(failures.append)
    assert [str(each.value) for each in failures] == ["the recorder has ended", "the recorder is away"]


def test_an_answer_may_be_no(scene: Scene) -> None:
    failures: list[Any] = []
    scene.archive.ask("keep", note="x").addErrback(failures.append)
    scene.recorder.say(frame_json(Kind.ANSWER, {"id": scene.recorder.asked[0]["id"], "error": "no such size"}))
    assert failures[0].check(ArchiveError)
    assert str(failures[0].value) == "no such size"


def test_a_question_that_is_never_answered_ends_the_recorder(scene: Scene) -> None:
    failures: list[Any] = []
    scene.archive.ask("status").addErrback(failures.append)
    scene.wait(61)
    scene.recorder.is_seen_dead()
    assert len(failures) == 1


# -- bounds


def test_only_so_many_wait_and_the_rest_is_refused(scene: Scene) -> None:
    scene = Scene(most_entries=10)
    scene.recorder.ready()
    messages = [message() for _ in range(12)]
    scene.record(*messages)
    scene.turn()
    assert [each.record for each in messages] == [PENDING] * 10 + [REFUSED] * 2
    scene.recorder.commit()
    hello = message()
    scene.record(hello)
    scene.turn()
    scene.recorder.commit()
    assert hello.record == 10


def test_only_so_many_bytes_wait(scene: Scene) -> None:
    scene = Scene(most_bytes=100_000)
    scene.recorder.ready()
    messages = [message("x" * 30_000) for _ in range(4)]
    scene.record(*messages)
    scene.turn()
    assert [each.record for each in messages] == [PENDING] * 3 + [REFUSED]
    assert 90_000 < scene.archive.status()["waiting_bytes"] <= 100_000
    scene.recorder.commit()
    assert scene.archive.status()["waiting_bytes"] == 0


def test_notes_that_find_no_room_are_counted(scene: Scene) -> None:
    scene = Scene(most_entries=10)
    scene.recorder.ready()
    for _ in range(25):
        scene.audit.note("session", "romeo@example.net")
    scene.turn()
    assert len(scene.recorder.got) == 20
    assert scene.archive.status()["lost"] == 5


def test_what_no_frame_can_hold_is_refused(scene: Scene) -> None:
    scene = Scene(most_bytes=100_000_000)
    scene.recorder.ready()
    huge = message("x" * 16_777_216)
    scene.record(huge)
    scene.turn()
    assert huge.record == REFUSED
    assert scene.recorder.got == []


# -- start and stop


def test_the_start_is_over_when_the_recorder_is_ready_and_gives_the_storage_key() -> None:
    scene = Scene()
    assert not scene.started.called
    scene.recorder.ready()
    assert scene.started.result == KEY


def test_a_first_recorder_that_ends_at_once_says_why_and_no_other_is_started() -> None:
    scene = Scene()
    failures: list[Any] = []
    scene.started.addErrback(failures.append)
    scene.recorder.say(frame_json(Kind.NEWS, {"alarm": "/srv/keys/root.key: No such file or directory"}))
    scene.recorder.die()
    assert failures[0].check(ArchiveError)
    assert str(failures[0].value) == "/srv/keys/root.key: No such file or directory"
    scene.wait(120)
    assert len(scene.recorders) == 1


def test_the_stop_waits_for_what_is_being_written(scene: Scene) -> None:
    hello = message()
    scene.record(hello)
    stopped = Deferred.fromCoroutine(scene.archive.stop())
    scene.turn()
    assert not stopped.called
    assert scene.recorder.status is None
    scene.recorder.commit()
    assert hello.record == 0
    assert stopped.called
    assert scene.recorder.status == 0
    scene.wait(60)
    assert len(scene.recorders) == 1
    assert scene.clock.getDelayedCalls() == []


def test_the_stop_does_not_wait_for_ever(scene: Scene) -> None:
    scene.record(message())
    stopped = Deferred.fromCoroutine(scene.archive.stop())
    scene.wait(11)
    assert stopped.called


def test_a_recorder_that_does_not_end_is_killed(scene: Scene) -> None:
    scene.recorder.loseConnection = lambda: None  # type: ignore[method-assign]
    stopped = Deferred.fromCoroutine(scene.archive.stop())
    scene.wait(9)
    assert not stopped.called
    scene.wait(2)
    assert stopped.called
    assert scene.recorder.status == -9
