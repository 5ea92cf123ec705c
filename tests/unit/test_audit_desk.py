"""The desk and the office: nothing is shown without a record of it, and who may not in is on record too."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.offices import CHAT, DAY, JANE, JOHN, MONDAY, NOON, ORIGIN, ROOT, TUESDAY, Archive, message, said
from vrxmpp.audit.desk import FOR_THE_SERVER, DeskError
from vrxmpp.audit.founding import initialise
from vrxmpp.audit.frames import Frames, Kind, frame_json
from vrxmpp.audit.identity import Identity
from vrxmpp.audit.leaf import Type
from vrxmpp.audit.ledger import LedgerError
from vrxmpp.audit.office import AccessError, Visit, finish, open_desk, policy, rotate_root
from vrxmpp.audit.policy import Policy, Retention
from vrxmpp.audit.reader import Query
from vrxmpp.audit.recovery import SHEET
from vrxmpp.audit.root import RootKeyError
from vrxmpp.audit.seal import SealError
from vrxmpp.audit.tree import verify_consistency


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(tmp_path)


# Nothing without a record


ACTS: list[Callable[[Visit], Any]] = [
    lambda visit: visit.search(Query(words=("hello",))),
    lambda visit: visit.show(0),
    lambda visit: visit.share("john"),
]


@pytest.mark.parametrize("act", ACTS)
def test_what_an_officer_does_is_recorded_first(archive: Archive, act: Callable[[Visit], Any]) -> None:
    archive.add(message("hello"))
    act(archive.visit())
    (facts,) = archive.facts(Type.ACCESS)
    assert (facts["by"], facts["purpose"], facts["case"]) == ("jane", "a complaint", "2026-7")
    assert facts["what"] in ("search", "show", "share")


@pytest.mark.parametrize("act", ACTS)
def test_nothing_is_shown_if_it_cannot_be_recorded(
    archive: Archive, act: Callable[[Visit], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    archive.add(message("hello"))
    visit = archive.visit()
    monkeypatch.setattr(visit.reader.records, "_rows", lambda *_: pytest.fail("it was read"))
    archive.broken = "the disk is full"
    with pytest.raises(DeskError, match="the disk is full"):
        act(visit)


def test_a_search_is_on_record_with_what_was_looked_for_even_if_nobody_looks(archive: Archive) -> None:
    archive.add(message("hello"))
    query = Query(since=5, addresses=("romeo@example.org",), words=("hello",), types=frozenset((Type.MESSAGE,)))
    archive.visit().search(query)
    (facts,) = archive.facts(Type.ACCESS)
    assert facts["query"] == {
        "since": 5,
        "addresses": ["romeo@example.org"],
        "words": ["hello"],
        "types": ["message"],
    }


def test_an_officer_finds_what_was_said_before_the_search_and_the_search(archive: Archive) -> None:
    archive.add(message("hello"))
    found = list(archive.visit().search(Query()))
    assert said(found[:1]) == ["hello"]
    assert found[1].facts["what"] == "search"
    assert found[1].conversation == "audit"


@pytest.mark.parametrize(
    ("name", "identity", "reason"),
    [
        ("jim", JANE.text, "there is no officer jim"),
        ("jane", JOHN.text, "this is not the identity of jane"),
        ("jane", "hunter2", "this is no identity: it does not begin with vrxmpp-identity-1"),
    ],
)
def test_a_failed_try_is_recorded(archive: Archive, name: str, identity: str, reason: str) -> None:
    with pytest.raises(AccessError, match=reason):
        Visit.begin(archive.state, archive, name, identity, purpose="p", case="c")
    (facts,) = archive.facts(Type.ACCESS)
    assert facts == {"by": name, "purpose": "p", "case": "c", "what": "refused", "reason": reason}


def test_a_removed_officer_is_not_let_in_and_has_no_day_left(archive: Archive) -> None:
    archive.add(message("hello"))
    archive.change("remove_officer", name="john")
    finish(archive)
    with pytest.raises(AccessError, match="no officer john"):
        archive.visit("john", JOHN)
    with pytest.raises(SealError):
        archive.keys.open_as_officer("staff", MONDAY, "john", JOHN)


def test_no_officer_is_removed_off_the_record(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    archive.add(message("hello"))

    def refuse(*_: object, **__: object) -> int:
        raise LedgerError("the disk is full")

    with monkeypatch.context() as full:
        full.setattr(archive.ledger, "change_policy", refuse)
        with pytest.raises(DeskError, match="the disk is full"):
            archive.change("remove_officer", name="john")
    assert archive.reader("john", JOHN).show(0).text == "hello"


@pytest.mark.parametrize("step", ["before the first day", "after it"])
def test_an_officer_whose_removal_was_interrupted_loses_the_keys_when_the_log_is_opened_again(
    archive: Archive, root_key: str, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    monkeypatch.setattr("vrxmpp.audit.keys._SLICE", 0)
    archive.add(message("hello"))
    archive.next_day()
    archive.add(message("hello"))
    archive.change("remove_officer", name="john")
    if step == "after it":
        assert archive("finish")
    assert "john" in archive.keys.officers("staff", TUESDAY)
    archive.ledger.close()
    with open_desk(archive.state, root_key) as ask:
        assert set(policy(ask).public_keys()) == {"jane"}
        assert {archive.keys.officers(*of) for of in archive.keys.list()} == {frozenset({"jane"})}
        assert not ask("finish")
    archive.keys.share("staff", MONDAY, "jane", JANE, new_name="john", new_public=JOHN.public)
    with open_desk(archive.state, root_key):
        assert "john" in archive.keys.officers("staff", MONDAY)  # it is done once


def test_a_removal_that_fails_is_done_with_the_next(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    archive.change("add_officer", name="jim", public=Identity.generate().public.text)
    archive.add(message("hello"))

    def refuse(*_: object) -> None:
        raise SealError("the disk is full")

    archive.change("remove_officer", name="john")
    with monkeypatch.context() as full:
        full.setattr(archive.keys, "withdraw", refuse)
        with pytest.raises(DeskError, match="john was removed, and could not be taken from all keys: the disk is full"):
            finish(archive)
    archive.change("remove_officer", name="jim")
    finish(archive)
    assert archive.keys.officers("staff", MONDAY) == {"jane"}


def test_who_is_an_officer_again_keeps_the_keys(archive: Archive) -> None:
    archive.change("remove_officer", name="john")
    archive.change("add_officer", name="john", public=JOHN.public.text)
    archive.add(message("hello"))
    finish(archive)
    assert archive.keys.officers("staff", MONDAY) == {"jane", "john"}


def test_the_answer_to_a_removal_comes_when_it_is_done(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vrxmpp.audit.keys._SLICE", 0)
    archive.add(message("hello"))
    archive.visit().change("remove_officer", name="john")
    assert archive.keys.officers("staff", MONDAY) == {"jane"}


def test_messages_are_counted_in_a_part_of_the_log(archive: Archive) -> None:
    kinds = [Type.MESSAGE, Type.OUTCOME, Type.EDIT, Type.RETRACT, Type.MESSAGE]
    archive.add(*(message("x", type=type) for type in kinds))
    assert [archive("count", first=0, until=until) for until in range(6)] == [0, 1, 1, 2, 3, 4]
    assert archive("count", first=1, until=4) == 2


def test_an_officer_who_alone_opens_a_day_stays_one(archive: Archive) -> None:
    archive.add(message("hello"))
    archive.keys.withdraw(("jane",), iter(archive.keys.list()))
    before = archive.ledger.policy, archive.ledger.size
    with pytest.raises(DeskError, match="would open to nobody without john"):
        archive.change("remove_officer", name="john")
    assert (archive.ledger.policy, archive.ledger.size) == before
    assert archive.reader("john", JOHN).show(0).text == "hello"


@pytest.mark.parametrize(("purpose", "case"), [("", "c"), ("p", " ")])
def test_nobody_is_let_in_without_a_purpose_and_a_case(archive: Archive, purpose: str, case: str) -> None:
    with pytest.raises(AccessError, match="what for"):
        Visit.begin(archive.state, archive, "jane", JANE.text, purpose=purpose, case=case)


def test_no_identity_comes_to_the_desk(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    perform = archive.desk.perform
    monkeypatch.setattr(archive.desk, "perform", lambda request: asked.append(json.dumps(request)) or perform(request))
    archive.add(message("hello"))
    archive.visit().show(0)
    with pytest.raises(AccessError):
        archive.visit("jane", JOHN)
    assert asked
    assert not any(each.text in text for text in asked for each in (JANE, JOHN))


def test_an_officer_shares_the_days_so_far(archive: Archive) -> None:
    jim = Identity.generate()
    archive.add(message("hello"))
    archive.next_day()
    archive.change("add_officer", name="jim", public=jim.public.text)
    assert archive.reader("jim", jim).show(0).problem
    shared = archive.visit().share("jim", MONDAY)
    assert ("staff", MONDAY) in shared
    assert archive.reader("jim", jim).show(0).text == "hello"
    with pytest.raises(AccessError, match="no officer joe"):
        archive.visit().share("joe")


# What the policy becomes


def test_a_change_is_recorded_with_what_was_before(archive: Archive) -> None:
    answer = archive.change("set_retention", **{"class": "staff", "days": 30, "locked": True})
    assert Policy.from_json(answer["policy"]).retention_of("staff") == Retention(30, True)
    (facts,) = archive.facts(Type.CONFIG)
    assert (facts["before"], facts["after"]) == ({}, {"staff": {"days": 30, "locked": True}})
    assert (facts["by"], facts["what"]) == ("jane", "set_retention")


@pytest.mark.parametrize(
    ("change", "arguments", "why"),
    [
        ("set_retention", {"class": "staff", "days": 29, "locked": True}, "only be lengthened"),
        ("set_retention", {"class": "staff", "days": 31, "locked": False}, "stays so"),
        ("add_officer", {"name": "jane", "public": JOHN.public.text}, "already"),
        ("add_officer", {"name": "jim", "public": "vrxmpp-officer-1x"}, "letters missing"),
        ("remove_officer", {"name": "jim"}, "no officer"),
        ("release_hold", {"hold": 1}, "no hold 1"),
        ("add_hold", {"person": "", "conversation": "", "first": None, "last": None}, "a hold names"),
        ("add_hold", {"person": "x", "conversation": "", "first": "soon", "last": None}, "soon"),
        ("nothing", {}, "does not understand"),
        ("set_retention", {}, "does not understand"),
    ],
)
def test_a_change_that_cannot_be_is_refused_and_changes_nothing(
    archive: Archive, change: str, arguments: Any, why: str
) -> None:
    archive.change("set_retention", **{"class": "staff", "days": 30, "locked": True})
    before = archive.ledger.policy, archive.ledger.size
    with pytest.raises(DeskError, match=why):
        archive.change(change, **arguments)
    assert (archive.ledger.policy, archive.ledger.size) == before


# What it answers


def test_the_status_says_how_it_stands_and_no_address(archive: Archive) -> None:
    archive.add(message("hello"))
    archive.next_day()
    archive.add(message("good morning"))
    archive.change("add_hold", person="romeo@example.org", conversation="", first=None, last=None)
    (archive.state / "keys" / SHEET).write_text("")
    archive.ledger.keep_note(2, "note")
    status = archive("status")
    assert status["origin"] == ORIGIN
    assert (status["size"], status["today"]) == (5, 4)
    assert ["staff", "2026-11-23"] in status["days"]
    assert status["officers"] == ["jane", "john"]
    assert (status["holds"], status["checkpoint"], status["todo"], status["recovery_sheet"]) == (1, 2, [], True)
    assert "romeo" not in json.dumps(status)


def test_an_empty_log_has_a_status_and_a_checkpoint(archive: Archive) -> None:
    status = archive("status")
    assert (status["size"], status["today"], status["last"], status["checkpoint"]) == (0, 0, None, None)
    assert archive("checkpoint", old=0)["size"] == 0


def test_a_checkpoint_comes_with_the_proof_that_the_log_has_grown(archive: Archive) -> None:
    archive.add(*[message(str(number)) for number in range(5)])
    old = archive.ledger.root()
    archive.add(*[message(str(number)) for number in range(8)])
    answer = archive("checkpoint", old=5)
    proof = [bytes.fromhex(step) for step in answer["proof"]]
    assert verify_consistency(5, answer["size"], proof, old, bytes.fromhex(answer["root"]))
    with pytest.raises(DeskError):
        archive("checkpoint", old=14)


def test_of_what_a_sink_takes_one_is_recorded_each_hour(archive: Archive) -> None:
    archive.add(message("hello"))
    for minute in range(0, 120, 10):
        archive("witnessed", sink="b.example", size=1, at=NOON + minute * 60_000_000, note=f"note {minute}")
    facts = [each.facts for each in archive.reader().search(Query(types=frozenset((Type.WITNESS,))))]
    assert [each["note"] for each in facts] == ["note 0", "note 60"]
    assert [(each.sink, each.note) for each in archive.ledger.witnessed()] == [("b.example", "note 110")]


def test_a_verification_is_public(archive: Archive) -> None:
    index = archive("record", type="verify", facts={"size": 5, "records": 5, "problems": 0, "seconds": 0.1})
    assert archive.reader().show(index).class_name == ""


@pytest.mark.parametrize(
    "request_",
    [{}, {"ask": "perform"}, {"ask": "status", "more": 1}, {"ask": "record", "type": "message", "facts": {}}],
)
def test_what_it_does_not_know_it_refuses(archive: Archive, request_: Any) -> None:
    with pytest.raises(DeskError, match="does not understand"):
        archive.desk.perform(request_)
    assert archive.ledger.size == 0


def test_the_server_may_not_ask_for_what_officers_do() -> None:
    assert {"status", "checkpoint", "configure", "count", "keep", "witnessed"} == FOR_THE_SERVER


def test_a_configuration_is_recorded_with_what_was_before(archive: Archive) -> None:
    for rate in (1, 1, 2):
        archive.desk.perform({"ask": "configure", "event": "started", "after": {"rate": rate}, "not_in_force": []})
    first, same, other = archive.facts(Type.CONFIG)
    assert (first["before"], first["after"]) == ({}, {"rate": 1})
    assert "before" not in same
    assert (other["before"], other["after"]) == ({"rate": 1}, {"rate": 2})


# The way to it


@pytest.fixture
def root_key(archive: Archive) -> str:
    path = archive.state / "root"
    path.write_text(ROOT.hex() + "\n")
    path.chmod(0o600)
    return f"file:{path}"


def test_without_a_recorder_the_log_is_opened_here(archive: Archive, root_key: str) -> None:
    archive.ledger.close()
    with open_desk(archive.state, root_key) as ask:
        assert not ask.is_live
        index = ask("record", type="access", facts={"by": "jane", "what": "show"})
        assert ask("status")["size"] == index + 1
    with open_desk(archive.state, root_key):  # it was let go
        pass


def test_a_log_that_somebody_has_open_is_not_opened_twice(archive: Archive, root_key: str) -> None:
    with pytest.raises(DeskError, match="another process"), open_desk(archive.state, root_key):
        pass


def test_a_wrong_root_key_opens_nothing(archive: Archive, root_key: str) -> None:
    archive.ledger.close()
    (archive.state / "root").write_text("00" * 32)
    with pytest.raises(DeskError, match="root key"), open_desk(archive.state, root_key):
        pass


class Recorder(threading.Thread):
    """Answers on the recorder's socket, in one thread."""

    def __init__(self, state: Path, *answers: bytes) -> None:
        super().__init__(daemon=True)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(os.fspath(state / "audit" / "recorder.sock"))
        self._listener.listen()
        self._answers = answers
        self.asked: list[Any] = []
        self.start()

    def run(self) -> None:
        line, _ = self._listener.accept()
        frames = Frames()
        with line:
            for answer in self._answers:
                while not (found := list(frames.feed(line.recv(65_536)))):
                    pass
                self.asked += [json.loads(body) for _, body in found]
                line.sendall(answer)
        self._listener.close()


def answer(**values: Any) -> bytes:
    return frame_json(Kind.ANSWER, values)


def test_where_a_recorder_runs_it_is_asked(archive: Archive, root_key: str) -> None:
    news = frame_json(Kind.NEWS, {"alarm": "x"}) + answer(id=99, ok="another's")
    recorder = Recorder(archive.state, news + answer(id=1, ok=7), answer(id=2, error="no"))
    with open_desk(archive.state, root_key) as ask:
        assert ask.is_live
        assert ask("record", type="access", facts={}) == 7
        with pytest.raises(DeskError, match=r"^no$"):
            ask("status")
    recorder.join(5)
    assert recorder.asked[0] == {"ask": "record", "id": 1, "type": "access", "facts": {}}


def test_a_recorder_that_ends_has_done_nothing_for_sure(archive: Archive, root_key: str) -> None:
    Recorder(archive.state)
    with (
        open_desk(archive.state, root_key) as ask,
        pytest.raises(DeskError, match="does not answer"),
    ):
        ask("status")


def test_a_socket_without_a_recorder_is_passed_over(archive: Archive, root_key: str) -> None:
    left = socket.socket(socket.AF_UNIX)
    left.bind(os.fspath(archive.state / "audit" / "recorder.sock"))
    left.close()
    archive.ledger.close()
    with open_desk(archive.state, root_key) as ask:
        assert not ask.is_live


def test_what_is_too_much_for_one_frame_is_not_sent(archive: Archive, root_key: str) -> None:
    recorder = Recorder(archive.state, answer(id=2, ok=None))
    with open_desk(archive.state, root_key) as ask:
        with pytest.raises(DeskError, match="too much"):
            ask("erase", content="x" * (1 << 24))
        ask("status")
    recorder.join(5)
    assert [each["ask"] for each in recorder.asked] == ["status"]


def rotations(state: Path, source: str, identity: Identity) -> list[tuple[str, str]]:
    """Return what is on record of replacing the root key: the outcome, and the reason where it failed."""
    with open_desk(state, source) as ask:
        visit = Visit.begin(state, ask, "recovery", identity.text, purpose="p", case="c")
        facts = [each.facts for each in visit.search(Query(types=frozenset((Type.CONFIG,))))]
    assert {each["what"] for each in facts} == {"rotate_root"}
    return [(each["outcome"], each.get("reason", "")) for each in facts]


def test_the_root_key_is_replaced_on_record(tmp_path: Path) -> None:
    sheet = initialise(tmp_path, "file", ORIGIN)
    assert sheet is not None
    rotate_root(tmp_path, "file", "", by="root", purpose="p", case="c")
    assert rotations(tmp_path, "file", sheet.identity) == [("begun", ""), ("done", "")]


def test_that_the_root_key_was_not_replaced_is_on_record_too(tmp_path: Path) -> None:
    sheet = initialise(tmp_path, "file", ORIGIN)
    assert sheet is not None
    with pytest.raises(RootKeyError, match="failed with status 1"):
        rotate_root(tmp_path, "file", "command:false", by="root", purpose="p", case="c")
    failed = ("failed", "the command for the root key failed with status 1")
    assert rotations(tmp_path, "file", sheet.identity) == [("begun", ""), failed]


def test_a_replacement_that_was_interrupted_has_no_outcome_until_it_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sheet = initialise(tmp_path, "file", ORIGIN)
    assert sheet is not None
    new = f"file:{tmp_path / 'new.key'}"

    def replace_it() -> None:
        rotate_root(tmp_path, "file", new, by="root", purpose="p", case="c")

    with monkeypatch.context() as power:
        power.setattr("vrxmpp.audit.rotation.rewrap_policy", _interrupt)
        with pytest.raises(KeyboardInterrupt):
            replace_it()
    for source in ("file", new):  # half of it opens to one key, half to the other
        with pytest.raises(DeskError):
            rotations(tmp_path, source, sheet.identity)
    replace_it()
    assert rotations(tmp_path, new, sheet.identity) == [("begun", ""), ("done", "")]


def _interrupt(*arguments: object) -> None:
    raise KeyboardInterrupt


def test_times_come_from_the_clock(archive: Archive) -> None:
    archive.wall = NOON + DAY
    archive.change("add_hold", person="", conversation=CHAT, first=None, last=None)
    assert archive.ledger.policy.holds[0].since == NOON + DAY
