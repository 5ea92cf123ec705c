"""urn:vrxmpp:witness:0: whom the module serves, and what is understood of an answer."""

from __future__ import annotations

import pytest

from tests.world import World, parse
from vrxmpp import xml
from vrxmpp.core.witnessing import NAMESPACE, Signed, WitnessError, read_answer, refusal
from vrxmpp.errors import Condition, StanzaError
from vrxmpp.modules.witness import Witness
from vrxmpp.stanza import Stanza

KEY = "one.example/audit+00000000+AAAA"
BODY = "old 0\n\none.example/audit\n0\n<&>\n\n— one.example/audit AAAA\n"


class Cosigner:
    """Writes down what it is asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Signed]] = []
        self.refusal: StanzaError | None = None

    async def cosign(self, domain: str, submission: Signed) -> Signed:
        self.asked.append((domain, submission))
        if self.refusal is not None:
            raise self.refusal
        return Signed("key+'<&", "— example.net/witness <&>\n")


@pytest.fixture
def cosigner() -> Cosigner:
    return Cosigner()


@pytest.fixture
def world(cosigner: Cosigner) -> World:
    world = World(Witness(cosigner, frozenset(("one.example",))))
    world.remote.reachable = True
    world.add("alice")
    return world


def request(sender: str, content: str = f"key='{KEY}'>{xml.text(BODY)}</add-checkpoint>", type: str = "set") -> Stanza:
    [stanza] = parse(
        f"<iq type='{type}' id='1' from='{sender}' to='example.net'><add-checkpoint xmlns='{NAMESPACE}' {content}</iq>"
    )
    assert isinstance(stanza, Stanza)
    return stanza


def answer_of(world: World, stanza: Stanza) -> Stanza:
    world.router.send(stanza)
    [answer] = world.remote.sent
    world.remote.sent.clear()
    return answer


def test_a_domain_that_is_listed_is_served(world: World, cosigner: Cosigner) -> None:
    """What is signed goes through XML without a change."""
    answer = answer_of(world, request("one.example"))
    assert cosigner.asked == [("one.example", Signed(KEY, BODY))]
    assert (answer.type, answer.to and answer.to.text) == ("result", "one.example")
    assert read_answer(answer) == Signed("key+'<&", "— example.net/witness <&>\n")


@pytest.mark.parametrize(
    "sender", ["two.example", "sub.one.example", "mallory@one.example", "mallory@one.example/x", "one.example/x"]
)
def test_nobody_else_is(world: World, cosigner: Cosigner, sender: str) -> None:
    """Users of a server that is served cannot ask in its name."""
    answer = answer_of(world, request(sender))
    assert answer.type == "error"
    assert b"<forbidden " in answer.inner
    assert cosigner.asked == []


def test_nor_a_user_of_this_server(world: World, cosigner: Cosigner) -> None:
    alice = world.login("alice")
    alice.says(request("alice@example.net/here").raw.decode())
    [answer] = alice.hears()
    assert "<forbidden " in answer
    assert cosigner.asked == []


def test_a_request_without_a_key_is_still_somebodys_to_judge(world: World, cosigner: Cosigner) -> None:
    answer_of(world, request("one.example", "/>"))
    assert cosigner.asked == [("one.example", Signed("", ""))]


def test_a_conflict_says_what_is_known(world: World, cosigner: Cosigner) -> None:
    cosigner.refusal = refusal(Condition.CONFLICT, "7 records are known", 7)
    with pytest.raises(WitnessError, match="7 records are known") as caught:
        read_answer(answer_of(world, request("one.example")))
    assert (caught.value.condition, caught.value.size) == ("conflict", 7)


STANZAS = "urn:ietf:params:xml:ns:xmpp-stanzas"


@pytest.mark.parametrize(
    ("inner", "condition"),
    [
        ("", ""),
        ("<error type='cancel'/>", ""),
        ("<error type='cancel'><conflict/></error>", ""),
        (f"<error type='cancel'><conflict xmlns='{STANZAS}'/></error>", "conflict"),
        (f"<error type='cancel'><conflict xmlns='{STANZAS}'/><size>7</size></error>", "conflict"),
        *(
            (
                f"<error type='cancel'><conflict xmlns='{STANZAS}'/><size xmlns='{NAMESPACE}'>{n}</size></error>",
                "conflict",
            )
            for n in ("", "-1", "x", "1.5", " 7", "9" * 20)
        ),
    ],
)
def test_what_a_witness_may_say_instead(inner: str, condition: str) -> None:
    """A stranger's error may be anything."""
    [answer] = parse(f"<iq type='error' id='1' from='two.example' to='one.example'>{inner}</iq>")
    assert isinstance(answer, Stanza)
    with pytest.raises(WitnessError) as caught:
        read_answer(answer)
    assert (caught.value.condition, caught.value.size) == (condition, None)


@pytest.mark.parametrize("inner", ["", "<cosignature key='k'/>", f"<signature xmlns='{NAMESPACE}' key='k'/>"])
def test_a_result_without_a_cosignature_is_none(inner: str) -> None:
    [answer] = parse(f"<iq type='result' id='1' from='two.example' to='one.example'>{inner}</iq>")
    assert isinstance(answer, Stanza)
    with pytest.raises(WitnessError):
        read_answer(answer)


@pytest.mark.parametrize("is_named", [False, True])
def test_of_what_a_witness_says_one_short_line_is_told(is_named: bool) -> None:
    said = "x" * 5000 if is_named else f"no\n2026 [vrxmpp] all is well \x7f\u202e{'x' * 5000}"
    text = "" if is_named else f"<text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>{said}</text>"
    name = said if is_named else "not-acceptable"
    [answer] = parse(
        "<iq type='error' id='1' from='one.example' to='example.net'><error type='cancel'>"
        f"<{name} xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>{text}</error></iq>"
    )
    assert isinstance(answer, Stanza)
    with pytest.raises(WitnessError) as caught:
        read_answer(answer)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) <= 200
    assert len(caught.value.condition) <= 200
