"""A recorder that dies: nothing is lost, nothing is written twice, and each hour it is on record that all is there."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import LogEvent

from tests.recorder import Scene, facts, logged, message
from vrxmpp.audit.frames import Entry
from vrxmpp.audit.leaf import Type
from vrxmpp.net.archive import SOMEWHERE
from vrxmpp.stanza import PENDING, REFUSED

# -- a recorder that dies


def test_what_the_dead_had_not_written_is_written_by_the_next(scene: Scene) -> None:
    messages = [message(str(number)) for number in range(3)]
    scene.record(*messages)
    scene.turn()
    scene.recorder.die()
    scene.bring_back()
    assert scene.recorder.hello == scene.recorders[0].hello, "the run is the server's"
    scene.recorder.commit()
    assert [each.record for each in messages] == [0, 1, 2]
    assert scene.texts() == ["0", "1", "2"]


def test_what_the_dead_had_written_and_not_said_is_looked_up_and_not_written_twice(scene: Scene) -> None:
    messages = [message(str(number)) for number in range(4)]
    scene.record(*messages)
    scene.turn()
    scene.recorder.commit(1)
    scene.recorder.write_down(2)
    scene.recorder.die()
    scene.bring_back()
    assert [each.record for each in messages] == [0, SOMEWHERE, SOMEWHERE, PENDING]
    assert scene.done == ["somebody", "somebody"]
    scene.recorder.commit()
    assert messages[3].record == 3
    assert scene.texts() == ["0", "1", "2", "3"]


def test_an_outcome_does_not_name_a_place_that_nobody_knows(scene: Scene) -> None:
    hello = message()
    scene.record(hello)
    scene.turn()
    scene.recorder.write_down()
    scene.recorder.die()
    scene.bring_back()
    scene.audit.outcome(hello, "kept")
    scene.turn()
    assert facts(scene.recorder.got[0][1]) == {"outcome": "kept"}


def test_what_was_said_before_death_is_heard(scene: Scene) -> None:
    hello = message()
    scene.record(hello)
    scene.turn()
    batch = scene.recorder.write_down()
    scene.recorder.kill()
    scene.recorder.say(batch)
    scene.recorder.is_seen_dead()
    assert hello.record == 0


def test_what_came_while_there_was_no_recorder_waits_for_the_next_in_order(scene: Scene) -> None:
    scene.record(message("0"))
    scene.turn()
    scene.recorder.die()
    scene.record(message("1"))
    scene.turn()
    scene.record(message("2"))  # not even flushed when the next is there
    scene.bring_back()
    scene.record(message("3"))
    scene.turn()
    scene.recorder.commit()
    assert scene.texts() == ["0", "1", "2", "3"]
    assert [number for number, _ in scene.log.entries] == [1, 2, 3, 4]


def test_what_comes_back_from_the_dead_still_has_only_its_patience(scene: Scene) -> None:
    hello = message()
    scene.record(hello)
    scene.turn()
    scene.recorder.die()
    scene.wait(5)
    scene.recorder.ready()
    scene.wait(6.5)
    assert hello.record == REFUSED


def test_what_was_refused_meanwhile_is_not_written_by_the_next(scene: Scene) -> None:
    hello = message("refused")
    scene.record(hello)
    scene.audit.note("session", "romeo@example.net")
    scene.turn()
    scene.recorder.die()
    scene.wait(20)
    assert hello.record == REFUSED
    scene.recorder.ready()
    scene.record(message("taken"))
    scene.turn()
    scene.recorder.commit()
    assert scene.texts() == ["taken"]
    assert [type for type, _, _ in scene.written()] == [Type.SESSION, Type.MESSAGE]
    assert scene.archive.status()["waiting_bytes"] == 0


def test_what_was_refused_meanwhile_and_the_dead_had_written_is_noted(scene: Scene) -> None:
    hello = message()
    scene.record(hello)
    scene.turn()
    scene.recorder.write_down()
    scene.recorder.die()
    scene.wait(20)
    scene.recorder.ready()
    assert hello.record == REFUSED
    scene.turn()
    assert [facts(entry) for _, entry in scene.recorder.got] == [{"outcome": "refused"}]


def test_once_the_recorder_has_been_away_for_too_long_messages_are_refused_at_once(scene: Scene) -> None:
    scene.cannot_start = True
    scene.recorder.die()
    early = message()
    scene.record(early)
    scene.wait(5)
    assert early.record == PENDING
    scene.wait(7)
    late = message()
    scene.record(late)
    scene.turn()
    assert late.record == REFUSED
    scene.cannot_start = False
    scene.bring_back()
    hello = message()
    scene.record(hello)
    scene.turn()
    scene.recorder.commit()
    assert hello.record == 0


def test_recorders_are_started_with_growing_pauses(scene: Scene) -> None:
    for _ in range(12):
        scene.wait(15)
        if scene.recorder.status is None:
            scene.recorder.die()
    pauses = len(scene.recorders)
    assert 8 <= pauses <= 13
    scene.wait(60)
    before = len(scene.recorders)
    for _ in range(40):
        scene.wait(0.25)
        if scene.recorder.status is None:
            scene.recorder.die()
    assert len(scene.recorders) - before <= 2


def test_no_two_recorders_live_at_once(scene: Scene) -> None:
    old = scene.recorder
    killed: list[int] = []
    old.kill = lambda: killed.append(1)  # type: ignore[method-assign]  # it waits for the disk, and cannot be killed
    old.link.connectionLost()
    scene.wait(30)
    assert len(scene.recorders) == 1
    assert killed
    old.status = -9
    scene.wait(20)
    assert len(scene.recorders) == 2


def test_a_recorder_that_never_begins_is_killed(scene: Scene) -> None:
    scene.recorder.die()
    scene.wait(5)
    assert len(scene.recorders) == 2
    scene.wait(50)
    assert scene.recorder.status is None
    scene.wait(11)
    assert scene.recorder.status == -9


# -- reconciliation


def reconciled(scene: Scene) -> list[Any]:
    return [facts(entry) for _, entry in scene.log.entries if entry.type == Type.RECONCILE]


def live(scene: Scene, seconds: int) -> None:
    """Let time pass, with a recorder that does its work."""
    for _ in range(seconds):
        scene.wait(1)
        while scene.recorder.asked:
            first, until = scene.recorder.asked[0]["first"], scene.recorder.asked[0]["until"]
            counted = [entry for _, entry in scene.log.entries[first:until] if entry.type in (1, 2, 3)]
            scene.recorder.answer(len(counted))
        if scene.recorder.got:
            scene.recorder.commit()


def test_each_hour_it_is_on_record_that_all_is_there(scene: Scene) -> None:
    scene.record(message(), message())
    live(scene, 1)
    scene.record(message())
    scene.turn()
    scene.recorder.fail()
    scene.record(message(type="error"))
    scene.router.routed += 2
    live(scene, 3600)
    scene.record(message())
    live(scene, 3600)
    kept = {"refused": 0, "unarchived": 0, "late": 0, "lost": 0}
    assert reconciled(scene) == [
        {"since": 0, "until": 3, "accepted": 3, "routed": 2, "archived": 2, **kept, "refused": 1},
        {"since": 3, "until": 5, "accepted": 1, "routed": 0, "archived": 1, **kept},
    ]
    assert scene.archive.status()["missing"] == 0


def test_a_message_that_is_not_in_the_log_is_missed_within_seconds(scene: Scene, log: list[LogEvent]) -> None:
    scene.record(message(), message())
    scene.turn()
    batch = scene.recorder.write_down()
    scene.log.entries[1] = (0, Entry(Type.ACCESS, "audit", "audit", b"{}\n"))
    scene.recorder.say(batch)
    live(scene, 11)
    assert scene.archive.status()["missing"] == 1
    assert "of 2 messages, 1 are not in the log" in logged(log)
    live(scene, 3600)
    assert [(each["accepted"], each["archived"]) for each in reconciled(scene)] == [(2, 1)]


def test_a_refused_message_that_is_in_the_log_is_not_missed_and_not_one_too_many(scene: Scene) -> None:
    scene.record(message())
    scene.turn()
    batch = scene.recorder.write_down()
    scene.wait(11)
    scene.recorder.say(batch)
    live(scene, 3600)
    assert [(each["accepted"], each["refused"], each["late"], each["archived"]) for each in reconciled(scene)] == [
        (1, 1, 1, 1)
    ]
    assert scene.archive.status()["missing"] == 0


def test_it_is_reconciled_at_the_end(scene: Scene) -> None:
    scene.record(message())
    scene.turn()
    scene.recorder.commit()
    stopped = Deferred.fromCoroutine(scene.archive.stop())
    scene.recorder.answer(1)
    scene.turn()
    scene.recorder.commit()
    assert stopped.called
    assert len(reconciled(scene)) == 1


def test_a_count_that_fails_is_made_up_for(scene: Scene) -> None:
    scene.record(message())
    scene.turn()
    scene.recorder.commit()
    scene.wait(10)
    assert scene.recorder.asked
    scene.recorder.die()
    scene.bring_back()
    live(scene, 3600)
    assert [(each["accepted"], each["archived"]) for each in reconciled(scene)] == [(1, 1)]
