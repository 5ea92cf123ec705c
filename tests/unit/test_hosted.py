"""Any wokkel handler at a domain of its own, in this process."""

# ruff: noqa: N802 - wokkel calls us

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import LogEvent, globalLogPublisher

from tests.world import LIMITS, Client, World
from vrxmpp import dom, ns
from vrxmpp.jid import Jid
from vrxmpp.modules.presence import Presence
from vrxmpp.net.hosted import HostedService, ServiceError, make_handler
from vrxmpp.stanza import Stanza

ROOMS = "rooms.example.net"


class Bot(dom.XMPPHandler):  # type: ignore[misc]
    """Keeps one room: repeats to all who are in what one of them says."""

    def __init__(self, greeting: str = "") -> None:
        super().__init__()
        self.greeting = greeting
        self.inside: dict[str, str] = {}
        self.lost: object = None

    def connectionInitialized(self) -> None:
        self.xmlstream.addObserver("/presence[not(@type)]", self.enter)
        self.xmlstream.addObserver('/presence[@type="unavailable"]', self.leave)
        self.xmlstream.addObserver('/message[@type="groupchat"]/body', self.repeat)

    def connectionLost(self, reason: object) -> None:
        self.lost = reason

    def enter(self, presence: dom.Element) -> None:
        self.inside[presence["from"]] = presence["to"]
        for occupant in self.inside:
            answer = dom.Element((None, "presence"))
            answer.attributes.update({"from": presence["to"], "to": occupant})
            self.send(answer)

    def leave(self, presence: dom.Element) -> None:
        self.inside.pop(presence["from"], None)

    def repeat(self, message: dom.Element) -> None:
        for occupant in self.inside:
            copy = dom.Element((None, "message"))
            copy.attributes.update({"from": self.inside[message["from"]], "to": occupant, "type": "groupchat"})
            copy.addElement("body", content=self.greeting + str(message.body))
            self.send(copy)


class Handler(dom.XMPPHandler):  # type: ignore[misc]
    """Does with a request what the test says."""

    def __init__(self, act: Any) -> None:
        super().__init__()
        self.act = act

    def connectionInitialized(self) -> None:
        self.xmlstream.addObserver("/*", lambda element: self.act(self, element))


class Place:
    """A world with one service, and a client."""

    def __init__(self, handler: Any) -> None:
        self.clock = Clock()
        self.world = World(Presence())
        self.world.add("alice", "bob")
        self.service = HostedService(ROOMS, handler, self.world.router, clock=self.clock, limits=LIMITS)
        self.service.start()
        self.alice = self.world.login("alice")

    def asks(self, xml: str, client: Client | None = None) -> list[str]:
        """Say something; return what is heard when everybody has had their turn."""
        client = client or self.alice
        client.says(xml)
        self.settle()
        return client.hears()

    def settle(self) -> None:
        for _ in range(5):
            self.clock.advance(0)


@pytest.fixture
def failures() -> Iterator[list[str]]:
    """What has been logged as a failure."""
    found: list[str] = []

    def observe(event: LogEvent) -> None:
        if "log_failure" in event:
            found.append(event["log_failure"].getErrorMessage())

    globalLogPublisher.addObserver(observe)  # type: ignore[arg-type]
    yield found
    globalLogPublisher.removeObserver(observe)  # type: ignore[arg-type]


def request(payload: str, id: str = "1", to: str = ROOMS) -> str:
    return f"<iq type='get' id='{id}' to='{to}'>{payload}</iq>"


PING = f"<ping xmlns='{ns.PING}'/>"


# -- handlers as they are


def test_wokkels_ping() -> None:
    place = Place(make_handler("wokkel.ping:PingHandler", {}))
    assert place.asks(request(PING)) == [f"<iq to='alice@example.net/here' from='{ROOMS}' id='1' type='result'/>"]


def test_wokkels_version_with_options() -> None:
    place = Place(make_handler("wokkel.generic:VersionHandler", {"name": "Rooms & more", "version": "1"}))
    [answer] = place.asks(request(f"<query xmlns='{ns.VERSION}'/>"))
    assert "<name>Rooms &amp; more</name><version>1</version>" in answer


@pytest.mark.parametrize("name", ["wokkel.ping:PingHandler", "wokkel.disco:DiscoHandler"])
def test_a_service_can_be_discovered(name: str) -> None:
    """XEP-0030 §3.1, from what the handler declares; one that answers itself is not answered for."""
    place = Place(make_handler(name, {}))
    [answer] = place.asks(request(f"<query xmlns='{ns.DISCO_INFO}'/>"))
    assert "<identity category='component' type='generic'/>" in answer
    assert f"<feature var='{ns.DISCO_INFO}'/>" in answer
    assert (f"<feature var='{ns.PING}'/>" in answer) == ("ping" in name)
    assert len(place.asks(request(f"<query xmlns='{ns.DISCO_ITEMS}'/>"))) == 1


def test_a_room() -> None:
    place = Place(Bot("> "))
    bob = place.world.login("bob")
    place.asks(f"<presence to='den@{ROOMS}/alice'/>")
    assert place.asks(f"<presence to='den@{ROOMS}/bob'/>", bob) == [
        f"<presence to='bob@example.net/here' from='den@{ROOMS}/bob'/>"
    ]
    place.alice.hears()
    heard = place.asks(f"<message type='groupchat' to='den@{ROOMS}'><body>a &lt; b</body></message>")
    assert heard == [
        f"<message to='alice@example.net/here' from='den@{ROOMS}/alice' type='groupchat'>"
        "<body>&gt; a &lt; b</body></message>"
    ]
    assert bob.hears() == [line.replace("to='alice", "to='bob") for line in heard]


def test_a_handler_asks_and_is_answered() -> None:
    place = Place(handler := dom.XMPPHandler())
    answers: list[Any] = []
    query = dom.element(ns.CLIENT, "iq", dom.element(ns.VERSION, "query"), type="get", to="alice@example.net/here")
    iq = _request(query)
    handler.request(iq).addCallback(answers.append)
    [asked] = place.alice.hears()
    assert f"from='{ROOMS}'" in asked
    bob = place.world.login("bob")
    place.asks(f"<iq type='result' id='{iq.stanzaID}' to='{ROOMS}'/>", bob)
    place.world.router.send(
        Stanza("iq", to=Jid.parse(ROOMS), sender=Jid.parse("x.example"), type="result", id=iq.stanzaID)
    )
    place.settle()
    assert answers == []  # nobody else was asked
    place.asks(f"<iq type='result' id='{iq.stanzaID}' to='{ROOMS}'/>")
    assert [answer["type"] for answer in answers] == ["result"]


def test_a_request_that_nobody_answers_fails_in_time() -> None:
    place = Place(handler := dom.XMPPHandler())
    errors: list[Any] = []
    query = dom.element(ns.CLIENT, "iq", dom.element(ns.VERSION, "query"), type="get", to="alice@example.net/here")
    handler.request(_request(query)).addErrback(errors.append)
    place.clock.advance(61)
    assert len(errors) == 1


def _request(element: dom.Element) -> Any:
    """Return what wokkel takes for a request."""
    from wokkel.generic import Request  # noqa: PLC0415, after dom has made it fit

    request = Request()
    request.toElement = lambda: element
    return request


@pytest.mark.filterwarnings("ignore:twisted.python.compat.itervalues:DeprecationWarning")  # wokkel 18 calls it
def test_a_handler_learns_of_the_end() -> None:
    bot = Bot()
    place = Place(bot)
    place.service.stop()
    assert bot.lost is not None
    [error] = place.asks(request(PING))
    assert "<remote-server-timeout" in error


# -- requests get one answer


def test_what_nobody_handles_is_refused() -> None:
    place = Place(Bot())
    [error] = place.asks(request(PING))
    assert "<service-unavailable" in error
    assert place.asks("<iq type='result' id='1' to='rooms.example.net'/>") == []


def test_a_handler_that_fails_harms_nobody(failures: list[str]) -> None:
    def fail(handler: Any, element: dom.Element) -> None:
        raise RuntimeError("a bug")

    place = Place(Handler(fail))
    [error] = place.asks(request("<x xmlns='urn:example'/>"))
    assert "<internal-server-error" in error
    assert place.asks(f"<message to='{ROOMS}'><body>secret</body></message>") == []
    assert failures == ["a bug"] * 2
    assert len(place.asks(request(f"<query xmlns='{ns.DISCO_INFO}'/>"))) == 1  # the others go on


@pytest.mark.parametrize("handled", [True, False])
def test_a_handler_that_answers_twice_is_heard_once(handled: bool) -> None:
    def answer(handler: Any, element: dom.Element) -> None:
        for _ in range(2):
            handler.send(f"<iq type='result' id='{element['id']}' to='{element['from']}'/>")
        element.handled = handled  # type: ignore[attr-defined]

    assert len(Place(Handler(answer)).asks(request(PING))) == 1


def test_a_handler_answers_later() -> None:
    later: Deferred[str] = Deferred()

    def answer(handler: Any, element: dom.Element) -> None:
        element.handled = True  # type: ignore[attr-defined]
        later.addCallback(lambda _: handler.send(f"<iq type='result' id='1' to='{element['from']}'/>"))

    place = Place(Handler(answer))
    assert place.asks(request(PING)) == []
    later.callback("")
    assert len(place.alice.hears()) == 1


def test_an_answer_that_cannot_be_written_is_answered_for() -> None:
    """A name from another network may hold what XML cannot."""
    later: Deferred[str] = Deferred()

    def answer(handler: Any, element: dom.Element) -> None:
        element.handled = True  # type: ignore[attr-defined]
        name = dom.element("urn:example", "name", "\x02bold")
        result = dom.element(ns.CLIENT, "iq", name, type="result", id="1", to=element["from"])
        later.addCallback(lambda _: handler.send(result))

    place = Place(Handler(answer))
    place.asks(request(PING))
    later.callback("")
    later.addErrback(lambda failure: failure.trap(ValueError))
    [error] = place.alice.hears()
    assert "<internal-server-error" in error


def test_an_answer_that_is_too_long_is_answered_for() -> None:
    later: Deferred[str] = Deferred()

    def answer(handler: Any, element: dom.Element) -> None:
        element.handled = True  # type: ignore[attr-defined]
        result = dom.element(ns.CLIENT, "iq", dom.element("urn:x", "x", "x" * LIMITS.stanza_bytes), type="result")
        result.attributes.update(id=element["id"], to=element["from"])
        later.addCallback(lambda _: handler.send(result))

    place = Place(Handler(answer))
    place.asks(request(PING))
    later.callback("")
    later.addErrback(lambda failure: failure.trap(ValueError))
    [error] = place.alice.hears()
    assert "<internal-server-error" in error


def test_what_cannot_be_looked_at_harms_nobody(failures: list[str]) -> None:
    """Deep within each other, elements are found by recursion."""

    class Seeker(dom.XMPPHandler):  # type: ignore[misc]
        def connectionInitialized(self) -> None:
            self.xmlstream.addObserver("//needle", print)

    place = Place(Seeker())
    deep = b"<a>" * 5000 + b"</a>" * 5000
    place.world.router.send(Stanza("message", to=Jid.parse(ROOMS), sender=place.alice.session.jid, inner=deep))
    assert len(place.asks(request(f"<query xmlns='{ns.DISCO_INFO}'/>"))) == 1
    assert len(failures) == 1


def test_a_handler_that_cannot_begin_leaves_a_service_that_answers(failures: list[str]) -> None:
    class Broken(dom.XMPPHandler):  # type: ignore[misc]
        def connectionInitialized(self) -> None:
            raise RuntimeError("a bug")

    place = Place(Broken())
    [answer] = place.asks(request(f"<query xmlns='{ns.DISCO_INFO}'/>"))
    assert "type='result'" in answer
    assert failures == ["a bug"]


# -- the end


@pytest.mark.filterwarnings("ignore:twisted.python.compat.itervalues:DeprecationWarning")
def test_when_a_service_stops_all_requests_are_answered_and_its_users_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    def wait(handler: Any, element: dom.Element) -> None:
        element.handled = True  # type: ignore[attr-defined]

    place = Place(Handler(wait))
    lost: list[str] = []
    monkeypatch.setattr(place.world.router, "lost", lost.append)
    place.asks(request(PING, "1"))
    place.alice.says(request(PING, "2"))  # which has not come to the handler
    place.service.stop()
    place.settle()
    assert ["<remote-server-timeout" in answer for answer in place.alice.hears()] == [True, True]
    assert lost == [ROOMS]


@pytest.mark.filterwarnings("ignore:twisted.python.compat.itervalues:DeprecationWarning")
@pytest.mark.parametrize("through", [lambda bot: bot, lambda bot: bot.stream], ids=["handler", "stream"])
def test_who_is_stopped_is_heard_no_more(through: Any, failures: list[str]) -> None:
    class Chatty(Bot):
        def connectionInitialized(self) -> None:
            self.stream = self.xmlstream

        def connectionLost(self, reason: object) -> None:
            through(self).send("<message to='alice@example.net/here'/>")

    bot = Chatty()
    place = Place(bot)
    place.service.stop()
    for _ in range(3):
        through(bot).send("<message to='alice@example.net/here'/>")
    assert place.alice.hears() == []
    assert failures == []
    assert bot.parent._packetQueue == []


# -- what it may say


@pytest.mark.parametrize(
    "said",
    [
        "<message from='alice@example.net' to='bob@example.net'/>",
        "<message from='other.example.net' to='bob@example.net'/>",
        "<message/>",
        "<message to='@'/>",
        "<message to='bob@example.net'>",
        "<message to='bob@example.net'/><message to='bob@example.net'/>",
        "<message to='bob@example.net'/></stream:stream>",
        "<!-- --><message to='bob@example.net'/>",
        "<auth xmlns='urn:example'/>",
        "<message to='bob@example.net'/> text",
        "",
        dom.element(ns.CLIENT, "message", "\0", to="bob@example.net"),
    ],
)
def test_a_handler_can_say_nothing_that_another_component_could_not(said: Any, failures: list[str]) -> None:
    place = Place(Handler(lambda handler, element: handler.send(said)))
    bob = place.world.login("bob")
    bob.says("<presence/>")
    bob.hears()
    place.asks(f"<presence to='{ROOMS}'/>")
    assert bob.hears() == []
    assert len(failures) == 1


def test_a_handler_speaks_for_all_addresses_of_its_domain() -> None:
    place = Place(
        Handler(lambda handler, element: handler.send(f"<message from='a@{ROOMS}/b' to='{element['from']}'/>"))
    )
    assert place.asks(f"<presence to='{ROOMS}'/>") == [f"<message to='alice@example.net/here' from='a@{ROOMS}/b'/>"]


def test_what_is_said_stays_in_order_behind_what_must_wait() -> None:
    """An account that is not in memory holds up what was sent behind."""

    def say(handler: Any, element: dom.Element) -> None:
        for to in ("bob@example.net", element["from"]):
            handler.send(f"<message to='{to}'><body>x</body></message>")

    place = Place(Handler(say))
    waking: Deferred[None] = Deferred()
    real = place.world.host.wake

    async def wake(local: str) -> Any:
        await waking
        return await real(local)

    place.world.host.wake = wake  # type: ignore[method-assign]
    assert place.asks(f"<presence to='{ROOMS}'/>") == []
    waking.callback(None)
    assert len(place.alice.hears()) == 1


def test_a_handler_is_not_called_in_the_middle_of_something() -> None:
    heard: list[object] = []
    place = Place(Handler(lambda handler, element: heard.append(element)))
    place.alice.says(f"<presence to='{ROOMS}'/>")
    assert heard == []
    place.settle()
    assert len(heard) == 1


def test_what_waits_for_a_handler_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vrxmpp.net.hosted._QUEUE", 2)
    place = Place(Bot())
    for id in "123":
        place.alice.says(request(PING, id))
    [error] = place.alice.hears()
    assert "id='3'" in error
    assert "<resource-constraint" in error
    place.settle()
    assert len(place.alice.hears()) == 2


# -- made from the configuration


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("no_such_package.x:Handler", {}),
        ("wokkel.ping:NoSuchHandler", {}),
        ("collections:OrderedDict", {}),
        ("wokkel.ping:PingHandler", {"unknown": 1}),
    ],
)
def test_a_handler_that_cannot_be_made_is_told(name: str, options: dict[str, object]) -> None:
    with pytest.raises(ServiceError, match=name):
        make_handler(name, options)
