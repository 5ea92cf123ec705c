"""XEP-0198: its elements to the letter, what counts as acknowledged, and that nothing is lost or comes twice."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from tests.world import HEADER, LIMITS, parse
from vrxmpp import ns
from vrxmpp.errors import Condition, StanzaError, StreamCondition, StreamError
from vrxmpp.net.queue import Queue
from vrxmpp.stanza import Stanza
from vrxmpp.wire import management, writer
from vrxmpp.wire.events import Event, Nonza
from vrxmpp.wire.framer import Framer
from vrxmpp.wire.management import Answer, Ask, Command, Enable, Enabled, Failed, Management, Resume, Resumed

SM = "xmlns='urn:xmpp:sm:3'"
ASK = b"<r xmlns='urn:xmpp:sm:3'/>"
TOP = 2**32


def read(text: str | bytes) -> Command:
    """Read an element as it comes on a stream."""
    [event] = parse(text)
    assert isinstance(event, Nonza), event
    return management.read(event)


# -- the elements


@pytest.mark.parametrize(
    ("command", "raw"),
    [
        (Enable(), f"<enable {SM}/>"),
        (Enable(resume=True, max=300), f"<enable {SM} resume='true' max='300'/>"),
        (Enabled(), f"<enabled {SM}/>"),
        (Enabled(id="a'b", max=300), f"<enabled {SM} id='a&apos;b' resume='true' max='300'/>"),
        (Resume("x", 0), f"<resume {SM} previd='x' h='0'/>"),
        (Resumed("x", TOP - 1), f"<resumed {SM} previd='x' h='4294967295'/>"),
        (
            Failed(Condition.ITEM_NOT_FOUND),
            f"<failed {SM}><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>",
        ),
        (
            Failed(Condition.UNEXPECTED_REQUEST, 0),
            f"<failed {SM} h='0'><unexpected-request xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></failed>",
        ),
        (Ask(), f"<r {SM}/>"),
        (Answer(7), f"<a {SM} h='7'/>"),
    ],
)
def test_each_element_is_written_and_read(command: Command, raw: str) -> None:
    assert command.raw.decode() == raw
    assert read(raw) == command


@pytest.mark.parametrize(
    ("text", "command"),
    [
        (f"<enable {SM} resume='1'/>", Enable(resume=True)),
        (f"<enable {SM} resume='false'/>", Enable()),
        (f"<enable {SM} resume='0' max='4294967295' other='x'/>", Enable(max=TOP - 1)),
        (f"<enabled {SM} resume='true'/>", Enabled()),  # nor is the wish for one
        (f"<enabled {SM} id='x' location='192.0.2.1:5269'/>", Enabled()),  # an id alone is no resumption (§5)
        (f"<enabled {SM} id='x' resume='0'/>", Enabled()),
        ("<s:a xmlns:s='urn:xmpp:sm:3' h='0000000007'/>", Answer(7)),
        (f"<failed {SM}/>", Failed(Condition.UNDEFINED_CONDITION)),
        (f"<failed {SM}><never-heard-of/></failed>", Failed(Condition.UNDEFINED_CONDITION)),
        (f"<failed {SM}><stream:conflict/></failed>", Failed(Condition.UNDEFINED_CONDITION)),
    ],
)
def test_what_others_may_write(text: str, command: Command) -> None:
    assert read(text) == command


NO_NUMBERS = ["", "-1", "+1", " 1", "1 ", "1.0", "0x1", "1_0", "1e3", "٣", "4294967296", "9" * 5000, "some"]


@pytest.mark.parametrize("value", NO_NUMBERS)
@pytest.mark.parametrize("name", ["a", "resumed previd='x'", "failed", "resume previd='x'", "enable max"])
def test_a_number_is_32_bits_in_decimal_digits(name: str, value: str) -> None:
    tag, _, rest = name.partition(" ")
    attributes = f"max='{value}'" if rest == "max" else f"{rest} h='{value}'"
    refusal = StanzaError if tag in ("resume", "enable") else StreamError
    with pytest.raises(refusal, match=r"bad-(request|format)"):
        read(f"<{tag} {SM} {attributes}/>")


@pytest.mark.parametrize(
    "text",
    [
        f"<enable {SM} resume='yes'/>",
        f"<enable {SM} resume=''/>",
        f"<enable {SM} max='0'/>",
        f"<resume {SM} h='1'/>",
        f"<resume {SM} previd='x'/>",
        f"<resume {SM} previd='' h='1'/>",
        f"<resume {SM} previd='{'x' * 4001}' h='1'/>",
        f"<resume {SM} previd='{'ü' * 2001}' h='1'/>",
    ],
)
def test_a_malformed_request_can_be_answered(text: str) -> None:
    """§6: the stream lives on."""
    with pytest.raises(StanzaError) as refused:
        read(text)
    assert refused.value.condition is Condition.BAD_REQUEST


@pytest.mark.parametrize(
    ("text", "condition"),
    [
        (f"<a {SM}/>", StreamCondition.BAD_FORMAT),
        (f"<a {SM} x:h='1' xmlns:x='urn:x'/>", StreamCondition.BAD_FORMAT),
        (f"<resumed {SM} h='1'/>", StreamCondition.BAD_FORMAT),
        (f"<enabled {SM} resume='true' id='{'x' * 4001}'/>", StreamCondition.BAD_FORMAT),
        (f"<sm {SM}/>", StreamCondition.UNSUPPORTED_STANZA_TYPE),
        ("<a xmlns='urn:xmpp:sm:2' h='1'/>", StreamCondition.UNSUPPORTED_STANZA_TYPE),
        ("<enable xmlns='urn:x'/>", StreamCondition.UNSUPPORTED_STANZA_TYPE),
    ],
)
def test_what_else_is_malformed_ends_the_stream(text: str, condition: StreamCondition) -> None:
    with pytest.raises(StreamError) as refused:
        read(text)
    assert refused.value.condition is condition


def test_the_longest_id_is_read() -> None:
    assert read(f"<resume {SM} previd='{'x' * 4000}' h='1'/>") == Resume("x" * 4000, 1)


def test_an_id_cannot_be_guessed() -> None:
    ids = {management.new_id() for _ in range(100)}
    assert len(ids) == 100
    assert min(map(len, ids)) * 6 >= 128  # six bits a character


# -- the counting


def make(stanzas: int = 100, bytes: int = 100_000) -> Management:
    return Management(stanzas=stanzas, bytes=bytes)


def send(ours: Management, *ids: object) -> list[bytes]:
    """Send stanzas; return what is to be written behind each."""
    return [ours.sent(Stanza("message", id=str(id))) for id in ids]


def ids(stanzas: list[Stanza]) -> list[str]:
    return [stanza.id for stanza in stanzas]


def near_the_top(ours: Management, theirs: Management) -> None:
    """Let both have counted nearly all there are, which would take days."""
    ours._acknowledged = theirs.h = TOP - 2


def test_what_is_handled_is_answered() -> None:
    theirs = make()
    assert theirs.answer() == b"<a xmlns='urn:xmpp:sm:3' h='0'/>"
    theirs.handled()
    theirs.handled()
    assert theirs.answer() == b"<a xmlns='urn:xmpp:sm:3' h='2'/>"


def test_every_tenth_stanza_asks() -> None:
    ours = make()
    assert send(ours, *range(20)) == [*[b""] * 9, ASK, *[b""] * 9, ASK]
    assert ours.ask() == b""


def test_the_sweep_asks_once_for_what_was_not_asked() -> None:
    ours = make()
    assert ours.ask() == b""
    send(ours, 1, 2)
    assert (ours.ask(), ours.ask()) == (ASK, b"")
    send(ours, 3)
    ours.acknowledged(3)  # unasked
    assert ours.ask() == b""


def test_whoever_is_full_has_asked() -> None:
    """Or nothing would ever go on."""
    ours = make(stanzas=3)
    assert send(ours, 1, 2, 3) == [b"", b"", ASK]
    assert ours.full
    ours.acknowledged(1)
    assert not ours.full
    assert send(ours, 4) == [ASK]


def test_bytes_fill_it_too() -> None:
    size = len(Stanza("message", id="1").raw)
    ours = make(bytes=2 * size)
    assert send(ours, 1) == [b""]
    assert not ours.full
    assert send(ours, 2) == [ASK]
    assert ours.full
    ours.acknowledged(2)
    assert not ours.full
    assert send(ours, 3, 4) == [b"", ASK]


def test_an_acknowledgement_forgets_what_it_covers() -> None:
    ours = make()
    send(ours, 1, 2, 3)
    ours.acknowledged(2)
    assert len(ours) == 1
    ours.acknowledged(2)
    assert ids(ours.give_up()) == ["3"]
    assert len(ours) == 0
    assert not ours.full


@pytest.mark.parametrize(("before", "h"), [(0, 3), (2, 1), (2, 4), (0, TOP - 1), (2, 0)])
def test_more_than_was_sent_cannot_be_acknowledged(before: int, h: int) -> None:
    """§6; nor less than before, which is the same in a circle."""
    ours = make()
    send(ours, 1, 2)
    ours.acknowledged(before)
    with pytest.raises(StreamError) as refused:
        ours.acknowledged(h)
    assert writer.error(refused.value).decode() == (
        "<stream:error><undefined-condition xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>"
        f"<text xmlns='{ns.STREAM_ERRORS}' xml:lang='en'>You acknowledged {h} stanzas, but 2 were sent.</text>"
        f"<handled-count-too-high {SM} h='{h}' send-count='2'/></stream:error></stream:stream>"
    )
    assert len(ours) == 2 - before


def test_the_count_goes_round() -> None:
    """§4: 2**32 - 1, then 0."""
    ours, theirs = make(), make()
    near_the_top(ours, theirs)
    send(ours, 1, 2, 3, 4, 5)
    for _ in range(3):
        theirs.handled()
    assert theirs.answer() == b"<a xmlns='urn:xmpp:sm:3' h='1'/>"
    ours.acknowledged(TOP - 1)
    assert len(ours) == 4
    ours.acknowledged(theirs.h)
    assert ids(ours.resume(1)) == ["4", "5"]
    with pytest.raises(StreamError, match="4 stanzas, but 3 were sent"):
        ours.acknowledged(4)
    with pytest.raises(StreamError):
        ours.acknowledged(TOP - 1)


def test_what_was_lost_is_sent_again_and_asked_about() -> None:
    """§5; it is not counted twice."""
    ours = make()
    send(ours, 1, 2, 3)
    ours.ask()
    assert ids(ours.resume(1)) == ["2", "3"]
    assert (ours.ask(), ours.ask()) == (ASK, b"")
    send(ours, 4)
    ours.acknowledged(4)
    assert len(ours) == 0


def test_a_resumption_cannot_claim_too_much() -> None:
    ours = make()
    send(ours, 1)
    with pytest.raises(StreamError):
        ours.resume(2)


def test_a_session_that_is_no_more_tells_what_it_had() -> None:
    """§5: the rest is bounced."""
    ours = make()
    send(ours, 1, 2, 3)
    failed = read(f"<failed {SM} h='2'><item-not-found xmlns='{ns.STANZA_ERRORS}'/></failed>")
    assert isinstance(failed, Failed)
    assert failed.h is not None
    ours.acknowledged(failed.h)
    assert ids(ours.give_up()) == ["3"]


# -- any sequence


class End:
    """One end of a session: what it writes goes into ``out``, what it reads comes through its framer."""

    def __init__(self) -> None:
        self.management = Management(stanzas=4, bytes=300, id="session")
        self.queue = Queue(stanzas=1000, bytes=100_000, seconds=60)
        self.received: list[str] = []
        self.connect()

    def connect(self) -> None:
        self.out = bytearray()
        self.framer = Framer(LIMITS)
        self.framer.feed(HEADER)

    def send(self, id: str) -> None:
        self.queue.put(Stanza("message", id=id), 0)
        self.flush()

    def flush(self) -> None:
        while not self.management.full and (stanza := self.queue.take()) is not None:
            self.out += stanza.raw + self.management.sent(stanza)

    def read(self, data: bytes) -> None:
        for event in self.framer.feed(data):
            self.take(event)

    def take(self, event: Event) -> None:
        if isinstance(event, Stanza):
            self.received.append(event.id)
            self.management.handled()
            return
        assert isinstance(event, Nonza), event
        match management.read(event):
            case Ask():
                self.out += self.management.answer()
            case Answer(h):
                self.management.acknowledged(h)
                self.flush()
            case Resume(previd, h):
                assert previd == self.management.id
                self.out += Resumed(previd, self.management.h).raw
                self.resume(h)
            case Resumed(_, h):
                self.resume(h)
            case other:
                raise AssertionError(other)

    def resume(self, h: int) -> None:
        for stanza in self.management.resume(h):
            self.out += stanza.raw
        self.out += self.management.ask()
        self.flush()


class Session(RuleBasedStateMachine):
    """Two ends, and a link that carries bytes for a while, loses the rest, and comes back."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = End(), End()
        self.sent: dict[End, list[str]] = {self.one: [], self.two: []}

    @initialize(wraps=st.booleans())
    def begin(self, wraps: bool) -> None:
        if wraps:
            near_the_top(self.one.management, self.two.management)
            near_the_top(self.two.management, self.one.management)

    def carry(self, sender: End, recipient: End, size: int) -> None:
        data = bytes(sender.out[:size])
        del sender.out[:size]
        recipient.read(data)

    @rule(from_one=st.booleans(), count=st.integers(1, 5))
    def send(self, from_one: bool, count: int) -> None:
        end = self.one if from_one else self.two
        for _ in range(count):
            id = str(len(self.sent[end]))
            self.sent[end].append(id)
            end.send(id)

    @rule(from_one=st.booleans(), size=st.integers(1, 400))
    def arrives(self, from_one: bool, size: int) -> None:
        ends = (self.one, self.two) if from_one else (self.two, self.one)
        self.carry(*ends, size)

    @rule(from_one=st.booleans())
    def sweep(self, from_one: bool) -> None:
        end = self.one if from_one else self.two
        end.out += end.management.ask()

    @rule(answered=st.booleans())
    def breaks(self, answered: bool) -> None:
        """All that is under way is lost, from wherever in an element the last bytes have come to."""
        self.resumes()
        if answered:
            self.carry(self.two, self.one, self.two.out.index(b"/>") + 2)
        else:
            self.breaks(answered=True)  # the answer is lost too

    def resumes(self) -> None:
        for end in (self.one, self.two):
            end.connect()
        self.one.out += Resume("session", self.one.management.h).raw
        self.carry(self.one, self.two, 1000)

    def teardown(self) -> None:
        for _ in range(1000):
            for end in (self.one, self.two):
                end.out += end.management.ask()
            if not self.one.out and not self.two.out:
                break
            self.carry(self.one, self.two, 1000)
            self.carry(self.two, self.one, 1000)
        assert self.two.received == self.sent[self.one]
        assert self.one.received == self.sent[self.two]
        for end in (self.one, self.two):
            assert (len(end.management), len(end.queue)) == (0, 0)


Session.TestCase.settings = settings(
    max_examples=40, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestSession = Session.TestCase
