"""A clock that is wrong once does not ruin the log: its time follows a far jump only when that has stood."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.audit_log import DAY, HOUR, NOON, SECOND, TODAY, Archive, check, message
from vrxmpp.audit.days import day_of
from vrxmpp.audit.leaf import Type
from vrxmpp.audit.ledger import Ledger

MINUTE = 60 * SECOND
FAR = 73 * 365 * DAY


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(tmp_path)


@pytest.fixture
def ledger(archive: Archive) -> Iterator[Ledger]:
    with closing(archive.open()) as ledger:
        ledger.append([message("before")])
        yield ledger


def steps(archive: Archive) -> list[int]:
    return [archive.facts(leaf.number)["step"] for leaf in archive.leaves() if leaf.type == Type.CLOCK]


def times(archive: Archive) -> list[int]:
    """Return when messages were said, since noon."""
    return [leaf.time - NOON for leaf in archive.leaves() if leaf.type == Type.MESSAGE]


def say_every_minute(archive: Archive, ledger: Ledger, minutes: int) -> None:
    for _ in range(minutes):
        archive.advance(MINUTE)
        ledger.append([message("x")])


@pytest.mark.parametrize("jump", [FAR, HOUR + SECOND])
def test_a_clock_that_is_far_ahead_for_a_while_is_on_record_and_nothing_else(
    archive: Archive, ledger: Ledger, jump: int
) -> None:
    archive.wall += jump
    say_every_minute(archive, ledger, 10)
    archive.wall -= jump
    say_every_minute(archive, ledger, 20)
    assert times(archive) == [minute * MINUTE for minute in range(31)]
    assert steps(archive) == [jump, -jump]
    assert len(archive.alarms) == 2
    assert archive.keys.list() == [("staff", TODAY)]
    check(archive, ledger.root())


def test_a_clock_that_stays_far_ahead_is_followed_after_ten_minutes(archive: Archive, ledger: Ledger) -> None:
    archive.wall += FAR
    say_every_minute(archive, ledger, 13)
    assert times(archive) == [
        *(minute * MINUTE for minute in range(11)),  # the jump was seen after the first minute
        *(FAR + minute * MINUTE for minute in range(11, 14)),
    ]
    assert steps(archive) == [FAR]
    assert len(archive.alarms) == 2
    assert "follow" in archive.alarms[1]
    check(archive, ledger.root())


def test_a_clock_that_is_followed_too_early_is_waited_for_and_days_end_again(archive: Archive, ledger: Ledger) -> None:
    archive.wall += 3 * DAY
    say_every_minute(archive, ledger, 12)
    archive.wall -= 3 * DAY
    say_every_minute(archive, ledger, 2)
    archive.advance(4 * DAY)
    ledger.append([message("x")])
    assert [day_of(leaf.time).day for leaf in archive.leaves() if leaf.type == Type.CLOSE] == [27, 28]
    check(archive, ledger.root())


def test_a_clock_that_jumps_about_is_not_followed(archive: Archive, ledger: Ledger) -> None:
    for _ in range(5):
        archive.wall += 2 * HOUR
        say_every_minute(archive, ledger, 9)
    assert times(archive) == [minute * MINUTE for minute in range(46)]
    assert steps(archive) == [2 * HOUR] * 5


def test_a_far_jump_that_could_not_be_recorded_is_recorded_later(archive: Archive, ledger: Ledger) -> None:
    ledger.close()
    with closing(archive.open()) as again:
        archive.wall += FAR
        again._database.value("PRAGMA query_only = ON")
        with pytest.raises(Exception, match="cannot be written"):
            again.append([message("x")])
        assert archive.alarms == []
        again._database.value("PRAGMA query_only = OFF")
        say_every_minute(archive, again, 2)
    assert steps(archive) == [FAR]
    assert times(archive) == [0, MINUTE, 2 * MINUTE]


def test_back_to_where_the_log_is_is_no_far_jump(archive: Archive, ledger: Ledger) -> None:
    archive.wall -= FAR
    say_every_minute(archive, ledger, 3)
    archive.wall += FAR
    say_every_minute(archive, ledger, 2)
    assert times(archive) == [0, 0, 0, 0, 4 * MINUTE, 5 * MINUTE]
    assert steps(archive) == [-FAR, FAR]


@pytest.mark.parametrize(("away", "recorded"), [(30 * DAY, []), (30 * DAY + SECOND, [30 * DAY + SECOND])])
def test_after_a_long_time_without_a_record_the_clock_is_followed_and_said(
    archive: Archive, ledger: Ledger, away: int, recorded: list[int]
) -> None:
    ledger.close()
    archive.advance(away)
    with closing(archive.open()) as again:
        again.append([message("x")])
        again.append([message("x")])
        assert times(archive) == [0, away, away]
        assert steps(archive) == recorded
        assert len(archive.alarms) == len(recorded)
        check(archive, again.root())


def test_a_log_without_records_follows_any_clock(archive: Archive) -> None:
    with closing(archive.open()) as ledger:
        ledger.append([message("x")])
    assert times(archive) == [0]
    assert archive.alarms == []
