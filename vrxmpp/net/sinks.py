"""Where checkpoints leave the house for: other servers as witnesses, a directory, a command."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from twisted.internet import defer, error
from twisted.internet.defer import Deferred
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from vrxmpp import ns
from vrxmpp.audit.notes import Submission
from vrxmpp.core import witnessing
from vrxmpp.core.questions import Questions
from vrxmpp.core.witnessing import Signed, WitnessError
from vrxmpp.errors import StanzaError
from vrxmpp.jid import Jid
from vrxmpp.net.notary import Notary, NotaryError

_WITNESS_SECONDS = 30.0
_COMMAND_SECONDS = 60.0
_TAIL_BYTES = 4096  # of what a command says
_LINE = 200  # characters of its last line
_BETWEEN = ("remote-server-not-found", "remote-server-timeout")  # it has not been reached
_ALARMING = ("not-acceptable", "not-authorized")  # what a witness says of a log that was rewritten, or its key

RunInThread = Callable[[Callable[[], None]], Awaitable[None]]


class SinkError(Exception):
    """A sink has not taken a checkpoint. ``is_alarm``: the log is not what the sink has seen, or a key is another."""

    def __init__(self, text: str, *, is_alarm: bool = False) -> None:
        super().__init__(text)
        self.is_alarm = is_alarm


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint that was signed. ``key`` is the verifier key of the log, ``note`` the signed note."""

    origin: Jid  # the domain the log is named after
    key: str
    size: int
    note: str


class Sink(Protocol):
    """A place outside of this process that takes checkpoints."""

    name: str
    is_outside: bool  # surely of this machine

    async def take(self, checkpoint: Checkpoint) -> str:
        """Take a checkpoint; return the note, with a cosignature where there is one. Raises SinkError."""


class Proofs(Protocol):
    """The archive, which can prove how its log has grown."""

    def ask(self, name: str, **arguments: Any) -> Deferred[Any]:
        """Ask the recorder something; fails with ArchiveError."""


class Witness:
    """Another server that cosigns (C2SP tlog-witness). It is held to the key with which it has answered first."""

    is_outside = True

    def __init__(self, domain: str, archive: Proofs, notary: Notary, questions: Questions) -> None:
        self.name = f"witness {domain}"
        self._jid = Jid.parse(domain)
        self._archive = archive
        self._notary = notary
        self._questions = questions
        self._known = 0  # how many records it has seen, as far as we know; it will say if it is otherwise

    async def take(self, checkpoint: Checkpoint) -> str:
        """Have a checkpoint cosigned."""
        try:
            try:
                answer = await self._submit(checkpoint)
            except WitnessError as refused:
                if refused.size is None:
                    raise
                self._known = refused.size
                answer = await self._submit(checkpoint)
        except WitnessError as refused:
            text = str(refused) if refused.condition in _BETWEEN else f"it refuses: {refused}"
            raise SinkError(text, is_alarm=refused.condition in _ALARMING) from None
        return await self._accept(checkpoint, answer)

    async def _submit(self, checkpoint: Checkpoint) -> Signed:
        proof: list[str] = []
        if self._known > checkpoint.size:
            text = f"it has seen {self._known} records, but the log has only {checkpoint.size}"
            raise SinkError(text, is_alarm=True)
        if 0 < self._known < checkpoint.size:
            grown = await self._archive.ask("checkpoint", old=self._known, size=checkpoint.size)
            proof = grown["proof"]
        body = Submission(self._known, tuple(map(bytes.fromhex, proof)), checkpoint.note).text
        payload = witnessing.write(witnessing.REQUEST, Signed(checkpoint.key, body))
        name = ns.qname(witnessing.NAMESPACE, witnessing.REQUEST)
        try:
            answer = await self._questions.ask(checkpoint.origin, self._jid, name, payload, seconds=_WITNESS_SECONDS)
        except defer.TimeoutError:
            raise SinkError("it does not answer") from None
        except StanzaError as refused:
            raise SinkError(refused.text) from None
        return witnessing.read_answer(answer)

    async def _accept(self, checkpoint: Checkpoint, answer: Signed) -> str:
        try:
            accepted = await self._notary.ask(
                "accept", witness=self._jid.text, key=answer.key, note=checkpoint.note, cosignature=answer.text
            )
        except NotaryError as refused:
            raise SinkError(str(refused), is_alarm=refused.key_changed) from None
        self._known = checkpoint.size
        return str(accepted["note"])


class Directory:
    """A file for each checkpoint. It must be there: what is not mounted is not made in its place."""

    name = "directory"
    is_outside = False

    def __init__(self, path: Path, run_in_thread: RunInThread) -> None:
        self._path = path
        self._run_in_thread = run_in_thread

    async def take(self, checkpoint: Checkpoint) -> str:
        """Write the file whole, or not at all."""
        path = self._path / f"{checkpoint.size:015}.checkpoint"
        try:
            await self._run_in_thread(partial(_write, path, checkpoint.note.encode()))
        except OSError as failure:
            raise SinkError(f"{path} cannot be written: {failure.strerror}") from None
        return checkpoint.note


def _write(path: Path, content: bytes) -> None:
    new = path.with_name(f".{path.name}.new")
    with open(new, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(new, path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


class Command:
    """A command that gets each checkpoint on its standard input; it has taken it if it ends with 0 in time."""

    name = "command"
    is_outside = True

    def __init__(self, command: str, reactor: Any) -> None:
        """The command is split as a shell does it, and run without one; ValueError if that cannot be."""
        self._arguments = shlex.split(command)
        self._reactor = reactor

    async def take(self, checkpoint: Checkpoint) -> str:
        """Run it."""
        program = shutil.which(self._arguments[0])
        if program is None:
            raise SinkError(f"there is no program {self._arguments[0]}")
        run = _Run(checkpoint.note.encode())
        try:
            self._reactor.spawnProcess(run, program, self._arguments, env=None)
        except OSError as failure:
            raise SinkError(f"it cannot be started: {failure.strerror}") from None
        limit = self._reactor.callLater(_COMMAND_SECONDS, run.kill)
        try:
            await run.ended
        finally:
            if limit.active():
                limit.cancel()
        return checkpoint.note


class _Run(ProcessProtocol):
    """One run of the command; ``ended`` fails with SinkError."""

    transport: Any

    def __init__(self, note: bytes) -> None:
        self.ended: Deferred[None] = Deferred()
        self._note = note
        self._tail = b""
        self._is_late = False

    def connectionMade(self) -> None:
        """Give it the checkpoint."""
        self.transport.write(self._note)
        self.transport.closeStdin()

    def outReceived(self, data: bytes) -> None:
        """Keep the end of what it says."""
        self._tail = (self._tail + data)[-_TAIL_BYTES:]

    errReceived = outReceived

    def kill(self) -> None:
        """It has had its time."""
        self._is_late = True
        with suppress(error.ProcessExitedAlready):
            self.transport.signalProcess("KILL")

    def processExited(self, reason: Failure) -> None:
        """It is over, even if something that it has started still holds its output."""
        self.transport.loseConnection()
        if self._is_late:
            self.ended.errback(SinkError(f"it was not done after {_COMMAND_SECONDS:.0f} seconds"))
        elif reason.check(error.ProcessDone):
            self.ended.callback(None)
        else:
            self.ended.errback(SinkError(f"it has failed with {_status(reason)}{self._last_line()}"))

    def _last_line(self) -> str:
        lines = self._tail.decode(errors="replace").split("\n")
        last = next((line for line in reversed(lines) if line.strip()), "")
        return ": " + "".join(each if each.isprintable() else " " for each in last[:_LINE]) if last else ""


def _status(reason: Failure) -> str:
    ended: Any = reason.value
    return f"signal {ended.signal}" if ended.signal is not None else f"exit status {ended.exitCode}"
