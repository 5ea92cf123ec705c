"""Each day the archive is verified by the verifier that knows nothing of it, and what was found is recorded in it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from vrxmpp.core.peers import Audit
from vrxmpp.net.child import HOME

_DAY = 86_400.0
_HOUR = 3600.0
_PATIENCE = 6 * _HOUR
# At the lowest priority: nobody waits for it.
_PROGRAM = "import os, sys; os.nice(19); import vrxmpp_verify; sys.exit(vrxmpp_verify.main(sys.argv[1:]))"
_TELLING = 5  # problems that are told in the log

Report = Mapping[str, Any]
Verify = Callable[[], Report]


class VerificationError(Exception):
    """The archive could not be verified; one line for people."""


class Verification:
    """Verifies an hour after the start, and each day. ``verify`` blocks; it is run in a thread."""

    log = Logger()

    def __init__(self, verify: Verify, audit: Audit, clock: Any, run_in_thread: Any = deferToThread) -> None:
        self._verify = verify
        self._audit = audit
        self._clock = clock
        self._run_in_thread = run_in_thread
        self._verified_at: float | None = None
        self._report: Report | None = None
        self._trouble = ""
        self._loop = LoopingCall(self._look)
        self._loop.clock = clock

    def start(self) -> None:
        """Begin to look whether it is time."""
        self._loop.start(_HOUR, now=False)

    def stop(self) -> None:
        """Look no more. A verification that is running ends by itself, unheard."""
        if self._loop.running:
            self._loop.stop()

    def status(self) -> dict[str, Any]:
        """Return what was found last, and how long ago, in seconds."""
        ago = None if self._verified_at is None else self._clock.seconds() - self._verified_at
        problems = None if self._report is None else self._report["found"]
        return {"seconds_ago": ago, "problems": problems, "trouble": self._trouble}

    def _look(self) -> Deferred[None] | None:
        if self._verified_at is not None and self._clock.seconds() - self._verified_at < _DAY - _HOUR:
            return None
        return Deferred.fromCoroutine(self._run())

    async def _run(self) -> None:
        try:
            report = await self._run_in_thread(self._verify)
        except VerificationError as error:
            self._trouble = str(error)
            self.log.error("the archive could not be verified: {reason}", reason=self._trouble)
            return
        self._report, self._trouble, self._verified_at = report, "", self._clock.seconds()
        facts = {"size": report["size"], "records": report["records"], "problems": report["found"]}
        self._audit.note("verify", "", **facts, seconds=round(report["seconds"], 3))
        for problem in report["problems"][:_TELLING]:
            self.log.critical("the archive is damaged: {index}: {what}", **problem)


def verify_by_process(audit: Path) -> Verify:
    """Return what verifies a directory in a process of its own. It raises VerificationError."""

    def verify() -> Report:
        command = [sys.executable, "-c", _PROGRAM, "--json", str(audit)]
        try:
            done = subprocess.run(
                command, cwd=HOME, stdin=subprocess.DEVNULL, capture_output=True, timeout=_PATIENCE, check=False
            )
            report: Report = json.loads(done.stdout)
        except subprocess.TimeoutExpired:
            raise VerificationError("it takes too long") from None
        except ValueError:
            said = done.stderr.decode(errors="replace").strip().splitlines() or ["the verifier said nothing"]
            raise VerificationError(said[-1]) from None
        return report

    return verify
