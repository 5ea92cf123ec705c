"""The root key: its sources, the first start, and how it is replaced, whatever breaks in between."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import sqlite3
import stat
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from vrxmpp.audit import files
from vrxmpp.audit import root as audit_root
from vrxmpp.audit.founding import initialise
from vrxmpp.audit.identity import Identity
from vrxmpp.audit.keys import KeyStore
from vrxmpp.audit.policy import Policy
from vrxmpp.audit.recovery import SHEET, Sheet, open_escrow
from vrxmpp.audit.root import RootKeyError
from vrxmpp.audit.rotation import read_root, rotate
from vrxmpp.audit.sealed_policy import open_policy
from vrxmpp.audit.storage_key import make_storage_key, storage_key

ORIGIN = "library.example/audit"
MONDAY, TUESDAY = date(2026, 11, 23), date(2026, 11, 24)
KEY = bytes(range(32))


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_root, "_SCRYPT", {**audit_root._SCRYPT, "n": 16})
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # test_audit_keys.py has what depends on it


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """Return a state directory that is not made yet."""
    return tmp_path / "state"


@pytest.fixture
def keys(state: Path) -> Path:
    """Return where its keys are."""
    return state / "keys"


def begun(state: Path, source: str = "file") -> Sheet:
    sheet = initialise(state, source, ORIGIN)
    assert sheet
    return sheet


def secret_file(path: Path, content: str) -> Path:
    path.write_text(content)
    path.chmod(0o600)
    return path


def refusal(source: str, keys: Path) -> str:
    """Return the one line with which a root key is not had."""
    with pytest.raises(RootKeyError) as raised:
        read_root(source, keys)
    line = str(raised.value)
    assert len(line.splitlines()) == 1
    return line


def policy_in(state: Path, root: bytes) -> Policy:
    with closing(sqlite3.connect(state / "audit" / "ledger.sqlite")) as database:
        return open_policy(dict(database.execute("SELECT name, value FROM state")), root)


# The first start


def test_the_first_start_makes_all_that_is_needed(state: Path, keys: Path) -> None:
    sheet = begun(state)
    root = read_root("file", keys)
    assert len(root) == 32
    assert open_escrow(keys, sheet.identity) == root
    assert policy_in(state, root).public_keys() == {"recovery": sheet.identity.public}
    for path in keys.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)


def test_the_sheet_has_all_that_recovers_an_archive_and_is_in_one_file(state: Path) -> None:
    sheet = begun(state)
    lines = sheet.text.splitlines()
    [written] = [line for line in lines if line.strip().startswith("vrxmpp-identity-1")]
    assert Identity.parse(written).public == sheet.identity.public
    assert sheet.identity.public.text in sheet.text
    assert ORIGIN in sheet.text
    assert str(sheet.made) in sheet.text
    assert max(map(len, lines)) <= 90
    secret = sheet.identity.text.removeprefix("vrxmpp-identity-1")
    holding = [path for path in state.rglob("*") if path.is_file() and secret[:8].encode() in path.read_bytes()]
    assert holding == [state / "keys" / SHEET]
    assert secret not in repr(sheet)


def test_a_later_start_changes_nothing(state: Path) -> None:
    begun(state)
    before = {path: path.read_bytes() for path in state.rglob("*") if path.is_file()}
    assert initialise(state, "file", "other.example/audit") is None
    assert {path: path.read_bytes() for path in state.rglob("*") if path.is_file()} == before


def test_a_log_whose_keys_are_gone_is_not_begun_anew(state: Path, keys: Path) -> None:
    begun(state)
    for path in keys.iterdir():
        path.unlink()
    with pytest.raises(RootKeyError, match=r"root\.escrow: No such file"):
        initialise(state, "file", ORIGIN)


def test_keys_whose_log_is_gone_are_not_given_another(state: Path, keys: Path) -> None:
    sheet = begun(state)
    KeyStore(keys).make("staff", MONDAY, read_root("file", keys), {"recovery": sheet.identity.public})
    (state / "audit" / "ledger.sqlite").unlink()
    with pytest.raises(RootKeyError, match="the log is gone"):
        initialise(state, "file", ORIGIN)


def test_a_disk_that_refuses_is_told_in_one_line(state: Path) -> None:
    state.parent.joinpath("state").write_text("a file where a directory should be")
    with pytest.raises(RootKeyError, match="state"):
        initialise(state, "file", ORIGIN)


# Sources


def test_a_root_key_that_is_there_is_used(state: Path, keys: Path, tmp_path: Path) -> None:
    path = secret_file(tmp_path / "mine", f"\n{KEY.hex().upper()}\n")
    sheet = begun(state, f"file:{path}")
    assert read_root(f"file:{path}", keys) == KEY
    assert open_escrow(keys, sheet.identity) == KEY
    assert not (keys / "root.key").exists()


def test_a_root_key_comes_from_a_command_that_no_shell_reads(state: Path, keys: Path) -> None:
    begun(state, f"command:echo '{KEY.hex()}'")
    assert read_root(f"command:echo '{KEY.hex()}'", keys) == KEY
    assert "64 hexadecimal digits" in refusal(f"command:echo {KEY.hex()}; echo", keys)


def test_a_root_key_comes_from_a_passphrase(state: Path, keys: Path, tmp_path: Path) -> None:
    path = secret_file(tmp_path / "passphrase", "correct horse battery\nsecond line\n")
    begun(state, f"passphrase:{path}")
    salt = bytes.fromhex((keys / "root.salt").read_text())
    expected = hashlib.scrypt(b"correct horse battery", salt=salt, n=16, r=8, p=1, dklen=32)
    assert read_root(f"passphrase:{path}", keys) == expected
    secret_file(path, "another horse battery")
    assert read_root(f"passphrase:{path}", keys) != expected
    (keys / "root.salt").unlink()
    assert "root.salt: No such file" in refusal(f"passphrase:{path}", keys)


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ("", "the root key is in 'file', "),
        ("vault:x", "the root key is in 'file', "),
        ("command:", "the root key is in 'file', "),
        ("passphrase:", "the root key is in 'file', "),
        ("file", "root.key: No such file"),
        ("file:/nowhere/root.key", "/nowhere/root.key: No such file"),
        ("passphrase:/nowhere/phrase", "/nowhere/phrase: No such file"),
        ("command:/nowhere/command", "cannot be run: /nowhere/command: No such file"),
        ("command:false", "failed with status 1"),
        ("command:sh -c 'kill $$'", "failed with status -15"),
        ("command:'", "quotation mark"),
        ("command:true", "64 hexadecimal digits"),
    ],
)
def test_a_source_without_a_key_is_refused_in_one_line(keys: Path, source: str, line: str) -> None:
    files.make_directory(keys)
    assert line in refusal(source, keys)


def test_a_command_that_hangs_is_ended(keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_root, "_COMMAND_SECONDS", 0.05)
    assert "took more than" in refusal("command:sleep 60", keys)


@pytest.mark.parametrize("content", ["", "00" * 31, "00" * 33, "zz" * 32, "00" * 16 + " " + "00" * 16, "\0" * 64])
def test_what_is_no_key_is_refused_without_repeating_it(keys: Path, content: str) -> None:
    files.make_directory(keys)
    secret_file(keys / "root.key", content)
    line = refusal("file", keys)
    assert line == f"{keys / 'root.key'}: a key is 64 hexadecimal digits, and nothing else"


def test_a_short_passphrase_is_refused_without_repeating_it(keys: Path, tmp_path: Path) -> None:
    path = secret_file(tmp_path / "passphrase", "sesame\n")
    assert refusal(f"passphrase:{path}", keys) == f"{path}: the passphrase has fewer than 12 characters"


def test_a_key_that_everybody_may_read_is_refused(state: Path, keys: Path) -> None:
    begun(state)
    (keys / "root.key").chmod(0o644)
    assert "everybody may read" in refusal("file", keys)


# What is wrapped under it


def test_the_storage_key_stays_what_it_was(keys: Path) -> None:
    files.make_directory(keys)
    make_storage_key(keys, KEY)
    storage = storage_key(keys, KEY)
    make_storage_key(keys, KEY)
    assert len(storage) == 32
    assert storage != KEY
    assert storage_key(keys, KEY) == storage
    assert storage.hex().encode() not in (keys / "storage.key").read_bytes()


@pytest.mark.parametrize("content", [None, "", "!", "AAAA", "é"])
def test_another_root_key_or_damage_gives_no_storage_key(keys: Path, content: str | None) -> None:
    files.make_directory(keys)
    make_storage_key(keys, KEY)
    if content is not None:
        secret_file(keys / "storage.key", content)
    with pytest.raises(RootKeyError, match=r"storage\.key: it was made with another root key, or is damaged"):
        storage_key(keys, KEY if content is not None else bytes(32))


def test_a_storage_key_that_is_lost_is_not_replaced_by_itself(state: Path, keys: Path) -> None:
    begun(state)
    root = read_root("file", keys)
    (keys / "storage.key").unlink()
    for attempt in (lambda: storage_key(keys, root), lambda: rotate("file", keys)):
        with pytest.raises(RootKeyError, match=r"storage\.key: it is gone, .* bring it back .* renew-storage-key$"):
            attempt()
    assert initialise(state, "file", ORIGIN) is None
    assert not (keys / "storage.key").exists()


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"recovery": 1, "root": ""}', "\xff", "[" * 100_000])
def test_a_damaged_escrow_is_refused_in_one_line(state: Path, keys: Path, content: str) -> None:
    sheet = begun(state)
    secret_file(keys / "root.escrow", content)
    with pytest.raises(RootKeyError, match=r"root\.escrow: this is no escrow, or it is damaged"):
        open_escrow(keys, sheet.identity)


def test_only_the_recovery_identity_opens_the_escrow(state: Path, keys: Path) -> None:
    begun(state)
    with pytest.raises(RootKeyError, match="not sealed to this identity"):
        open_escrow(keys, Identity.generate())


# Another root key


class Archive:
    """An archive in which something is wrapped under its root key at each place."""

    def __init__(self, state: Path, source: str = "file") -> None:
        self.state, self.keys, self.source = state, state / "keys", source
        self.identity = begun(state, source).identity
        self.first = read_root(source, self.keys)
        self.storage = storage_key(self.keys, self.first)
        self.policy = policy_in(state, self.first)
        store = KeyStore(self.keys)
        self.today = store.make("staff", TUESDAY, self.first, {"recovery": self.identity.public})

    def assert_opens(self, root: bytes) -> None:
        """All of it opens to this root key, and is what it was."""
        store = KeyStore(self.keys)
        assert storage_key(self.keys, root) == self.storage
        assert store.open_as_root("staff", TUESDAY, root) == self.today
        assert policy_in(self.state, root) == self.policy
        assert open_escrow(self.keys, self.identity) == root

    def assert_nothing_is_left(self, root: bytes) -> None:
        """No file has the first root key, if it was replaced, nor anything that only a change in progress needs."""
        assert {path.name for path in self.keys.iterdir()} <= {
            SHEET,
            "days",
            "root.key",
            "root.salt",
            "root.escrow",
            "storage.key",
        }
        if root != self.first:
            found = [path for path in self.keys.rglob("*") if path.is_file() and self.first.hex() in path.read_text()]
            assert found == []


def test_a_fresh_root_key_opens_all_that_the_old_one_did(state: Path) -> None:
    archive = Archive(state)
    with (archive.keys / "root.key").open("rb") as old:
        root = rotate("file", archive.keys)
        assert not any(old.read())
    assert root not in (archive.first, archive.storage)
    assert read_root("file", archive.keys) == root
    archive.assert_opens(root)
    archive.assert_nothing_is_left(root)
    with pytest.raises(RootKeyError, match="another root key"):
        storage_key(archive.keys, archive.first)


def test_the_root_key_moves_to_another_source(state: Path, tmp_path: Path) -> None:
    archive = Archive(state)
    source = f"passphrase:{secret_file(tmp_path / 'passphrase', 'correct horse battery')}"
    for _ in range(2):  # it is done again after a crash
        root = rotate("file", archive.keys, source)
        assert read_root(source, archive.keys) == root
        archive.assert_opens(root)
    assert rotate(source, archive.keys, "file") == archive.first
    archive.assert_opens(archive.first)


def test_only_a_file_gets_a_fresh_key(state: Path) -> None:
    archive = Archive(state, f"command:echo {KEY.hex()}")
    with pytest.raises(RootKeyError, match="name another source"):
        rotate(archive.source, archive.keys)
    archive.assert_opens(KEY)


def test_a_root_key_is_not_replaced_under_a_recorder(state: Path) -> None:
    archive = Archive(state)
    held = os.open(state / "audit", os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    with pytest.raises(RootKeyError, match="stop the server first"):
        rotate("file", archive.keys)
    os.close(held)
    archive.assert_opens(archive.first)


def test_a_damaged_file_stops_it_before_anything_is_changed(state: Path) -> None:
    archive = Archive(state)
    (archive.keys / "days" / f"{MONDAY}.staff.json").write_text("{}")
    with pytest.raises(RootKeyError, match=r"2026-11-23\.staff\.json: this is no file of keys"):
        rotate("file", archive.keys)
    archive.assert_opens(archive.first)
    archive.assert_nothing_is_left(archive.first)


class Crash(BaseException):
    """The end of the process, at some step."""


def crash_at_each_step(
    monkeypatch: pytest.MonkeyPatch, prepare: Callable[[int], Callable[[], object]]
) -> Iterator[int]:
    """Do what is prepared over and over, each time ended one change of a file or the log later, until it is done.

    Yields after each crash.
    """
    for steps in range(50):
        left = iter(range(steps))

        def counted(call: Callable[..., Any], left: Iterator[int] = left) -> Callable[..., Any]:
            def run(*arguments: Any, **options: Any) -> Any:
                if next(left, None) is None:
                    raise Crash
                return call(*arguments, **options)

            return run

        work = prepare(steps)
        with monkeypatch.context() as broken:
            for module, name in ((files, "replace"), (files, "destroy"), (sqlite3, "connect")):
                broken.setattr(module, name, counted(getattr(module, name)))
            try:
                work()
            except Crash:
                pass
            else:
                return
        yield steps
    pytest.fail("it never finished")


def test_a_first_start_that_was_interrupted_is_done_again(
    state: Path, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    crashes = list(crash_at_each_step(monkeypatch, lambda steps: lambda: initialise(state, "file", ORIGIN)))
    assert len(crashes) >= 3
    assert initialise(state, "file", ORIGIN) is None
    [recovery] = policy_in(state, read_root("file", keys)).public_keys().values()
    assert json.loads((keys / "root.escrow").read_text())["recovery"] == recovery.text
    [written] = [line for line in (keys / SHEET).read_text().splitlines() if "vrxmpp-identity-1" in line]
    assert Identity.parse(written).public == recovery


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_change_that_was_interrupted_is_finished_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, elsewhere: bool
) -> None:
    archives: list[Archive] = []

    def prepare(steps: int) -> Callable[[], object]:
        source = f"file:{tmp_path / str(steps)}" if elsewhere else "file"
        archives.append(Archive(tmp_path / f"state{steps}", source))
        return lambda: rotate(source, archives[-1].keys)

    changed = 0
    for _ in crash_at_each_step(monkeypatch, prepare):
        archive = archives[-1]
        root = read_root(archive.source, archive.keys)
        archive.assert_opens(root)
        archive.assert_nothing_is_left(root)
        changed += root != archive.first
    assert changed > 3


def test_an_interrupted_change_is_finished_by_the_same_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archives: list[Archive] = []
    source = f"file:{tmp_path / 'new'}"

    def prepare(steps: int) -> Callable[[], object]:
        archives.append(Archive(tmp_path / f"state{steps}"))
        return lambda: rotate("file", archives[-1].keys, source)

    for _ in crash_at_each_step(monkeypatch, prepare):
        archives[-1].assert_opens(rotate("file", archives[-1].keys, source))
    assert len(archives) > 3


def test_a_key_in_a_file_that_was_being_replaced_must_be_named(state: Path) -> None:
    archive = Archive(state)
    secret_file(archive.keys / "root.next", KEY.hex())
    assert "name that file as its source" in refusal(f"command:echo {archive.first.hex()}", archive.keys)
    assert read_root("file", archive.keys) == KEY
    archive.assert_opens(KEY)
