"""The recorder's loop: batches, their answers, questions between them, and who else may ask."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from vrxmpp.audit.desk import DeskError
from vrxmpp.audit.frames import (
    Entry,
    Frames,
    Kind,
    Range,
    frame,
    frame_entry,
    frame_json,
    frame_range,
    read_range,
)
from vrxmpp.audit.leaf import Type
from vrxmpp.audit.ledger import LedgerError
from vrxmpp.audit.recorder import Recorder, listen

KEY = bytes(range(32))
RUN = bytes(range(16))
HELLO = frame_json(Kind.HELLO, {"run": RUN.hex(), "classes": ["", "audit", "staff"], "origin": "example.net/audit"})
SECONDS = 10.0  # after which a test has failed


class Book:
    """A ledger in memory."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.batches: list[int] = []
        self.runs: dict[bytes, int] = {}
        self.full = False
        self.stuck = False
        self.steps = 0  # that are left
        self.stepped: list[int] = []  # how many batches there were at each
        self.before: Callable[[], None] = lambda: None  # is called before each batch
        self.alarm: Callable[[str], None] = lambda text: None

    @property
    def size(self) -> int:
        return len(self.entries)

    def append(self, entries: Any, *, run: bytes = b"", last: int = 0) -> int:
        self.before()
        if self.full:
            raise LedgerError("the disk is full")
        at = len(self.entries)
        self.entries += entries
        self.batches.append(len(entries))
        self.runs[run] = last
        return at

    def committed(self, run: bytes) -> int:
        return self.runs.get(run, 0)

    def step(self) -> bool:
        if self.stuck:
            raise LedgerError("the disk is full")
        if not self.steps:
            return False
        self.steps -= 1
        self.stepped.append(len(self.batches))
        return self.steps > 0


class Clerk:
    """A desk that repeats what it was asked."""

    def perform(self, request: Any) -> Any:
        match request["ask"]:
            case "erase":
                raise DeskError("it is held")
            case "crash":
                raise RuntimeError("a bug with a secret in it")
        return {"asked": request["ask"]}


class Line:
    """One end of a socket, with frames on it."""

    def __init__(self, end: socket.socket) -> None:
        end.settimeout(SECONDS)
        self.end = end
        self._frames = Frames()
        self._read: list[tuple[Kind, bytes]] = []

    def send(self, *frames: bytes) -> None:
        self.end.sendall(b"".join(frames))

    def read(self) -> tuple[Kind, Any]:
        """Return the next frame, its body read."""
        while not self._read:
            data = self.end.recv(65_536)
            if not data:
                raise EOFError
            self._read += self._frames.feed(data)
        kind, body = self._read.pop(0)
        return kind, read_range(body) if kind in (Kind.COMMITTED, Kind.FAILED) else json.loads(body)

    def rest(self) -> list[tuple[Kind, Any]]:
        found = []
        try:
            while True:
                found.append(self.read())
        except EOFError:
            return found


class Running:
    """A recorder in a thread; it has ended when this is closed."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "recorder.sock"
        self.book = Book()
        ours, self._theirs = socket.socketpair()
        self.server = Line(ours)
        self._listener = listen(self.path)
        self.failure: Exception | None = None
        self._recorder = Recorder(self._theirs, self._listener, self.book, Clerk(), KEY)
        self._thread = Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        try:
            self._recorder.run()
        except Exception as error:
            self.failure = error
        finally:
            self._theirs.close()

    def start(self) -> Running:
        self._thread.start()
        return self

    def visit(self) -> Line:
        visitor = socket.socket(socket.AF_UNIX)
        visitor.connect(str(self.path))
        return Line(visitor)

    def end(self) -> list[tuple[Kind, Any]]:
        """Close the server's side; return what the recorder has still said."""
        self.server.end.shutdown(socket.SHUT_WR)
        said = self.server.rest()
        self._thread.join(SECONDS)
        assert not self._thread.is_alive()
        return said

    def close(self) -> None:
        self.server.end.close()
        if self._thread.ident:
            self._thread.join(SECONDS)
        self._listener.close()


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    running = Running(tmp_path)
    yield running
    running.close()


def entry(number: int, envelope: bytes = b"{}\n<message/>", type: int = Type.MESSAGE) -> bytes:
    return frame_entry(number, type, 2, b"a@example.net b@example.net", envelope)


def test_it_says_how_far_this_run_and_the_log_have_come_and_gives_the_storage_key(running: Running) -> None:
    running.book.runs = {RUN: 17, b"another": 99}
    running.book.entries = [Entry(1, "staff", "", b"")] * 30
    running.start().server.send(HELLO)
    assert running.server.read() == (Kind.READY, {"committed": 17, "size": 30, "storage_key": KEY.hex()})


def test_what_has_come_together_is_one_batch_and_is_answered_by_its_numbers_and_place(running: Running) -> None:
    running.book.entries = [Entry(1, "staff", "", b"")] * 3
    running.server.send(HELLO, entry(5), entry(6), entry(9))
    running.start()
    running.server.read()
    assert running.server.read() == (Kind.COMMITTED, (Range(5, 9, 3), ""))
    assert running.book.entries[3:] == [Entry(1, "staff", "a@example.net b@example.net", b"{}\n<message/>")] * 3
    assert running.book.runs[RUN] == 9
    running.end()
    assert running.book.batches == [3], "what is due is looked for when nothing has come for a while"


def test_batches_are_bounded(running: Running) -> None:
    running.server.end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    running.server.send(HELLO, *(entry(number) for number in range(1, 1201)))
    running.start()
    said = running.end()
    assert [each[0][:2] for kind, each in said if kind is Kind.COMMITTED] == [(1, 500), (501, 1000), (1001, 1200)]


def test_batches_are_bounded_in_bytes(running: Running) -> None:
    running.start()
    running.server.send(HELLO, *(entry(number, bytes(3_000_000)) for number in range(1, 9)))
    running.end()
    assert sum(running.book.batches) == 8
    assert max(running.book.batches) <= 3


def test_what_cannot_be_written_is_said_with_the_reason_and_the_next_batch_is_tried_anew(running: Running) -> None:
    running.book.full = True
    running.start().server.send(HELLO, entry(1), entry(2))
    running.server.read()
    assert running.server.read() == (Kind.FAILED, (Range(1, 2, 0), "the disk is full"))
    running.book.full = False
    running.server.send(entry(3))
    assert running.server.read() == (Kind.COMMITTED, (Range(3, 3, 0), ""))


def test_after_any_other_failure_nobody_knows_so_it_ends_without_an_answer(running: Running) -> None:
    def fail() -> None:
        raise RuntimeError("a bug")

    running.book.before = fail
    running.start().server.send(HELLO, entry(1))
    assert [kind for kind, _ in running.server.rest()] == [Kind.READY]
    assert isinstance(running.failure, RuntimeError)


def test_what_had_come_before_the_server_died_is_still_written(running: Running) -> None:
    running.server.send(HELLO, *(entry(number) for number in range(1, 101)), entry(101)[:-1])
    running.server.end.close()
    running.start()
    running._thread.join(SECONDS)
    assert len(running.book.entries) == 100
    assert running.failure is None


def test_a_question_is_answered_between_what_came_before_and_after_it(running: Running) -> None:
    ask = frame_json(Kind.ASK, {"ask": "status", "id": 7})
    running.server.send(HELLO, entry(1), ask, entry(2))
    running.start()
    said = [running.server.read() for _ in range(4)]
    assert [kind for kind, _ in said] == [Kind.READY, Kind.COMMITTED, Kind.ANSWER, Kind.COMMITTED]
    assert said[2][1] == {"id": 7, "ok": {"asked": "status"}}


@pytest.mark.parametrize("name", ["policy", "record", "change", "erase", "nonsense"])
def test_a_server_may_ask_no_more_than_it_needs(running: Running, name: str) -> None:
    running.start().server.send(HELLO, frame_json(Kind.ASK, {"ask": name, "id": 1}))
    running.server.read()
    assert running.server.read() == (Kind.ANSWER, {"id": 1, "error": f"a server may not ask for this: {name}"})


@pytest.mark.parametrize(
    "type", [Type.ACCESS, Type.EXPORT, Type.HOLD, Type.ERASE, Type.CLOSE, Type.WITNESS, Type.POLICY]
)
def test_a_server_cannot_make_up_what_others_record(running: Running, type: Type) -> None:
    running.server.send(HELLO, entry(1, type=type))
    running.start()
    running._thread.join(SECONDS)
    assert isinstance(running.failure, ValueError)
    assert running.book.entries == []


@pytest.mark.parametrize(
    "nonsense",
    [
        entry(1),  # before it is said who asks
        frame(Kind.HELLO, b"{}"),
        HELLO + frame_range(Kind.COMMITTED, Range(1, 1, 0)),
        HELLO + frame_entry(1, 1, 9, b"", b""),
        bytes(5),
    ],
)
def test_a_server_that_makes_no_sense_is_left(running: Running, nonsense: bytes) -> None:
    running.start().server.send(nonsense)
    running.server.rest()
    running._thread.join(SECONDS)
    assert running.failure is not None
    assert running.book.entries == []


# -- the command line


def test_the_command_line_may_ask_everything(running: Running) -> None:
    running.start().server.send(HELLO)
    visitor = running.visit()
    for number in (1, 2):
        visitor.send(frame_json(Kind.ASK, {"ask": "change", "id": number}))
        assert visitor.read() == (Kind.ANSWER, {"id": number, "ok": {"asked": "change"}})


def test_an_answer_may_be_no_and_a_bug_is_not_quoted(running: Running) -> None:
    running.start().server.send(HELLO)
    visitor = running.visit()
    visitor.send(frame_json(Kind.ASK, {"ask": "erase", "id": 1}), frame_json(Kind.ASK, {"ask": "crash", "id": 2}))
    assert visitor.read() == (Kind.ANSWER, {"id": 1, "error": "it is held"})
    assert visitor.read() == (Kind.ANSWER, {"id": 2, "error": "the recorder failed: RuntimeError"})


def test_the_server_hears_that_somebody_else_has_the_recorders_time(running: Running) -> None:
    running.start().server.send(HELLO)
    running.server.read()
    visitor = running.visit()
    visitor.send(frame_json(Kind.ASK, {"ask": "change", "id": 1}))
    visitor.read()
    assert running.server.read() == (Kind.NEWS, {"busy": "change"})
    assert running.server.read() == (Kind.NEWS, {"busy": ""})


def test_a_visitor_is_answered_while_much_is_written(running: Running) -> None:
    visitor = running.visit()
    visitor.send(frame_json(Kind.ASK, {"ask": "status", "id": 1}))
    served: list[int] = []

    def note() -> None:
        visitor.end.setblocking(False)
        try:
            visitor.end.recv(1000, socket.MSG_PEEK)
        except BlockingIOError:
            return
        served.append(len(running.book.batches))

    running.book.before = note
    running.server.end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    running.server.send(HELLO, *(entry(number) for number in range(1, 1501)))
    running.start()
    running.end()
    assert served[0] <= 1


@pytest.mark.parametrize("nonsense", [b"GET / HTTP/1.0\r\n\r\n", HELLO, entry(1), frame(Kind.ASK, b"x" * 9)[:5]])
def test_a_visitor_that_makes_no_sense_is_shown_out_and_hurts_nobody(running: Running, nonsense: bytes) -> None:
    running.start().server.send(HELLO)
    visitor = running.visit()
    visitor.send(nonsense)
    visitor.end.shutdown(socket.SHUT_WR)
    with pytest.raises((EOFError, ConnectionResetError)):
        visitor.read()
    running.server.send(entry(1))
    running.server.read()
    assert running.server.read()[0] is Kind.COMMITTED


@pytest.mark.parametrize("question", [b"nonsense", b"[]", b"{}", b"[" * 100_000, b"\xff"])
def test_what_is_no_question_is_said_to_be_none(running: Running, question: bytes) -> None:
    running.start().server.send(HELLO)
    visitor = running.visit()
    visitor.send(frame(Kind.ASK, question))
    assert visitor.read() == (Kind.ANSWER, {"id": None, "error": "this is no question"})


def test_a_visitor_who_does_not_read_keeps_nobody_waiting(running: Running) -> None:
    running.start().server.send(HELLO)
    running.server.read()
    visitor = running.visit()
    asks = [frame_json(Kind.ASK, {"ask": "x" * 100_000, "id": number}) for number in range(3)]
    visitor.send(*asks)
    other = running.visit()
    other.send(frame_json(Kind.ASK, {"ask": "status", "id": 1}))
    assert other.read()[0] is Kind.ANSWER
    assert [visitor.read()[1]["id"] for _ in asks] == [0, 1, 2]


def test_only_so_many_visitors_are_let_in(running: Running) -> None:
    running.start().server.send(HELLO)
    inside = [running.visit() for _ in range(8)]
    for visitor in inside:
        visitor.send(frame_json(Kind.ASK, {"ask": "status", "id": 1}))
        visitor.read()
    late = running.visit()
    with pytest.raises((EOFError, ConnectionResetError)):
        late.read()
    inside.pop().end.close()
    for _ in range(1000):
        late = running.visit()
        try:
            late.send(frame_json(Kind.ASK, {"ask": "status", "id": 1}))
            assert late.read()[0] is Kind.ANSWER
            break
        except (OSError, EOFError):
            continue  # it has not seen the other go
    else:
        raise AssertionError("nobody is let in any more")


def test_strangers_are_not_let_in(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vrxmpp.audit.recorder._uid_of", lambda connection: 12_345)
    running.start().server.send(HELLO)
    with pytest.raises((EOFError, ConnectionResetError)):
        running.visit().read()


def test_the_socket_is_for_its_owner_alone_and_takes_the_place_of_a_dead_one(tmp_path: Path) -> None:
    path = tmp_path / "recorder.sock"
    listen(path).close()
    with listen(path):
        assert path.stat().st_mode & 0o777 == 0o600


def test_an_alarm_of_the_log_reaches_the_server(running: Running) -> None:
    running.book.before = lambda: running.book.alarm("the clock has jumped by +3.0 s")
    running.start().server.send(HELLO, entry(1))
    running.server.read()
    assert running.server.read() == (Kind.NEWS, {"alarm": "the clock has jumped by +3.0 s"})
    assert running.server.read()[0] is Kind.COMMITTED


def test_when_nothing_happens_it_looks_whether_the_day_is_over(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vrxmpp.audit.recorder._IDLE_SECONDS", 0.01)
    running.book.before = lambda: running.book.alarm("the day is over")
    running.start()
    assert running.server.read() == (Kind.NEWS, {"alarm": "the day is over"})
    assert running.book.entries == []


def test_erasures_are_finished_step_by_step_between_batches(running: Running) -> None:
    running.book.steps = 5
    running.server.end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    running.server.send(HELLO, *(entry(number) for number in range(1, 1201)))
    running.start()
    running.end()
    assert running.book.stepped == [0, 1, 2, 3], "the rest is for the next recorder"


def test_what_a_visitor_has_erased_is_finished_when_the_visitor_is_gone(running: Running) -> None:
    running.start().server.send(HELLO)
    visitor = running.visit()
    visitor.send(frame_json(Kind.ASK, {"ask": "change", "id": 1}))
    running.book.steps = 5
    visitor.read()
    visitor.end.close()
    running.server.send(*(frame_json(Kind.ASK, {"ask": "status", "id": number}) for number in range(20)))
    for _ in range(23):  # READY, who has its time, and that they are done with it
        running.server.read()
    assert running.book.steps == 0


def test_an_erasure_that_cannot_be_finished_is_told_once_and_hinders_nobody(running: Running) -> None:
    running.book.stuck = True
    running.start().server.send(HELLO)
    said = [running.server.read() for _ in range(2)]
    assert (Kind.NEWS, {"alarm": "the disk is full"}) in said
    running.server.send(entry(1))
    assert running.server.read()[0] is Kind.COMMITTED
