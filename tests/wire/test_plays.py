"""The plays of tests/scripts: in memory, whole and byte by byte, and again over TCP."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from twisted.internet import reactor

from tests.house import House
from tests.plays import SCRIPTS, Player, perform, read
from tests.streams import Client
from vrxmpp.net.clients import ClientFactory

Build = Callable[..., House]
by_name = pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)


class SocketPipe:
    """A socket to a server that lives in the reactor of this very thread."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setblocking(False)
        self.is_open = True

    def write(self, data: bytes) -> None:
        while data:
            try:
                data = data[self._socket.send(data) :]
            except BlockingIOError:
                turn()
            except OSError:
                return

    def read(self) -> bytes:
        turn()
        try:
            data = self._socket.recv(1 << 20) if self.is_open else b""
        except BlockingIOError:
            return b""
        except OSError:
            data = b""
        if not data:
            self.close()
        return data

    def wait(self, seconds: float) -> None:
        turn(seconds)

    def close(self) -> None:
        self.is_open = False
        self._socket.close()


def turn(seconds: float = 0.0) -> None:
    """Let the server work on what there is, or wait for something to come."""
    reactor.iterate(seconds)  # type: ignore[attr-defined]


@by_name
def test_in_memory(build: Build, script: Path) -> None:
    perform(script, build)


@by_name
def test_byte_by_byte(build: Build, script: Path) -> None:
    perform(script, build, piece=1)


@pytest.mark.tcp
@by_name
def test_over_tcp(build: Build, script: Path) -> None:
    play = read(script)
    house = build(host=play.host, clock=reactor)
    house.add(*play.users)
    port = reactor.listenTCP(  # type: ignore[attr-defined]
        0, ClientFactory(house.clients, direct_tls=False), interface="127.0.0.1"
    )
    pipes: list[SocketPipe] = []

    def connect() -> Client:
        pipe = SocketPipe(port.getHost().port)
        pipes.append(pipe)
        return Client(pipe)

    try:
        Player(play, connect).play()
    finally:
        port.stopListening()
        for pipe in pipes:
            pipe.close()
        end = time.monotonic() + 5
        while house.clients.connections and time.monotonic() < end:
            turn(0.05)
        house.clients._sweeper.stop()


def test_a_play_that_goes_wrong_says_where(build: Build, tmp_path: Path) -> None:
    """A test that cannot fail is none."""
    beginning = "Users: romeo\nRomeo is romeo@example.net/orchard\nRomeo logs in\nRomeo sends:\n  <presence/>\n"
    own = "<presence from='romeo@example.net/orchard' to='romeo@example.net'/>"
    script = tmp_path / "wrong.xmpp"
    for wrong, line in (
        ("", "heard is"),
        ("Romeo receives nothing", "line 6"),
        ("Romeo receives:\n  <presence/>", "line 6"),
        (f"Romeo receives:\n  {own.replace('/>', '>text</presence>')}", "line 6"),
        (f"Romeo receives:\n  {own.replace('presence', 'message')}", "line 6"),
        (f"Romeo receives:\n  {own}{own}", "line 6"),
        (f"Romeo receives, in any order:\n  {own}<message/>", "line 6"),
        (f"Romeo receives:\n  {own.replace('/orchard', '$x').replace('@example', '$x')}", "line 6"),
        (f"Romeo receives:\n  {own}\nRomeo is told that the stream has ended", "line 8"),
        ("Romeo dances", "line 6"),
        ("Juliet sends:\n  <presence/>", "line 6"),
    ):
        script.write_text(beginning + wrong)
        with pytest.raises(AssertionError, match=line):
            perform(script, build)
    script.write_text(f"{beginning}Romeo receives:\n  {own.replace('orchard', '$where')}")
    perform(script, build)
