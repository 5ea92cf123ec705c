"""Two vrxmpp that vouch for each other's archives over s2s: also against a thief with all keys (C2SP tlog-witness)."""

from __future__ import annotations

import asyncio
import json
import re
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from tests.live.archive import Archive
from tests.live.server import BIN, run, wait_for
from tests.peers.federation import Federation, federation
from tests.peers.peer import Policy
from tests.peers.person import newcomer
from tests.peers.vrxmpp import Vrxmpp
from vrxmpp.audit.frames import Entry
from vrxmpp.audit.keys import KeyStore
from vrxmpp.audit.leaf import Type
from vrxmpp.audit.ledger import Ledger
from vrxmpp.audit.notes import COSIGNATURE, ED25519, Signer
from vrxmpp.cli.client import connect
from vrxmpp_verify import verify_directory

OURS, THEIRS = "ours.example", "theirs.example"
WITNESSES = """
[audit.checkpoints]
witnesses = ["{other}"]
witness_for = ["{other}"]
every_seconds = 1
"""
TRUE, FALSE = "I owe you a thousand ducats", "I owe you nothing, and never have"
REMADE = (Type.CLOCK, Type.RECONCILE, Type.CLOSE, Type.WITNESS, Type.POLICY)
"""What whoever rewrites a log leaves out, or has made anew."""


class Witness(Vrxmpp):
    """A server that knows one other, as a witness and as one it is a witness for."""

    def prepare(self) -> Sequence[str | Path]:
        command = super().prepare()
        other = THEIRS if self.domain == OURS else OURS
        with (self.directory / "vrxmpp.toml").open("a") as file:
            file.write(WITNESSES.format(other=other))
        return command

    @cached_property
    def archive(self) -> Archive:
        return Archive(self.directory / "state")

    @property
    def notary(self) -> Path:
        return self.directory / "state" / "notary" / "notary.json"

    def notes(self) -> Any:
        """Return what its notary keeps."""
        return json.loads(self.notary.read_bytes())

    def audit(self, *arguments: str) -> tuple[int, str]:
        """Run ``vrxmpp audit``; return its exit code and what it says."""
        command = [BIN / "vrxmpp", "--config", self.directory / "vrxmpp.toml", "audit", *arguments]
        outcome = run(command, self.directory)
        assert outcome.stderr == ""
        return outcome.returncode, outcome.stdout

    def status(self) -> Any:
        return json.loads(self.audit("status", "--json")[1])

    def key(self, name: str, type: int) -> str:
        """Return the public side of one of its keys, as somebody knows it who was told."""
        seed = bytes.fromhex(self.notes()[f"{name}_key"])
        name = {"log": "audit"}.get(name, name)
        return Signer(f"{self.domain}/{name}", type, seed).verifier.text

    def look(self) -> Any:
        """Return what the server thinks of its checkpoints."""
        with connect(self.archive.state / "control.sock") as ask:
            return ask({"command": "audit status"})["checkpoints"]

    def wait_until(self, colour: str) -> Any:
        """Wait until the checkpoints have this colour; return what the server thinks of them."""
        wait_for(lambda: self.look()["colour"] == colour, lambda: f"{self.domain}: {self.look()}\n{self.log}")
        return self.look()

    def witnessed(self) -> tuple[int, str]:
        """Return the size of the log that was cosigned last, and the note."""
        with closing(sqlite3.connect(self.archive.path)) as database:
            row = database.execute("SELECT size, note FROM witnessed").fetchone()
        return row or (0, "")


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Witness, Witness]]:
    with federation(tmp_path_factory.mktemp("witnesses")) as all:
        servers = add(all, "ours"), add(all, "theirs")
        all.start()
        for server in servers:
            assert server.archive.identity, "it is known to us before somebody puts it into a safe"
            assert server.audit("init")[0] == 0
        yield servers


def add(all: Federation, name: str) -> Witness:
    server = all.add(Witness, name, Policy.CERTIFICATE, [all.certificate(f"{name}.example")])
    assert isinstance(server, Witness)
    return server


async def test_each_vouches_for_the_other(servers: tuple[Witness, Witness]) -> None:
    ours, theirs = servers
    alice, carol = await newcomer(ours, "alice"), await newcomer(theirs, "carol")
    for one, other in ((alice, carol), (carol, alice)):
        one.send_message(other.boundjid.full, "Hark!", mtype="chat")
        await other.expect("message", sender=one.boundjid.full)
    await asyncio.to_thread(wait_for_witnesses, ours, theirs)

    for one, other in ((ours, theirs), (theirs, ours)):
        code, said = one.audit("status")
        assert (code, said.splitlines()[0]) == (0, "The archive is green.")
        size, note = one.witnessed()
        keys = [one.key("log", ED25519), other.key("witness", COSIGNATURE)]
        report = verify_directory(one.archive.state / "audit", vkeys=keys)
        assert (report.sound, report.vouched) == (True, size)
        assert f"\u2014 {other.domain}/witness " in note
        forged = Signer(f"{other.domain}/witness", COSIGNATURE, bytes(32)).verifier.text
        assert not verify_directory(one.archive.state / "audit", vkeys=[keys[0], forged]).vouched


def wait_for_witnesses(*servers: Witness) -> None:
    """Wait until all that was recorded by now is cosigned."""
    for server in servers:
        size = server.archive.size()
        wait_for(lambda server=server, size=size: server.witnessed()[0] >= size, lambda server=server: server.log)
        server.wait_until("green")


# -- a thief, who has the root key, all keys of the days, and in the end the notary's


def rewrite(server: Witness, text: str, other: str) -> None:
    """Have somebody have said something else, in a log that is as good as the true one, seen from inside."""
    state = server.archive.state
    root = bytes.fromhex((state / "keys" / "root.key").read_text())
    keys = KeyStore(state / "keys")
    with closing(Ledger.open(state / "audit", keys, root)) as ledger:
        origin, policy = ledger.origin, ledger.policy
    records = [record for record in server.archive.records(*Type) if record.type not in REMADE]
    assert sum(text.encode() in record.envelope for record in records) == 1
    Ledger.create(state / "new", root, origin, policy)
    time = records[0].time
    with closing(Ledger.open(state / "new", keys, root, now=lambda: time, monotonic=lambda: time)) as ledger:
        for record in records:
            time = record.time
            envelope = record.envelope.replace(text.encode(), other.encode())
            ledger.append([Entry(record.type, record.class_name, record.conversation, envelope)])
    for path in (state / "audit").glob("ledger.sqlite*"):
        path.unlink()
    (state / "new" / "ledger.sqlite").rename(server.archive.path)
    (state / "new").rmdir()


def persuade(server: Witness) -> None:
    """Have the notary believe that it has signed the log as it is now."""
    state = server.archive.state
    root = bytes.fromhex((state / "keys" / "root.key").read_text())
    with closing(Ledger.open(state / "audit", KeyStore(state / "keys"), root)) as ledger:
        signed = {"size": ledger.size, "root": ledger.root().hex()}
    server.notary.write_text(json.dumps(server.notes() | {"signed": signed}))


async def test_a_log_that_is_rewritten_with_stolen_keys_is_found(servers: tuple[Witness, Witness]) -> None:
    ours, theirs = servers
    alice, carol = await newcomer(ours, "alice"), await newcomer(theirs, "carol")
    alice.send_message(carol.boundjid.full, TRUE, mtype="chat")
    await carol.expect("message", sender=alice.boundjid.full)
    await asyncio.to_thread(wait_for_witnesses, ours)
    await asyncio.to_thread(ours.stop)
    size, cosigned = ours.witnessed()
    signed = ours.notes()["signed"]["size"]
    known = theirs.notes()["peers"][f"{OURS}/audit"]["size"]
    keys = [ours.key("log", ED25519), theirs.key("witness", COSIGNATURE)]
    rewrite(ours, TRUE, FALSE)
    [said] = [record.text for record in ours.archive.records() if record.sender == alice.boundjid.full]
    assert said == FALSE

    ours.start()
    reason, *_ = ours.wait_until("red")["reasons"]
    assert re.search(f"of the {signed} that were signed|{signed} were signed", reason)

    ours.stop()
    persuade(ours)
    ours.start()
    told = f"this is not an extension of the {known} records that are known here"
    assert f"witness {THEIRS}: it refuses: {told}" in ours.wait_until("red")["reasons"]
    theirs_says = f"nothing is cosigned for {OURS}: {told}"
    wait_for(lambda: theirs_says in theirs.log, lambda: theirs.log)
    assert ours.audit("status")[0] == 1
    theirs.wait_until("green")
    ours.stop()

    audit = ours.archive.state / "audit"
    inside = verify_directory(audit, vkeys=keys)
    assert (inside.sound, inside.vouched) == (True, 0), "nothing inside tells of it"
    outside = verify_directory(audit, vkeys=keys, checkpoints=[cosigned])
    assert [str(problem) for problem in outside.problems] == [
        f"the log is not what was signed: the given checkpoint of {size} records of {OURS}/audit has another root; of "
        f"records 0 to {size - 1} at least one was changed, added or taken away"
    ]
