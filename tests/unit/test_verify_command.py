"""How the verifier reads what it is given, and what its command says and returns."""

from __future__ import annotations

import ast
import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

import vrxmpp_verify
from tests.ledgers import ORIGIN, Officer, Signer, Writer, root_of
from vrxmpp_verify import Bar, UnreadableError, main, verify_directory

NOTARY, WITNESS, OFFICER = Signer(ORIGIN), Signer("other.example/witness", 4), Officer()


def build(size: int = 3) -> Writer:
    log = Writer(NOTARY, {"recovery": OFFICER})
    for number in range(size):
        log.add(f"text {number}", "alice@example.org")
    log.checkpoint()
    return log


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return build().save(tmp_path / "state")


def look(directory: Path) -> dict[str, tuple[bytes, int]]:
    """Return all there is below a directory: contents and times."""
    times = {".": (b"", directory.stat().st_mtime_ns)}
    files = (path for path in directory.rglob("*") if path.is_file())
    return times | {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


# Reading, and never writing


@pytest.fixture
def busy(state: Path) -> Iterator[sqlite3.Connection]:
    """A server that has the log open, and has written what is only in the write-ahead log."""
    with closing(sqlite3.connect(state / "audit/ledger.sqlite", isolation_level=None)) as database:
        database.execute("PRAGMA wal_autocheckpoint = 0")
        database.execute("DELETE FROM records WHERE idx = 2")
        yield database


WAL_ONLY = "the log ends with 2 records, but the checkpoint of 3 records in the database is over 3: record 2 is missing"


@pytest.mark.parametrize("left_out", [(), ("-shm",)], ids=["all files", "without the index"])
def test_a_copy_of_a_log_in_use(busy: sqlite3.Connection, state: Path, tmp_path: Path, left_out: tuple[str]) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(state / "audit", copy, ignore=lambda _, names: [n for n in names if n.endswith(left_out or "?")])
    before = look(copy)
    assert [problem.what for problem in verify_directory(copy).problems] == [WAL_ONLY]
    assert look(copy) == before


def test_a_log_in_use_in_another_process(busy: sqlite3.Connection, state: Path) -> None:
    before = look(state)
    done = run(str(state))
    assert (done.returncode, done.stdout.splitlines()[0]) == (1, WAL_ONLY)
    assert look(state) == before


def test_a_log_at_rest(state: Path) -> None:
    before = look(state)
    assert verify_directory(state / "audit").sound
    assert look(state) == before


def test_one_state_of_a_log_that_grows(tmp_path: Path) -> None:
    """What is written after the first record was read is not seen."""
    state = build(600).save(tmp_path / "state")
    with closing(sqlite3.connect(state / "audit/ledger.sqlite", isolation_level=None)) as database:
        database.execute("UPDATE runs SET committed = 0")  # the log is open for writing
        database.execute("INSERT INTO runs VALUES (x'01', 0)")
        seen = []

        def interfere(done: int, of: int) -> None:
            seen.append((done, of))
            database.execute("DELETE FROM records WHERE idx > 300")

        assert verify_directory(state / "audit", progress=interfere).sound
        assert seen == [(256, 600), (512, 600), (600, 600)]
        assert not verify_directory(state / "audit").sound


def test_a_server_that_starts_meanwhile(state: Path) -> None:
    with closing(sqlite3.connect(state / "audit/ledger.sqlite", isolation_level=None)) as database:
        with pytest.raises(UnreadableError, match="a server began to write to it meanwhile"):
            verify_directory(
                state / "audit", progress=lambda done, of: database.execute("INSERT INTO runs VALUES (x'', 0)") and None
            )
        assert verify_directory(state / "audit").sound


@pytest.mark.parametrize("damage", ["nothing", "no file", "text", "a page", "no table", "cut"])
def test_what_cannot_be_read(damage: str, tmp_path: Path) -> None:
    state = build(200).save(tmp_path / "state")
    file = state / "audit/ledger.sqlite"
    raw = file.read_bytes()
    contents = {
        "nothing": b"",
        "text": b"text" * 999,
        "a page": raw[: 1 << 16] + bytes(4096) + raw[(1 << 16) + 4096 :],
        "no table": raw.replace(b"records", b"recalls"),
        "cut": raw[: len(raw) // 2],
    }
    file.unlink()
    if damage in contents:
        file.write_bytes(contents[damage])
    with pytest.raises(UnreadableError):
        verify_directory(state / "audit")


def test_an_empty_log(tmp_path: Path) -> None:
    report = verify_directory(build(0).save(tmp_path / "empty") / "audit")
    assert (report.found, report.size, report.root) == (0, 0, root_of([]))


# The command


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the file by itself: nothing of vrxmpp can be found."""
    command = [sys.executable, "-I", vrxmpp_verify.__file__, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")


def test_it_imports_nothing_of_the_server() -> None:
    tree = ast.parse(Path(vrxmpp_verify.__file__).read_text())
    plain = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    whole = {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    tops = {name.partition(".")[0] for name in plain | whole}
    assert tops - set(sys.stdlib_module_names) == {"cryptography"}


def test_a_sound_log(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(state), "--vkey", NOTARY.vkey]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "sound, and all of it is vouched for by what you gave; nothing from outside was compared"
    assert lines[0].startswith("note: no checkpoint from outside was given")


def test_a_log_that_nobody_vouches_for(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    alone = "consistent in itself, but nobody you named vouches for it: give --vkey or --checkpoint"
    assert main([str(state)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == alone
    assert main([str(state), "--vkey", WITNESS.vkey]) == 0  # who has signed nothing here
    assert capsys.readouterr().out.splitlines()[-1] == alone
    assert main([str(state), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["sound"], report["vouched_for"], report["verdict"]) == (True, 0, alone)


def test_a_log_whose_end_nobody_vouches_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = build()
    log.add("one more")
    state = log.save(tmp_path / "state")
    assert main([str(state), "--vkey", NOTARY.vkey]) == 0
    said = capsys.readouterr().out.splitlines()[-1]
    part = "sound, and the first 3 of 4 records are vouched for by what you gave"
    assert said == f"{part}; nothing from outside was compared"
    (tmp_path / "kept").write_text(log.note())
    assert main([str(state), "--checkpoint", str(tmp_path / "kept")]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "sound, and all of it is vouched for by what you gave"


def test_with_keys(state: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "identity").write_text(OFFICER.identity.upper().replace("-1-", "-1 ") + "\n")
    keyed = ["--keys", str(state / "keys"), "--officer", "recovery", "--identity", str(tmp_path / "identity")]
    assert main([str(state / "audit"), *keyed, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["sound"], report["size"], report["opened"], report["problems"]) == (True, 3, 3, [])


def test_problems(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with closing(sqlite3.connect(state / "audit/ledger.sqlite")) as database, database:
        database.execute("DELETE FROM records WHERE idx = 1")
    assert main([str(state)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert (lines[0], lines[-1]) == ("record 1: is missing", "NOT SOUND: 2 problems")
    assert main([str(state), "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert (report["problems"][0], report["found"]) == ({"index": 1, "what": "is missing"}, 2)


def test_only_so_many_problems_are_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = build(1100).save(tmp_path / "state")
    with closing(sqlite3.connect(state / "audit/ledger.sqlite")) as database, database:
        database.execute("UPDATE records SET payload = x''")
    assert main([str(state)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[1000] == "... and 100 more"
    assert lines[-1] == "NOT SOUND: 1,100 problems"


def test_checkpoints_in_a_directory(state: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "1").write_text(build().note())
    (kept / "2").write_bytes(b"\xff")
    (kept / "3").write_bytes(b"\r\n" + build().note().replace("\n", "\r\n").encode() + b"\r\n")  # it came by mail
    (kept / "of last year").mkdir()
    assert main([str(state), "--checkpoint", str(kept)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert len([line for line in lines if "is not a signed checkpoint" in line]) == 1
    assert lines[:2] == [
        f"the log is not what was signed: the given checkpoint of 3 records of {ORIGIN} has another root;"
        " of records 0 to 2 at least one was changed, added or taken away",
        'the given checkpoint that begins with "\ufffd" is not a signed checkpoint',
    ]


def test_an_export(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    build().export(tmp_path / "export", [0, 2], {2})
    assert main([str(tmp_path / "export"), "--vkey", NOTARY.vkey]) == 0
    assert "2 records" in capsys.readouterr().out
    (tmp_path / "export/manifest.json").write_text("{}")
    assert main([str(tmp_path / "export")]) == 3


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ([], 2, "the following arguments are required: path"),
        (["STATE", "--keys", "."], 2, "--keys, --officer and --identity belong together"),
        (["STATE", "--vkey", "none"], 2, "this is not a verifier key: none"),
        (["STATE", "--keys", ".", "--officer", "x", "--identity", "/dev/null"], 2, "this is not an identity"),
        (["STATE", "--checkpoint", "/nowhere"], 3, "No such file"),
        (["/nowhere"], 3, "there is no /nowhere/audit/ledger.sqlite"),
        (["--help"], 0, ""),
    ],
)
def test_exit_codes(
    state: Path, arguments: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(state) if argument == "STATE" else argument for argument in arguments]) == code
    assert said in capsys.readouterr().err


def test_a_bar_on_a_terminal(state: Path) -> None:
    primary, secondary = os.openpty()
    with open(secondary, "w", encoding="utf-8") as terminal:
        bar = Bar(terminal)
        bar(128, 256)
        bar.clear()
    with open(primary, "rb", buffering=0) as shown:
        assert shown.read(200).endswith(b"\r[###############               ] 128 of 256 records \r\x1b[K")
