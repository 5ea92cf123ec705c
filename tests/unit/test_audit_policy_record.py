"""The policy in force is the one that the log has last recorded: an older one in its place is noticed."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.audit_log import Archive, check, message
from vrxmpp.audit.founding import initialise
from vrxmpp.audit.frames import Entry
from vrxmpp.audit.identity import Identity
from vrxmpp.audit.keys import KeyStore
from vrxmpp.audit.leaf import PUBLIC, Type
from vrxmpp.audit.ledger import Ledger, LedgerError
from vrxmpp.audit.policy import Retention
from vrxmpp.audit.rotation import read_root, rotate

CHANGE = Entry(Type.CONFIG, "audit", "audit", b"{}\n")


def lock(ledger: Ledger, days: int) -> int:
    return ledger.change_policy(ledger.policy.change_retention("staff", Retention(days, locked=True)), [CHANGE])


def state(archive: Archive) -> dict[str, bytes]:
    return dict(archive.rows("SELECT name, value FROM state WHERE name LIKE 'policy%'"))


def execute(archive: Archive, statement: str, *values: Any) -> None:
    with closing(sqlite3.connect(archive.audit / "ledger.sqlite")) as connection, connection:
        connection.execute(statement, values)


def put_back(archive: Archive, old: dict[str, bytes]) -> None:
    """Do what somebody without any key can do."""
    execute(archive, "DELETE FROM state WHERE name LIKE 'policy%'")
    for name, value in old.items():
        execute(archive, "INSERT INTO state VALUES (?, ?)", name, value)


def test_each_change_is_followed_by_the_hash_of_the_policy_in_force(archive: Archive, ledger: Ledger) -> None:
    assert (lock(ledger, 30), lock(ledger, 31)) == (0, 2)
    leaves = archive.leaves()
    assert [leaf.type for leaf in leaves] == [Type.CONFIG, Type.POLICY] * 2
    assert {leaf.key_id for leaf in leaves[1::2]} == {PUBLIC}
    assert archive.facts(3) == {"policy": hashlib.sha256(state(archive)["policy"]).hexdigest()}
    assert archive.facts(1) != archive.facts(3)
    check(archive, ledger.root())


@pytest.mark.parametrize("rows", [{"policy"}, {"policy", "policy_key"}])
def test_an_older_policy_in_its_place_is_refused(archive: Archive, ledger: Ledger, rows: set[str]) -> None:
    before = state(archive)
    lock(ledger, 30)
    between, size = state(archive), ledger.size
    ledger.append([message("x")] * 300)
    lock(ledger, 31)
    last = ledger.size - 1
    assert size < last
    ledger.close()
    after = state(archive)
    for old in (before, between):
        put_back(archive, after | {name: old[name] for name in rows})
        with pytest.raises(LedgerError, match=rf"^the policy is not the one that record {last} names: [^\n]+\Z"):
            archive.open()
    put_back(archive, after)
    with closing(archive.open()) as again:
        assert again.policy.retention_of("staff") == Retention(31, locked=True)


@pytest.mark.parametrize("payload", ["that of the older record", None, b"{}\n"])
def test_the_record_itself_cannot_be_changed_for_it(archive: Archive, ledger: Ledger, payload: Any) -> None:
    lock(ledger, 30)
    old = state(archive)
    ((older,),) = archive.rows("SELECT payload FROM records WHERE idx = 1")
    lock(ledger, 31)
    ledger.close()
    put_back(archive, old)
    execute(archive, "UPDATE records SET payload = ? WHERE idx = 3", older if isinstance(payload, str) else payload)
    with pytest.raises(LedgerError, match="record 3"):
        archive.open()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE state SET value = 'text' WHERE name = 'policy'",
        "DELETE FROM state WHERE name = 'policy'",
        "DELETE FROM state WHERE name = 'policy_key'",
        "UPDATE records SET payload = 'text' WHERE idx = 1",
        "UPDATE records SET leaf = substr(leaf, 1, 5) WHERE idx = 1",
    ],
)
def test_whatever_is_there_instead_is_one_line(archive: Archive, ledger: Ledger, statement: str) -> None:
    lock(ledger, 30)
    ledger.close()
    execute(archive, statement)
    with pytest.raises(LedgerError, match=r"\A[^\n]*policy[^\n]*\Z"):
        archive.open()


def test_nobody_else_records_a_policy(archive: Archive, ledger: Ledger) -> None:
    named = Entry(Type.POLICY, "", "", json.dumps({"policy": "00" * 32}).encode() + b"\n")
    for append in (ledger.append, lambda entries: ledger.change_policy(ledger.policy, entries)):
        with pytest.raises(LedgerError, match="policy"):
            append([named])
    assert ledger.size == 0


def test_the_newest_record_is_found_however_many_there_are(archive: Archive, ledger: Ledger) -> None:
    asked: list[str] = []
    lock(ledger, 30)
    ledger.close()
    with closing(archive.open()) as again:
        rows = again._database.rows
        again._database.rows = lambda question, *values: asked.append(question) or rows(question, *values)  # type: ignore[method-assign, func-returns-value]
        again._read_policy()
    (question,) = [each for each in asked if "FROM records" in each]
    assert [row[3] for row in archive.rows(f"EXPLAIN QUERY PLAN {question}")] == ["SCAN records USING INDEX policies"]
    assert archive.rows("SELECT COUNT(*) FROM records WHERE substr(leaf, 5, 1) = x'12'") == [(1,)]


@pytest.mark.parametrize("changed", [False, True])
def test_another_root_key_leaves_the_hash_as_it_is(tmp_path: Path, changed: bool) -> None:
    initialise(tmp_path, "file", "a.example/audit")
    keys, audit = tmp_path / "keys", tmp_path / "audit"

    def open_it() -> Ledger:
        return Ledger.open(audit, KeyStore(keys), read_root("file", keys))

    with closing(open_it()) as ledger:
        if changed:
            ledger.change_policy(ledger.policy.add_officer("jane", Identity.generate().public, 0), [CHANGE])
        policy, size = ledger.policy, ledger.size
    rotate("file", keys)
    with closing(open_it()) as ledger:
        assert (ledger.policy, ledger.size) == (policy, size)
