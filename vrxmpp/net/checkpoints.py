"""Checkpoints of the archive: signed once a second when something is new, and brought out of the house (C2SP tlog)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from vrxmpp.audit.notary import LOG
from vrxmpp.core.questions import Questions
from vrxmpp.core.router import Router
from vrxmpp.core.witnessing import Signed, refusal
from vrxmpp.errors import Condition, StanzaError
from vrxmpp.jid import Jid
from vrxmpp.net.child import Start, start_module
from vrxmpp.net.notary import Notary, NotaryError
from vrxmpp.net.recorder import ArchiveError
from vrxmpp.net.sinks import Checkpoint, Command, Directory, Proofs, RunInThread, Sink, SinkError, Witness

_UNSIGNED_SECONDS = 60  # for which the newest records may be without a signature
_MOST_COMPLAINTS = 1000  # that are remembered, so as not to be made twice


@dataclass(frozen=True, slots=True)
class CheckpointSettings:
    """What is to be known. ``domain`` names the log, when it is made; ``fresh_seconds`` is for the status."""

    state: Path
    domain: str
    witnesses: tuple[str, ...] = ()
    directory: Path | None = None
    command: str = ""
    every_seconds: float = 60.0
    fresh_seconds: float = 3600.0


class Post:
    """A sink, and how it went with it. Times are the reactor's."""

    def __init__(self, sink: Sink) -> None:
        self.sink = sink
        self.is_busy = False
        self.size = -1  # of what it has taken last
        self.tried_at: float | None = None
        self.taken_at: float | None = None
        self.failure = ""
        self.is_alarm = False

    def is_due(self, size: int, now: float, settings: CheckpointSettings) -> bool:
        """Whether it is to have a checkpoint now: what is new, and from time to time what it knows."""
        if self.is_busy:
            return False
        if self.tried_at is None:
            return True
        is_new = size != self.size or self.failure
        return now - self.tried_at >= (settings.every_seconds if is_new else settings.fresh_seconds / 2)

    def is_fresh(self, now: float, seconds: float) -> bool:
        """Whether it has taken a checkpoint in that time."""
        return self.taken_at is not None and now - self.taken_at <= seconds

    def status(self, now: float) -> dict[str, Any]:
        """Return how it does."""
        return {
            "outside": self.sink.is_outside,
            "size": self.size if self.taken_at is not None else None,
            "taken_seconds_ago": None if self.taken_at is None else now - self.taken_at,
            "failure": self.failure,
        }


class Checkpoints:
    """Has them signed by the notary, brings them to the sinks, and says how safe the archive is by that."""

    log = Logger()

    def __init__(
        self,
        settings: CheckpointSettings,
        archive: Proofs,
        router: Router,
        clock: Any,
        start_notary: Start | None = None,
        *,
        run_in_thread: RunInThread = deferToThread,
        now: Callable[[], float] = time.time,
    ) -> None:
        """``clock`` is the reactor; ``now`` tells the time in seconds since 1970."""
        self._settings = settings
        self._archive = archive
        self._clock = clock
        self._now = now
        process = {"directory": str((settings.state / "notary").absolute()), "domain": settings.domain}
        start = start_notary or start_module("vrxmpp.audit.notary", process, clock)
        self._notary = Notary(start, clock)
        questions = Questions(router, clock)
        self.answered = questions.settle
        """Takes the answers that come to the domains here themselves."""
        self._posts = [Post(sink) for sink in self._sinks(questions, run_in_thread)]
        self._newest: Checkpoint | None = None
        self._witness_key: str | None = None  # by which others know our cosignatures
        self._signed_at = 0.0
        self._kept = -1  # the size of the last note that the archive has kept
        self._is_signing = False
        self._unsigned_since: float | None = None
        self._trouble = "nothing has been signed yet"
        self._alarm = ""
        self._complaints: dict[str, None] = {}
        self._loop = LoopingCall(self._look)
        self._loop.clock = clock

    def _sinks(self, questions: Questions, run_in_thread: RunInThread) -> Iterator[Sink]:
        settings = self._settings
        for domain in settings.witnesses:
            yield Witness(domain, self._archive, self._notary, questions)
        if settings.directory is not None:
            yield Directory(settings.directory, run_in_thread)
        if settings.command:
            yield Command(settings.command, self._clock)

    # -- its life

    def start(self) -> None:
        """Start the notary; from now on, look once a second what is to be done."""
        self._unsigned_since = self._clock.seconds()
        self._notary.start()
        self._loop.start(1.0)

    async def stop(self) -> None:
        """End the notary. What a sink is just taking it may take, but nobody waits for it."""
        self._loop.stop()
        await self._notary.stop()

    def status(self) -> dict[str, Any]:
        """Return how safe the archive is: a colour, and why it is no better; what was signed; each sink.

        Red: the log is not what was signed of it before, or a key is another. Amber: nobody outside of this machine has
        lately taken a checkpoint, or the newest records have long been unsigned.
        """
        now = self._clock.seconds()
        alarms, concerns = self._alarms(), list(self._concerns(now))
        newest = self._newest
        return {
            "colour": "red" if alarms else "amber" if concerns else "green",
            "reasons": alarms + concerns,
            "size": None if newest is None else newest.size,
            "signed_at": None if newest is None else self._signed_at,
            "key": None if newest is None else newest.key,
            "witness_key": self._witness_key,
            "sinks": {post.sink.name: post.status(now) for post in self._posts},
        }

    def _alarms(self) -> list[str]:
        own = [self._alarm] if self._alarm else []
        return own + [f"{post.sink.name}: {post.failure}" for post in self._posts if post.is_alarm]

    def _concerns(self, now: float) -> Iterator[str]:
        fresh = self._settings.fresh_seconds
        since = self._unsigned_since
        if self._newest is None or (since is not None and now - since >= _UNSIGNED_SECONDS):
            yield f"the newest records are not signed: {self._trouble}"
        posts = self._posts
        if any(post.sink.is_outside and post.is_fresh(now, fresh) for post in posts):
            return
        if any(post.sink.is_outside for post in posts):
            yield f"nobody outside has taken a checkpoint in the last {fresh:.0f} seconds"
        else:
            yield "no checkpoint goes to a witness or a command" + (": a directory is not enough" if posts else "")
        for post in posts:
            if post.failure and not post.is_alarm:
                yield f"{post.sink.name}: {post.failure}"

    def _look(self) -> None:
        self._notary.sweep()
        if not self._is_signing:
            Deferred.fromCoroutine(self._sign())
        newest, now = self._newest, self._clock.seconds()
        if newest is not None:
            for post in self._posts:
                if post.is_due(newest.size, now, self._settings):
                    Deferred.fromCoroutine(self._deliver(post, newest))

    # -- signing

    async def _sign(self) -> None:
        self._is_signing = True
        try:
            await self._sign_newest()
        except (ArchiveError, NotaryError) as error:
            self._trouble = str(error)
            if self._unsigned_since is None:
                self._unsigned_since = self._clock.seconds()
        except Exception:
            self.log.failure("a checkpoint could not be signed")
            self._trouble = "a mistake of the server's: see its log"
        else:
            self._trouble = self._alarm = ""
            self._unsigned_since = None
        finally:
            self._is_signing = False

    async def _sign_newest(self) -> None:
        """Have the newest state of the log signed, and kept."""
        keys = await self._notary.ask("keys")
        self._witness_key = keys["witness"]
        old = keys["size"]
        try:
            log = await self._archive.ask("checkpoint", old=old)
        except ArchiveError:
            size = (await self._archive.ask("status"))["size"]
            if size < old:
                self._raise_alarm(f"the log has only {size} records, but {old} were signed")
            raise
        newest = self._newest
        if newest is None or (log["size"], keys["key"]) != (newest.size, newest.key):
            newest = await self._have_signed(keys, log)
        if self._kept != newest.size:
            await self._archive.ask("keep", size=newest.size, note=newest.note)
            self._kept = newest.size

    async def _have_signed(self, keys: dict[str, Any], log: dict[str, Any]) -> Checkpoint:
        size = log["size"]
        try:
            signed = await self._notary.ask("sign", size=size, root=log["root"], old=keys["size"], proof=log["proof"])
        except NotaryError as error:
            if error.condition in ("conflict", "not-acceptable"):
                self._raise_alarm(str(error))
            raise
        domain = Jid.parse(keys["origin"].removesuffix(LOG))
        self._newest = newest = Checkpoint(domain, keys["key"], size, signed["note"])
        self._signed_at = self._now()
        return newest

    def _raise_alarm(self, reason: str) -> None:
        self._alarm = reason
        self._complain(f"the archive is not what it was: {reason}")

    def _complain(self, complaint: str) -> None:
        """Say something that must be heard, once."""
        if complaint not in self._complaints:
            if len(self._complaints) >= _MOST_COMPLAINTS:
                self._complaints.clear()
            self._complaints[complaint] = None
            self.log.critical("{complaint}", complaint=complaint)

    # -- bringing them out

    async def _deliver(self, post: Post, checkpoint: Checkpoint) -> None:
        post.is_busy = True
        post.tried_at = self._clock.seconds()
        try:
            note = await post.sink.take(checkpoint)
            await self._note_taken(post, checkpoint, note)
        except (SinkError, ArchiveError) as error:
            self._note_failure(post, str(error), is_alarm=isinstance(error, SinkError) and error.is_alarm)
        except Exception:
            self.log.failure("{sink} could not be given a checkpoint", sink=post.sink.name)
            self._note_failure(post, "a mistake of the server's: see its log")
        finally:
            post.is_busy = False

    async def _note_taken(self, post: Post, checkpoint: Checkpoint, note: str) -> None:
        if post.failure:
            self.log.info("{sink} takes checkpoints again", sink=post.sink.name)
        post.size, post.taken_at = checkpoint.size, self._clock.seconds()
        post.failure, post.is_alarm = "", False
        at = int(self._now() * 1_000_000)
        await self._archive.ask("witnessed", sink=post.sink.name, size=checkpoint.size, at=at, note=note)

    def _note_failure(self, post: Post, reason: str, *, is_alarm: bool = False) -> None:
        if is_alarm:
            self._complain(f"{post.sink.name}: {reason}")
        elif post.failure != reason:
            self.log.warn("{sink} has not taken a checkpoint: {reason}", sink=post.sink.name, reason=reason)
        post.failure, post.is_alarm = reason, is_alarm

    # -- for others

    async def cosign(self, domain: str, submission: Signed) -> Signed:
        """Be a witness for a domain elsewhere (``core.witnessing.Cosigner``)."""
        try:
            answer = await self._notary.ask("cosign", origin=domain + LOG, key=submission.key, request=submission.text)
        except NotaryError as error:
            if error.key_changed or error.condition == "not-acceptable":  # rewritten, whoever has signed it
                self._complain(f"nothing is cosigned for {domain}: {error}")
            condition = Condition(error.condition) if error.condition else Condition.RESOURCE_CONSTRAINT
            if condition is Condition.INTERNAL_SERVER_ERROR or not error.condition:
                raise StanzaError(condition) from None  # what is wrong here is not for strangers
            raise refusal(condition, str(error), error.size) from None
        return Signed(answer["key"], answer["cosignature"])
