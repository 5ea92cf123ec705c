"""Presence and subscriptions between two servers, while the network works and while it does not (RFC 6121 §3, §4)."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.internet import Internet, Site
from tests.streams import Client
from tests.world import run
from vrxmpp.jid import Jid
from vrxmpp.store import open_stores
from vrxmpp.store.interfaces import RosterItem, Subscription

ROMEO, JULIET = "romeo@one.example", "juliet@two.example"
ROSTER = "<iq type='get' id='roster'><query xmlns='jabber:iq:roster'/></iq>"
SOON = 5.0  # seconds, in which whatever can be said is said
GIVEN_UP = 120.0  # seconds, in which a server that does not come back is given up


class Verona:
    """Two servers, of which Romeo has his account at one and Juliet hers at the other."""

    def __init__(self, internet: Internet) -> None:
        self.internet = internet
        self.one, self.two = internet.site("one.example"), internet.site("two.example")
        self.one.house.add("romeo", domain="one.example")
        self.two.house.add("juliet", domain="two.example")

    def romeo(self, resource: str = "orchard", presence: str = "<presence/>") -> Client:
        return self._come(self.one, "romeo", resource, presence)

    def juliet(self, resource: str = "balcony", presence: str = "<presence/>") -> Client:
        return self._come(self.two, "juliet", resource, presence)

    def _come(self, site: Site, name: str, resource: str, presence: str) -> Client:
        client: Client = site.house.connect().login(name, resource, site.domain)
        client.send(ROSTER + presence)
        return client

    def befriend(self) -> None:
        """Let both be subscribed to each other, before they wake."""
        for site, name, other in ((self.one, "romeo", JULIET), (self.two, "juliet", ROMEO)):
            stores = open_stores(site.house.database, site.domain)
            state = run(stores.accounts.wake(name))
            assert state is not None
            run(stores.rosters.put(state.id, RosterItem(Jid.parse(other), subscription=Subscription.BOTH)))

    def says(self, client: Client, *stanzas: str, wait: float = SOON) -> None:
        for each in stanzas:
            client.send(each)
        self.internet.wait(wait)

    def subscriptions(self) -> tuple[str, str]:
        """Return what each has of the other: the subscription, "?" if it was asked for, "!" if a request waits."""
        return self._half(self.one, "romeo", JULIET), self._half(self.two, "juliet", ROMEO)

    def _half(self, site: Site, name: str, other: str) -> str:
        state = run(open_stores(site.house.database, site.domain).accounts.wake(name))
        assert state is not None
        for item in state.roster:
            if item.jid.text == other:
                return f"{item.subscription}{'?' * item.asked}{'!' * (item.request is not None)}"
        return ""

    def part(self) -> None:
        """Cut all cables; nobody can call."""
        self.internet.works = False
        for cable in self.internet.cables:
            cable.reset()


@pytest.fixture
def verona(internet: Internet) -> Verona:
    return Verona(internet)


def heard(client: Client, *whats: str) -> list[str]:
    """Return what has come, but for what is a client's own: its presence and the roster; or only what has a word."""
    own = client.jid.partition("/")[0]
    found = [each for each in client.hears() if f"from='{own}/" not in each and "id='roster'" not in each]
    return [each for each in found if any(what in each for what in whats)] if whats else found


def presence(sender: str, to: str, type: str = "", inner: str = "") -> str:
    written = f"<presence from='{sender}' to='{to}'" + (f" type='{type}'" if type else "")
    return f"{written}>{inner}</presence>" if inner else f"{written}/>"


def ask(to: str, type: str, **more: str) -> str:
    return f"<presence to='{to}' type='{type}'" + "".join(f" {k}='{v}'" for k, v in more.items()) + "/>"


def pushed(stanzas: list[str]) -> list[str]:
    """Return the items of the roster pushes among these."""
    return [match[0] for each in stanzas if (match := re.search("<item [^>]*>", each)) and "type='set'" in each]


# -- subscriptions


def test_from_a_request_to_a_friendship_and_back(verona: Verona) -> None:
    romeo, juliet = verona.romeo(), verona.juliet()
    heard(romeo), heard(juliet)
    verona.says(romeo, f"<presence to='{JULIET}/somewhere' type='subscribe'><status>May I?</status></presence>")
    assert pushed(heard(romeo)) == [f"<item ask='subscribe' jid='{JULIET}' subscription='none'/>"]
    assert heard(juliet) == [presence(ROMEO, JULIET, "subscribe", "<status>May I?</status>")]
    assert verona.subscriptions() == ("none?", "none!")

    verona.says(juliet, ask(ROMEO, "subscribed"))
    assert pushed(heard(juliet)) == [f"<item jid='{ROMEO}' subscription='from'/>"]
    approval, push, there = heard(romeo)
    assert approval == presence(JULIET, ROMEO, "subscribed")
    assert pushed([push]) == [f"<item jid='{JULIET}' subscription='to'/>"]
    assert there == presence(f"{JULIET}/balcony", ROMEO)

    verona.says(juliet, ask(ROMEO, "subscribe"))
    verona.says(romeo, ask(JULIET, "subscribed"))
    assert verona.subscriptions() == ("both", "both")
    assert heard(juliet, "<presence") == [
        presence(ROMEO, JULIET, "subscribed"),
        presence(f"{ROMEO}/orchard", JULIET),
    ]
    heard(romeo)

    verona.says(romeo, ask(JULIET, "unsubscribe"))  # §3.3
    assert verona.subscriptions() == ("from", "to")
    assert heard(romeo, "<presence") == [presence(f"{JULIET}/balcony", ROMEO, "unavailable")]
    assert heard(juliet, "<presence") == [presence(ROMEO, JULIET, "unsubscribe")]

    verona.says(romeo, ask(JULIET, "unsubscribed"))  # §3.2
    assert verona.subscriptions() == ("none", "none")
    assert sorted(heard(juliet, "<presence")) == sorted(
        [presence(f"{ROMEO}/orchard", JULIET, "unavailable"), presence(ROMEO, JULIET, "unsubscribed")]
    )
    verona.says(romeo, "<presence><show>away</show></presence>")
    verona.says(juliet, "<presence><show>away</show></presence>")
    assert heard(juliet, "<presence") == []
    assert heard(romeo, "<presence") == []


def test_a_request_is_refused(verona: Verona) -> None:
    romeo, juliet = verona.romeo(), verona.juliet()
    verona.says(romeo, ask(JULIET, "subscribe"))
    heard(romeo), heard(juliet)
    verona.says(juliet, ask(ROMEO, "unsubscribed"))
    assert verona.subscriptions() == ("none", "")
    told, push = heard(romeo)
    assert told == presence(JULIET, ROMEO, "unsubscribed")
    assert pushed([push]) == [f"<item jid='{JULIET}' subscription='none'/>"]
    assert heard(juliet) == []


def test_an_approval_comes_days_later(verona: Verona) -> None:
    """The request waits at her server, the approval is kept in his roster, and presence comes when he does."""
    romeo = verona.romeo()
    verona.says(romeo, ask(JULIET, "subscribe", id="s"))
    romeo.send("</stream:stream>")
    verona.internet.wait(3 * 3600)
    assert not list(verona.one.streams())
    juliet = verona.juliet()
    verona.internet.wait(SOON)
    assert heard(juliet) == [f"<presence from='{ROMEO}' id='s' to='{JULIET}' type='subscribe'/>"]
    verona.internet.wait(3600)
    verona.says(juliet, ask(ROMEO, "subscribed"))
    assert verona.subscriptions() == ("to", "from")
    romeo = verona.romeo("square")
    verona.internet.wait(SOON)
    assert heard(romeo) == [presence(f"{JULIET}/balcony", ROMEO)]
    assert heard(juliet, "<presence") == []


def test_an_approval_comes_to_a_new_session(verona: Verona) -> None:
    romeo = verona.romeo()
    verona.says(romeo, ask(JULIET, "subscribe"))
    romeo.send("</stream:stream>")
    romeo, juliet = verona.romeo("square"), verona.juliet()
    verona.internet.wait(SOON)
    assert len(heard(juliet, "type='subscribe'")) == 1  # it was sent again, and is still one request
    heard(romeo)
    verona.says(juliet, ask(ROMEO, "subscribed"))
    approval, push, there = heard(romeo)
    assert approval == presence(JULIET, ROMEO, "subscribed")
    assert pushed([push]) == [f"<item jid='{JULIET}' subscription='to'/>"]
    assert there == presence(f"{JULIET}/balcony", ROMEO)


def test_an_approval_before_the_request(verona: Verona) -> None:
    """§3.4."""
    romeo, juliet = verona.romeo(), verona.juliet()
    verona.says(juliet, ask(ROMEO, "subscribed"))
    assert heard(romeo) == []  # not even known to him
    heard(juliet)
    verona.says(romeo, ask(JULIET, "subscribe", id="s"))
    assert verona.subscriptions() == ("to", "from")
    assert heard(romeo, "<presence") == [
        f"<presence from='{JULIET}' id='s' to='{ROMEO}' type='subscribed'/>",
        presence(f"{JULIET}/balcony", ROMEO),
    ]
    assert heard(juliet, "<presence") == []


def test_an_approval_that_nobody_asked_for(verona: Verona) -> None:
    """§3.1.6."""
    romeo, juliet = verona.romeo(), verona.juliet()
    verona.says(juliet, ask(ROMEO, "subscribed"))
    assert heard(romeo) == []
    assert verona.subscriptions() == ("", "none")


def test_who_is_subscribed_and_asks_again_is_answered_at_once(verona: Verona) -> None:
    """§3.1.3 rule 2."""
    verona.befriend()
    romeo, juliet = verona.romeo(), verona.juliet()
    verona.internet.wait(SOON)
    heard(romeo), heard(juliet)
    verona.says(romeo, ask(JULIET, "subscribe"))
    assert verona.subscriptions() == ("both", "both")
    assert heard(juliet) == []
    assert heard(romeo) == [presence(f"{JULIET}/balcony", ROMEO)]


def test_two_who_ask_each_other_at_the_same_moment(verona: Verona) -> None:
    romeo, juliet = verona.romeo(), verona.juliet()
    romeo.send(ask(JULIET, "subscribe"))
    verona.says(juliet, ask(ROMEO, "subscribe"))
    assert verona.subscriptions() == ("none?!", "none?!")
    romeo.send(ask(JULIET, "subscribed"))
    verona.says(juliet, ask(ROMEO, "subscribed"))
    assert verona.subscriptions() == ("both", "both")
    assert presence(f"{JULIET}/balcony", ROMEO) in heard(romeo)
    assert presence(f"{ROMEO}/orchard", JULIET) in heard(juliet)


def test_a_contact_is_taken_out_of_the_roster(verona: Verona) -> None:
    """§2.5.2."""
    verona.befriend()
    romeo, juliet = verona.romeo(), verona.juliet()
    verona.internet.wait(SOON)
    heard(romeo), heard(juliet)
    item = f"<item jid='{JULIET}' subscription='remove'/>"
    verona.says(romeo, f"<iq type='set' id='remove'><query xmlns='jabber:iq:roster'>{item}</query></iq>")
    assert verona.subscriptions() == ("", "none")
    assert heard(romeo, "<presence") == [presence(f"{JULIET}/balcony", ROMEO, "unavailable")]
    assert sorted(heard(juliet, "<presence")) == sorted(
        [presence(f"{ROMEO}/orchard", JULIET, "unavailable")]
        + [presence(ROMEO, JULIET, type) for type in ("unsubscribe", "unsubscribed")]
    )


def test_a_request_while_the_other_server_is_down(verona: Verona) -> None:
    """§3.1.2: the user is told; it is sent again when he comes next, and then arrives."""
    verona.part()
    romeo = verona.romeo()
    verona.says(romeo, ask(JULIET, "subscribe", id="s"), wait=GIVEN_UP)
    *_, push, error = heard(romeo)
    assert pushed([push]) == [f"<item ask='subscribe' jid='{JULIET}' subscription='none'/>"]
    assert error.startswith(f"<presence from='{JULIET}' id='s' to='{ROMEO}' type='error'>")
    assert "<remote-server-timeout " in error
    assert verona.subscriptions() == ("none?", "")
    verona.internet.works = True
    romeo.send("</stream:stream>")
    romeo = verona.romeo()
    verona.internet.wait(SOON)
    assert verona.subscriptions() == ("none?", "none!")
    assert heard(romeo) == []


def test_a_request_to_a_server_that_does_not_exist(verona: Verona) -> None:
    """§3.1.2: it does not stay, nor is it sent at each log-in."""
    romeo = verona.romeo()
    for _ in range(2):  # the second is refused at once
        verona.says(romeo, ask("juliet@tow.example", "subscribe"), wait=1)
        stanzas = heard(romeo)
        assert len([each for each in stanzas if "<remote-server-not-found " in each]) == 1
        assert pushed(stanzas)[1:] in ([], ["<item jid='juliet@tow.example' subscription='none'/>"])
    romeo.send(ROSTER)
    assert "<item jid='juliet@tow.example' subscription='none'/>" in romeo.hears()[0]
    romeo.send("</stream:stream>")
    verona.internet.wait(60)
    romeo = verona.romeo()
    verona.internet.wait(SOON)
    assert heard(romeo) == []


def test_a_refusal_that_was_lost_is_found_out_by_a_probe(verona: Verona) -> None:
    """§4.3.2 rule 1: what she has taken back while his server was down."""
    verona.befriend()
    romeo, juliet = verona.romeo(), verona.juliet()
    verona.internet.wait(SOON)
    verona.part()
    verona.says(juliet, ask(ROMEO, "unsubscribed"), wait=GIVEN_UP)
    assert verona.subscriptions() == ("both", "to")
    verona.internet.works = True
    romeo.send("</stream:stream>")
    romeo = verona.romeo()
    verona.internet.wait(SOON)
    assert verona.subscriptions() == ("from", "to")


# -- presence


def test_each_sees_the_other_come_change_and_go(verona: Verona) -> None:
    verona.befriend()
    romeo = verona.romeo(presence="<presence><show>dnd</show><priority>7</priority></presence>")
    verona.internet.wait(SOON)
    assert heard(romeo) == [presence(JULIET, ROMEO, "unavailable")]  # a probe was answered
    juliet = verona.juliet()
    verona.internet.wait(SOON)
    assert heard(romeo) == [presence(f"{JULIET}/balcony", ROMEO)]
    dnd = "<show>dnd</show><priority>7</priority>"
    assert heard(juliet) == [presence(f"{ROMEO}/orchard", JULIET, inner=dnd)]

    verona.says(romeo, "<presence><show>away</show><priority>-1</priority></presence>")
    away = "<show>away</show><priority>-1</priority>"
    assert heard(juliet) == [presence(f"{ROMEO}/orchard", JULIET, inner=away)]
    square = verona.romeo("square")
    verona.internet.wait(SOON)
    # The probe of the second resource is answered to both.
    assert heard(romeo)[-1] == heard(square)[-1] == presence(f"{JULIET}/balcony", ROMEO)
    assert heard(juliet) == [presence(f"{ROMEO}/square", JULIET)]

    verona.says(romeo, "<presence type='unavailable'><status>Exit</status></presence>")
    assert heard(juliet) == [presence(f"{ROMEO}/orchard", JULIET, "unavailable", "<status>Exit</status>")]
    square.pipe.close()
    verona.internet.wait(SOON)
    assert heard(juliet) == [presence(f"{ROMEO}/square", JULIET, "unavailable")]


def test_directed_presence_and_its_end(verona: Verona) -> None:
    """§4.6.3: no updates, but the end; and what the other has said is taken back as well, when it ends."""
    romeo, juliet = verona.romeo(), verona.juliet()
    mute = verona.juliet("mute", presence="")
    heard(romeo), heard(juliet)
    verona.says(romeo, f"<presence to='{JULIET}/balcony'><show>chat</show></presence>")
    assert heard(juliet) == [presence(f"{ROMEO}/orchard", f"{JULIET}/balcony", inner="<show>chat</show>")]
    verona.says(romeo, "<presence><show>away</show></presence>")
    assert heard(juliet) == []
    verona.says(romeo, f"<presence to='{JULIET}/nowhere'/>")
    romeo.pipe.close()
    verona.internet.wait(SOON)
    assert heard(juliet) == [presence(f"{ROMEO}/orchard", f"{JULIET}/balcony", "unavailable")]
    assert heard(mute) == []


# -- a network that does not work


def together(verona: Verona) -> tuple[Client, Client]:
    """Return Romeo and Juliet, who see each other; what has brought that about is heard already."""
    verona.befriend()
    romeo, juliet = verona.romeo(), verona.juliet()
    verona.internet.wait(SOON)
    assert presence(f"{JULIET}/balcony", ROMEO) in heard(romeo)
    assert presence(f"{ROMEO}/orchard", JULIET) in heard(juliet)
    return romeo, juliet


def gone(sender: str, to: str) -> str:
    return presence(sender, to, "unavailable")


def test_who_is_at_a_server_that_is_lost_is_seen_to_go(verona: Verona) -> None:
    romeo, juliet = together(verona)
    verona.part()
    verona.internet.wait(SOON)
    assert heard(romeo) == heard(juliet) == []  # it may come back
    verona.internet.wait(GIVEN_UP)
    assert heard(romeo) == [gone(f"{JULIET}/balcony", f"{ROMEO}/orchard")]
    assert heard(juliet) == [gone(f"{ROMEO}/orchard", f"{JULIET}/balcony")]


def test_nobody_notices_that_a_stream_was_broken_and_made_again(verona: Verona) -> None:
    romeo, juliet = together(verona)
    verona.part()
    verona.internet.wait(SOON)
    verona.internet.works = True
    verona.internet.wait(GIVEN_UP)
    assert heard(romeo) == heard(juliet) == []
    verona.says(juliet, "<presence><show>away</show></presence>")
    assert heard(romeo) == [presence(f"{JULIET}/balcony", ROMEO, inner="<show>away</show>")]


def test_a_server_that_dies_without_a_word_is_noticed_when_something_is_sent(verona: Verona) -> None:
    romeo, _ = together(verona)
    verona.internet.works = False
    for cable in verona.internet.cables:
        cable.go_dead()
    verona.says(romeo, "<presence><show>away</show></presence>", wait=3600)
    assert gone(f"{JULIET}/balcony", f"{ROMEO}/orchard") in heard(romeo)


def test_who_was_there_all_the_time_is_seen_again(verona: Verona) -> None:
    """One word from the other side is enough; nobody needs to log in anew."""
    romeo, juliet = together(verona)
    verona.part()
    verona.internet.wait(GIVEN_UP)
    heard(romeo), heard(juliet)
    verona.internet.works = True
    verona.says(juliet, "<presence><show>away</show></presence>")
    seen = heard(romeo)
    assert set(seen) == {presence(f"{JULIET}/balcony", ROMEO, inner="<show>away</show>")}
    assert heard(juliet) == [presence(f"{ROMEO}/orchard", JULIET)]


def test_who_comes_back_with_the_server_is_seen_again(verona: Verona) -> None:
    """The other server has lost everything, and its users log in anew."""
    romeo, juliet = together(verona)
    verona.part()
    juliet.pipe.close()
    verona.internet.wait(GIVEN_UP)
    assert gone(f"{JULIET}/balcony", f"{ROMEO}/orchard") in heard(romeo)
    verona.internet.works = True
    juliet = verona.juliet("chamber")
    verona.internet.wait(SOON)
    assert set(heard(romeo)) == {presence(f"{JULIET}/chamber", ROMEO)}
    assert heard(juliet) == [presence(f"{ROMEO}/orchard", JULIET)]


def test_a_server_that_goes_down_in_order_takes_its_users_along(verona: Verona) -> None:
    romeo, juliet = together(verona)
    stopped: list[Any] = []
    verona.two.house.stop(stopped.append)
    verona.internet.wait(SOON)
    assert stopped
    assert heard(romeo) == [gone(f"{JULIET}/balcony", ROMEO)]
    assert juliet.is_gone


def test_a_stream_that_is_closed_for_lack_of_use_is_no_loss(verona: Verona) -> None:
    romeo, juliet = together(verona)
    verona.internet.wait(3600)
    assert not list(verona.one.streams())
    assert heard(romeo) == heard(juliet) == []


def test_directed_presence_to_a_server_that_is_lost_is_over(verona: Verona) -> None:
    """§4.6.3; nothing is said of it later, not even when the server is back."""
    romeo, juliet = verona.romeo(), verona.juliet()
    verona.says(romeo, f"<presence to='{JULIET}/balcony'/>")
    verona.says(juliet, f"<presence to='{ROMEO}/orchard'/>")
    assert presence(f"{JULIET}/balcony", f"{ROMEO}/orchard") in heard(romeo)
    assert presence(f"{ROMEO}/orchard", f"{JULIET}/balcony") in heard(juliet)
    verona.part()
    verona.internet.wait(GIVEN_UP)
    assert heard(romeo) == [gone(f"{JULIET}/balcony", f"{ROMEO}/orchard")]
    verona.internet.works = True
    romeo.pipe.close()
    verona.internet.wait(SOON)
    assert heard(juliet) == []
