"""The hot path through the archive: what one chat message costs more when it must be on the disk first, in counts."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

import vrxmpp
from tests.house import House
from tests.recorder import FakeRecorder, Log
from tests.streams import Client
from vrxmpp.audit.leaf import Type
from vrxmpp.net.archive import Archive, ArchiveSettings

MESSAGE = (
    b"<message to='juliet@example.net/balcony' id='a1' type='chat'><body>Wherefore art thou Romeo?</body>"
    b"<active xmlns='http://jabber.org/protocol/chatstates'/></message>"
)
HOUSE = str(Path(vrxmpp.__file__).parent)
# Python functions called for a message alone in its batch, and for each further one of the same piece of a stream: from
# the bytes that come to the frame for the recorder, and from its answer to the bytes that go. When this was written it
# was 46 and 30, of which 3 and 2 read the frame in this test, and 37 and 16. What breaks it: more modules with a step
# for messages, which may be worth raising it; anything done for each message that could be done once a batch.
IN, ANOTHER_IN = 48, 31
OUT, ANOTHER_OUT = 39, 18


class Talk:
    """Romeo and Juliet, available, in a house with all its modules and an archive."""

    def __init__(self, directory: Path) -> None:
        self.house = House(directory)
        self.house.add("romeo", "juliet")
        settings = ArchiveSettings(Path(), "file", "example.net/audit", "staff", {})
        self.clock = Clock()
        self.archive = Archive(settings, self.house.router, self.clock, self._start)
        Deferred.fromCoroutine(self.archive.start())
        self.recorder.ready()
        self.house.router.audit = self.house.clients.audit = self.archive
        self.romeo, self.juliet = self._login("romeo", "orchard"), self._login("juliet", "balcony")
        self.stream = self.romeo.wire.protocol

    def _start(self, link: Any) -> FakeRecorder:
        self.recorder = FakeRecorder(link, Log())
        return self.recorder

    def _login(self, name: str, resource: str) -> Client:
        client = self.house.login(name, resource)
        client.send("<presence/>")
        client.hears()
        return client

    def say(self, times: int) -> None:
        """Let Romeo say it, so often at once: the recorder has it, and Juliet has not."""
        self.stream.dataReceived(MESSAGE * times)
        self.clock.advance(0)


@pytest.fixture
def talk(tmp_path: Path) -> Iterator[Talk]:
    """Return a talk in which something has been said, so that all caches are warm."""
    talk = Talk(tmp_path)
    talk.say(2)
    talk.recorder.commit()
    assert len(talk.juliet.hears()) == 2
    yield talk
    talk.house.close()


def count(work: Callable[[], None]) -> Counter[str]:
    """Return which functions of the house are called, and how often."""
    calls: Counter[str] = Counter()

    def note(frame: FrameType, event: str, argument: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(HOUSE):
            calls[f"{code.co_filename.removeprefix(HOUSE)} {code.co_qualname}"] += 1

    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    return calls


def count_both(talk: Talk, times: int) -> tuple[Counter[str], Counter[str]]:
    """Return what is called on the way in, and on the way out, by so many messages of one batch."""
    comes = count(lambda: talk.say(times))
    assert [entry.type for _, entry in talk.recorder.got] == [Type.MESSAGE] * times
    assert talk.juliet.hears() == []
    done = talk.recorder.write_down()
    goes = count(lambda: talk.recorder.say(done))
    assert len(talk.juliet.hears()) == times
    return comes, goes


def test_a_message_takes_few_calls(talk: Talk) -> None:
    comes, goes = count_both(talk, 1)
    assert comes.total() <= IN, comes
    assert goes.total() <= OUT, goes


def test_another_message_of_the_same_batch_takes_fewer(talk: Talk) -> None:
    first, second = count_both(talk, 1), count_both(talk, 2)
    comes, goes = second[0] - first[0], second[1] - first[1]
    assert comes.total() <= ANOTHER_IN, comes
    assert goes.total() <= ANOTHER_OUT, goes


def test_a_message_is_waited_for_without_a_deferred(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[object] = []
    initialise = Deferred.__init__

    def counting(self: Deferred[object], canceller: object = None) -> None:
        made.append(self)
        initialise(self)

    monkeypatch.setattr(Deferred, "__init__", counting)
    talk.say(3)
    talk.recorder.commit()
    assert len(talk.juliet.hears()) == 3
    assert made == []
    talk.archive.ask("status")
    assert len(made) == 1  # so the counting works
