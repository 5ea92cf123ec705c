"""The archive of a real server, as those see it who have its files: its processes, its records, whether it is sound."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from functools import cached_property
from pathlib import Path

from tests.live.server import wait_for
from vrxmpp.audit.found import Found
from vrxmpp.audit.identity import Identity
from vrxmpp.audit.keys import KeyStore
from vrxmpp.audit.leaf import MESSAGES, Type
from vrxmpp.audit.reader import Query, Reader
from vrxmpp.cli.client import connect
from vrxmpp_verify import Report, verify_directory

ROLES = ("recorder", "notary")


class Archive:
    """The archive of a state directory."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.path = state / "audit" / "ledger.sqlite"

    @cached_property
    def identity(self) -> Identity:
        """The recovery officer's, who may open everything."""
        sheet = (self.state / "keys" / "recovery-sheet.txt").read_text()
        [line] = [line.strip() for line in sheet.splitlines() if line.strip().startswith("vrxmpp-identity-1")]
        return Identity.parse(line)

    def size(self) -> int:
        """Return how many records are on the disk."""
        with closing(sqlite3.connect(self.path)) as database:
            return int(database.execute("SELECT COALESCE(MAX(idx) + 1, 0) FROM records").fetchone()[0])

    def find(self, *types: Type) -> Iterator[Found]:
        """Yield what was said, in order, or what else is of these types."""
        reader = Reader(self.state / "audit", KeyStore(self.state / "keys"), "recovery", self.identity)
        with closing(reader.records):
            yield from reader.search(Query(types=frozenset(types) or MESSAGES))

    def records(self, *types: Type) -> list[Found]:
        """Return the same at once."""
        return list(self.find(*types))

    def verify(self) -> Report:
        """Verify every record and every text in it, without the server's code."""
        return verify_directory(
            self.state / "audit", keys=self.state / "keys", identity=("recovery", self.identity.text)
        )

    def check(self) -> None:
        """Fail unless everything in it is sound and can be opened."""
        report = self.verify()
        assert report.sound, "\n".join(map(str, report.problems))
        assert report.unopened == report.gone == 0

    # -- its processes

    @property
    def server(self) -> int:
        """The process number of the server."""
        with connect(self.state / "control.sock") as ask:
            return int(ask({"command": "status"})["process"])

    def process(self, role: str) -> int:
        """Wait for the recorder or the notary of the server that runs; return its process number."""
        return wait_for_child(self.server, role)


def children(parent: int) -> Iterator[tuple[str, int]]:
    """Yield the role and number of each process of an archive that this process has started."""
    for path in Path("/proc").iterdir():
        with suppress(OSError):  # it has just ended
            if path.name.isdecimal() and _parent(path) == parent:
                command = (path / "cmdline").read_bytes()
                for role in ROLES:
                    if b"vrxmpp.audit.%b\0" % role.encode() in command:
                        yield role, int(path.name)


def wait_for_child(parent: int, role: str) -> int:
    """Wait until a process has this child; return its number."""
    wait_for(lambda: role in dict(children(parent)), lambda: f"{parent} has no {role}")
    return dict(children(parent))[role]


def _parent(process: Path) -> int:
    return int((process / "stat").read_text().rpartition(")")[2].split()[1])


def is_running(pid: int) -> bool:
    """Whether a process is there, and has not ended."""
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_for_end(pids: Iterable[int]) -> None:
    """Wait until none of these processes is left."""
    left = list(pids)
    wait_for(lambda: not any(map(is_running, left)), lambda: f"still there: {[pid for pid in left if is_running(pid)]}")
