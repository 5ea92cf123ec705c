"""Conversations that go on while processes are killed, and what must hold of the archive whatever happens to them."""

from __future__ import annotations

import os
import random
import re
import signal
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field

from OpenSSL import SSL

from tests.live.archive import Archive, wait_for_child, wait_for_end
from tests.live.raw import Raw
from tests.live.server import CONFIG, PATIENCE, Server, wait_for

UNHURRIED = f"""{CONFIG}
[limits.rate]
stanzas_per_second = 100_000
burst_stanzas = 100_000
bytes_per_second = 100_000_000

[limits.account]
offline_messages = 100_000
"""
KILLED = [("server",), ("recorder",), ("notary",), ("recorder", "server"), ("server", "server")]
"""Who may be killed, in which order; a server that is killed twice is just starting again."""
PAIRS = 2
MOST_AT_ONCE = 40  # messages said in one go
MOST_AHEAD = 4  # times, before the server has answered the first
LONGEST_LIFE = 0.5  # seconds of conversation until somebody is killed
LONGEST_START = 2.0  # seconds until a server that is just starting is killed
ENDED = (AssertionError, OSError, SSL.Error)
"""What a client meets whose server is killed."""

_ID = re.compile(r"<message[^>]* id='(\d+)'")
_BODY = re.compile(rb"<body>(\d+)</body>")


@dataclass
class Pair:
    """Two who talk in one direction; what they know of it outlives each server. Messages are numbered."""

    server: Server
    sender: str
    receiver: str
    numbers: Iterator[int]
    accepted: set[int] = field(default_factory=set)  # what was answered behind them shows that the server has them
    refused: list[int] = field(default_factory=list)
    heard: list[tuple[int, int]] = field(default_factory=list)  # and how many records were on the disk by then

    def begin(self) -> list[threading.Thread]:
        """Log in, and talk until the connection ends."""
        listening, address = self.listen()
        sender = Raw(self.server.starttls)
        sender.give_up_after(PATIENCE)
        sender.enter(self.sender.partition("@")[0])
        return [listening, in_thread(sender, lambda: self._talk(sender, address))]

    def listen(self) -> tuple[threading.Thread, str]:
        """Let the receiver log in, and listen until the connection ends; return their address as well."""
        receiver = Raw(self.server.starttls)
        receiver.give_up_after(PATIENCE)
        address = receiver.enter(self.receiver.partition("@")[0])
        receiver.send("<presence/>")
        return in_thread(receiver, lambda: self._listen(receiver)), address

    def _talk(self, connection: Raw, address: str) -> None:
        said: deque[list[int]] = deque()
        unread = ""
        while True:
            while len(said) < MOST_AHEAD:
                said.append([next(self.numbers) for _ in range(random.randint(1, MOST_AT_ONCE))])
                connection.send("".join(message(address, number) for number in said[-1]) + ping(said[-1][0]))
            while f" id='p{said[0][0]}'" not in unread:
                data = connection.receive()
                if not data or b"</stream:stream>" in data:
                    return
                unread += data.decode()
            answers, _, unread = unread.partition(f" id='p{said[0][0]}'")
            refused = [int(number) for number in _ID.findall(answers)]
            self.refused += refused
            self.accepted.update(set(said.popleft()) - set(refused))

    def _listen(self, connection: Raw) -> None:
        unread = b""
        with closing(sqlite3.connect(Archive(self.server.state).path)) as database:
            while b"</stream:stream>" not in unread and (data := connection.receive()):
                size = database.execute("SELECT MAX(idx) + 1 FROM records").fetchone()[0]
                whole, end, unread = (unread + data).rpartition(b"</body>")
                self.heard += [(int(number), size) for number in _BODY.findall(whole + end)]


def message(to: str, number: int) -> str:
    return f"<message to='{to}' type='chat' id='{number}'><body>{number}</body></message>"


def ping(number: int) -> str:
    return f"<iq type='get' id='p{number}' to='localhost'><ping xmlns='urn:xmpp:ping'/></iq>"


def in_thread(connection: Raw, work: Callable[[], None]) -> threading.Thread:
    """Do something with a connection until it ends."""

    def until_the_end() -> None:
        with suppress(*ENDED):
            work()
        connection.close()

    thread = threading.Thread(target=until_the_end)
    thread.start()
    return thread


class Conversations:
    """Pairs who talk through a server that is started again whenever it was killed."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.archive = Archive(server.state)
        numbers = iter(range(10**9))
        self.pairs = [Pair(server, server.user("sender"), server.user("receiver"), numbers) for _ in range(PAIRS)]
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Conversations:
        self.begin()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.kill()
        self.wait_for_end()

    def begin(self) -> None:
        self._threads = [thread for pair in self.pairs for thread in pair.begin()]

    def wait_for_end(self) -> None:
        """Wait until nobody has a connection any more."""
        for thread in self._threads:
            thread.join()

    @property
    def accepted(self) -> int:
        """How many messages the server has taken, as far as their senders know."""
        return sum(len(pair.accepted) for pair in self.pairs)

    def listen(self, count: int) -> None:
        """Let those come back to whom something was said, until they have heard so much."""
        self._threads = [pair.listen()[0] for pair in self.pairs]
        wait_for(
            lambda: sum(len(pair.heard) for pair in self.pairs) >= count,
            lambda: f"{[len(pair.heard) for pair in self.pairs]} of {count} messages were heard",
        )

    # -- what happens to them

    def kill(self, *roles: str) -> None:
        """Kill processes while people talk, in this order; see to it that they can go on talking."""
        self.talk_a_little()
        processes = {role: wait_for_child(self.server.pid, role) for role in ("recorder", "notary")}
        processes["server"] = self.server.pid
        time.sleep(random.uniform(0, LONGEST_LIFE))
        for role in dict.fromkeys(roles):
            os.kill(processes[role], signal.SIGKILL)
        if "server" not in roles:
            wait_for_end(processes[role] for role in roles)
            return
        self.server.ended()
        self.wait_for_end()
        wait_for_end(processes.values())  # those that were not killed, by themselves
        for _ in range(roles.count("server") - 1):
            self.server.start(ready=False)
            time.sleep(random.uniform(0, LONGEST_START))
            self.server.kill()
        self.server.start()
        self.begin()

    def talk_a_little(self) -> None:
        """Wait until every pair has got a word in."""
        before = [len(pair.accepted) for pair in self.pairs]
        wait_for(
            lambda: all(len(pair.accepted) > count for pair, count in zip(self.pairs, before, strict=True)),
            lambda: f"nobody can talk any more:\n{self.server.log}",
        )

    # -- what must hold

    def check(self) -> None:
        """Compare what people know with the archive, once nobody talks any more."""
        places: dict[int, int] = {}
        for record in self.archive.find():
            number = int(record.id)
            assert number not in places, f"message {number} is there twice: {places[number]}, {record.index}"
            places[number] = record.index
        for pair in self.pairs:
            heard = [number for number, _ in pair.heard]
            assert heard == sorted(set(heard)), "each once, in order"
            assert len(pair.refused) == len(set(pair.refused))
            assert not set(pair.refused) & {*heard, *pair.accepted}
            assert pair.accepted <= places.keys(), sorted(pair.accepted - places.keys())[:10]
            for number, size in pair.heard:
                assert places.get(number, size) < size, f"message {number} was heard before it was on the disk"
        self.archive.check()
