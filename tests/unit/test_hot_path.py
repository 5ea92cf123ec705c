"""The hot path: what one chat message between two online users costs, in counts, which do not depend on the machine."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import NoReturn

import pytest
from twisted.internet.defer import Deferred

import vrxmpp
from tests.world import HEADER, LIMITS, NO_KEYS, Client, NoRemote, run
from vrxmpp import config
from vrxmpp.assembly import Foundations, assemble
from vrxmpp.core.router import Router
from vrxmpp.dom import Element
from vrxmpp.negotiation.throttle import Throttle
from vrxmpp.stanza import Stanza
from vrxmpp.store import open_stores
from vrxmpp.store.database import Database
from vrxmpp.store.interfaces import NewAccount
from vrxmpp.wire.framer import Framer

MESSAGE = (
    "<message to='juliet@example.net/balcony' id='a1' type='chat'><body>Wherefore art thou Romeo?</body>"
    "<active xmlns='http://jabber.org/protocol/chatstates'/></message>"
)
# Python functions called from the bytes that come to the bytes that go. It was 33 when this was written, of which 14
# are the framer's: 2 for each element, 1 for each namespace. 3 more ask whether the archive must have it first. What
# breaks it: two more modules with a step for messages, which may be worth raising it; one that looks inside each
# stanza, which costs dozens; any wait; anything logged.
CALLS = 37


class Meeting:
    """Romeo and Juliet, available, in a house with all its modules; and Romeo's stream."""

    def __init__(self) -> None:
        database = Database.open("sqlite://")
        settings = config.parse("[[host]]\ndomain = 'example.net'", Path("vrxmpp.toml"))
        foundations = Foundations(
            database, Router(NoRemote()), Throttle(lambda: 0.0), b"secret", _no_threads, datetime.now(UTC)
        )
        self.host = assemble(settings, settings.hosts[0], foundations).host
        accounts = open_stores(database, "example.net").accounts
        run(accounts.add([NewAccount(name, NO_KEYS, NO_KEYS) for name in ("romeo", "juliet")]))
        self.romeo, self.juliet = self.login("romeo", "orchard"), self.login("juliet", "balcony")
        self.framer = Framer(LIMITS)
        self.framer.feed(HEADER)

    def login(self, name: str, resource: str) -> Client:
        client = Client()
        client.session = run(self.host.bind(name, resource, client, lang="en"))
        client.says("<presence/>")
        client.hears()
        return client

    def talk(self) -> None:
        """Romeo says the message."""
        for event in self.framer.feed(MESSAGE.encode()):
            assert isinstance(event, Stanza)
            assert self.romeo.session.receive(event) is None


def _no_threads(work: Callable[[], object]) -> NoReturn:
    raise AssertionError("nothing here waits for a thread")


@pytest.fixture
def meeting() -> Meeting:
    """Return a meeting at which a word has been said, so that all caches are warm."""
    meeting = Meeting()
    meeting.talk()
    assert len(meeting.juliet.hears()) == 1
    return meeting


def test_a_message_builds_no_element_and_waits_for_nothing(meeting: Meeting, monkeypatch: pytest.MonkeyPatch) -> None:
    made: Counter[type] = Counter()

    def count(kind: type) -> None:
        initialise = kind.__init__  # type: ignore[misc]

        def counting(self: object, *arguments: object, **options: object) -> None:
            made[kind] += 1
            initialise(self, *arguments, **options)

        monkeypatch.setattr(kind, "__init__", counting)

    count(Element)
    count(Deferred)
    meeting.talk()
    assert len(meeting.juliet.hears()) == 1
    assert made == Counter()
    Stanza("message").element()
    run(meeting.host.wake("nobody"))
    assert made[Element] > 0  # so the counting works
    assert made[Deferred] > 0


def test_a_message_takes_few_calls(meeting: Meeting) -> None:
    house = str(Path(vrxmpp.__file__).parent)
    calls: Counter[str] = Counter()

    def note(frame: FrameType, event: str, argument: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename != __file__:
            calls[f"{code.co_filename.removeprefix(house)} {code.co_qualname}"] += 1

    sys.setprofile(note)
    try:
        meeting.talk()
    finally:
        sys.setprofile(None)
    assert len(meeting.juliet.hears()) == 1
    assert calls.pop(f"{Path(__file__).parents[1] / 'world.py'} Client.send") == 1
    assert calls.total() <= CALLS, calls
    places = {name.partition(".py ")[0] for name in calls if not name.startswith("/modules/")}
    core = {"/core/session", "/core/router", "/core/stages", "/core/peers"}
    assert places <= {"/jid", "/stanza", "/xml", "/wire/framer", *core}
