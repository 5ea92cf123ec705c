"""How a stream is opened and opened again: headers, versions, languages, ids (RFC 6120 §4.3, §4.7)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.house import House
from tests.streams import DOMAIN, END, Client, chat, show, stream_header
from vrxmpp import ns

Build = Callable[..., House]
LANG = "{http://www.w3.org/XML/1998/namespace}lang"


def header(client: Client) -> dict[str, str]:
    assert client.reader.header is not None
    return dict(client.reader.header)


def test_a_header_is_answered_by_a_header_and_features(house: House) -> None:
    """§4.7: from, id, language and version are always there."""
    romeo = house.connect()
    features = romeo.open()
    assert features.tag == f"{{{ns.STREAM}}}features"
    answer = header(romeo)
    assert len(answer.pop("id")) == 32
    assert answer == {"from": DOMAIN, LANG: "en", "version": "1.0"}


def test_the_header_names_the_client_if_it_has_named_itself(house: House) -> None:
    """§4.7.2."""
    romeo = house.connect()
    romeo.send(stream_header(sender=f"Romeo@{DOMAIN.upper()}"))
    assert romeo.element().tag == f"{{{ns.STREAM}}}features"
    assert header(romeo)["to"] == f"romeo@{DOMAIN}"


@pytest.mark.parametrize("sender", ["a@b@c", "&lt;", "&apos;&quot;>"])
def test_a_client_that_names_itself_wrongly_is_not_named(house: House, sender: str) -> None:
    romeo = house.connect()
    romeo.send(stream_header(sender=sender))
    assert romeo.element().tag == f"{{{ns.STREAM}}}features"
    assert "to" not in header(romeo)


def test_ids_cannot_be_guessed(house: House) -> None:
    """§4.7.3: each stream has its own, a restarted one, too."""
    ids = []
    for _ in range(10):
        romeo = house.connect()
        for _ in range(2):
            romeo.open()
            ids.append(header(romeo)["id"])
            romeo.authenticate("romeo")
    assert len(set(ids)) == 20
    assert all(len(id) == 32 for id in ids)


@pytest.mark.parametrize("version", ["1.0", "1.1", "1.99", "01.0", "10.0"])
def test_versions_from_one_on_are_spoken_to(house: House, version: str) -> None:
    """§4.7.5: with 1.0, as there is no other."""
    romeo = house.connect()
    romeo.open(version=version)
    assert header(romeo)["version"] == "1.0"


@pytest.mark.parametrize("version", ["", "0.9", "0.0", "00.9", "one", "1", "1.", ".1", "-1.0", "1.0.0", " 1.0"])
def test_other_versions_are_not_supported(house: House, version: str) -> None:
    romeo = house.connect()
    romeo.send(stream_header(version=version))
    assert romeo.fails() == "unsupported-version"
    assert header(romeo)["version"] == "1.0"


@pytest.mark.parametrize("domain", ["example.org", "", f"romeo@{DOMAIN}", f"{DOMAIN}/x", "..", "a b", "&lt;&apos;"])
def test_other_domains_are_unknown(house: House, domain: str) -> None:
    romeo = house.connect()
    romeo.send(stream_header(domain))
    assert romeo.fails() == "host-unknown"


@pytest.mark.parametrize("domain", ["EXAMPLE.NET", "example.net."])
def test_a_domain_may_be_written_in_other_ways(house: House, domain: str) -> None:
    """RFC 7622 §3.2."""
    romeo = house.connect()
    romeo.open(domain)
    assert header(romeo)["from"] == DOMAIN


def test_one_of_two_domains(build: Build) -> None:
    house = build(domains=(DOMAIN, "bücher.example"))
    house.add("romeo", domain="bücher.example")
    romeo = house.connect().login("romeo", "here", "xn--bcher-kva.example")
    assert header(romeo)["from"] == "bücher.example"
    assert romeo.jid == "romeo@bücher.example/here"


def test_a_stream_keeps_to_its_domain(build: Build) -> None:
    """The user of one domain does not become one of another by a restart."""
    house = build(domains=(DOMAIN, "example.org"))
    romeo = house.connect()
    romeo.open()
    romeo.authenticate("romeo")
    romeo.reader = type(romeo.reader)()
    romeo.send(stream_header("example.org"))
    assert romeo.fails() == "host-unknown"


def test_a_second_header_is_refused(house: House) -> None:
    """§4.3.3: a stream is restarted where the protocol says so, nowhere else."""
    romeo = house.connect()
    romeo.open()
    romeo.send(f"<stream:stream to='{DOMAIN}' version='1.0'/>")
    assert romeo.fails() == "unsupported-stanza-type"


def test_a_second_header_is_refused_later_too(house: House) -> None:
    romeo = house.login("romeo")
    romeo.send(f"<stream:stream to='{DOMAIN}' version='1.0'/>")
    assert romeo.fails() == "unsupported-stanza-type"


def test_a_declaration_in_the_middle_is_refused(house: House) -> None:
    romeo = house.connect()
    romeo.open()
    romeo.send(stream_header())
    assert romeo.fails() in {"not-well-formed", "restricted-xml"}


def test_a_log_in_asks_for_a_new_stream(house: House) -> None:
    """§6.4.6: nothing of the old one holds any more."""
    romeo = house.connect()
    romeo.open()
    romeo.authenticate("romeo")
    romeo.reader = type(romeo.reader)()
    romeo.send(f"<iq type='set' id='b'><bind xmlns='{ns.BIND}'/></iq>")
    assert romeo.fails() == "bad-format"


def test_the_language_of_the_stream_is_the_language_of_its_stanzas(house: House) -> None:
    """§4.7.4, §8.1.5."""
    juliet = house.login("juliet")
    juliet.send("<presence/>")
    juliet.hears()
    romeo = house.connect().login("romeo", "here", xml_lang="it-CH")
    romeo.send(chat("ciao") + chat("hallo").replace(" to", " xml:lang='de' to"))
    assert [heard.get(LANG) for heard in juliet.elements()] == ["it-CH", "de"]


def test_an_endless_language_is_not_repeated_on_each_stanza(house: House) -> None:
    juliet = house.login("juliet")
    juliet.send("<presence/>")
    juliet.hears()
    romeo = house.connect().login("romeo", "here", xml_lang="x-" * 1000)
    romeo.send(chat("ciao"))
    assert juliet.element().get(LANG) is None


def test_errors_are_in_the_language_of_the_server(house: House) -> None:
    """§4.7.4: it is the server's own header that says which."""
    romeo = house.connect()
    romeo.open(xml_lang="it")
    assert header(romeo)[LANG] == "en"


def test_features_change_as_the_stream_goes_on(build: Build) -> None:
    """§4.3.2: each set of features tells what is possible now."""

    def names(client: Client) -> list[str]:
        return [feature.tag.partition("}")[2] for feature in client.open()]

    house = build(tls="required")
    romeo = house.connect()
    assert names(romeo) == ["starttls"]
    romeo.secure()
    assert names(romeo) == ["mechanisms", "sasl-channel-binding"]
    romeo.authenticate("romeo")
    assert names(romeo)[0] == "bind"
    assert "mechanisms" not in names_of(romeo)


def names_of(client: Client) -> list[str]:
    """Nothing more has come."""
    return client.hears()


def test_tls_is_said_to_be_required(build: Build) -> None:
    """§5.3.1."""
    romeo = build(tls="required").connect()
    starttls = f"<starttls xmlns='{ns.TLS}'><required/></starttls>"
    assert show(romeo.open()) == f"<features xmlns='{ns.STREAM}'>{starttls}</features>"


def test_a_header_may_come_late_and_in_pieces(house: House) -> None:
    romeo = house.connect()
    romeo.piece = 1
    romeo.send("\n \t")
    romeo.reader = type(romeo.reader)()
    romeo.send(stream_header().removeprefix("<?xml version='1.0'?>"))
    assert romeo.element().tag == f"{{{ns.STREAM}}}features"
    romeo.send(END)
    assert romeo.is_gone


def test_a_reload_disturbs_nobody(house: House) -> None:
    """Neither those in the middle of their log-in, nor those who are there."""
    juliet = house.login("juliet")
    juliet.send("<presence/>")
    juliet.hears()
    connected, opened, known = house.connect(), house.connect(), house.connect()
    opened.open()
    known.open()
    known.authenticate("romeo")
    house.reload()
    connected.open()
    known.open()
    assert opened.authenticate("romeo").tag == f"{{{ns.SASL}}}success"
    opened.open()
    for client in (opened, known):
        assert client.bind().get("type") == "result"
        client.send(chat("still there?"))
    assert len(juliet.hears()) == 2
    assert juliet.ping() == []


def test_a_byte_order_mark_is_no_mistake(house: House) -> None:
    """RFC 6120 §11.6, RFC 3629 §6."""
    romeo = house.connect()
    romeo.send_bytes(b"\xef\xbb\xbf" + stream_header().encode())
    assert romeo.element().tag == f"{{{ns.STREAM}}}features"
    assert romeo.authenticate("romeo").tag == f"{{{ns.SASL}}}success"
