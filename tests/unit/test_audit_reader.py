"""Reading the archive: what a search finds, what stays closed, and what hostile messages look like."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.offices import (
    CHAT,
    DAY,
    JANE,
    JOHN,
    JULIET,
    MONDAY,
    NOON,
    NURSE,
    ROMEO,
    ROOT,
    TUESDAY,
    Archive,
    bare,
    body,
    message,
    said,
)
from vrxmpp.audit.frames import Entry
from vrxmpp.audit.identity import Identity
from vrxmpp.audit.leaf import Leaf, Type
from vrxmpp.audit.reader import DAMAGED, ERASED, NOT_SEALED, Query, Search
from vrxmpp.audit.records import RecordsError
from vrxmpp.audit.seal import SealError, reseal
from vrxmpp.audit.tree import leaf_hash, root_of, verify_inclusion

SESSION = Entry(
    Type.SESSION, "staff", "romeo@example.org", b'{"event":"begin","session":"romeo@example.org/orchard"}\n'
)


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(tmp_path)


def find(archive: Archive, query: Query = Query(types=frozenset(range(1, 5))), **choice: object) -> list[str]:  # noqa: B008
    return said(list(archive.reader().search(Query(**choice) if choice else query)))  # type: ignore[arg-type]


def change_row(archive: Archive, index: int, payload: bytes | None) -> None:
    with closing(sqlite3.connect(archive.state / "audit" / "ledger.sqlite")) as connection, connection:
        connection.execute("UPDATE records SET payload = ? WHERE idx = ?", (payload, index))


# What is found


def test_words_are_found_in_any_case_wherever_they_are_said(archive: Archive) -> None:
    archive.add(message("The BUDGET of next year"), message("nothing of it"), message("Straße"))
    assert find(archive, words=("budget", "YEAR")) == ["The BUDGET of next year"]
    assert find(archive, words=("budget", "nothing")) == []
    assert find(archive, words=("STRASSE",)) == ["Straße"]


@pytest.mark.parametrize(
    ("inner", "word"),
    [
        ("<body>AT&amp;T</body>", "at&t"),
        ("<body>&#115;&#x65;cret</body>", "secret"),
        ("<body>se<![CDATA[cr]]>et</body>", "secret"),
        ("<subject>secret</subject>", "secret"),
        ("<body>ﬁne</body>", "fine"),
        ("<body>re\u0301sume\u0301</body>", "résumé"),
        ("<body xml:lang='de'>no</body><body xml:lang='en'>secret</body>", "secret"),
        (
            "<body>no</body><html xmlns='http://jabber.org/protocol/xhtml-im'>"
            "<body xmlns='http://www.w3.org/1999/xhtml'>se<b>cr</b>et</body></html>",
            "secret",
        ),
        ("<body>se<x xmlns='urn:example' a='>' b=\">\"/>cret</body>", "secret"),
        ("<forwarded xmlns='urn:xmpp:forward:0'><message><body>secret</body></message></forwarded>", "secret"),
        ("<body>a &lt;b&gt;</body>", "<b>"),
        ("<other:body xmlns:other='urn:example'>secret</other:body>", "secret"),
    ],
)
def test_no_way_of_writing_hides_a_word(archive: Archive, inner: str, word: str) -> None:
    archive.add(message("", inner=inner), message("something else"))
    assert len(find(archive, words=(word,))) == 1


def test_words_are_not_found_in_what_nobody_reads(archive: Archive) -> None:
    archive.add(message("", inner="<body>hello</body><thread>budget</thread>", id="budget"), SESSION)
    assert find(archive, words=("budget",)) == []
    assert find(archive, words=("orchard",)) == []


def test_what_cannot_be_parsed_is_searched_all_the_same(archive: Archive) -> None:
    archive.add(message("", inner="<body>secret</body><unknown:x/>"))
    (text,) = find(archive, words=("secret",))
    assert text.startswith("(this stanza cannot be parsed)")


def test_no_entity_is_expanded(archive: Archive) -> None:
    bomb = b'{}\n<!DOCTYPE m [<!ENTITY a "lol">]><message><body>&a;</body></message>'
    archive.add(Entry(Type.MESSAGE, "staff", CHAT, bomb))
    (text,) = find(archive)
    assert "&a;" in text


def test_a_window_of_time_has_its_beginning_and_not_its_end(archive: Archive) -> None:
    for text in ("one", "two", "three"):
        archive.add(message(text))
    second = 1_000_000
    assert find(archive, since=NOON + 2 * second, until=NOON + 3 * second) == ["two"]
    assert find(archive, since=NOON + 2 * second) == ["two", "three"]
    assert find(archive, until=NOON) == []
    assert find(archive, since=NOON + DAY) == []


def test_an_address_is_one_side_whatever_its_resource(archive: Archive) -> None:
    archive.add(message("to her"), message("back", JULIET, ROMEO), message("else", NURSE, JULIET))
    assert find(archive, addresses=("Romeo@EXAMPLE.org/phone",)) == ["to her", "back"]
    assert find(archive, addresses=("example.net",)) == ["else"]
    assert find(archive, addresses=("romeo@example.org", "nurse@example.net")) == []
    assert find(archive, addresses=("meo@example.org",)) == []


def test_of_two_addresses_only_their_conversation_is_opened(archive: Archive) -> None:
    room = "hall@rooms.example.org"
    archive.add(
        *[message("noise", NURSE, JULIET)] * 20, message("ours"), message("in it", ROMEO, room, conversation=room)
    )
    search = archive.reader().search(Query(addresses=(bare(JULIET), bare(ROMEO))))
    assert said(list(search)) == ["ours"]
    assert search.scanned == 1
    assert find(archive, addresses=(bare(ROMEO), room)) == ["in it"]


def test_a_conversation_is_found_on_each_day_in_either_order(archive: Archive) -> None:
    archive.add(message("on monday"), message("else", NURSE, JULIET))
    archive.next_day()
    archive.add(message("on tuesday"))
    assert find(archive, conversation="romeo@example.org juliet@example.org") == ["on monday", "on tuesday"]


def test_addresses_find_what_has_no_stanza(archive: Archive) -> None:
    archive.add(SESSION, message("x", NURSE, JULIET))
    (found,) = archive.reader().search(Query(addresses=("romeo@example.org",)))
    assert (found.kind, found.conversation, found.facts["event"]) == ("session", "romeo@example.org", "begin")


def test_types_narrow_and_public_records_are_open_to_all(archive: Archive) -> None:
    archive.add(message("x"), SESSION)
    archive.next_day()
    archive.add(message("y"))
    (close,) = archive.reader().search(Query(types=frozenset((Type.CLOSE,))))
    assert (close.class_name, close.facts["day"], close.problem) == ("", "2026-11-23", "")


@pytest.mark.parametrize(
    "choice",
    [{"addresses": ("@",)}, {"since": 2, "until": 1}, {"types": frozenset((99,))}, {"conversation": "a b c"}],
)
def test_what_cannot_be_looked_for_is_refused(choice: dict[str, object]) -> None:
    with pytest.raises((ValueError, TypeError)):
        Query(**choice)  # type: ignore[arg-type]


# What is said of it


def test_a_record_says_who_wrote_what_to_whom(archive: Archive) -> None:
    index = archive.add(message("o &amp; <x>", "o'neil@example.org/a&b", JULIET, id="m1"))
    found = archive.reader().show(index)
    assert (found.sender, found.recipient) == ("o'neil@example.org/a&b", JULIET)
    assert (found.text, found.id, found.class_name) == ("o &amp; <x>", "m1", "staff")
    assert found.conversation == "juliet@example.org o'neil@example.org"
    assert found.at == "2026-11-23T12:00:01.000000Z"
    assert found.facts["tls"] == "TLSv1.3"


@pytest.mark.parametrize(
    ("inner", "name"),
    [
        ("<encrypted xmlns='eu.siacs.conversations.axolotl'/>", "OMEMO"),
        ("<encrypted xmlns='urn:xmpp:omemo:2'/>", "OMEMO"),
        ("<openpgp xmlns='urn:xmpp:openpgp:0'>x</openpgp>", "OpenPGP"),
        ("<x xmlns='jabber:x:encrypted'>x</x>", "OpenPGP"),
        ("<encryption xmlns='urn:xmpp:eme:0' namespace='urn:example:1' name='Rot&#10;13'/>", "Rot 13"),
        ("<encryption xmlns='urn:xmpp:eme:0' namespace='urn:xmpp:omemo:2' name='nothing to see'/>", "OMEMO"),
        ("<encryption xmlns='urn:xmpp:eme:0'/>", "unknown"),
        ("<body>?OTR:AAMC</body>", "OTR"),
    ],
)
def test_what_is_encrypted_end_to_end_is_named(archive: Archive, inner: str, name: str) -> None:
    assert archive.reader().show(archive.add(message("", inner=inner))).text == f"content unavailable ({name})"


def test_plain_words_beside_something_encrypted_are_shown_and_found(archive: Archive) -> None:
    archive.add(message("", inner="<encrypted xmlns='urn:xmpp:omemo:2'/>" + body("meet me at six")))
    (text,) = find(archive, words=("six",))
    assert text == "content unavailable (OMEMO)\n[sent with it] meet me at six"


@pytest.mark.parametrize(
    ("inner", "type", "id", "text"),
    [
        ("<replace xmlns='urn:xmpp:message-correct:0' id='m1'/>" + body("better"), Type.EDIT, "m1", "better"),
        ("<retract xmlns='urn:xmpp:message-retract:1' id='m1'/>", Type.RETRACT, "m1", "[retract m1]"),
        (
            "<apply-to xmlns='urn:xmpp:fasten:0' id='m1'><retract xmlns='urn:xmpp:message-retract:0'/></apply-to>",
            Type.RETRACT,
            "m1",
            "[apply-to m1]",
        ),
        (
            "<reactions xmlns='urn:xmpp:reactions:0' id='m1'><reaction>👍</reaction></reactions>",
            Type.MESSAGE,
            "m1",
            "[reactions m1 👍]",
        ),
        ("<displayed xmlns='urn:xmpp:chat-markers:0' id='m1'/>", Type.MESSAGE, "", "[displayed m1]"),
    ],
)
def test_corrections_and_retractions_name_the_original_which_stays(
    archive: Archive, inner: str, type: Type, id: str, text: str
) -> None:
    archive.add(message("as it was", id="m1"))
    found = archive.reader().show(archive.add(message("", inner=inner, type=type)))
    assert (found.refers_to, found.text, found.type) == (id, text, type)
    assert find(archive)[0] == "as it was"


# What stays closed


def test_a_record_that_was_changed_is_found_as_damaged(archive: Archive) -> None:
    first = archive.add(message("one"), message("two"), message("three"))
    rows = [archive.reader().records.row(first + each) for each in range(3)]
    changed = bytearray(rows[0][2] or b"")
    changed[30] ^= 1
    change_row(archive, first, bytes(changed))
    change_row(archive, first + 1, rows[2][2])
    found = list(archive.reader().search(Query(words=("nowhere",))))
    assert [(each.index, each.problem) for each in found] == [(first, DAMAGED), (first + 1, DAMAGED)]
    assert found[0].text == f"({DAMAGED})"


def test_a_text_that_its_key_opens_and_that_was_not_committed_to_is_damaged(archive: Archive) -> None:
    index = archive.add(message("what was said"))
    keys = archive.keys.open_as_officer("staff", MONDAY, "jane", JANE)
    key = keys.conversation_key(keys.conversation_id(CHAT))
    change_row(archive, index, reseal(key, index, Type.MESSAGE, bytes(32) + message("what was not said").envelope))
    assert archive.reader().show(index).problem == DAMAGED


def test_what_is_erased_is_counted_in_a_search_for_words_and_found_without(archive: Archive) -> None:
    index = archive.add(message("one"), message("two"))
    change_row(archive, index, None)
    search = archive.reader().search(Query(words=("o",)))
    assert said(list(search)) == ["two"]
    assert search.unread == 1
    assert find(archive) == [f"({ERASED})", "two"]


def test_days_that_are_not_sealed_to_an_officer_are_named(archive: Archive) -> None:
    stranger = Identity.generate()
    archive.add(message("on monday"))
    archive.next_day()
    archive.change("add_officer", name="jim", public=stranger.public.text)
    archive.next_day()
    archive.add(message("on wednesday"))
    search = archive.reader("jim", stranger).search(Query(words=("on",)))
    assert said(list(search)) == ["on wednesday"]
    assert search.unread == 1
    assert ("staff", MONDAY) in [of[:2] for of in search.unopened]
    assert archive.reader("jim", stranger).show(0).problem == NOT_SEALED


def test_another_officer_s_identity_opens_nothing(archive: Archive) -> None:
    index = archive.add(message("secret"))
    found = archive.reader("john", JANE).show(index)
    assert found.problem == NOT_SEALED
    assert found.envelope == b""
    assert archive.reader("john", JOHN).show(index).text == "secret"


def test_there_is_no_record_beyond_the_last(archive: Archive) -> None:
    archive.add(message("one"))
    with pytest.raises(RecordsError, match="no record 1"):
        archive.reader().show(1)
    assert find(Archive(archive.state / "empty")) == []


# How it is read


def test_a_search_sees_what_is_written_meanwhile_only_in_the_next(archive: Archive) -> None:
    archive.add(message("one"))
    search: Search = archive.reader().search(Query())
    archive.add(message("two"))
    assert said(list(search)) == ["one"]
    assert find(archive) == ["one", "two"]


def test_proofs_are_right_at_every_size(archive: Archive) -> None:
    archive.add(*[message(str(number)) for number in range(700)])
    records = archive.reader().records
    leaves = [leaf_hash(leaf) for _, leaf, _ in records.scan(0, records.size)]
    for size in (1, 2, 255, 256, 257, 512, 513, 700):
        root = root_of(leaves[:size])
        assert records.root(size) == root
        for index in {0, size // 2, size - 1}:
            assert verify_inclusion(leaves[index], index, size, records.proof(index, size), root)


def test_places_in_time_are_found(archive: Archive) -> None:
    for _ in range(5):
        archive.add(message("x"))
    archive.next_day()
    archive.add(message("y"))
    records = archive.reader().records
    times = [Leaf.unpack(leaf).time for _, leaf, _ in records.scan(0, records.size)]
    for time in {*times, times[0] - 1, times[-1] + 1, times[2] + 1}:
        assert records.place(time) == sum(each < time for each in times)
    assert records.day(MONDAY) == (0, 5)
    assert records.day(TUESDAY) == (5, records.size)


def test_the_archive_is_never_written_to(archive: Archive) -> None:
    archive.add(message("x"))
    connection = archive.reader().records._connection
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        connection.execute("DELETE FROM records")


def test_nothing_opens_with_the_root_key_alone_once_the_day_is_over(archive: Archive) -> None:
    archive.add(message("x"))
    archive.next_day()
    archive.add(message("y"))
    with pytest.raises(SealError):
        archive.keys.open_as_root("staff", MONDAY, ROOT)
