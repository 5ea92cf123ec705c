"""The key store: who opens a day, what is destroyed, and what a crash or a damaged file leaves."""

from __future__ import annotations

import fcntl
import hmac
import json
import os
import stat
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from vrxmpp.audit import files
from vrxmpp.audit.identity import Identity
from vrxmpp.audit.keys import DayKeys, KeyFileError, KeyStore
from vrxmpp.audit.policy import PolicyError
from vrxmpp.audit.seal import SealError

ROOT, OTHER_ROOT = bytes(range(32)), bytes(range(32, 64))
JANE, JOHN = Identity.generate(), Identity.generate()
OFFICERS = {"jane": JANE.public, "john": JOHN.public}
MONDAY, TUESDAY = date(2026, 11, 23), date(2026, 11, 24)
CHAT = "juliet@library.example romeo@library.example"


@pytest.fixture
def store(tmp_path: Path) -> KeyStore:
    """Return a key store whose directory is not made yet."""
    return KeyStore(tmp_path / "state" / "keys")


@pytest.fixture
def days(tmp_path: Path) -> Path:
    """Return where its files are."""
    return tmp_path / "state" / "keys" / "days"


def file_of(days: Path, day: date = MONDAY, class_name: str = "staff") -> Path:
    return days / f"{day}.{class_name}.json"


def made(store: KeyStore, day: date = MONDAY, class_name: str = "staff") -> DayKeys:
    return store.make(class_name, day, ROOT, OFFICERS)


def test_the_keys_of_a_day_open_to_the_root_key_and_each_officer(store: KeyStore) -> None:
    keys = made(store)
    assert store.open_as_root("staff", MONDAY, ROOT) == keys
    assert store.open_as_officer("staff", MONDAY, "jane", JANE) == keys
    assert store.open_as_officer("staff", MONDAY, "john", JOHN) == keys


def test_they_open_to_nobody_else(store: KeyStore) -> None:
    made(store)
    with pytest.raises(SealError):
        store.open_as_root("staff", MONDAY, OTHER_ROOT)
    with pytest.raises(SealError):
        store.open_as_officer("staff", MONDAY, "jane", JOHN)
    with pytest.raises(SealError, match="not sealed to jack"):
        store.open_as_officer("staff", MONDAY, "jack", JANE)


def test_a_day_without_keys_has_none(store: KeyStore) -> None:
    assert store.open_as_root("staff", MONDAY, ROOT) is None
    assert store.list() == []
    with pytest.raises(KeyFileError, match="No such file"):
        store.open_as_officer("staff", MONDAY, "jane", JANE)


def test_keys_are_never_made_twice(store: KeyStore) -> None:
    keys = made(store)
    with pytest.raises(KeyFileError, match="exist already"):
        made(store)
    assert store.open_as_root("staff", MONDAY, ROOT) == keys


def test_keys_that_nobody_could_open_are_not_made(store: KeyStore) -> None:
    with pytest.raises(SealError, match="no officer"):
        store.make("staff", MONDAY, ROOT, {})
    assert store.list() == []


def test_classes_and_days_are_listed_the_oldest_first(store: KeyStore) -> None:
    keys = [made(store, TUESDAY), made(store, MONDAY), made(store, MONDAY, "audit")]
    assert store.list() == [("audit", MONDAY), ("staff", MONDAY), ("staff", TUESDAY)]
    assert store.key_ids() == {each.key_id: (each.class_name, each.day) for each in keys}


def test_only_the_owner_reads_the_files(store: KeyStore, days: Path) -> None:
    before = os.umask(0)
    try:
        made(store)
    finally:
        os.umask(before)
    for path, mode in ((days, 0o700), (days.parent, 0o700), (file_of(days), 0o600)):
        assert stat.S_IMODE(path.stat().st_mode) == mode


@pytest.mark.parametrize("class_name", ["../../x", "Staff", "", "a/b", "a" * 33, "a.b"])
def test_no_name_of_a_class_leads_elsewhere(store: KeyStore, class_name: str) -> None:
    with pytest.raises(PolicyError, match="name of a class"):
        made(store, MONDAY, class_name)


def test_keys_are_derived_as_the_format_says(store: KeyStore) -> None:
    keys = made(store)
    assert keys.day_key is not None
    id = hmac.digest(keys.id_key, CHAT.encode(), "sha256")[:16]
    assert keys.conversation_id(CHAT) == id
    assert keys.conversation_key(id) == hmac.digest(keys.day_key, b"vrxmpp conversation-day key" + id, "sha256")


def test_a_file_is_what_the_format_says(store: KeyStore, days: Path) -> None:
    keys = made(store)
    file = json.loads(file_of(days).read_text())
    assert (file["version"], file["class"], file["day"]) == (1, "staff", "2026-11-23")
    key_id, wrapped, sealed = (
        bytes.fromhex(file["key_id"]),
        b64decode(file["wraps"]["root"]),
        b64decode(file["content"]),
    )
    secret = AESGCM(ROOT).decrypt(wrapped[:12], wrapped[12:], key_id)
    assert JANE.open(b64decode(file["wraps"]["officers"]["jane"])) == secret
    content = json.loads(AESGCM(secret).decrypt(sealed[:12], sealed[12:], key_id))
    assert keys.day_key is not None
    assert content == {"id_key": keys.id_key.hex(), "day_key": keys.day_key.hex(), "conversations": {}}


def test_a_key_is_in_no_file_and_no_words(store: KeyStore, days: Path) -> None:
    keys = made(store)
    assert keys.day_key is not None
    for secret in (keys.day_key, keys.id_key):
        assert repr(secret) not in repr(keys)
        for form in (secret, secret.hex().encode(), b64encode(secret)):
            assert form not in file_of(days).read_bytes()


def test_a_closed_day_opens_to_officers_alone(store: KeyStore, days: Path) -> None:
    keys, today = made(store), made(store, TUESDAY)
    wrapped = json.loads(file_of(days).read_text())["wraps"]["root"].encode()
    with file_of(days).open("rb") as old:
        store.close(TUESDAY)
        assert not any(old.read())  # its bytes are overwritten, not only without a name
    with pytest.raises(SealError, match="closed"):
        store.open_as_root("staff", MONDAY, ROOT)
    assert store.open_as_officer("staff", MONDAY, "john", JOHN) == keys
    assert store.officers("staff", MONDAY) == {"jane", "john"}
    assert store.open_as_root("staff", TUESDAY, ROOT) == today
    assert not any(wrapped in path.read_bytes() for path in days.iterdir())


def test_a_closed_day_is_not_written_again(store: KeyStore, days: Path) -> None:
    made(store)
    store.close(TUESDAY)
    before = file_of(days).stat().st_ino
    store.close(TUESDAY)
    assert file_of(days).stat().st_ino == before


def test_a_conversation_that_was_erased_opens_to_nobody(store: KeyStore, days: Path) -> None:
    keys = made(store)
    store.close(TUESDAY)
    kept, erased = keys.conversation_id("a"), keys.conversation_id("b")
    changed = replace(keys, day_key=None, conversations={kept: keys.conversation_key(kept)})
    content = store.rewrite(changed, {"jane": JANE.public})
    before = JANE.open(b64decode(json.loads(file_of(days).read_text())["wraps"]["officers"]["jane"]))
    with file_of(days).open("rb") as old:
        store.replace("staff", MONDAY, content)
        assert not any(old.read())
    again = store.open_as_officer("staff", MONDAY, "jane", JANE)
    assert again == changed
    assert again.conversation_key(kept) == keys.conversation_key(kept)
    assert again.conversation_id("b") == erased
    with pytest.raises(SealError, match="destroyed"):
        again.conversation_key(erased)
    with pytest.raises(SealError, match="closed"):
        store.open_as_root("staff", MONDAY, ROOT)
    after = JANE.open(b64decode(json.loads(file_of(days).read_text())["wraps"]["officers"]["jane"]))
    assert before != after


def test_destroying_leaves_neither_file_nor_bytes(store: KeyStore, days: Path) -> None:
    made(store)
    with file_of(days).open("rb") as old:
        store.destroy("staff", MONDAY)
        assert not any(old.read())
    assert list(days.iterdir()) == []
    store.destroy("staff", MONDAY)  # done again after a crash


def test_an_officer_shares_a_day_with_another(store: KeyStore) -> None:
    keys = store.make("staff", MONDAY, ROOT, {"jane": JANE.public})
    with pytest.raises(SealError):
        store.share("staff", MONDAY, "jane", JOHN, new_name="john", new_public=JOHN.public)
    store.share("staff", MONDAY, "jane", JANE, new_name="john", new_public=JOHN.public)
    assert store.open_as_officer("staff", MONDAY, "john", JOHN) == keys


def test_a_wrap_that_belongs_to_another_day_is_not_shared(store: KeyStore, days: Path) -> None:
    made(store)
    made(store, TUESDAY)
    foreign = json.loads(file_of(days, TUESDAY).read_text())["wraps"]["officers"]["jane"]
    file = json.loads(file_of(days).read_text())
    file["wraps"]["officers"]["jane"] = foreign
    file_of(days).write_text(json.dumps(file))
    with pytest.raises(KeyFileError, match="damaged"):
        store.share("staff", MONDAY, "jane", JANE, new_name="jack", new_public=JOHN.public)


def test_an_officer_who_leaves_opens_nothing_more(store: KeyStore) -> None:
    for day in (MONDAY, TUESDAY):
        made(store, day)
    assert not store.withdraw(("john",), iter(store.list()))
    for day in (MONDAY, TUESDAY):
        store.open_as_officer("staff", day, "jane", JANE)
        with pytest.raises(SealError, match="not sealed to john"):
            store.open_as_officer("staff", day, "john", JOHN)
    assert not store.withdraw(("john",), iter(store.list()))


def test_officers_leave_one_day_after_the_other(store: KeyStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vrxmpp.audit.keys._SLICE", 0)
    for day in (MONDAY, TUESDAY):
        made(store, day)
    days = iter(store.list())
    assert store.withdraw(("john", "jim"), days)
    assert [store.officers("staff", day) for day in (MONDAY, TUESDAY)] == [{"jane"}, {"jane", "john"}]
    store.destroy("staff", TUESDAY)  # meanwhile
    assert store.withdraw(("john", "jim"), days)
    assert not store.withdraw(("john", "jim"), days)


def test_the_only_one_who_opens_a_day_does_not_leave(store: KeyStore) -> None:
    made(store)
    store.make("staff", TUESDAY, ROOT, {"john": JOHN.public})
    for refuse in (lambda: store.check_withdrawal("john"), lambda: store.withdraw(("john",), iter(store.list()))):
        with pytest.raises(SealError, match="2026-11-24 would open to nobody"):
            refuse()
    store.open_as_officer("staff", TUESDAY, "john", JOHN)


def test_only_days_since_another_are_closed(store: KeyStore) -> None:
    for day in (MONDAY, TUESDAY):
        made(store, day)
    store.close(date(2026, 11, 25), TUESDAY)
    assert store.open_as_root("staff", MONDAY, ROOT)
    with pytest.raises(SealError, match="is closed"):
        store.open_as_root("staff", TUESDAY, ROOT)


def test_another_root_key_opens_what_the_old_one_did(store: KeyStore, days: Path) -> None:
    made(store)
    store.close(TUESDAY)
    closed = file_of(days).read_bytes()
    keys = made(store, TUESDAY)
    for _ in range(2):  # it is done again after a crash
        store.rewrap_root(ROOT, OTHER_ROOT)
        assert store.open_as_root("staff", TUESDAY, OTHER_ROOT) == keys
        with pytest.raises(SealError):
            store.open_as_root("staff", TUESDAY, ROOT)
    assert file_of(days).read_bytes() == closed
    with pytest.raises(SealError):
        store.rewrap_root(ROOT, ROOT)


DAMAGED: list[Callable[[dict[str, Any]], object]] = [
    lambda file: file.pop("content"),
    lambda file: file.update(version=2),
    lambda file: file.update({"class": "audit"}),
    lambda file: file.update(day="2026-11-24"),
    lambda file: file.update(key_id="00"),
    lambda file: file.update(key_id=7),
    lambda file: file.update(wraps=[]),
    lambda file: file["wraps"].update(officers=None),
    lambda file: file["wraps"].update(root="!"),
    lambda file: file["wraps"].update(root=None),
    lambda file: file["wraps"]["officers"].update(jane=1),
    lambda file: file["wraps"]["officers"].update(jane="é"),
    lambda file: file.update(content="AA"),
]


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_file_is_named_in_one_line(
    store: KeyStore, days: Path, damage: Callable[[dict[str, Any]], object]
) -> None:
    made(store)
    file = json.loads(file_of(days).read_text())
    damage(file)
    file_of(days).write_text(json.dumps(file))
    assert_refused(store, days)


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b"7", b"\xff", b"[" * 100_000, b'{"version": 1}'])
def test_what_is_no_file_of_keys_is_named_in_one_line(store: KeyStore, days: Path, content: bytes) -> None:
    made(store)
    file_of(days).write_bytes(content)
    assert_refused(store, days)
    store.close(TUESDAY)  # and does not keep the server from starting
    assert file_of(days).read_bytes() == content


def assert_refused(store: KeyStore, days: Path) -> None:
    for attempt in (
        lambda: store.open_as_root("staff", MONDAY, ROOT),
        lambda: store.open_as_officer("staff", MONDAY, "jane", JANE),
        store.key_ids,
    ):
        with pytest.raises(KeyFileError) as raised:
            attempt()
        assert str(raised.value).startswith(f"{file_of(days)}: ")
        assert len(str(raised.value).splitlines()) == 1


@pytest.mark.parametrize(
    "content",
    [
        {"id_key": "00" * 32, "day_key": "00" * 31, "conversations": {}},
        {"id_key": "00" * 32, "day_key": None, "conversations": {"00" * 15: "00" * 32}},
        {"id_key": "00" * 32, "day_key": None, "conversations": []},
        {"id_key": None, "day_key": None, "conversations": {}},
        {},
        [],
    ],
)
def test_keys_of_a_false_shape_are_not_used(store: KeyStore, days: Path, content: object) -> None:
    made(store)
    file = json.loads(file_of(days).read_text())
    key_id = bytes.fromhex(file["key_id"])
    secret = JANE.open(b64decode(file["wraps"]["officers"]["jane"]))
    sealed = bytes(12) + AESGCM(secret).encrypt(bytes(12), json.dumps(content).encode(), key_id)
    file_of(days).write_text(json.dumps({**file, "content": b64encode(sealed).decode()}))
    with pytest.raises(KeyFileError, match="damaged"):
        store.open_as_officer("staff", MONDAY, "jane", JANE)


def test_a_file_of_a_strange_name_is_named(store: KeyStore, days: Path) -> None:
    made(store)
    (days / "notes.json").touch()
    with pytest.raises(KeyFileError, match=r"notes\.json: no file of keys"):
        store.list()


# What a crash leaves


class Crash(BaseException):
    """The end of the process, at some call."""


CALLS = ("fsync", "link", "replace", "unlink", "open")
Change = Callable[[KeyStore], object]
CHANGES: dict[str, Change] = {
    "close": lambda store: store.close(TUESDAY),
    "destroy": lambda store: store.destroy("staff", MONDAY),
    "share": lambda store: store.share("staff", MONDAY, "jane", JANE, new_name="j", new_public=JOHN.public),
}


def crash_after(monkeypatch: pytest.MonkeyPatch, calls: int, error: BaseException) -> None:
    """Let so many calls of the system happen, and no more."""
    left = iter(range(calls))

    def counted(call: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **options: Any) -> Any:
            if next(left, None) is None:
                raise error
            return call(*arguments, **options)

        return run

    for name in CALLS:
        monkeypatch.setattr(os, name, counted(getattr(os, name)))
    monkeypatch.setattr(Path, "unlink", os.unlink)


def held_open(days: Path) -> Iterator[BinaryIO]:
    """Yield the files that are there, so that their bytes can be looked at when they have no name any more."""
    for path in sorted(days.iterdir()):
        yield path.open("rb")


@pytest.mark.parametrize("change", CHANGES)
def test_after_a_crash_a_change_is_whole_or_has_not_been(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    finished = False
    for calls in range(1, 40):
        directory = tmp_path / str(calls)
        store, days = KeyStore(directory), directory / "days"
        keys = made(store)
        before = file_of(days).read_bytes()
        [old] = held_open(days)
        with monkeypatch.context() as broken:
            crash_after(broken, calls, Crash())
            try:
                CHANGES[change](store)
                finished = True
            except Crash:
                pass
        there = file_of(days).exists()
        if there:
            assert store.open_as_officer("staff", MONDAY, "jane", JANE) == keys
        assert there or change == "destroy"
        CHANGES["close" if change == "destroy" and not there else change](KeyStore(directory))
        assert [path.name for path in days.iterdir()] == ([] if change == "destroy" else [file_of(days).name])
        with old:
            assert not any(old.read(len(before)))
        if finished:
            assert calls > 5
            return
    pytest.fail("it never finished")


def test_each_step_is_on_the_disk_before_the_next(store: KeyStore, days: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(store)
    steps: list[str] = []

    def noted(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **options: Any) -> Any:
            of = os.readlink(f"/proc/self/fd/{arguments[0]}") if name == "sync" else str(arguments[-1])
            steps.append(f"{name} {Path(of).name.removeprefix('.2026-11-23.staff.json.vrxmpp-')}")
            return call(*arguments, **options)

        return run

    for name, call in (("sync", "fsync"), ("link", "link"), ("rename", "replace")):
        monkeypatch.setattr(os, call, noted(name, getattr(os, call)))
    store.replace("staff", MONDAY, b"new")
    assert steps == ["sync new", "link old", f"rename {file_of(days).name}", "sync days", "sync old", "sync days"]
    steps.clear()
    store.destroy("staff", MONDAY)
    assert steps == ["rename old", "sync days", "sync old", "sync days"]


def test_what_cannot_be_written_changes_nothing(store: KeyStore, days: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = made(store)
    before = file_of(days).read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(files.os, "fsync", full)
        with pytest.raises(KeyFileError, match="No space left on device"):
            store.close(TUESDAY)
        with pytest.raises(KeyFileError, match="No space left on device"):
            made(store, TUESDAY)
    assert file_of(days).read_bytes() == before
    assert store.open_as_root("staff", TUESDAY, ROOT) is None
    made(store, TUESDAY)
    assert store.open_as_root("staff", MONDAY, ROOT) == keys
    assert len(list(days.iterdir())) == 2


def test_a_change_waits_for_that_of_another_process(store: KeyStore, days: Path) -> None:
    made(store)
    with files.changing(days):
        other = os.open(days, os.O_RDONLY)
        with pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(other)


def test_only_what_is_ours_is_swept(store: KeyStore, days: Path) -> None:
    made(store)
    foreign = days / ".somebody.old"
    foreign.write_text("precious")
    store.close(TUESDAY)
    assert foreign.read_text() == "precious"
