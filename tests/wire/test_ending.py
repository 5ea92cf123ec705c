"""How a stream ends: by either side, by an accident, in the middle of something (RFC 6120 §4.4, §4.6.1)."""

from __future__ import annotations

import pytest

from tests.house import House, Slow
from tests.streams import DOMAIN, END, Client, chat, encode, ping, stream_header
from vrxmpp import ns
from vrxmpp.errors import StreamCondition, StreamError


def come(house: House, name: str, resource: str = "here") -> Client:
    client = house.login(name, resource)
    client.send("<presence/>")
    client.hears()
    return client


def secure(house: House, name: str) -> Client:
    """Log in over TLS."""
    client = house.connect()
    client.open()
    client.secure()
    client.login(name, "secure").send("<presence/>")
    client.hears()
    return client


def ends(client: Client) -> bool:
    """Whether the stream has been closed, without an error, and the connection with it."""
    return client.hears() == [] and client.reader.ended and client.is_gone


def test_the_client_ends_the_stream(house: House) -> None:
    romeo = house.login("romeo")
    romeo.send(END)
    assert ends(romeo)


def test_the_client_ends_the_stream_over_tls(house: House) -> None:
    romeo = secure(house, "romeo")
    romeo.send(END)
    assert ends(romeo)


def test_the_client_ends_the_stream_before_it_logs_in(house: House) -> None:
    romeo = house.connect()
    romeo.open()
    romeo.send(END)
    assert ends(romeo)


def test_the_client_ends_the_stream_after_logging_in(house: House) -> None:
    romeo = house.connect()
    romeo.open()
    romeo.authenticate("romeo")
    romeo.open()
    romeo.send(END)
    assert ends(romeo)


def test_the_client_ends_the_stream_with_its_first_words(house: House) -> None:
    romeo = house.connect()
    romeo.send(stream_header() + END)
    assert [element.tag for element in romeo.elements()] == [f"{{{ns.STREAM}}}features"]
    assert ends(romeo)


def test_a_clients_stream_error_is_not_answered_by_another(house: House) -> None:
    """§4.9.1.1: the stream is closed, no more."""
    romeo = house.login("romeo")
    romeo.send(f"<stream:error><undefined-condition xmlns='{ns.STREAM_ERRORS}'/></stream:error>{END}")
    assert ends(romeo)


def test_what_was_sent_before_the_end_is_dealt_with(house: House) -> None:
    juliet, romeo = come(house, "juliet"), house.login("romeo")
    romeo.send(chat("parting") + END)
    [heard] = juliet.hears()
    assert "parting" in heard
    assert ends(romeo)


@pytest.mark.parametrize("after", [chat("too late"), "<", "<!DOCTYPE x>", "\xff\xfe"])
def test_nothing_after_the_end_is_looked_at(house: House, after: str) -> None:
    juliet, romeo = come(house, "juliet"), house.login("romeo")
    romeo.send(END + after)
    assert ends(romeo)
    assert juliet.hears() == []


def test_nothing_after_an_error_is_looked_at(house: House) -> None:
    juliet, romeo = come(house, "juliet"), house.login("romeo")
    romeo.send("<unknown xmlns='urn:x'/>" + chat("too late"))
    assert romeo.fails() == "unsupported-stanza-type"
    assert juliet.hears() == []


def test_white_space_keeps_a_stream_alive(house: House) -> None:
    """§4.6.1."""
    romeo = house.login("romeo")
    for _ in range(10):
        house.wait(120)
        romeo.send(" \n")
    assert romeo.ping() == []


def test_a_silent_stream_lives(house: House) -> None:
    romeo = house.login("romeo")
    house.wait(3600)
    assert romeo.ping() == []


def test_a_connection_that_breaks_ends_the_session(house: House) -> None:
    romeo = come(house, "romeo")
    phone = come(house, "romeo", "phone")
    romeo.hears()
    phone.pipe.close()
    assert romeo.hears() == ["<presence from='romeo@example.net/phone' to='romeo@example.net' type='unavailable'/>"]


def test_the_session_ends_with_the_stream_and_not_with_the_connection(house: House) -> None:
    """A client that is slow to hang up would swallow what is sent to it; so it is kept."""
    juliet, romeo = secure(house, "juliet"), house.login("romeo")
    juliet.pipe.write(END.encode())  # and never the word that ends TLS
    romeo.send(chat("for later"))
    assert juliet.wire.connected
    assert any("for later" in heard for heard in come_and_hear(house, "juliet"))
    house.wait(6)
    assert not juliet.wire.connected


def come_and_hear(house: House, name: str) -> list[str]:
    client = house.login(name, "again")
    client.send("<presence/>")
    return client.hears()


def test_an_error_ends_the_session_at_once(house: House) -> None:
    juliet, romeo = secure(house, "juliet"), house.login("romeo")
    juliet.pipe.write(b"<unknown xmlns='urn:x'/>")
    romeo.send(chat("for later"))
    assert any("for later" in heard for heard in come_and_hear(house, "juliet"))


def test_nothing_follows_the_end(house: House) -> None:
    """An answer that comes too late is nobody's: the client has been told that the stream is over."""
    romeo = come(house, "romeo")
    slow = Slow(house)
    romeo.send(f"<iq type='get' id='v' to='juliet@{DOMAIN}'><vCard xmlns='{ns.VCARD}'/></iq>")
    assert slow.is_asked
    [session] = house.host.all_sessions()
    house.host.end(session, StreamError(StreamCondition.CONFLICT))
    assert romeo.fails() == "conflict"
    while slow.is_asked:
        slow.answer()
    house.wait(1)
    assert romeo.pipe.read() == b""


def test_not_even_an_answer_to_a_log_in_follows_the_end(house: House) -> None:
    romeo = house.connect()
    romeo.open()
    slow = Slow(house)
    romeo.send(f"<auth xmlns='{ns.SASL}' mechanism='SCRAM-SHA-1'>{encode('n,,n=romeo,r=abc')}</auth>")
    assert slow.is_asked
    romeo.wire.client_reads = False
    house.stop(lambda _: None)
    slow.answer()
    romeo.wire.client_reads = True
    assert romeo.fails() == "system-shutdown"


def test_what_an_ended_session_has_sent_is_not_done(house: House) -> None:
    """It waits behind something slow; then another client takes the resource, and the first is slow to hang up."""
    juliet, romeo = come(house, "juliet"), secure(house, "romeo")
    slow = Slow(house)
    romeo.send(f"<iq type='get' id='v'><vCard xmlns='{ns.VCARD}'/></iq>" + chat("of the past"))
    assert slow.is_asked
    slow.is_over()
    house.login("romeo", "secure")
    assert romeo.wire.connected
    slow.answer()
    house.wait(1)
    assert juliet.hears() == []
    assert romeo.fails() == "conflict"


def test_what_follows_the_removal_of_the_own_account_is_not_done(house: House) -> None:
    """The stream ends in the middle of what has just come."""
    juliet, romeo = come(house, "juliet"), come(house, "romeo")
    romeo.send(f"<iq type='set' id='r'><query xmlns='{ns.REGISTER}'><remove/></query></iq>" + chat("from beyond"))
    assert romeo.fails() == "not-authorized"
    assert juliet.hears() == []


def test_a_connection_may_break_while_something_is_under_way(house: House) -> None:
    romeo = come(house, "romeo")
    slow = Slow(house)
    romeo.send(f"<iq type='get' id='v'><vCard xmlns='{ns.VCARD}'/></iq>" + ping("p"))
    romeo.wire.abortConnection()
    house.wait(1)
    assert not list(house.host.all_sessions())
    while slow.is_asked:
        slow.answer()
    house.wait(1)
    assert not house.clients.connections


def test_a_client_may_vanish_while_its_resource_is_bound(house: House) -> None:
    """RFC 6120 §7: nothing of it is left."""
    romeo = house.connect()
    romeo.open()
    romeo.authenticate("romeo")
    romeo.open()
    slow = Slow(house)
    romeo.send(f"<iq type='set' id='b'><bind xmlns='{ns.BIND}'/></iq>")
    assert slow.is_asked
    romeo.wire.abortConnection()
    house.wait(1)
    slow.answer()
    assert not list(house.host.all_sessions())


def test_the_server_goes_down(house: House) -> None:
    """§4.9.3.22: everybody is told, whatever they are doing."""
    romeo, juliet, stranger, silent = come(house, "romeo"), secure(house, "juliet"), house.connect(), house.connect()
    stranger.open()
    busy = house.connect()
    busy.open()
    busy.send(f"<starttls xmlns='{ns.TLS}'/>")
    stopped: list[object] = []
    house.stop(stopped.append)
    for client in (romeo, juliet, stranger, silent):
        assert client.fails() == "system-shutdown"
    house.wait(1)
    assert not busy.wire.connected
    assert len(stopped) == 1


def test_going_down_waits_for_nobody_longer_than_told(house: House) -> None:
    romeo = house.login("romeo")
    romeo.wire.client_reads = False
    stopped: list[object] = []
    house.stop(stopped.append)
    house.wait(4)
    assert not stopped
    house.wait(2)
    assert stopped
