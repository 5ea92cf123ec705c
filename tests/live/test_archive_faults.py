"""What cannot be recorded, nobody gets: over c2s and s2s, whatever is wrong with the archive (RFC 6120 §8.3.3.18)."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import sqlite3
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.live.archive import Archive, children, wait_for_end
from tests.live.server import BIN, PATIENCE, run, wait_for
from tests.peers.federation import Federation, federation
from tests.peers.peer import Peer, Policy
from tests.peers.person import Person, newcomer
from tests.peers.vrxmpp import Vrxmpp
from vrxmpp.audit.found import Found
from vrxmpp.cli.client import connect

SMALL_DISK = "32m"
ROOT_ONLY = "a disk of its own takes root"


def mount(*arguments: str | Path) -> bool:
    """Mount something; return whether that is possible."""
    return subprocess.run(["mount", *arguments], capture_output=True, check=False).returncode == 0


@contextmanager
def mounted(path: Path, *arguments: str | Path) -> Iterator[bool]:
    """Have something mounted, if that is possible."""
    is_mounted = mount(*arguments, path)
    try:
        yield is_mounted
    finally:
        if is_mounted:
            subprocess.run(["umount", "--lazy", path], check=True)


@dataclass(frozen=True)
class House:
    """Our server, whose archive has its faults, and another."""

    ours: Peer
    theirs: Peer
    archive: Archive

    def status(self) -> Any:
        """Return what ``vrxmpp audit status`` says."""
        command = [BIN / "vrxmpp", "--config", self.ours.directory / "vrxmpp.toml", "audit", "status", "--json"]
        outcome = run(command, self.ours.directory)
        assert outcome.stderr == ""
        return json.loads(outcome.stdout)

    def trouble(self) -> str:
        """Return what the server says is wrong with the archive, if anything is."""
        with connect(self.archive.state / "control.sock") as ask:
            return str(ask({"command": "audit status"})["archive"]["trouble"])


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    directory = tmp_path_factory.mktemp("faults")
    state = directory / "ours-certificate" / "state"
    state.mkdir(mode=0o700, parents=True)
    with mounted(state, "-t", "tmpfs", "-o", f"size={SMALL_DISK},mode=0700", "tmpfs"), federation(directory) as all:
        ours, theirs = (add(all, name) for name in ("ours", "theirs"))
        all.start()
        yield House(ours, theirs, Archive(state))


def add(all: Federation, name: str) -> Peer:
    return all.add(Vrxmpp, name, Policy.CERTIFICATE, [all.certificate(f"{name}.example")])


# -- faults


@contextmanager
def full_disk(archive: Archive) -> Iterator[None]:
    """There is no room for anything in the whole state directory."""
    if not archive.state.is_mount():
        pytest.skip(ROOT_ONLY)
    filler = archive.state / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(65_536))
    yield
    filler.unlink()


@contextmanager
def quota(archive: Archive) -> Iterator[None]:
    """The recorder may write no file any further."""
    recorder = archive.process("recorder")
    before = resource.prlimit(recorder, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
    yield
    resource.prlimit(recorder, resource.RLIMIT_FSIZE, before)


@contextmanager
def locked(archive: Archive) -> Iterator[None]:
    """Another process has the file for itself."""
    with closing(sqlite3.connect(archive.path, isolation_level=None)) as database:
        database.execute("BEGIN EXCLUSIVE")
        yield


@contextmanager
def killed_and_read_only(archive: Archive) -> Iterator[None]:
    """The recorder is killed, and those that follow may only read."""
    audit = archive.state / "audit"
    with mounted(audit, "--bind", audit) as is_mounted:
        if is_mounted:
            assert mount("-o", "remount,bind,ro", audit)
        else:
            audit.chmod(0o500)
            archive.path.chmod(0o400)
        kill_recorder(archive)
        yield
    archive.path.chmod(0o600)
    audit.chmod(0o700)


@contextmanager
def stopped(archive: Archive) -> Iterator[None]:
    """The recorder is stopped, and so is each that takes its place."""
    server, is_over, all = archive.server, threading.Event(), set[int]()

    def stop() -> None:
        while not is_over.wait(0.02):
            for role, pid in children(server):
                if role == "recorder" and pid not in all:
                    all.add(pid)
                    os.kill(pid, signal.SIGSTOP)

    thread = threading.Thread(target=stop)
    thread.start()
    wait_for(lambda: all, lambda: "there is no recorder")
    yield
    is_over.set()
    thread.join()
    for pid in all:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


Fault = Callable[[Archive], AbstractContextManager[None]]
SAID: dict[Fault, str] = {
    full_disk: "disk is full",
    quota: "cannot be written",
    locked: "locked",
    killed_and_read_only: "ecorder",
    stopped: "ecorder",
}
"""Each fault, and what the status says of it."""


def kill_recorder(archive: Archive) -> None:
    pid = archive.process("recorder")
    os.kill(pid, signal.SIGKILL)
    wait_for_end([pid])


# -- what must be


Way = tuple[Person, Person]
REFUSED = ("wait", "resource-constraint")


@pytest.mark.parametrize("fault", SAID, ids=lambda fault: fault.__name__)
async def test_nobody_gets_what_cannot_be_recorded(house: House, fault: Fault) -> None:
    alice, bob = await newcomer(house.ours, "alice"), await newcomer(house.ours, "bob")
    carol = await newcomer(house.theirs, "carol")
    ways = [(alice, bob), (alice, carol), (carol, alice)]
    for way in ways:
        assert await talk(way, "before")
    server = house.archive.server
    refused = [f"refused {number}" for number in range(3)]

    with fault(house.archive):
        for way in ways:
            for id in refused:
                say(way, id)
        await bob.plugin["xep_0199"].send_ping(house.ours.domain, timeout=5)
        await until(lambda: all(len(errors(way)) >= len(refused) for way in ways))
        status = await asyncio.to_thread(house.status)
    await asyncio.gather(*(talk_again(way) for way in ways))
    for person in (alice, bob, carol):
        await person.settle()  # whatever comes late

    assert house.archive.server == server, "it was never started again"
    assert house.trouble() == ""
    records = house.archive.records()
    for way in ways:
        assert errors(way)[: len(refused)] == [(id, *REFUSED) for id in refused]
        came_back = [id for id, *_ in errors(way)]
        assert len(came_back) == len(set(came_back))
        assert heard(way)[0] == "before"
        assert not set(heard(way)) & set(came_back)
        assert archived(records, way) == heard(way)
    assert status["colour"] == "red"
    assert any(SAID[fault] in each["reason"] for each in status["reasons"]), status["reasons"]
    house.archive.check()


def say(way: Way, id: str) -> None:
    """Send a message that is known by its id."""
    one, other = way
    message = one.make_message(other.boundjid.full, id, mtype="chat")
    message["id"] = id
    message.send()


def heard(way: Way) -> list[str]:
    """Return the ids of what one has said and the other has got."""
    one, other = way
    return [each["id"] for each in other.inbox if each["type"] == "chat" and each["from"] == one.boundjid]


def errors(way: Way) -> list[tuple[str, str, str]]:
    """Return what has come back: ids, types and conditions of errors."""
    one, other = way
    return [
        (each["id"], each["error"]["type"], each["error"]["condition"])
        for each in one.inbox
        if each.name == "message" and each["type"] == "error" and each["from"] == other.boundjid
    ]


def archived(records: list[Found], way: Way) -> list[str]:
    """Return the ids of what one has said to the other, as the archive has them."""
    addresses = tuple(person.boundjid.full for person in way)
    return [record.id for record in records if (record.sender, record.recipient) == addresses]


async def talk(way: Way, id: str) -> bool:
    """Say something; return whether it arrives, or comes back."""
    say(way, id)
    await until(lambda: id in heard(way) or any(id == error[0] for error in errors(way)))
    return id in heard(way)


async def talk_again(way: Way) -> None:
    """Try until something arrives again."""
    for number in count():
        if await talk(way, f"again {number}"):
            return
        await asyncio.sleep(0.5)


async def until(condition: Callable[[], object]) -> None:
    """Wait for a condition, for as long as the archive may be waited for, and then some."""
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.05)
