"""Processes of the server's own, each at the other end of a socket pair: how they start, answer and end."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from twisted.internet import protocol
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from vrxmpp.audit.frames import Kind, frame_json

_STOPPING = 10.0  # seconds to end
_STEP = 0.02  # seconds between looks whether it has


class Process(Protocol):
    """As much of ``subprocess.Popen`` as is needed."""

    def poll(self) -> int | None: ...
    def kill(self) -> None: ...


HOME = Path(__file__).parents[2]
"""Where Python finds this version of vrxmpp, wherever the server was started."""

Start = Callable[[protocol.Protocol], Process]
"""Starts a process and connects the protocol to it; OSError if that cannot be."""


def start_module(module: str, settings: Mapping[str, Any], reactor: Any) -> Start:
    """Return what runs a module as ``python -m MODULE FD``, the number of its socket.

    Its settings are JSON on its standard input: everybody on a machine can read the command line.
    """

    def start(link: protocol.Protocol) -> Process:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            number = theirs.fileno()
            process = subprocess.Popen(
                [sys.executable, "-m", module, str(number)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                pass_fds=(number,),
                cwd=HOME,
                text=True,
            )
            assert process.stdin is not None
            with process.stdin as settings_file:
                json.dump(settings, settings_file)  # little enough for a pipe: this does not wait
            ours.setblocking(False)
            reactor.adoptStreamConnection(ours.fileno(), socket.AF_UNIX, _One(link))
        return process

    return start


class Asked:
    """What a process was asked and has not answered yet: at most ``most`` questions."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._number = 0
        self._waiting: dict[int, Deferred[Any]] = {}

    def __bool__(self) -> bool:
        return bool(self._waiting)

    @property
    def is_full(self) -> bool:
        """Whether nothing more may be asked for now."""
        return len(self._waiting) >= self._most

    def ask(self, transport: Any, name: str, arguments: Mapping[str, Any]) -> Deferred[Any]:
        """Ask something."""
        self._number += 1
        answer = self._waiting[self._number] = Deferred()
        transport.write(frame_json(Kind.ASK, {**arguments, "ask": name, "id": self._number}))
        return answer

    def settle(self, answer: Mapping[str, Any], error: Callable[[Mapping[str, Any]], Exception]) -> None:
        """Take an answer; ``error`` makes an exception of a refusal. KeyError if it answers nothing."""
        waiting = self._waiting.pop(answer["id"])
        if "ok" in answer:
            waiting.callback(answer["ok"])
        else:
            waiting.errback(error(answer))

    def give_up(self, error: Callable[[], Exception]) -> None:
        """There will be no answers."""
        waiting, self._waiting = self._waiting, {}
        for each in waiting.values():
            each.errback(error())


async def wait_for_end(process: Process | None, clock: Any) -> None:
    """Wait until a process that has nothing left to do has ended; kill one that does not."""
    until = clock.seconds() + _STOPPING
    while process is not None and process.poll() is None:
        if clock.seconds() >= until:
            process.kill()
            return
        await deferLater(clock, _STEP)


class _One(protocol.Factory):
    """Gives out one protocol that is there already."""

    noisy = False

    def __init__(self, link: protocol.Protocol) -> None:
        self._link = link

    def buildProtocol(self, addr: object) -> protocol.Protocol:
        return self._link
