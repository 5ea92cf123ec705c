"""One domain: sessions are bound and ended, accounts wake and rest, guests come and go (RFC 6120 §7, XEP-0175)."""

from __future__ import annotations

from typing import cast

import pytest
from twisted.logger import ILogObserver, Logger, eventAsText

from tests.world import Client, World, run
from vrxmpp.core.host import Host
from vrxmpp.core.module import Module, stage
from vrxmpp.core.session import Session
from vrxmpp.core.stages import Side, Stage, Walk
from vrxmpp.errors import Condition, StanzaError, StreamCondition

MESSAGE = "<message to='juliet@example.net/here' type='chat' id='1'><body>hi</body></message>"
FROM_ROMEO = MESSAGE.replace(" type='chat' id='1'", " from='romeo@example.net/here' id='1' type='chat'")


def meet(*modules: Module) -> tuple[World, Client, Client]:
    """Return a world with Romeo and Juliet logged in."""
    world = World(*modules)
    world.add("romeo", "juliet")
    return world, world.login("romeo"), world.login("juliet")


def test_the_newer_session_wins_a_conflict() -> None:
    """RFC 6120 §7.7.2.2."""
    world, romeo, juliet = meet()
    newer = world.login("juliet")
    assert juliet.closed is not None
    assert juliet.closed.condition == StreamCondition.CONFLICT
    romeo.says(MESSAGE)
    assert (juliet.hears(), newer.hears()) == ([], [FROM_ROMEO])
    juliet.leaves()
    romeo.says(MESSAGE)
    assert newer.hears() == [FROM_ROMEO]


def test_a_resource_is_prepared_and_then_compared() -> None:
    world, _, juliet = meet()
    fullwidth = run(world.host.bind("juliet", "\u00e9", juliet)), run(world.host.bind("juliet", "e\u0301", juliet))
    assert fullwidth[0].jid == fullwidth[1].jid
    assert len(fullwidth[1].account.sessions) == 2


def test_a_resource_that_is_none_is_refused_and_one_not_asked_for_is_made() -> None:
    world, _, juliet = meet()
    with pytest.raises(StanzaError) as caught:
        run_raising(world, juliet, "\x07")
    assert caught.value.condition == Condition.BAD_REQUEST
    made = {run(world.host.bind("juliet", "", juliet)).jid.resource for _ in range(2)}
    assert len(made) == 2
    assert min(map(len, made)) >= 16


def run_raising(world: World, client: Client, resource: str, name: str = "juliet") -> None:
    """Bind where that fails."""
    binding = world.host.bind(name, resource, client)
    with pytest.raises(StopIteration):
        binding.send(None)


def test_a_user_has_so_many_sessions() -> None:
    world, _, juliet = meet()
    for number in range(9):
        world.login("juliet", str(number))
    with pytest.raises(StanzaError) as caught:
        run_raising(world, juliet, "one more")
    assert caught.value.condition == Condition.RESOURCE_CONSTRAINT
    assert world.login("juliet", "8").session.jid.resource == "8"


def test_who_has_no_account_cannot_bind() -> None:
    world, romeo, _ = meet()
    with pytest.raises(StanzaError) as caught:
        run_raising(world, romeo, "here", "nobody")
    assert caught.value.condition == Condition.NOT_ALLOWED


def test_modules_hear_once_that_a_session_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[Session] = []
    log: list[str] = []

    def note(event: dict[str, object]) -> None:
        log.append(eventAsText(event))

    monkeypatch.setattr(Host, "log", Logger(observer=cast(ILogObserver, note)))

    class Broken(Module):
        def session_ended(self, session: Session) -> None:
            raise KeyError("oh")

    class Listener(Module):
        def session_ended(self, session: Session) -> None:
            assert session.jid.resource not in session.account.sessions
            ended.append(session)

    world, romeo, juliet = meet(Broken(), Listener())
    romeo.says("<iq to='juliet@example.net/here' id='7' type='get'><a/></iq>")
    juliet.leaves()
    juliet.leaves()
    assert ended == [juliet.session]
    assert len(log) == 1
    (answer,) = romeo.hears()
    assert "id='7' type='error'" in answer
    assert [session.jid.local for session in world.host.all_sessions()] == ["romeo"]


def test_a_forgotten_account_is_out_of_memory_and_its_sessions_are_ended() -> None:
    world, romeo, juliet = meet()
    world.host.forget("juliet", StreamCondition.NOT_AUTHORIZED)
    world.host.forget("juliet", StreamCondition.NOT_AUTHORIZED)
    assert juliet.closed is not None
    assert juliet.closed.condition == StreamCondition.NOT_AUTHORIZED
    assert romeo.closed is None
    assert set(world.host.awake) == {"romeo"}


def test_resting_accounts_leave_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vrxmpp.core.host._RESTING", 2)
    world, _, juliet = meet()
    world.add("a", "b", "c", "d")
    for name in ("a", "b", "c", "a", "d"):
        run(world.host.wake(name))
    juliet.leaves()
    assert set(world.host.awake) == {"romeo", "d", "juliet"}
    account = run(world.host.wake("c"))
    assert account is not None
    assert set(world.host.awake) == {"romeo", "juliet", "c"}


def test_an_account_that_is_being_changed_stays_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vrxmpp.core.host._RESTING", 1)
    world, _, _ = meet()
    world.add("a", "b")
    account = run(world.host.wake("a"))
    assert account is not None

    async def change() -> None:
        async with account.lock:
            await world.host.wake("b")

    run(change())
    assert world.host.awake["a"] is account


# --- Guests


def receive_a_guest(world: World) -> Client:
    guest = Client()
    guest.session = run(world.host.bind("guest", "here", guest, guest=True))
    return guest


@pytest.mark.parametrize(
    "stanza",
    [
        "<iq type='set' id='1'><query xmlns='jabber:iq:roster'/></iq>",
        "<presence to='juliet@example.net' type='subscribe' id='1'/>",
        "<message to='a@elsewhere.net' id='1'/>",
        "<presence to='a@elsewhere.net' id='1'/>",
    ],
)
def test_a_guest_stores_nothing_and_stays_in_the_house(stanza: str) -> None:
    """XEP-0175 §4."""
    world, _, _ = meet()
    world.remote.reachable = True
    guest = receive_a_guest(world)
    guest.says(stanza)
    (answer,) = guest.hears()
    assert " id='1' type='error'><error type='cancel'><not-allowed " in answer
    assert world.remote.sent == []


def test_a_guest_talks_and_is_gone() -> None:
    world, romeo, juliet = meet()
    guest = receive_a_guest(world)
    guest.says(MESSAGE)
    assert juliet.hears() == [FROM_ROMEO.replace("romeo", "guest")]
    guest.leaves()
    romeo.says("<message to='guest@example.net' id='1'/>")
    assert len(romeo.hears()) == 1
    assert set(world.host.awake) == {"romeo", "juliet"}


def test_a_guest_can_be_put_out() -> None:
    world, _, _ = meet()
    guest = receive_a_guest(world)
    world.host.forget("guest", StreamCondition.NOT_AUTHORIZED)
    assert guest.closed is not None
    assert "guest" not in world.host.awake


def test_a_step_that_could_wait_stops_the_start() -> None:
    """Its coroutine would be taken for the end of every walk."""

    class Waits(Module):
        @stage(Stage.SCREEN, Side.SENDER, "message")
        async def screen(self, walk: Walk) -> None: ...

    with pytest.raises(ValueError, match="a step cannot wait"):
        World(Waits())
