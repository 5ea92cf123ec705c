"""Exports: whole or not at all, provable without the server, and harmless to whoever opens them."""

from __future__ import annotations

import email
import email.policy
import hashlib
import json
import re
from collections.abc import Callable
from email.message import EmailMessage
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from tests.offices import JULIET, NURSE, ORIGIN, ROMEO, Archive, message
from vrxmpp.audit.desk import DeskError
from vrxmpp.audit.erasure import erase_message
from vrxmpp.audit.export import Exported, ExportError, export
from vrxmpp.audit.leaf import Type
from vrxmpp.audit.notary import Notary
from vrxmpp.audit.reader import Query
from vrxmpp_verify import verify_export

MESSAGES = Query(types=frozenset((Type.MESSAGE, Type.EDIT, Type.RETRACT, Type.OUTCOME)))
CORRECTION = "<replace xmlns='urn:xmpp:message-correct:0' id='m1'/><body>One, I mean</body>"


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    archive = Archive(tmp_path / "state")
    archive.add(message("one", id="m1"), message("other", NURSE, JULIET))
    archive.add(message("", JULIET, ROMEO, inner=CORRECTION, type=Type.EDIT))
    archive.next_day()
    archive.add(message("tuesday\n  line two", JULIET, ROMEO))
    return archive


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "export"


class Signing:
    """A notary of this archive, and a witness."""

    def __init__(self, archive: Archive) -> None:
        self.archive = archive
        (archive.state / "notary").mkdir(exist_ok=True)
        (archive.state / "witness").mkdir(exist_ok=True)
        self.notary = Notary(archive.state / "notary", "example.org")
        self.witness = Notary(archive.state / "witness", "example.net")
        self._signed = 0

    def sign(self) -> str:
        """Have the log signed as it is; return the note."""
        asked = self.archive("checkpoint", old=self._signed)
        note: str = self.notary.sign(asked["size"], asked["root"], self._signed, asked["proof"])["note"]
        self._signed = asked["size"]
        self.archive("keep", size=self._signed, note=note)
        return note

    def cosign(self) -> None:
        note = self.sign()
        answer = self.witness.cosign(ORIGIN, self.notary.keys()["key"], f"old 0\n\n{note}")
        whole = self.notary.accept("example.net", self.witness.keys()["witness"], note, answer["cosignature"])
        self.archive("witnessed", sink="example.net", size=self._signed, at=0, note=whole["note"])


def make(archive: Archive, target: Path, query: Query = MESSAGES, **more: Any) -> Exported:
    return export(archive.visit(), query, target, **more)


def lines(target: Path) -> list[Any]:
    return [json.loads(line) for line in (target / "records.jsonl").read_text().splitlines()]


def mails(target: Path) -> list[EmailMessage]:
    files = sorted((target / "messages").iterdir())
    return [email.message_from_bytes(path.read_bytes(), policy=email.policy.default) for path in files]  # type: ignore[misc]


def text_of(mail: EmailMessage) -> str:
    text: str = mail.get_content()
    return text.replace("\r\n", "\n")


# Proofs


def test_an_export_verifies_without_the_server(archive: Archive, target: Path) -> None:
    Signing(archive).sign()
    made = make(archive, target)
    report = verify_export(target)
    assert report.problems == []
    assert (report.records, report.opened, report.gone) == (4, 4, 0)
    assert (made.records, made.withheld, made.conversations, made.is_signed) == (4, 0, 3, True)
    assert {path.name for path in target.iterdir()} == {"manifest.json", "records.jsonl", "messages", "messages.html"}


def test_the_text_is_as_it_was_recorded(archive: Archive, target: Path) -> None:
    index = archive.add(message("<&> \u202eabc 👍 \u2028x", id="'\""))
    make(archive, target)
    (line,) = [each for each in lines(target) if each["index"] == index]
    found = archive.reader().show(index)
    assert line["envelope"].encode() == found.envelope
    assert line["conversation"] == "juliet@example.org romeo@example.org"
    assert line["class"] == "staff"


def test_any_change_of_an_export_is_found(archive: Archive, target: Path) -> None:
    Signing(archive).sign()
    make(archive, target)
    for path in [path for path in target.rglob("*") if path.is_file()]:
        kept = path.read_bytes()
        path.write_bytes(kept.replace(b"o", b"0", 1))
        try:
            assert verify_export(target).problems, path
        except Exception as error:
            assert "manifest" in str(error)  # noqa: PT017
        path.write_bytes(kept)
    assert verify_export(target).problems == []


def test_a_witness_vouches_for_what_it_has_seen(archive: Archive, target: Path) -> None:
    signing = Signing(archive)
    signing.cosign()
    archive.add(message("later"))
    signing.sign()
    until = archive.reader().show(3).time + 1
    made = make(archive, target, Query(until=until, types=MESSAGES.types))
    assert made.cosigned == 1
    keys = [signing.notary.keys()["key"], signing.witness.keys()["witness"]]
    report = verify_export(target, vkeys=keys)
    assert (report.problems, report.warnings, report.vouched) == ([], [], made.size)


def test_a_checkpoint_that_does_not_have_all_of_it_is_not_taken(archive: Archive, target: Path) -> None:
    signing = Signing(archive)
    signing.cosign()
    archive.add(message("later"))
    signing.sign()
    made = make(archive, target)
    assert made.cosigned == 0
    assert verify_export(target).problems == []


def test_where_a_recorder_runs_the_notary_is_waited_for(archive: Archive, target: Path) -> None:
    signing = Signing(archive)
    archive.is_live = True
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            signing.sign()

    assert make(archive, target, pause=pause).is_signed
    assert len(pauses) == 3
    assert verify_export(target).problems == []


def test_without_a_notary_the_export_says_that_nobody_has_signed(archive: Archive, target: Path) -> None:
    archive.is_live = True
    pauses: list[float] = []
    made = make(archive, target, pause=pauses.append)
    assert not made.is_signed
    assert 1 < sum(pauses) < 5
    assert json.loads((target / "manifest.json").read_text())["checkpoint"] == ""


def test_a_log_that_is_not_what_was_signed_is_not_exported(archive: Archive, target: Path) -> None:
    signing = Signing(archive)
    note = signing.sign()
    archive.ledger.keep_note(2, note.replace(f"\n{archive.ledger.size}\n", "\n2\n"))
    note = signing.sign()
    root = note.split("\n")[2]
    archive.ledger.keep_note(archive.ledger.size, note.replace(root, "A" * 43 + "="))
    with pytest.raises(ExportError, match="not what was signed"):
        make(archive, target)
    assert not target.exists()


def test_what_is_erased_is_a_line_without_text(archive: Archive, target: Path) -> None:
    erase_message(archive.visit(), 0)
    Signing(archive).sign()
    made = make(archive, target)
    assert (made.records, made.withheld) == (4, 1)
    assert verify_export(target).problems == []  # the names of its conversation are one
    assert "envelope" not in lines(target)[0]
    assert "salt" not in lines(target)[0]
    assert "(erased)" in (target / "messages.html").read_text()


def test_the_manifest_says_who_why_and_what(archive: Archive, target: Path) -> None:
    query = Query(words=("one",), addresses=("romeo@example.org",))
    made = make(archive, target, query)
    manifest = json.loads((target / "manifest.json").read_text())
    assert (manifest["by"], manifest["case"], manifest["purpose"]) == ("jane", "2026-7", "a complaint")
    assert manifest["selection"] == {"words": ["one"], "addresses": ["romeo@example.org"]}
    assert (manifest["records"], manifest["withheld"], manifest["origin"]) == (2, 0, ORIGIN)
    assert made.manifest == hashlib.sha256((target / "manifest.json").read_bytes()).hexdigest()
    assert set(manifest["files"]) == {
        path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_file()
    } - {"manifest.json"}


def test_an_export_of_nothing_is_one(archive: Archive, target: Path) -> None:
    Signing(archive).sign()
    assert make(archive, target, Query(words=("nowhere",))).records == 0
    assert verify_export(target).problems == []


# Whole or not at all


def test_it_is_recorded_before_and_when_it_is_there(archive: Archive, target: Path) -> None:
    made = make(archive, target)
    asked, done = archive.facts(Type.EXPORT)
    assert (asked["what"], asked["by"], asked["target"]) == ("export", "jane", str(target))
    assert asked["query"] == MESSAGES.to_json()
    assert (done["what"], done["manifest"], done["records"]) == ("exported", made.manifest, 4)


def test_nothing_is_exported_if_it_cannot_be_recorded(archive: Archive, target: Path) -> None:
    visit = archive.visit()
    archive.broken = "the disk is full"
    with pytest.raises(DeskError):
        export(visit, MESSAGES, target)
    assert list(target.parent.iterdir()) == [archive.state]


def test_nothing_stays_if_the_end_cannot_be_recorded(
    archive: Archive, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_down(*_: object, **__: object) -> bytes:
        archive.broken = "the disk is full"
        return b"mail"

    monkeypatch.setattr("vrxmpp.audit.export.write_mail", break_down)
    with pytest.raises(DeskError):
        make(archive, target)
    assert list(target.parent.iterdir()) == [archive.state]


@pytest.mark.parametrize(
    "put", [lambda path: path.mkdir(), lambda path: path.write_text("x"), lambda path: path.symlink_to("nowhere")]
)
def test_what_is_there_is_not_written_over(archive: Archive, target: Path, put: Callable[[Path], None]) -> None:
    put(target)
    with pytest.raises(ExportError, match="exists already"):
        make(archive, target)
    assert archive.facts(Type.EXPORT) == []


def test_what_comes_to_be_there_meanwhile_is_not_written_over(archive: Archive, target: Path) -> None:
    archive.is_live = True
    with pytest.raises(ExportError, match="exists already"):
        make(archive, target, pause=lambda _: target.mkdir(exist_ok=True))
    assert list(target.iterdir()) == []


def test_a_directory_that_cannot_be_written_is_named(archive: Archive, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="nowhere"):
        make(archive, tmp_path / "nowhere" / "export")


def test_it_is_for_its_maker_alone(archive: Archive, target: Path) -> None:
    make(archive, target)
    assert target.stat().st_mode & 0o077 == 0


def test_it_tells_how_far_it_is(archive: Archive, target: Path) -> None:
    seen: list[tuple[int, int]] = []
    make(archive, target, progress=lambda done, of: seen.append((done, of)))
    assert seen == sorted(seen)
    assert len(seen) == 4
    assert all(done <= of for done, of in seen)


# For people


def test_each_conversation_of_a_day_is_a_mail_that_mail_programs_read(archive: Archive, target: Path) -> None:
    make(archive, target)
    first, other, tuesday = mails(target)
    for mail in (first, other, tuesday):
        assert mail.defects == []
        assert all(not getattr(value, "defects", ()) for value in mail.values())
    assert [each.addr_spec for each in first["from"].addresses] == ["romeo@example.org"]
    assert [each.addr_spec for each in first["to"].addresses] == ["juliet@example.org"]
    assert first["date"].datetime.isoformat() == "2026-11-23T12:00:01+00:00"
    assert first["subject"] == "juliet@example.org and romeo@example.org, 2026-11-23"
    assert re.fullmatch(r"<0\.\d+@example\.org>", first["message-id"])
    body = text_of(first)
    assert body.index("one") < body.index("One, I mean")
    assert f"2026-11-23T12:00:01.000000Z #0 message {ROMEO} to {JULIET} id=m1\n    one\n" in body
    assert "edit juliet@example.org/balcony to romeo@example.org/orchard about id=m1" in body
    assert "    tuesday\n      line two\n" in text_of(tuesday)
    assert "juliet@example.org and nurse@example.net" in other["subject"]


@pytest.mark.parametrize(
    "sender",
    [
        "jürgen@bücher.example/x",
        "example.net",
        "a..b@example.net/x",
        "very" * 60 + "@" + "long." * 40 + "example/x",
        "x@example.net/\u202e\u2028Bcc: y@example.net",
        "%s(comment)@example.net/x",
        "user\\20name@example.net/x",
    ],
)
def test_no_address_breaks_a_mail(archive: Archive, target: Path, sender: str) -> None:
    archive.add(message("hello", sender, JULIET))
    make(archive, target, Query(words=("hello",)))
    (mail,) = mails(target)
    assert mail.defects == []
    assert mail["bcc"] is None
    assert not mail["from"].defects
    assert len(mail["from"].addresses) == 1
    bare, (own,) = sender.partition("/")[0], mail["from"].addresses
    assert bare in (own.display_name, own.addr_spec) or own.display_name == bare[:60] + "..."
    assert f"Participants: {bare}, juliet@example.org" in text_of(mail)
    raw = next((target / "messages").iterdir()).read_bytes()
    assert raw.isascii()
    assert max(map(len, raw.split(b"\r\n"))) <= 998


def test_lines_in_a_text_do_not_forge_another_s(archive: Archive, target: Path) -> None:
    forged = f"x\r2026-11-23T12:00:01.000000Z #9 message {JULIET} to {ROMEO}\n    I confess\u2028.\n\nFrom me\x85y"
    archive.add(message(forged))
    make(archive, target, Query(words=("confess",)))
    (mail,) = mails(target)
    headings = [line for line in text_of(mail).split("\n") if re.match(r"\d{4}-", line)]
    assert len(headings) == 1


class Page(HTMLParser):
    """What a browser makes of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.data = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.data += data


def test_the_page_runs_nothing_and_fetches_nothing(archive: Archive, target: Path) -> None:
    evil = "</dd><script>alert(1)</script><img src=x onerror=alert(1)><a href='javascript:x'>&amp;<!--"
    archive.add(message(evil, 'x@example.org/"><script>', JULIET, id="'><script>"))
    archive.add(message("", inner="<replace xmlns='urn:xmpp:message-correct:0' id='&lt;script&gt;'/><body>y</body>"))
    visit = archive.visit()
    visit.case = visit.purpose = "<script>"
    export(visit, Query(words=()), target)
    text = (target / "messages.html").read_text()
    page = Page(text)
    tags = "html head meta title style body h1 h2 ul li p section dl dt dd b bdi"
    assert page.tags == set(tags.split())
    assert page.attributes <= {"lang", "charset", "http-equiv", "content", "name"}
    assert evil in page.data
    assert "default-src 'none'" in text


def test_the_page_has_all_that_was_said_in_order(archive: Archive, target: Path) -> None:
    make(archive, target)
    data = Page((target / "messages.html").read_text()).data
    places = [data.index(each) for each in ("#0", "One, I mean", "other", "tuesday\n  line two")]
    assert places == sorted(places)
    assert "about id m1" in data


def test_what_is_no_message_is_in_the_records_only(archive: Archive, target: Path) -> None:
    archive.visit().show(0)
    Signing(archive).sign()
    made = make(archive, target, Query())
    assert made.records > 4
    assert len(mails(target)) == 3
    assert {"", "audit", "staff"} == {each["class"] for each in lines(target)}
    assert verify_export(target).problems == []
