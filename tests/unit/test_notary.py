"""The notary: what it signs, what it refuses, and that it remembers (C2SP tlog-checkpoint, tlog-witness)."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from vrxmpp.audit import files
from vrxmpp.audit.frames import Frames, Kind, frame_json
from vrxmpp.audit.notary import STATE, Notary, NotaryError
from vrxmpp.audit.notes import (
    COSIGNATURE,
    ED25519,
    Checkpoint,
    Note,
    Signer,
    Submission,
    Verifier,
    cosigned_at,
    write_note,
)
from vrxmpp.audit.tree import EMPTY, leaf_hash, root_of

NOW = 1_800_000_000
LEAVES = [leaf_hash(bytes([number])) for number in range(64)]
ORIGIN = "one.example/audit"
LOG = Signer(ORIGIN, ED25519, bytes(32))
OTHER_LOG = Signer(ORIGIN, ED25519, bytes([1] * 32))

Json = dict[str, Any]


def root(size: int, leaves: list[bytes] = LEAVES) -> bytes:
    return root_of(leaves[:size])


def proof(old: int, new: int, leaves: list[bytes] = LEAVES) -> list[bytes]:
    """RFC 6962 §2.1.2, word by word."""

    def subproof(old: int, leaves: list[bytes], is_whole: bool) -> list[bytes]:
        if old == len(leaves):
            return [] if is_whole else [root_of(leaves)]
        middle = 1 << (len(leaves) - 1).bit_length() - 1
        if old <= middle:
            return [*subproof(old, leaves[:middle], is_whole), root_of(leaves[middle:])]
        return [*subproof(old - middle, leaves[middle:], False), root_of(leaves[:middle])]

    return subproof(old, leaves[:new], True) if old else []


def sign(notary: Notary, old: int, new: int, leaves: list[bytes] = LEAVES) -> Json:
    hashes = [each.hex() for each in proof(old, new, leaves)]
    return notary.answer(
        {"ask": "sign", "id": 1, "size": new, "root": root(new, leaves).hex(), "old": old, "proof": hashes}
    )


def note(size: int, log: Signer = LOG, leaves: list[bytes] = LEAVES, origin: str = ORIGIN) -> str:
    text = Checkpoint(origin, size, root(size, leaves)).text
    return write_note(text, log.sign(text, 0))


def cosign(notary: Notary, old: int, new: int, leaves: list[bytes] = LEAVES, **changes: Any) -> Json:
    request = Submission(old, tuple(proof(old, new, leaves)), note(new, leaves=leaves)).text
    asked = {"ask": "cosign", "id": 1, "origin": ORIGIN, "key": LOG.verifier.text, "request": request}
    return notary.answer({**asked, **changes})


@pytest.fixture
def notary(tmp_path: Path) -> Notary:
    return again(tmp_path)


def again(directory: Path) -> Notary:
    """Return what a notary is that is started with the files of another."""
    return Notary(directory, "two.example", lambda: NOW)


# -- our own log


def test_it_signs_what_extends_what_it_signed(notary: Notary) -> None:
    keys = notary.keys()
    assert keys["origin"] == "two.example/audit"
    verifier = Verifier.parse(keys["key"])
    assert (verifier.name, verifier.type) == ("two.example/audit", ED25519)
    old = 0
    for new in (0, 1, 5, 5, 6, 40, 64):
        signed = Note.parse(sign(notary, old, new)["ok"]["note"])
        assert [signature.name for signature in signed.signed_by([verifier])] == ["two.example/audit"]
        assert Checkpoint.parse(signed.text) == ("two.example/audit", new, root(new))
        old = new
    assert notary.keys()["size"] == 64


def test_every_extension_is_signed_and_nothing_else(tmp_path: Path) -> None:
    """All pairs of sizes up to 17, with the right tree and with one whose third leaf was changed."""
    changed = [*LEAVES[:2], leaf_hash(b"changed"), *LEAVES[3:]]
    for old in range(18):
        directory = tmp_path / str(old)
        directory.mkdir()
        notary = again(directory)
        assert "ok" in sign(notary, 0, old)
        for new in range(old, 18):
            if old > 2:
                assert sign(notary, old, new, changed)["condition"] == "not-acceptable"
        assert "ok" in sign(notary, old, 17)


@pytest.mark.parametrize(
    ("change", "condition"),
    [
        ({"root": root(11).hex()}, "not-acceptable"),
        ({"proof": []}, "not-acceptable"),
        ({"proof": ["00" * 32]}, "not-acceptable"),
        ({"proof": [each.hex() for each in proof(5, 10)] + ["00" * 32]}, "not-acceptable"),
        ({"size": 17}, "not-acceptable"),
        ({"old": 4, "proof": [each.hex() for each in proof(4, 10)]}, "conflict"),
        ({"old": 0, "proof": []}, "conflict"),
        ({"size": 4, "root": root(4).hex(), "old": 4, "proof": []}, "conflict"),
        ({"size": 5, "root": root(6).hex(), "proof": []}, "not-acceptable"),
        ({"size": 0, "root": EMPTY.hex(), "proof": []}, "conflict"),
        ({"root": "00"}, "bad-request"),
        ({"root": None}, "bad-request"),
        ({"proof": ["xyz"]}, "bad-request"),
        ({"proof": None}, "bad-request"),
        ({"size": "ten"}, "bad-request"),
        ({"more": 1}, "bad-request"),
        ({"ask": "burn"}, "bad-request"),
    ],
)
def test_what_is_no_extension_is_refused(tmp_path: Path, notary: Notary, change: Json, condition: str) -> None:
    sign(notary, 0, 5)
    before = (tmp_path / STATE).read_bytes()
    right = {
        "ask": "sign",
        "id": 1,
        "size": 10,
        "root": root(10).hex(),
        "old": 5,
        "proof": [each.hex() for each in proof(5, 10)],
    }
    assert notary.answer({**right, **change})["condition"] == condition
    assert (tmp_path / STATE).read_bytes() == before
    assert "ok" in notary.answer(right)


def test_the_reason_says_how_far_the_log_has_shrunk(notary: Notary) -> None:
    sign(notary, 0, 5)
    assert sign(notary, 0, 3) == {
        "error": "the log has only 3 records, but 5 were signed",
        "condition": "conflict",
        "size": 5,
    }


def test_it_remembers(tmp_path: Path, notary: Notary) -> None:
    sign(notary, 0, 5)
    cosign(notary, 0, 7)
    later = again(tmp_path)
    assert later.keys() == notary.keys()
    assert sign(later, 0, 4)["condition"] == "conflict"
    assert cosign(later, 0, 6) == {"error": "7 records of this log are known here", "condition": "conflict", "size": 7}
    assert (tmp_path / STATE).stat().st_mode & 0o777 == 0o600


def test_the_log_keeps_its_name(tmp_path: Path, notary: Notary) -> None:
    assert Notary(tmp_path, "elsewhere.example").keys() == notary.keys()


def test_what_is_not_on_the_disk_is_not_signed(tmp_path: Path, notary: Notary, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    sign(notary, 0, 5)
    with monkeypatch.context() as full:
        full.setattr(files, "replace", fail)
        for answer in (sign(notary, 5, 6), cosign(notary, 0, 6)):
            assert answer == {
                "error": f"{tmp_path / STATE} cannot be written: No space left on device",
                "condition": "internal-server-error",
            }
    assert notary.keys()["size"] == again(tmp_path).keys()["size"] == 5
    assert "ok" in sign(notary, 5, 6)


@pytest.mark.parametrize("content", ["", "{}", "[]", "null", '{"origin": 1}', "\x00", "9" * 50])
def test_a_damaged_file_is_not_replaced(tmp_path: Path, content: str) -> None:
    (tmp_path / STATE).write_text(content)
    with pytest.raises(NotaryError, match="damaged"):
        again(tmp_path)
    assert (tmp_path / STATE).read_text() == content


def test_the_file_says_nothing_in_its_errors(tmp_path: Path, notary: Notary) -> None:
    """A key that was cut short is not quoted."""
    value = json.loads((tmp_path / STATE).read_text())
    value["log_key"] = value["log_key"][:-2] + "z"
    (tmp_path / STATE).write_text(json.dumps(value))
    with pytest.raises(NotaryError) as caught:
        again(tmp_path)
    assert value["log_key"][:8] not in str(caught.value)


# -- a witness for others


def test_it_cosigns_what_extends_what_it_cosigned(notary: Notary) -> None:
    key = Verifier.parse(notary.keys()["witness"])
    assert (key.name, key.type) == ("two.example/witness", COSIGNATURE)
    old = 0
    for new in (0, 1, 5, 5, 40, 64):
        answer = cosign(notary, old, new)["ok"]
        whole = Note.parse(note(new) + answer["cosignature"])
        [cosignature] = whole.signed_by([Verifier.parse(answer["key"])])
        assert answer["key"] == key.text
        assert cosigned_at(cosignature) == NOW
        old = new


@pytest.mark.parametrize(
    ("change", "condition"),
    [
        ({"request": "old 5\n\nnothing"}, "bad-request"),
        ({"request": f"old 5\n\n{Checkpoint(ORIGIN, 10, root(10)).text}"}, "bad-request"),
        ({"request": f"old 11\n\n{note(10)}"}, "bad-request"),
        ({"request": 5}, "bad-request"),
        ({"key": "no key"}, "bad-request"),
        ({"key": Signer("three.example/audit", ED25519, bytes(32)).verifier.text}, "bad-request"),
        ({"key": Signer(ORIGIN, COSIGNATURE, bytes(32)).verifier.text}, "bad-request"),
        ({"request": Submission(5, tuple(proof(5, 10)), note(10, origin="x.example/audit")).text}, "item-not-found"),
        ({"request": Submission(5, tuple(proof(5, 10)), note(10, OTHER_LOG)).text}, "not-authorized"),
        (
            {
                "request": Submission(5, tuple(proof(5, 10)), note(10, OTHER_LOG)).text,
                "key": OTHER_LOG.verifier.text,
            },
            "not-authorized",
        ),
        ({"request": Submission(5, tuple(proof(5, 10)), note(10).replace("\n10\n", "\n9\n")).text}, "not-authorized"),
        ({"request": Submission(4, tuple(proof(4, 10)), note(10)).text}, "conflict"),
        ({"request": Submission(0, (), note(10)).text}, "conflict"),
        ({"request": Submission(4, (), note(4)).text}, "conflict"),
        ({"request": Submission(5, (), note(10)).text}, "not-acceptable"),
        ({"request": Submission(5, (bytes(32),), note(10)).text}, "not-acceptable"),
        ({"request": Submission(5, (), note(5, leaves=LEAVES[1:])).text}, "not-acceptable"),
    ],
)
def test_a_request_is_refused_for_its_reason(tmp_path: Path, notary: Notary, change: Json, condition: str) -> None:
    """tlog-witness, add-checkpoint: 400, 404, 403, 409 and 422."""
    assert "ok" in cosign(notary, 0, 5)
    before = (tmp_path / STATE).read_bytes()
    assert cosign(notary, 5, 10, **change)["condition"] == condition
    assert (tmp_path / STATE).read_bytes() == before
    assert "ok" in cosign(notary, 5, 10)


def test_a_log_that_was_rewritten_is_not_cosigned(notary: Notary) -> None:
    """Whoever has stolen the key of a log can sign everything, but not make it an extension."""
    assert "ok" in cosign(notary, 0, 20)
    rewritten = [*LEAVES[:7], leaf_hash(b"rewritten"), *LEAVES[8:]]
    assert cosign(notary, 20, 30, rewritten)["condition"] == "not-acceptable"
    assert cosign(notary, 20, 20, rewritten)["condition"] == "not-acceptable"
    assert cosign(notary, 7, 30, rewritten)["condition"] == "conflict"
    assert "ok" in cosign(notary, 20, 30)


def test_a_first_request_must_hold_in_every_respect_before_its_key_is_kept(notary: Notary) -> None:
    bad = Submission(0, (), note(10, OTHER_LOG)).text
    assert cosign(notary, 0, 10, request=bad)["condition"] == "not-authorized"
    assert cosign(notary, 3, 10, key=OTHER_LOG.verifier.text)["condition"] == "not-authorized"
    empty = Checkpoint(ORIGIN, 0, bytes(32)).text
    wrong = Submission(0, (), write_note(empty, LOG.sign(empty, 0))).text
    assert cosign(notary, 0, 10, request=wrong)["condition"] == "not-acceptable"  # the root of nothing is another
    good = Submission(0, (), note(10, OTHER_LOG)).text
    assert "ok" in cosign(notary, 0, 10, request=good, key=OTHER_LOG.verifier.text)
    answer = cosign(notary, 10, 11)
    assert (answer["condition"], answer["changed"]) == ("not-authorized", 1)


def test_there_is_a_bound(notary: Notary, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vrxmpp.audit.notary.MOST_PEERS", 1)
    assert "ok" in cosign(notary, 0, 1)
    other = Signer("x.example/audit", ED25519, bytes(32))
    answer = cosign(notary, 0, 1, origin="x.example/audit", key=other.verifier.text)
    assert answer["condition"] == "resource-constraint"


# -- witnesses of ours


def test_a_witness_is_held_to_its_key(tmp_path: Path, notary: Notary) -> None:
    own = sign(notary, 0, 5)["ok"]["note"]
    text = Note.parse(own).text
    right = Signer("w.example/witness", COSIGNATURE, bytes(32))
    wrong = Signer("w.example/witness", COSIGNATURE, bytes([1] * 32))

    def accept(signer: Signer, by: Signer, text: str = text, witness: str = "w.example") -> Json:
        line = by.sign(text, 77).line
        key = signer.verifier.text
        return again(tmp_path).answer(
            {"ask": "accept", "id": 1, "witness": witness, "key": key, "note": own, "cosignature": line}
        )

    assert accept(right, wrong)["condition"] == "not-authorized"  # and nothing is kept of it
    assert accept(wrong, right)["condition"] == "not-authorized"
    assert accept(right, right, text.replace("5", "6"))["condition"] == "not-authorized"
    assert accept(right, right, witness="v.example")["condition"] == "bad-request"
    assert accept(LOG, right)["condition"] == "bad-request"
    assert accept(right, right)["ok"] == {"note": own + right.sign(text, 77).line, "at": 77}
    answer = accept(wrong, wrong)
    assert (answer["condition"], answer["changed"]) == ("not-authorized", 1)
    assert "ok" in accept(right, right)


# -- the process


class Process:
    """A notary as the server starts it."""

    def __init__(self, directory: Path) -> None:
        self.line, theirs = socket.socketpair()
        self.line.settimeout(20)
        settings = {"directory": str(directory), "domain": "two.example"}
        command = [sys.executable, "-m", "vrxmpp.audit.notary", str(theirs.fileno())]
        with theirs:
            self.process = subprocess.Popen(command, pass_fds=[theirs.fileno()], stdin=subprocess.PIPE, text=True)
        assert self.process.stdin is not None
        with self.process.stdin as first:
            json.dump(settings, first)
        self._frames = Frames()
        self._asked = 0

    def tells(self) -> tuple[Kind, Json]:
        while data := self.line.recv(65_536):
            for kind, body in self._frames.feed(data):
                return kind, json.loads(body)
        raise EOFError

    def ask(self, name: str, **arguments: Any) -> Json:
        self._asked += 1
        self.line.sendall(frame_json(Kind.ASK, {"ask": name, "id": self._asked, **arguments}))
        kind, answer = self.tells()
        assert (kind, answer.pop("id")) == (Kind.ANSWER, self._asked)
        return answer


@contextmanager
def running(directory: Path) -> Iterator[Process]:
    process = Process(directory)
    try:
        yield process
    finally:
        process.line.close()
        assert process.process.wait(20) == 0


def test_the_process_survives_the_signals_of_a_terminal_and_ends_with_the_server(tmp_path: Path) -> None:
    with running(tmp_path / "state" / "notary") as notary:
        keys = notary.ask("keys")["ok"]
        for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            notary.process.send_signal(each)
            assert notary.ask("keys")["ok"] == keys
        limits = Path(f"/proc/{notary.process.pid}/limits").read_text()
        assert re.search(r"Max core file size +0 +0 ", limits)
    assert os.stat(tmp_path / "state" / "notary").st_mode & 0o777 == 0o700


def test_a_killed_process_has_forgotten_nothing_that_it_signed(tmp_path: Path) -> None:
    first = Process(tmp_path)
    signed = first.ask("sign", size=5, root=root(5).hex(), old=0, proof=[])["ok"]["note"]
    first.process.kill()
    first.process.wait(20)
    first.line.close()
    with running(tmp_path) as second:
        assert second.ask("sign", size=5, root=root(5).hex(), old=5, proof=[])["ok"]["note"] == signed
        assert second.ask("sign", size=6, root=root(6).hex(), old=0, proof=[])["condition"] == "conflict"


def test_there_is_one_process_at_a_time(tmp_path: Path) -> None:
    """Two that each remember something else would sign what does not fit together."""
    with running(tmp_path) as first:
        first.ask("keys")
        second = Process(tmp_path)
        second.line.settimeout(0.3)
        with pytest.raises(TimeoutError):
            second.ask("keys")
        first.ask("sign", size=5, root=root(5).hex(), old=0, proof=[])
    second.line.settimeout(20)
    assert second.tells()[1]["ok"]["size"] == 5
    second.line.close()
    second.process.wait(20)


def test_a_process_that_cannot_work_says_why(tmp_path: Path) -> None:
    (tmp_path / STATE).write_text("{}")
    with running(tmp_path) as notary:
        assert notary.tells() == (Kind.NEWS, {"alarm": f"{tmp_path / STATE} is damaged"})
