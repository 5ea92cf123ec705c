"""Checkpoints that are signed and leave the house; houses that are each other's witnesses (C2SP tlog-witness over s2s).

The notary is the real one, but for its process; the archive is a list of leaves.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import error
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure

from tests.house import at_once
from tests.internet import Internet, Site
from tests.streams import Client
from vrxmpp.audit.frames import Frames, Kind, frame_json
from vrxmpp.audit.notary import STATE
from vrxmpp.audit.notary import Notary as Signing
from vrxmpp.audit.notes import Checkpoint, Note, Verifier
from vrxmpp.audit.tree import consistency_proof, leaf_hash, root_of
from vrxmpp.core.witnessing import NAMESPACE
from vrxmpp.modules.witness import Witness
from vrxmpp.net.checkpoints import Checkpoints, CheckpointSettings
from vrxmpp.net.recorder import ArchiveError

EVERY, FRESH = 10, 100
TIME = 1_800_000_000


class Log:
    """An archive: what the recorder answers to its server."""

    def __init__(self) -> None:
        self.leaves: list[bytes] = []
        self.notes: dict[int, str] = {}
        self.witnessed: dict[str, tuple[int, str]] = {}
        self.away = False

    def append(self, count: int = 1) -> None:
        for number in range(len(self.leaves), len(self.leaves) + count):
            self.leaves.append(leaf_hash(b"leaf %d" % number))

    def ask(self, name: str, **arguments: Any) -> Deferred[Any]:
        if self.away:
            return fail(ArchiveError("the recorder is away"))
        try:
            return succeed(getattr(self, f"_{name}")(**arguments))
        except ValueError as problem:
            return fail(ArchiveError(str(problem)))

    def _status(self) -> Any:
        return {"size": len(self.leaves)}

    def _checkpoint(self, old: int, size: int | None = None) -> Any:
        leaves = self.leaves[:size]
        proof = consistency_proof(
            old, len(leaves), lambda level, place: root_of(leaves[place << level : place + 1 << level])
        )
        return {"size": len(leaves), "root": root_of(leaves).hex(), "proof": [each.hex() for each in proof]}

    def _keep(self, size: int, note: str) -> None:
        self.notes[size] = note

    def _witnessed(self, sink: str, size: int, at: int, note: str) -> None:
        assert at == TIME * 1_000_000
        self.witnessed[sink] = size, note


class NotaryProcess:
    """The notary as it is started, without a process; it can be killed, and it can be mute."""

    def __init__(self, house: Audited, link: Protocol) -> None:
        self._house = house
        self._link = link
        self._frames = Frames()
        self._notary = Signing(house.directory, house.domain, lambda: TIME)
        self.is_mute = False
        self.is_over = False
        link.makeConnection(self)  # type: ignore[arg-type]

    def write(self, data: bytes) -> None:
        for kind, body in self._frames.feed(data):
            assert kind is Kind.ASK
            request = json.loads(body)
            answer = frame_json(Kind.ANSWER, {"id": request["id"], **self._notary.answer(request)})
            if not self.is_mute:
                self._house.site.house.loop.callLater(0.01, self._give, answer)

    def _give(self, data: bytes) -> None:
        if not self.is_over:
            self._link.dataReceived(data)

    def loseConnection(self) -> None:  # noqa: N802 - Twisted calls it
        self.kill()

    def poll(self) -> int | None:
        return 0 if self.is_over else None

    def kill(self) -> None:
        if not self.is_over:
            self.is_over = True
            self._link.connectionLost(Failure(error.ConnectionDone()))


class Audited:
    """A server with an archive."""

    def __init__(self, internet: Internet, site: Site, witness_for: tuple[str, ...] = (), **settings: Any) -> None:
        self.site = site
        self.domain = site.domain
        self.directory = internet.directory / f"notary of {self.domain}"
        self.directory.mkdir(exist_ok=True)
        self.log = Log()
        self.starts: list[NotaryProcess] = []
        self.can_start = True
        self.checkpoints = Checkpoints(
            CheckpointSettings(
                state=internet.directory, domain=self.domain, every_seconds=EVERY, fresh_seconds=FRESH, **settings
            ),
            self.log,
            site.house.router,
            internet.loop,
            self._start_notary,
            run_in_thread=at_once,
            now=lambda: TIME,
        )
        site.house.router.answered = self.checkpoints.answered
        if witness_for:
            site.house.router.hosts[self.domain].mount(Witness(self.checkpoints, frozenset(witness_for)))
        self.checkpoints.start()

    def _start_notary(self, link: Protocol) -> NotaryProcess:
        if not self.can_start:
            raise OSError("no more processes")
        self.starts.append(NotaryProcess(self, link))
        return self.starts[-1]

    @property
    def colour(self) -> str:
        return str(self.checkpoints.status()["colour"])

    @property
    def reasons(self) -> list[str]:
        reasons: list[str] = self.checkpoints.status()["reasons"]
        return reasons

    @property
    def sizes(self) -> dict[str, int]:
        return {name: size for name, (size, _) in self.log.witnessed.items()}

    def complaints(self) -> list[str]:
        """Return what an administrator must hear of."""
        return [event["complaint"] for event in self.site.house.journal if "complaint" in event]

    def key(self, name: str) -> Verifier:
        return Verifier.parse(Signing(self.directory, self.domain).keys()[name])


@pytest.fixture
def pair(internet: Internet) -> tuple[Audited, Audited]:
    """One has its checkpoints cosigned by two, which does nothing else."""
    two = Audited(internet, internet.site("two.example"), ("one.example",))
    return Audited(internet, internet.site("one.example"), witnesses=("two.example",)), two


@pytest.fixture
def alone(internet: Internet) -> Callable[..., Audited]:
    return lambda **settings: Audited(internet, internet.site("one.example"), **settings)


WITNESS = "witness two.example"

# -- two houses


def test_two_houses_are_each_others_witnesses(internet: Internet) -> None:
    one = Audited(internet, internet.site("one.example"), ("two.example",), witnesses=("two.example",))
    two = Audited(internet, internet.site("two.example"), ("one.example",), witnesses=("one.example",))
    one.log.append(5)
    two.log.append(9)
    assert (one.colour, two.colour) == ("amber", "amber")
    internet.wait(3)
    for own, other, size in ((one, two, 5), (two, one, 9)):
        status = own.checkpoints.status()
        assert (status["colour"], status["reasons"], status["size"]) == ("green", [], size)
        assert status["signed_at"] == TIME
        kept = Note.parse(own.log.notes[size])
        [(cosigned_size, cosigned)] = own.log.witnessed.values()
        assert cosigned_size == size
        names = [each.name for each in Note.parse(cosigned).signed_by([own.key("key"), other.key("witness")])]
        assert names == [f"{own.domain}/audit", f"{other.domain}/witness"]
        assert Checkpoint.parse(kept.text) == (f"{own.domain}/audit", size, root_of(own.log.leaves))


def test_a_log_that_grows_is_signed_each_second_and_leaves_the_house_now_and_then(
    internet: Internet, pair: tuple[Audited, Audited]
) -> None:
    one, _ = pair
    one.log.append()
    internet.wait(3)
    assert one.sizes == {WITNESS: 1}
    for _ in range(6):
        one.log.append(3)
        internet.wait(1)
    assert (one.checkpoints.status()["size"], one.sizes) == (19, {WITNESS: 1})
    assert len(one.log.notes) == 7
    internet.wait(EVERY - 6)
    assert one.sizes == {WITNESS: 19}


def test_a_log_at_rest_is_vouched_for_from_time_to_time(internet: Internet, pair: tuple[Audited, Audited]) -> None:
    """So the status stays green, and a witness that is gone is found."""
    one, two = pair
    internet.wait(3 * FRESH)
    assert one.colour == "green"
    two.site.servers.give_up()
    internet.works = False
    for cable in internet.cables:
        cable.reset()
    internet.wait(3 * FRESH)
    assert one.colour == "amber"


def test_an_empty_log_is_vouched_for(internet: Internet, pair: tuple[Audited, Audited]) -> None:
    one, _ = pair
    internet.wait(3)
    assert (one.colour, one.sizes) == ("green", {WITNESS: 0})


def test_an_answer_that_was_lost_does_no_harm(internet: Internet, pair: tuple[Audited, Audited]) -> None:
    """The witness has cosigned, and nobody has heard of it: it says what it knows, and gets the proof from there."""
    one, two = pair
    one.log.append(5)
    internet.wait(3)
    one.log.append(5)
    two.starts[0].is_mute = True
    internet.wait(EVERY + 2)
    assert one.sizes == {WITNESS: 5}
    assert json.loads((two.directory / STATE).read_text())["peers"]["one.example/audit"]["size"] == 10
    one.log.append(5)
    internet.wait(3 * EVERY)
    assert one.sizes == {WITNESS: 15}
    assert one.colour == "green"


def test_a_server_that_begins_anew_asks_its_witness_what_it_knows(
    internet: Internet, pair: tuple[Audited, Audited]
) -> None:
    one, _ = pair
    one.log.append(5)
    internet.wait(3)
    Deferred.fromCoroutine(one.checkpoints.stop())
    again = Audited(internet, one.site, witnesses=("two.example",))
    again.log.append(12)
    internet.wait(3)
    assert (again.colour, again.sizes) == ("green", {WITNESS: 12})


def test_who_is_not_listed_is_not_served(internet: Internet) -> None:
    Audited(internet, internet.site("two.example"), ("three.example",))
    one = Audited(internet, internet.site("one.example"), witnesses=("two.example",))
    internet.wait(3)
    assert one.colour == "amber"
    assert one.reasons[1:] == [f"{WITNESS}: it refuses: forbidden"]


def test_a_server_that_is_no_witness(internet: Internet) -> None:
    internet.site("two.example")
    one = Audited(internet, internet.site("one.example"), witnesses=("two.example",))
    internet.wait(3)
    assert one.reasons[1:] == [f"{WITNESS}: it refuses: service-unavailable"]


def test_no_user_speaks_for_a_server(internet: Internet, pair: tuple[Audited, Audited]) -> None:
    one, _ = pair
    client: Client = one.site.login("mallory")
    client.send(
        f"<iq type='set' id='1' to='two.example'><add-checkpoint xmlns='{NAMESPACE}' key='{one.key('key').text}'/></iq>"
    )
    internet.wait(1)
    assert b"forbidden" in b"".join(map(str.encode, client.hears()))


def test_a_witness_that_cannot_be_reached(internet: Internet, pair: tuple[Audited, Audited]) -> None:
    one, _ = pair
    internet.works = False
    internet.wait(40)
    assert one.colour == "amber"
    assert one.reasons == [
        f"nobody outside has taken a checkpoint in the last {FRESH} seconds",
        f"{WITNESS}: it does not answer",
    ]
    internet.works = True
    internet.wait(90)
    assert (one.colour, one.reasons) == ("green", [])


def test_a_witness_that_there_is_not(internet: Internet, alone: Callable[..., Audited]) -> None:
    one = alone(witnesses=("nowhere.example",))
    internet.wait(35)
    assert one.reasons[1].startswith("witness nowhere.example: ")


def test_a_witness_that_does_not_answer(internet: Internet, pair: tuple[Audited, Audited]) -> None:
    one, two = pair
    two.starts[0].is_mute = True
    two.can_start = False
    internet.wait(15)
    assert one.colour == "amber"
    internet.wait(30)
    assert one.reasons[1].startswith(f"{WITNESS}: ")
    two.can_start = True
    internet.wait(90)
    assert one.colour == "green"


# -- a log that is not what it was


def test_a_log_that_has_shrunk(internet: Internet, pair: tuple[Audited, Audited]) -> None:
    """An old database was put in its place."""
    one, _ = pair
    one.log.append(20)
    internet.wait(3)
    old, one.log.leaves = one.log.leaves, one.log.leaves[:15]
    internet.wait(5)
    reason = "the log has only 15 records, but 20 were signed"
    assert (one.colour, one.reasons) == ("red", [reason])
    assert one.complaints() == [f"the archive is not what it was: {reason}"]
    assert 15 not in one.log.notes
    one.log.leaves = old
    internet.wait(2)
    assert one.colour == "green"


def test_a_log_that_was_rewritten(internet: Internet, pair: tuple[Audited, Audited]) -> None:
    one, _ = pair
    one.log.append(20)
    internet.wait(3)
    one.log.leaves[7] = leaf_hash(b"rewritten")
    one.log.append(5)
    internet.wait(5)
    reason = "the log of 25 records is not an extension of the 20 that were signed"
    assert (one.colour, one.reasons) == ("red", [reason])
    assert len(one.complaints()) == 1


def test_a_log_that_was_rewritten_with_the_key_is_found_by_the_witness_and_told_of_at_both_ends(
    internet: Internet, pair: tuple[Audited, Audited]
) -> None:
    """Who has the whole machine can make the notary forget, and be silent, but nobody else."""
    one, _ = pair
    one.log.append(20)
    internet.wait(3)
    state = json.loads((one.directory / STATE).read_text())
    one.log.leaves[7] = leaf_hash(b"rewritten")
    state["signed"]["root"] = root_of(one.log.leaves).hex()
    (one.directory / STATE).write_text(json.dumps(state))
    one.starts[0].kill()
    one.log.append(5)
    internet.wait(2 * EVERY)
    assert one.checkpoints.status()["size"] == 25  # the notary has been fooled
    assert one.colour == "red"
    told = "this is not an extension of the 20 records that are known here"
    assert one.reasons == [f"{WITNESS}: it refuses: {told}"]
    assert one.complaints() == [f"nothing is cosigned for one.example: {told}", f"{WITNESS}: it refuses: {told}"]
    assert one.sizes == {WITNESS: 20}


def test_a_whole_machine_that_is_put_back_to_yesterday_is_found_by_the_witness(
    internet: Internet, pair: tuple[Audited, Audited]
) -> None:
    one, _ = pair
    one.log.append(10)
    internet.wait(3)
    yesterday = internet.directory / "yesterday"
    shutil.copytree(one.directory, yesterday)
    one.log.append(10)
    internet.wait(EVERY + 1)
    assert one.sizes == {WITNESS: 20}
    shutil.copytree(yesterday, one.directory, dirs_exist_ok=True)
    one.log.leaves = one.log.leaves[:11]
    one.starts[0].kill()
    internet.wait(2 * EVERY)
    reason = f"{WITNESS}: it has seen 20 records, but the log has only 11"
    assert (one.colour, one.reasons) == ("red", [reason])
    Deferred.fromCoroutine(one.checkpoints.stop())
    again = Audited(internet, one.site, witnesses=("two.example",))  # which remembers nothing, either
    again.log.append(11)
    internet.wait(3)
    assert (again.colour, again.reasons[0]) == ("red", reason)


def test_a_log_with_another_key_is_refused_and_told_of_at_both_ends(
    internet: Internet, pair: tuple[Audited, Audited]
) -> None:
    one, two = pair
    one.log.append(10)
    internet.wait(3)
    (one.directory / STATE).unlink()
    one.starts[0].kill()
    one.log.append(1)
    internet.wait(3 * EVERY)
    told = "the key of one.example/audit is not the one it had before"
    assert (one.colour, one.reasons) == ("red", [f"{WITNESS}: it refuses: {told}"])
    complaints = two.site.house.journal  # of all houses
    heard = [event["complaint"] for event in complaints if "complaint" in event]
    assert heard == [f"nothing is cosigned for one.example: {told}", f"{WITNESS}: it refuses: {told}"]


def test_a_witness_with_another_key_is_no_witness(internet: Internet, pair: tuple[Audited, Audited]) -> None:
    one, two = pair
    internet.wait(3)
    assert one.colour == "green"
    (two.directory / STATE).unlink()
    two.starts[0].kill()
    one.log.append(1)
    internet.wait(2 * EVERY)
    assert (one.colour, one.reasons) == (
        "red",
        [f"{WITNESS}: the key of two.example/witness is not the one it had before"],
    )


# -- the notary, the recorder


def test_a_notary_that_has_died_is_started_again(internet: Internet, pair: tuple[Audited, Audited]) -> None:
    one, _ = pair
    internet.wait(3)
    one.starts[0].kill()
    one.log.append(1)
    internet.wait(3)
    assert len(one.starts) == 2
    assert (one.checkpoints.status()["size"], one.colour) == (1, "green")


def test_a_notary_that_does_not_come_up_is_tried_again_later_and_later(
    internet: Internet, pair: tuple[Audited, Audited]
) -> None:
    one, _ = pair
    internet.wait(3)
    one.can_start = False
    one.log.append(1)
    one.starts[0].kill()
    internet.wait(30)
    assert one.colour == "green"  # it may be a hiccup
    internet.wait(40)
    assert one.colour == "amber"
    assert one.reasons == ["the newest records are not signed: the notary is away: no more processes"]
    starts = [event for event in one.site.house.journal if "the notary is started again" in event["log_format"]]
    assert 5 <= len(starts) <= 9
    one.can_start = True
    internet.wait(70)
    assert (one.colour, one.checkpoints.status()["size"]) == ("green", 1)


def test_a_notary_that_says_nothing_is_ended(internet: Internet, pair: tuple[Audited, Audited]) -> None:
    one, _ = pair
    internet.wait(3)
    one.starts[0].is_mute = True
    one.log.append(1)
    internet.wait(15)
    assert not one.starts[0].is_over
    internet.wait(15)
    assert one.starts[0].is_over
    assert one.checkpoints.status()["size"] == 1


def test_a_notary_that_talks_nonsense_is_ended(internet: Internet, pair: tuple[Audited, Audited]) -> None:
    one, _ = pair
    internet.wait(3)
    with pytest.raises(ValueError, match="impossible"):
        one.starts[0]._link.dataReceived(b"\xff" * 5)
    one.starts[0]._link.connectionLost(Failure(error.ConnectionDone()))  # as a reactor does it then
    assert one.starts[0].is_over
    internet.wait(3)
    assert len(one.starts) == 2


def test_a_recorder_that_is_away(internet: Internet, pair: tuple[Audited, Audited]) -> None:
    one, _ = pair
    internet.wait(3)
    one.log.away = True
    internet.wait(65)
    assert one.reasons == ["the newest records are not signed: the recorder is away"]
    one.log.away = False
    internet.wait(3)
    assert one.colour == "green"


def test_nothing_is_asked_any_more_of_a_server_that_goes_down(
    internet: Internet, pair: tuple[Audited, Audited]
) -> None:
    one, _ = pair
    internet.wait(3)
    stopped: list[None] = []
    Deferred.fromCoroutine(one.checkpoints.stop()).addCallback(stopped.append)
    internet.wait(1)
    assert stopped == [None]
    assert one.starts[0].is_over
    one.log.append(1)
    internet.wait(3 * FRESH)
    assert len(one.starts) == 1
    assert 1 not in one.log.notes


# -- lesser sinks


def test_without_a_sink(internet: Internet, alone: Callable[..., Audited]) -> None:
    one = alone()
    one.log.append(3)
    internet.wait(3)
    assert one.log.notes.keys() == {3}
    assert (one.colour, one.reasons) == ("amber", ["no checkpoint goes to a witness or a command"])


def test_a_directory_is_a_lesser_sink(internet: Internet, tmp_path: Path, alone: Callable[..., Audited]) -> None:
    directory = tmp_path / "elsewhere"
    directory.mkdir()
    one = alone(directory=directory)
    one.log.append(3)
    internet.wait(3)
    one.log.append(4)
    internet.wait(EVERY)
    names = ["000000000000003.checkpoint", "000000000000007.checkpoint"]
    assert sorted(each.name for each in directory.iterdir()) == names
    for name, size in zip(names, (3, 7), strict=True):
        assert (directory / name).read_text() == one.log.notes[size]
    assert one.reasons == ["no checkpoint goes to a witness or a command: a directory is not enough"]
    assert one.log.witnessed == {"directory": (7, one.log.notes[7])}


def test_a_directory_that_is_not_mounted_is_not_made(
    internet: Internet, tmp_path: Path, alone: Callable[..., Audited]
) -> None:
    directory = tmp_path / "elsewhere"
    one = alone(directory=directory)
    internet.wait(3)
    file = directory / "000000000000000.checkpoint"
    assert one.reasons[1] == f"directory: {file} cannot be written: No such file or directory"
    assert not directory.exists()
    directory.mkdir()
    internet.wait(EVERY)
    assert len(one.reasons) == 1


class Running:
    """A command that runs."""

    def __init__(self, protocol: Any, program: str, arguments: list[str], env: object) -> None:
        self.protocol = protocol
        self.arguments = arguments
        self.input = b""
        self.is_closed = False
        assert env is None
        protocol.makeConnection(self)

    def write(self, data: bytes) -> None:
        self.input += data

    def closeStdin(self) -> None:  # noqa: N802
        self.is_closed = True

    def loseConnection(self) -> None:  # noqa: N802
        """Nobody reads its output any more."""

    def signalProcess(self, name: str) -> None:  # noqa: N802
        assert name == "KILL"
        self.ends(error.ProcessTerminated(signal=9))

    def ends(self, reason: Exception) -> None:
        self.protocol.processExited(Failure(reason))


@pytest.fixture
def commanded(internet: Internet, alone: Callable[..., Audited]) -> tuple[Audited, list[Running]]:
    """A house whose command is ``sh -c 'a b'``, and what runs of it."""
    runs: list[Running] = []

    def spawn(protocol: Any, program: str, arguments: list[str], env: object) -> None:
        runs.append(Running(protocol, program, arguments, env))

    internet.loop.spawnProcess = spawn  # type: ignore[attr-defined]
    one = alone(command="sh -c 'a b; $(c)'")
    one.log.append(3)
    internet.wait(3)
    return one, runs


def test_a_command_gets_the_note(internet: Internet, commanded: tuple[Audited, list[Running]]) -> None:
    one, [run] = commanded
    assert run.arguments == ["sh", "-c", "a b; $(c)"]
    assert (run.input.decode(), run.is_closed) == (one.log.notes[3], True)
    assert one.colour == "amber"
    run.ends(error.ProcessDone(None))
    assert (one.colour, one.log.witnessed) == ("green", {"command": (3, one.log.notes[3])})


def test_a_command_that_fails_is_quoted_with_its_last_line(
    internet: Internet, commanded: tuple[Audited, list[Running]]
) -> None:
    one, [run] = commanded
    run.protocol.outReceived(b"a secret\n")
    run.protocol.errReceived(b"x" * 10_000_000 + b"\nno \x1b[1mroute\xff to host \n\n")
    assert len(run.protocol._tail) < 10_000
    run.ends(error.ProcessTerminated(exitCode=3))
    assert one.reasons[1] == "command: it has failed with exit status 3: no  [1mroute\ufffd to host "
    assert "a secret" not in str(one.site.house.journal)


def test_a_command_has_only_so_much_time(internet: Internet, commanded: tuple[Audited, list[Running]]) -> None:
    one, runs = commanded
    internet.wait(50)
    assert len(runs) == 1  # one at a time
    internet.wait(20)
    assert one.reasons[1] == "command: it was not done after 60 seconds"
    assert len(runs) == 2
    runs[1].ends(error.ProcessDone(None))
    assert one.colour == "green"


def test_a_command_that_is_killed_by_somebody_else(
    internet: Internet, commanded: tuple[Audited, list[Running]]
) -> None:
    one, [run] = commanded
    run.ends(error.ProcessTerminated(signal=15))
    assert one.reasons[1] == "command: it has failed with signal 15"


def test_a_command_that_is_not_there(internet: Internet, alone: Callable[..., Audited]) -> None:
    one = alone(command="/nowhere/at-all")
    internet.wait(3)
    assert one.reasons[1] == "command: there is no program /nowhere/at-all"


# -- the real processes

SCRIPT = """
import json, sys
from pathlib import Path
from twisted.internet import reactor
from twisted.internet.defer import Deferred, succeed
from vrxmpp.core.router import Router
from vrxmpp.net.checkpoints import Checkpoints, CheckpointSettings

class Log:
    def ask(self, name, **arguments):
        return succeed({"size": 1, "root": "00" * 32, "proof": []} if name == "checkpoint" else None)

async def stop():
    await checkpoints.stop()
    print(json.dumps(status))
    reactor.stop()

def look():
    global status
    status = checkpoints.status()
    if status["colour"] == "green":
        Deferred.fromCoroutine(stop())
    else:
        reactor.callLater(0.05, look)

settings = CheckpointSettings(state=Path(sys.argv[1]), domain="one.example", command=sys.argv[2])
checkpoints = Checkpoints(settings, Log(), Router(), reactor)
checkpoints.start()
reactor.callLater(0, look)
reactor.callLater(30, reactor.stop)
reactor.run()
"""


def test_the_real_notary_and_a_real_command(tmp_path: Path) -> None:
    """A process for the notary, which ends with the server, and one for the command, without a shell."""
    file = tmp_path / "a file; of $HOME"
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path), f"tee '{file}'"], capture_output=True, timeout=60, check=True
    )
    status = json.loads(done.stdout)
    assert (status["colour"], status["size"]) == ("green", 1)
    note = Note.parse(file.read_text())
    key = Verifier.parse(Signing(tmp_path / "notary", "one.example").keys()["key"])
    assert len(note.signed_by([key])) == 1
    assert done.stderr == b""
