"""The real recorder, killed, stopped, and on a full disk: what waits is written by the next, and nothing is lost."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from vrxmpp.audit.frames import Frames, Kind, frame_json
from vrxmpp.stanza import REFUSED

PATIENCE = 30.0  # seconds for the machine, however busy it is

# A server that does nothing but archive: it reads commands, a line each, and writes what happens.
SERVER = """
import json, sys
from pathlib import Path
from twisted.internet import reactor, stdio
from twisted.internet.defer import Deferred
from twisted.protocols.basic import LineOnlyReceiver
from vrxmpp.core.router import Router
from vrxmpp.jid import Jid
from vrxmpp.net.archive import Archive, ArchiveError, ArchiveSettings
from vrxmpp.stanza import Stanza

router = Router()
router.hosts = {"example.net": None}
settings = ArchiveSettings(Path(sys.argv[1]), "file", "example.net/audit", "staff", {}, patience=float(sys.argv[2]),
                           silence_seconds=int(sys.argv[3]))
archive = Archive(settings, router, reactor)

class Commands(LineOnlyReceiver):
    delimiter = b"\\n"

    def tell(self, **what):
        self.sendLine(json.dumps(what).encode())

    def connectionMade(self):
        Deferred.fromCoroutine(archive.start()).addCallbacks(
            lambda key: self.tell(started=len(key), pid=archive._recorder._process.pid),
            lambda failure: self.tell(failed=str(failure.value)),
        )

    def lineReceived(self, line):
        name, *words = line.decode().split()
        getattr(self, name)(*words)

    def say(self, first, last):
        alice, bob = Jid.parse("alice@example.net/x"), Jid.parse("bob@example.net")
        for number in range(int(first), int(last)):
            stanza = Stanza("message", sender=alice, to=bob, payloads=("jabber:client body",), id=str(number),
                            inner=b"<body>%d</body>" % number)
            archive.record(stanza, b"{}", lambda stanza=stanza: self.tell(id=int(stanza.id), record=stanza.record))

    def status(self):
        self.tell(**archive.status(), pid=archive._recorder._process.pid)

    def count(self):
        archive.ask("count", first=0, until=archive.status()["size"]).addCallback(lambda count: self.tell(count=count))

    def stop(self):
        Deferred.fromCoroutine(archive.stop()).addCallback(self.stopped)

    def stopped(self, _):
        self.tell(stopped=True)
        self.transport.loseConnection()

    def connectionLost(self, reason):
        reactor.stop()

stdio.StandardIO(Commands())
reactor.run()
"""


class Server:
    """The process that archives, and through it the recorder."""

    def __init__(self, state: Path, patience: float = PATIENCE, silence: int = 2) -> None:
        self.state = state
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVER, str(state), str(patience), str(silence)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )

    def tell(self, *words: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(" ".join(map(str, words)).encode() + b"\n")
        self.process.stdin.flush()

    def hear(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "the server has ended"
        return json.loads(line)

    def say(self, first: int, last: int) -> dict[int, int]:
        """Have messages recorded; return what became of each."""
        self.tell("say", first, last)
        return self.outcomes(last - first)

    def outcomes(self, count: int) -> dict[int, int]:
        heard = [self.hear() for _ in range(count)]
        return {each["id"]: each["record"] for each in heard}

    def status(self) -> Any:
        self.tell("status")
        return self.hear()

    def recorder(self) -> int:
        """Return the process number of the recorder."""
        return int(self.status()["pid"])

    def stop(self) -> None:
        self.tell("stop")
        assert self.hear() == {"stopped": True}
        self.process.wait(PATIENCE)

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


@pytest.fixture
def state(tmp_path: Path) -> Path:
    state = tmp_path / "state"
    script = "import sys; from pathlib import Path; from vrxmpp.audit.founding import initialise; "
    script += "assert initialise(Path(sys.argv[1]), 'file', 'example.net/audit')"
    subprocess.run([sys.executable, "-c", script, str(state)], check=True)
    return state


@pytest.fixture
def servers() -> Iterator[list[Server]]:
    servers: list[Server] = []
    yield servers
    for server in servers:
        server.kill()


@pytest.fixture
def server(state: Path, servers: list[Server]) -> Server:
    servers.append(Server(state))
    assert servers[0].hear()["started"] == 32
    return servers[0]


def messages(state: Path) -> int:
    """Return how many messages are in the log; they are in order, and none is missing or there twice."""
    with closing(sqlite3.connect(state / "audit" / "ledger.sqlite")) as database:
        rows = database.execute("SELECT idx, leaf FROM records ORDER BY idx").fetchall()
    assert [index for index, _ in rows] == list(range(len(rows)))
    return sum(leaf[4] == 1 for _, leaf in rows)


def wait_for_end(pid: int) -> None:
    until = monotonic() + PATIENCE
    while monotonic() < until:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
            return
    raise AssertionError("it does not end")


def test_messages_are_recorded_in_order_and_the_recorder_ends_with_its_server(server: Server) -> None:
    outcomes = server.say(0, 1000)
    places = list(outcomes.values())
    assert list(outcomes) == list(range(1000))
    assert places == list(range(places[0], places[0] + 1000))
    pid = server.recorder()
    server.stop()
    wait_for_end(pid)
    assert messages(server.state) == 1000
    assert not (server.state / "audit" / "recorder.sock").exists()


def test_what_waits_when_the_recorder_is_killed_is_written_once_by_the_next(server: Server) -> None:
    said = 0
    for _ in range(5):
        pid = server.recorder()
        server.tell("say", said, said + 2000)
        said += 2000
        heard = server.outcomes(300)
        os.kill(pid, signal.SIGKILL)
        heard |= server.outcomes(1700)
        assert min(heard.values()) >= 0
        assert list(heard) == list(range(said - 2000, said))
    server.stop()
    assert messages(server.state) == said


def test_a_recorder_that_is_stopped_is_replaced_and_nothing_is_lost(server: Server) -> None:
    server.say(0, 10)
    stopped = server.recorder()
    os.kill(stopped, signal.SIGSTOP)
    assert min(server.say(10, 20).values()) >= 0
    assert server.recorder() != stopped
    server.stop()
    assert messages(server.state) == 20


def test_what_is_refused_because_the_recorder_is_stopped_is_not_written(state: Path, servers: list[Server]) -> None:
    server = Server(state, patience=1.0, silence=60)
    servers.append(server)
    server.hear()
    server.say(0, 10)
    pid = server.recorder()
    os.kill(pid, signal.SIGSTOP)
    assert set(server.say(10, 20).values()) == {REFUSED}
    assert set(server.say(20, 21).values()) == {REFUSED}, "at once"
    os.kill(pid, signal.SIGKILL)
    until = monotonic() + PATIENCE
    while (status := server.status())["starts"] < 2 or status["recorder"] != "ready":
        assert monotonic() < until
    assert min(server.say(21, 31).values()) >= 0
    server.stop()
    assert messages(state) == 20


def limit_files(pid: int, size: int) -> None:
    """Let no file of a process grow beyond this: a full disk, for one process, and without the rights to make one."""
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def test_a_full_disk_refuses_and_when_there_is_room_again_all_goes_on(server: Server) -> None:
    state, pid, said = server.state, server.recorder(), 0
    limit_files(pid, 2_000_000)
    outcomes: set[int] = set()
    while REFUSED not in outcomes:
        assert said < 100_000
        outcomes = set(server.say(said, said + 200).values())
        said += 200
    assert set(server.say(said, said + 10).values()) == {REFUSED}
    assert "cannot be written" in server.status()["trouble"]

    before = messages(state)
    limit_files(pid, resource.RLIM_INFINITY)
    assert min(server.say(said, said + 500).values()) >= 0
    status = server.status()
    assert (status["trouble"], status["starts"], status["pid"]) == ("", 1, pid), "nothing was started anew"
    server.tell("count")
    assert server.hear()["count"] == status["archived"] == before + 500
    server.stop()
    assert messages(state) == before + 500


def test_signals_for_the_server_do_not_end_the_recorder(server: Server) -> None:
    pid = server.recorder()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(pid, number)
    assert min(server.say(0, 10).values()) >= 0
    assert server.recorder() == pid


def test_its_command_line_shows_no_settings_and_no_core_is_dumped(server: Server) -> None:
    process = Path(f"/proc/{server.recorder()}")
    *command, descriptor = (process / "cmdline").read_text().rstrip("\0").split("\0")
    assert command == [sys.executable, "-m", "vrxmpp.audit.recorder"]
    assert descriptor.isdigit()
    assert re.search(r"Max core file size +0 +0 ", (process / "limits").read_text())


def test_it_has_no_file_of_the_server_open(server: Server) -> None:
    server.say(0, 1)
    pid = server.recorder()
    ours = {os.readlink(each) for each in Path(f"/proc/{server.process.pid}/fd").iterdir()}
    theirs = {os.readlink(each) for each in Path(f"/proc/{pid}/fd").iterdir()}
    standard_error = os.readlink(f"/proc/{pid}/fd/2")
    assert ours & theirs <= {"/dev/null", standard_error, "anon_inode:[eventpoll]"}


def test_a_server_that_is_killed_takes_its_recorder_along_and_the_next_starts_at_once(
    server: Server, servers: list[Server]
) -> None:
    server.say(0, 100)
    pid = server.recorder()
    server.tell("say", 100, 5000)
    server.outcomes(1)
    server.kill()
    following = Server(server.state)
    servers.append(following)
    assert following.hear()["started"] == 32
    wait_for_end(pid)
    assert messages(server.state) >= 101
    assert min(following.say(0, 10).values()) >= 0


def test_a_recorder_that_cannot_begin_says_why(state: Path, servers: list[Server]) -> None:
    (state / "keys" / "root.key").unlink()
    server = Server(state)
    servers.append(server)
    assert server.hear() == {"failed": f"{state}/keys/root.key: No such file or directory"}


def test_the_command_line_asks_beside_the_server(server: Server) -> None:
    server.say(0, 10)
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(str(server.state / "audit" / "recorder.sock"))
        line.sendall(frame_json(Kind.ASK, {"ask": "status", "id": 1}))
        frames = Frames()
        answers: list[Any] = []
        while not answers:
            answers = [json.loads(body) for _, body in frames.feed(line.recv(65_536))]
    assert answers[0]["ok"]["size"] == 10
