"""``vrxmpp audit``: beginning an archive, its state, reading on record, forgetting, and the exit codes."""

from __future__ import annotations

import json
import shutil
import socket
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from vrxmpp.admin import Json
from vrxmpp.audit.founding import initialise
from vrxmpp.audit.frames import Entry
from vrxmpp.audit.identity import SECRET_PREFIX, Identity
from vrxmpp.audit.keys import KeyStore
from vrxmpp.audit.leaf import Type
from vrxmpp.audit.ledger import Ledger
from vrxmpp.audit.recovery import SHEET
from vrxmpp.audit.rotation import read_root
from vrxmpp.audit.storage_key import storage_key
from vrxmpp.cli.audit_desk import IDENTITY, OFFICER
from vrxmpp.cli.main import cli
from vrxmpp.cli.settings import Settings

ALICE, BOB, CAROL = "alice@library.example", "bob@library.example", "carol@museum.example"
DAY = 86_400_000_000
BEGIN = int((datetime.now(UTC) - timedelta(days=3)).timestamp()) // 86_400 * DAY + DAY // 2  # noon, three days ago
FIRST = datetime.fromtimestamp(BEGIN / 1e6, UTC).date()
READ = ("--purpose", "complaint", "--case", "2026-17")
SHEET_READ = ("--officer", "recovery", "--identity", "sheet.txt", *READ)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a directory with a configuration, as nobody in particular."""
    (tmp_path / "vrxmpp.toml").write_text('state = "state"\n[[host]]\ndomain = "library.example"\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(OFFICER, raising=False)
    monkeypatch.delenv(IDENTITY, raising=False)
    monkeypatch.setattr("vrxmpp.cli.audit.shut_out_debuggers", lambda: None)  # it is for all of a process's life
    return tmp_path


def vrxmpp(*arguments: str, input: str = "") -> Result:
    result = CliRunner().invoke(cli, ["audit", *arguments], input=input, prog_name="vrxmpp")
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert "internal error" not in result.stderr
    return result


def succeed(*arguments: str, input: str = "") -> str:
    result = vrxmpp(*arguments, input=input)
    assert (result.stderr, result.exit_code) == ("", 0)
    return result.stdout


def fail(code: int, *arguments: str, input: str = "") -> str:
    result = vrxmpp(*arguments, input=input)
    assert (result.stdout, result.exit_code) == ("", code)
    return result.stderr


@contextmanager
def ledger(at: int) -> Iterator[Ledger]:
    keys = Path("state/keys")
    root = read_root("file", keys)
    opened = Ledger.open(Path("state/audit"), KeyStore(keys), root, now=lambda: at, monotonic=lambda: at)
    with closing(opened):
        yield opened


def entry(sender: str, to: str, text: str) -> Entry:
    stanza = f"<message to='{to}' from='{sender}/desk' type='chat' id='m'><body>{text}</body></message>"
    facts = json.dumps({"session": f"{sender}/desk", "address": "192.0.2.1"})
    return Entry(Type.MESSAGE, "staff", " ".join(sorted((sender, to))), f"{facts}\n{stanza}".encode())


@pytest.fixture
def archive(here: Path) -> Path:
    """An archive of three days, two conversations each, and nothing of today."""
    (here / "sheet.txt").write_text(succeed("init"))
    for day in range(3):
        with ledger(BEGIN + day * DAY) as log:
            log.append([entry(ALICE, BOB, f"hello {day}"), entry(CAROL, BOB, f"secret {day}")])
    return here


def records(*types: str) -> list[Json]:
    """Return the facts of all records of these types, as the recovery officer reads them."""
    options = [option for type in types for option in ("--type", type)]
    found = vrxmpp("search", *SHEET_READ, "--json", *options).stdout.splitlines()
    return [json.loads(line) for line in found]


def size() -> int:
    found: int = json.loads(vrxmpp("status", "--json").stdout)["log"]["size"]
    return found


# -- who may look on


def test_debuggers_are_shut_out_before_an_identity_is_read(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vrxmpp.cli.audit.shut_out_debuggers", (archive / "sheet.txt").unlink)
    assert "sheet.txt: No such file" in fail(2, "search", *SHEET_READ)


# -- the beginning


def test_an_archive_begins_with_a_sheet_that_is_shown_once(here: Path) -> None:
    sheet = succeed("init")
    assert SECRET_PREFIX in sheet
    assert "library.example/audit" in sheet
    said = "vrxmpp: there is an archive already, and its recovery sheet was printed\n"
    assert fail(1, "init") == said
    secret = next(line.strip() for line in sheet.splitlines() if SECRET_PREFIX in line)
    assert not [file for file in here.rglob("*") if file.is_file() and secret.encode() in file.read_bytes()]


def test_the_sheet_of_a_first_start_waits_for_somebody(here: Path) -> None:
    made = initialise(here / "state", "file", "library.example/audit")
    assert made
    assert "nobody has stored the recovery sheet" in vrxmpp("status").stdout
    assert json.loads(succeed("init", "--json")) == {"sheet": made.text}
    assert not (here / "state/keys" / SHEET).exists()
    assert "sheet" not in vrxmpp("status").stdout


def test_the_root_key_is_recovered_by_the_sheet_alone(archive: Path) -> None:
    key = (archive / "state/keys/root.key").read_text()
    (archive / "state/keys/root.key").unlink()
    assert succeed("recover", "--identity", "sheet.txt") == key
    other = Identity.generate().text
    assert fail(1, "recover", "--identity", "-", input=other).startswith("vrxmpp: this was not sealed to this identity")
    assert other not in fail(2, "recover", "--identity", "-", input=other[:-1])


@pytest.mark.parametrize("command", ["status", "search", "verify", "retention show", "officer list", "expire"])
def test_without_an_archive_nothing_is_made(here: Path, command: str) -> None:
    (here / "state").mkdir()
    (here / "identity").write_text(Identity.generate().text)
    extra = ("--officer", "jane", "--identity", "identity", *READ) if command == "search" else ()
    result = vrxmpp(*command.split(), *extra)
    assert result.exit_code == 1
    assert "vrxmpp" in result.output
    assert list((here / "state").iterdir()) == []


def test_where_there_was_an_archive_none_is_to_be_begun(archive: Path) -> None:
    (archive / "state/audit/ledger.sqlite").unlink()
    for command in ("retention show", "officer list"):
        said = fail(1, *command.split())
        assert "the log is gone, and its keys are there" in said
        assert "init" not in said


def test_before_the_first_start_it_says_what_makes_an_archive(here: Path) -> None:
    assert (
        fail(1, "officer", "list") == f"vrxmpp: there is no archive in {here / 'state'} (vrxmpp audit init makes one)\n"
    )
    assert not (here / "state").exists()


# -- its state


def test_the_newest_checkpoint_is_printed_and_a_countersigned_one_first(archive: Path) -> None:
    assert "Nothing has been signed yet" in fail(1, "checkpoint")
    signed, countersigned = (f"library.example/audit\n{size}\nAAAA\n\n\u2014 log AAAA\n" for size in (3, 2))
    countersigned += "\u2014 witness AAAA\n"
    with ledger(BEGIN + 2 * DAY) as log:
        log.keep_note(3, signed)
    assert succeed("checkpoint") == signed
    with ledger(BEGIN + 2 * DAY) as log:
        log.keep_witness("witness museum.example", 2, BEGIN, countersigned)
    assert succeed("checkpoint") == countersigned


def on_server(monkeypatch: pytest.MonkeyPatch, **archive: Json) -> None:
    """Let a server answer for which nothing is wrong but this."""
    names = ("unarchived", "missing", "lost", "archived", "refused", "waiting", "commits", "commit_seconds")
    counts: Json = dict.fromkeys(names, 0)
    counts |= {"recorder": "ready", "trouble": "", "on_failure": "refuse"}
    verification: Json = {"problems": archive.pop("problems", None), "trouble": archive.pop("unverified", "")}
    sinks = {"witness museum.example": {"failure": ""}, "directory": {"failure": "it is full"}}
    checkpoints: Json = {"colour": archive.pop("colour", "green"), "reasons": archive.pop("reasons", [])}
    checkpoints |= {"key": "library.example/audit+1234abcd+AQAB", "witness_key": None, "sinks": sinks}

    @contextmanager
    def connected(settings: Settings) -> Iterator[object]:
        yield lambda request: {
            "archive": counts | archive,
            "checkpoints": checkpoints,
            "verification": verification,
        }

    monkeypatch.setattr(Settings, "server", connected)


def test_green_is_only_what_leaves_nothing_to_say(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on_server(monkeypatch)
    lines = succeed("status").splitlines()
    assert lines[0] == "The archive is green."
    assert lines[1] == "Archive\tlibrary.example/audit"
    assert lines[-2:] == ["Trouble with directory\tit is full", "Key\tlibrary.example/audit+1234abcd+AQAB"]
    assert json.loads(succeed("status", "--json"))["reasons"] == []


@pytest.mark.parametrize(
    ("wrong", "colour", "reason"),
    [
        ({"recorder": "away", "trouble": "the disk is full"}, "red", "the recorder is away: the disk is full"),
        ({"trouble": "the disk is full"}, "red", "messages are refused: the disk is full"),
        (
            {"trouble": "the disk is full", "on_failure": "deliver"},
            "red",
            "messages are passed on without being archived: the disk is full",
        ),
        ({"unarchived": 2}, "red", "2 messages were passed on without being archived"),
        ({"missing": 3}, "red", "3 messages should be in the archive, and are not"),
        ({"lost": 1}, "amber", "1 note found no room"),
        ({"on_failure": "deliver"}, "amber", "messages are passed on when they cannot be archived"),
        ({"colour": "amber", "reasons": ["no checkpoint leaves"]}, "amber", "no checkpoint leaves"),
        ({"colour": "red", "reasons": ["the log has only 1"]}, "red", "the log has only 1"),
        ({"problems": 2}, "red", "the server has verified the archive and found 2 problems"),
        ({"unverified": "it takes too long"}, "amber", "the server could not verify the archive: it takes too long"),
    ],
)
def test_whatever_is_wrong_is_told(
    archive: Path, monkeypatch: pytest.MonkeyPatch, wrong: Json, colour: str, reason: str
) -> None:
    on_server(monkeypatch, **wrong)
    result = vrxmpp("status")
    assert result.exit_code == {"amber": 6, "red": 1}[colour]
    assert result.stdout.startswith(f"The archive is {colour}.\n{colour}: {reason}")


def test_a_stopped_server_and_a_locked_log(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert vrxmpp("status").stdout.startswith("The archive is amber.\namber: the server is not running\n")
    with ledger(BEGIN + 3 * DAY):
        result = vrxmpp("status")
    assert result.exit_code == 1
    assert "red: the archive cannot be opened: " in result.stdout


def test_an_archive_that_is_switched_off_is_red(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def connected(settings: Settings) -> Iterator[object]:
        yield lambda request: None

    monkeypatch.setattr(Settings, "server", connected)
    with (archive / "vrxmpp.toml").open("a") as config:
        config.write("[audit]\nenabled = false\n")
    assert vrxmpp("status").stdout.startswith("The archive is red.\nred: nothing is archived")


def test_a_search_says_what_became_of_a_message(archive: Path) -> None:
    message = entry(ALICE, BOB, "too late")
    stanza = message.envelope.partition(b"\n")[2]
    facts = json.dumps({"outcome": "refused: service-unavailable", "record": 2}).encode()
    with ledger(BEGIN + 2 * DAY) as log:
        log.append([message, message._replace(type=Type.OUTCOME, envelope=facts + b"\n" + stanza)])
    lines = vrxmpp("search", *SHEET_READ, "late").stdout.splitlines()
    assert [line.split("\t")[-1] for line in lines] == ["too late", "(record 2: refused: service-unavailable) too late"]


# -- officers


def test_a_new_officer_reads_what_is_shared(archive: Path) -> None:
    printed = succeed("officer", "add", "jane")
    assert printed.splitlines()[0].startswith("# The identity of the officer jane")
    (archive / "jane.txt").write_text(printed)
    jane = ("--officer", "jane", "--identity", "jane.txt", *READ)
    closed = vrxmpp("search", *jane, "hello")
    assert closed.stdout == ""
    assert f"not searched: staff {FIRST} is not sealed to jane" in closed.stderr
    second = str(FIRST + timedelta(days=1))
    assert succeed("officer", "share", "jane", "--since", second, *SHEET_READ) == "3 files of keys shared with jane\n"
    found = vrxmpp("search", *jane, "hello").stdout.splitlines()
    assert [line.split("\t")[-1] for line in found] == ["hello 1", "hello 2"]


def test_an_officer_keeps_their_own_identity(archive: Path) -> None:
    john = Identity.generate()
    assert succeed("officer", "add", "john", "--public", john.public.text) == "john added\n"
    assert john.public.text in succeed("officer", "list")
    assert succeed("officer", "remove", "john", "--purpose", "left") == "john removed\n"
    assert json.loads(succeed("officer", "list", "--json"))["john"]["removed"]
    [added, removed] = [each["facts"] for each in records("config")]
    assert (added["what"], removed["what"], removed["purpose"]) == ("add_officer", "remove_officer", "left")
    assert removed["by"]


def test_who_cannot_be_an_officer(archive: Path) -> None:
    secret = Identity.generate().text
    said = fail(2, "officer", "add", "john", "--public", secret)
    assert "this is an identity, which is secret" in said
    assert secret not in said
    assert fail(1, "officer", "add", "recovery") == "vrxmpp: there is an officer recovery already\n"
    assert fail(1, "officer", "add", "J J").startswith("vrxmpp: an officer's name is of a-z")
    assert fail(1, "officer", "remove", "recovery").startswith("vrxmpp: recovery is the last officer")
    assert fail(1, "officer", "share", "nobody", *SHEET_READ) == "vrxmpp: there is no officer nobody\n"


# -- reading


def test_words_and_addresses_are_searched_for(archive: Path) -> None:
    result = vrxmpp("search", *SHEET_READ, "--address", CAROL, "--until", str(FIRST + timedelta(days=1)), "SECRET")
    rows = [line.split("\t") for line in result.stdout.splitlines()]
    assert [(row[0], *row[2:]) for row in rows] == [
        ("1", "message", f"{CAROL}/desk", BOB, "secret 0"),
        ("4", "message", f"{CAROL}/desk", BOB, "secret 1"),
    ]
    assert result.stderr.startswith("2 found in ")


def test_a_search_is_on_record_before_it_finds_anything(archive: Path) -> None:
    before = size()
    vrxmpp("search", *SHEET_READ, "nothing of the kind")
    assert size() > before
    facts = records("access")[0]["facts"]
    assert facts | {"by": "recovery", "purpose": "complaint", "case": "2026-17", "what": "search"} == facts
    assert facts["query"] == {"words": ["nothing of the kind"]}


@pytest.mark.parametrize("missing", ["--officer", "--identity", "--purpose", "--case"])
@pytest.mark.parametrize("value", [None, " "])
def test_nobody_reads_without_saying_who_and_why(archive: Path, missing: str, value: str | None) -> None:
    options = dict(zip(SHEET_READ[::2], SHEET_READ[1::2], strict=True))
    if value is None:
        del options[missing]
    elif missing == "--identity":
        (archive / "sheet.txt").write_text(value)
    else:
        options[missing] = value
    before = size()
    said = fail(2, "search", *(part for option in options.items() for part in option), "hello")
    empty = missing == "--identity" and value is not None
    assert ("'--identity': sheet.txt: there is nothing in it" if empty else f"Missing option '{missing}'") in said
    assert size() == before


def test_who_is_not_let_in_is_on_record(archive: Path) -> None:
    stranger = Identity.generate().text
    said = fail(1, "search", "--officer", "recovery", "--identity", "-", *READ, "hello", input=stranger)
    assert said == "vrxmpp: this is not the identity of recovery\n"
    assert fail(1, "show", "0", "--officer", "eve", "--identity", "-", *READ, input=stranger).endswith("officer eve\n")
    assert fail(1, "show", "0", "--officer", "eve", "--identity", "-", *READ, input="no identity").startswith(
        "vrxmpp: "
    )
    tried = [each["facts"] for each in records("access") if each["facts"]["what"] == "refused"]
    assert [each["by"] for each in tried] == ["recovery", "eve", "eve"]


def test_the_environment_may_name_officer_and_file(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(OFFICER, "recovery")
    monkeypatch.setenv(IDENTITY, str(archive / "sheet.txt"))
    assert "hello 0" in vrxmpp("search", *READ, "hello").stdout
    monkeypatch.setenv(IDENTITY, str(archive / "gone"))
    assert "gone: No such file or directory" in fail(2, "search", *READ, "hello")


def test_what_people_wrote_does_not_reach_the_terminal_as_it_is(archive: Path) -> None:
    with ledger(BEGIN + 2 * DAY) as log:
        log.append([entry(ALICE, BOB, "one\n\x9b31mtwo\u202ethree\tfour")])
    line = vrxmpp("search", *SHEET_READ, "two").stdout
    assert line.count("\n") == 1
    assert line.count("\t") == 5
    assert "one \N{REPLACEMENT CHARACTER}31mtwo\N{REPLACEMENT CHARACTER}three" in line
    index = line.partition("\t")[0]
    shown = succeed("show", index, *SHEET_READ)
    assert not {"\x9b", "\u202e"} & set(shown)
    assert "Text\tone\n" in shown
    for command in (("search", "two"), ("show", index)):
        raw = vrxmpp(*command, "--json", *SHEET_READ).stdout
        assert raw.replace("\n", "").isprintable()
        found = json.loads(raw)
        text = found["text"] if isinstance(found, dict) else found[0]["text"]
        assert text == "one\n\x9b31mtwo\u202ethree\tfour"


def test_a_record_is_shown_whole(archive: Path) -> None:
    [found] = json.loads(succeed("show", "0", "--json", *SHEET_READ))
    assert found["from"] == f"{ALICE}/desk"
    assert found["facts"]["address"] == "192.0.2.1"
    assert found["stanza"].startswith(f"<message to='{BOB}'")
    rows = dict(line.split("\t", 1) for line in succeed("show", "0", *SHEET_READ).splitlines())
    assert (rows["Conversation"], rows["address"], rows["Text"]) == (f"{ALICE} {BOB}", "192.0.2.1", "hello 0")
    assert records("access")[0]["facts"]["index"] == 0
    assert fail(1, "show", "999", *SHEET_READ) == "vrxmpp: there is no record 999\n"


@pytest.mark.parametrize("time", ["yesterday", "2026-13-01", "9999-12-31T25:00"])
def test_what_is_no_time(archive: Path, time: str) -> None:
    assert "is no day or time like 2026-11-24" in fail(2, "search", "--since", time, *SHEET_READ)


def test_a_window_that_ends_before_it_begins(archive: Path) -> None:
    said = fail(2, "search", "--since", "2026-11-02", "--until", "2026-11-01T00:00", *SHEET_READ)
    assert "the window ends before it begins" in said


def test_an_export_verifies_but_for_the_signature(archive: Path) -> None:
    result = vrxmpp("export", "out", *SHEET_READ, "hello")
    assert result.exit_code == 0
    assert "Records\t3, of which 0 without their text\n" in result.stdout
    assert result.stderr == "No checkpoint covers these records: export them again while the server runs.\n"
    checked = json.loads(vrxmpp("verify", "out", "--json").stdout)
    assert (checked["records"], len(checked["problems"])) == (3, 1)
    assert "nobody has signed" in checked["problems"][0]["what"]
    assert fail(1, "export", "out", *SHEET_READ, "hello") == f"vrxmpp: {archive}/out exists already\n"


def test_what_is_no_message_is_told_in_a_line(archive: Path) -> None:
    after = {"limits": {"account": {"sessions": 10, "roster_items": 1000}}, "host": [{"domain": "library.example"}]}
    facts = [
        (Type.CONFIG, "configuration", {"event": "started", "after": after, "before": {}}),
        (
            Type.SESSION,
            ALICE,
            {"event": "logged in", "session": f"{ALICE}/desk", "address": "192.0.2.1", "guest": False},
        ),
    ]
    with ledger(BEGIN + 2 * DAY) as log:
        log.append(
            [
                Entry(type, "audit" if type == Type.CONFIG else "staff", of, f"{json.dumps(said)}\n".encode())
                for type, of, said in facts
            ]
        )
    found = vrxmpp("search", *SHEET_READ, "--type", "config", "--type", "session").stdout.splitlines()
    assert [line.split("\t")[-1] for line in found] == [
        "started: new, limits.account.sessions 10, limits.account.roster_items 1000, host[0].domain library.example",
        f"logged in: session {ALICE}/desk, address 192.0.2.1",
    ]
    assert records("config")[0]["facts"]["after"] == after
    assert '"sessions": 10' in succeed("show", found[0].partition("\t")[0], *SHEET_READ)


@pytest.mark.parametrize("zone", ["UTC", "Asia/Tokyo"])
@pytest.mark.parametrize(
    ("options", "days"),
    [
        (("--since", str(FIRST + timedelta(days=1))), "12"),
        (("--until", str(FIRST + timedelta(days=1))), "01"),
        (("--since", f"{FIRST}T12:00", "--until", f"{FIRST}T12:01"), "0"),
        (("--since", f"{FIRST}T12:00:01"), "12"),
        (("--since", f"{FIRST}T13:00+01:00", "--until", f"{FIRST}T13:01+01:00"), "0"),
        (("--since", "0001-01-01", "--until", "9999-12-31"), "012"),
    ],
)
def test_times_are_utc_wherever_the_machine_is(
    archive: Path, monkeypatch: pytest.MonkeyPatch, zone: str, options: tuple[str, ...], days: str
) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        found = vrxmpp("search", *SHEET_READ, *options, "hello").stdout.splitlines()
        shown = vrxmpp("status").stdout
    finally:
        monkeypatch.undo()
        time.tzset()
    assert [line.split("\t")[-1] for line in found] == [f"hello {day}" for day in days]
    assert f"Last record\t{datetime.now(UTC):%Y-%m-%d}" in shown
    assert " UTC\n" in shown


def test_a_number_that_no_record_can_have(archive: Path) -> None:
    index = "9" * 30
    assert fail(1, "show", index, *SHEET_READ) == f"vrxmpp: there is no record {index}\n"


def test_an_export_that_cannot_be_made_says_where(archive: Path) -> None:
    said = fail(1, "export", "no/where", *SHEET_READ)
    assert said == f"vrxmpp: {archive}/no/where cannot be made: No such file or directory\n"


# -- proving


def damage(statement: str) -> None:
    with closing(sqlite3.connect("state/audit/ledger.sqlite")) as database, database:
        database.execute(statement)


def test_what_is_sound_is_said_to_be_and_recorded(archive: Path) -> None:
    before = size()
    said = succeed("verify", "--officer", "recovery", "--identity", "sheet.txt")
    assert said.splitlines()[-1].startswith("consistent in itself, but nobody you named vouches for it")
    assert "Contents checked\t6; 0 stayed sealed, 0 are erased or withheld\n" in said
    assert "what is sealed" not in said
    [verified] = records("verify")
    assert verified["facts"] | {"size": before, "records": before, "problems": 0} == verified["facts"]


def test_what_no_identity_opened_is_said_not_to_be_checked(archive: Path) -> None:
    hidden = "what is sealed, but for its hashes: --officer and --identity would open it"
    said = succeed("verify")
    assert said.startswith(f"not checked: {hidden}\n")
    assert "Contents checked\tnone: that takes an identity\n" in said
    assert json.loads(succeed("verify", "--json"))["warnings"][0] == hidden
    (archive / "jane.txt").write_text(succeed("officer", "add", "jane"))
    said = succeed("verify", "--officer", "jane", "--identity", "jane.txt")
    assert "not sealed to jane: their records could not be opened\n" in said
    assert "Contents checked\t0; 7 stayed sealed" in said


def test_what_is_no_checkpoint_is_not_the_fault_of_the_archive(archive: Path) -> None:
    Path("log").write_text("a line of a log\n")
    before = size()
    assert "what begins with 'a line of a log' is no signed checkpoint" in fail(2, "verify", "--checkpoint", "log")
    assert size() == before


def test_a_verification_that_cannot_be_put_on_record_says_so(archive: Path) -> None:
    with ledger(BEGIN + 3 * DAY):
        result = vrxmpp("verify")
    assert "consistent in itself" in result.stdout
    assert result.stderr.startswith("vrxmpp: that this was verified could not be put on record: another process")
    assert result.exit_code == 1


def test_the_record_that_is_wrong_is_named(archive: Path) -> None:
    damage("UPDATE records SET payload = zeroblob(length(payload)) WHERE idx = 3")
    result = vrxmpp("verify")
    assert result.exit_code == 1
    assert result.stdout.startswith("record 3: ")
    assert result.stdout.endswith("NOT SOUND: 1 problem\n")
    assert records("verify")[0]["facts"]["problems"] > 0


def test_a_copy_is_verified_and_nothing_written(archive: Path) -> None:
    shutil.copytree("state/audit", "copy")
    before = {file: file.read_bytes() for file in Path("copy").iterdir()}
    assert json.loads(succeed("verify", "copy", "--json"))["sound"]
    assert {file: file.read_bytes() for file in Path("copy").iterdir()} == before
    Path("empty").mkdir()
    assert fail(1, "verify", "empty").startswith("vrxmpp: ")


def test_a_checkpoint_kept_elsewhere_is_held_against_the_log(archive: Path) -> None:
    note = "library.example/audit\n2\n" + "A" * 43 + "=\n\n\u2014 library.example/audit AAAAAAAA\n"
    Path("notes").mkdir()
    Path("notes/1").write_text(note)
    for kept in ("notes", "notes/1"):
        assert "was changed" in vrxmpp("verify", "--checkpoint", kept).stdout
    assert "Error: " in fail(2, "verify", "--vkey", "no key")


def test_who_names_an_officer_gives_their_identity(archive: Path) -> None:
    for alone in (("--officer", "recovery"), ("--identity", "sheet.txt")):
        for command in ("verify", "expire"):
            assert "both --officer and --identity" in fail(2, command, *alone)


# -- holds, retention, expiry, erasure


def test_what_is_held_is_neither_erased_nor_expired(archive: Path) -> None:
    added = vrxmpp("hold", "add", "--person", CAROL, "--until", str(FIRST), *SHEET_READ)
    assert added.stdout == f"hold 1 added: all that {CAROL} has said or heard, up to {FIRST}\n"
    [held] = json.loads(succeed("hold", "list", "--json", *SHEET_READ))
    assert (held["person"], held["first"], held["last"]) == (CAROL, None, str(FIRST))
    erase = ("erase", "--yes", "--basis", "GDPR 17(1)(a)", "--case", "9", *SHEET_READ[:4])
    assert fail(1, *erase, "--record", "1") == f"vrxmpp: this is held on {FIRST}: hold 1\n"
    succeed("retention", "set", "staff", "--days", "1")
    expired = vrxmpp("expire")
    assert f"staff {FIRST} is left: hold 1" in expired.stderr
    assert [line.split("\t")[:3] for line in expired.stdout.splitlines()] == [
        ["staff", str(FIRST + timedelta(days=1)), "2"]
    ]
    assert vrxmpp("expire", *SHEET_READ[:4]).stdout.split("\t")[2:4] == ["1", "1"]
    assert [each["text"] for each in records("message")] == [
        "(erased)",
        "secret 0",
        "(erased)",
        "(erased)",
        "hello 2",
        "secret 2",
    ]
    assert succeed("hold", "release", "1", *SHEET_READ) == "hold 1 released\n"
    assert json.loads(vrxmpp("expire", "--json").stdout)["erased"][0]["removed"] == 1
    assert succeed("verify").splitlines()[-1].startswith("consistent")


def test_a_hold_is_told_in_words_and_what_may_be_misspelt_as_well(
    archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold = ("hold", "add", *SHEET_READ)
    stopped = vrxmpp(*hold, "--person", ALICE, "--since", "2026-01-01", "--until", "2026-02-01")
    assert stopped.stdout == f"hold 1 added: all that {ALICE} has said or heard, from 2026-01-01 to 2026-02-01\n"
    assert stopped.stderr.startswith(f"note: whether there is an account {ALICE} was not checked: the server is not ")
    asked: list[Json] = []

    def accounts(request: Json) -> Json:
        asked.append(request)
        return [{"jid": ALICE}]

    @contextmanager
    def connected(settings: Settings) -> Iterator[object]:
        yield accounts

    monkeypatch.setattr(Settings, "server", connected)
    both = vrxmpp(*hold, "--conversation", ALICE, CAROL)
    assert both.stdout == f"hold 2 added: what {ALICE} and {CAROL} have said to each other, on all days\n"
    assert both.stderr.startswith("note: museum.example is no domain of this server")
    assert vrxmpp(*hold, "--person", BOB).stderr == f"note: there is no account {BOB} now\n"
    assert ALICE not in str(asked)  # the server's log is not for the names of those who are held
    assert succeed(*hold, "--since", "2026-01-01") == "hold 4 added: everything, from 2026-01-01 on\n"
    [*_, listed] = json.loads(succeed("hold", "list", "--json", *SHEET_READ))
    assert (
        json.loads(succeed(*hold, "--since", "2026-01-01", "--json")) | {"hold": 4, "since": listed["since"]} == listed
    )


def test_years_without_end_do_not_keep_anything_from_expiring(archive: Path) -> None:
    succeed("retention", "set", "audit", "--days", "9999999999")
    succeed("retention", "set", "staff", "--days", "2")
    assert vrxmpp("expire").stderr == "1 day expired, 0 left\n"


def test_a_dry_run_changes_nothing(archive: Path) -> None:
    succeed("retention", "set", "staff", "--days", "2")
    before = size()
    result = vrxmpp("expire", "--dry-run")
    assert (result.stdout, result.stderr) == (f"staff\t{FIRST}\n", "1 day would expire\n")
    assert json.loads(succeed("expire", "--dry-run", "--json")) == [{"class": "staff", "day": str(FIRST)}]
    assert size() == before


def test_a_conversation_is_erased_and_the_rest_stays(archive: Path) -> None:
    erase = ("erase", "--conversation", BOB, ALICE, "--day", str(FIRST), "--basis", "GDPR 17", "--case", "9")
    who = SHEET_READ[:4]
    assert "Aborted" in fail(1, *erase, *who, input="n\n")
    result = vrxmpp(*erase, *who, input="y\n")
    assert result.stdout.startswith(f"1 record of {FIRST} erased: record ")
    assert [each["text"] for each in records("message")[:2]] == ["(erased)", "secret 0"]
    erased = next(each["facts"] for each in records("access") if each["facts"]["what"] == "erase")
    assert (erased["purpose"], erased["case"]) == ("GDPR 17", "9")
    assert "Missing option '--basis'" in fail(2, *erase[:-4], "--yes", "--case", "9", *who)
    assert fail(1, *erase, *who, "--yes").startswith("vrxmpp: ")


@pytest.mark.parametrize(
    "what", [(), ("--day", str(FIRST)), ("--conversation", ALICE, BOB), ("--record", "1", "--day", str(FIRST))]
)
def test_it_must_be_said_what_to_erase(archive: Path, what: tuple[str, ...]) -> None:
    assert "Say either" in fail(2, "erase", *what, "--yes", "--basis", "b", "--case", "9", *SHEET_READ[:4])


def test_a_locked_class_can_only_be_lengthened(archive: Path) -> None:
    assert succeed("retention", "set", "staff", "--days", "365", "--lock") == "staff: 365 days, locked\n"
    shorter = fail(1, "retention", "set", "staff", "--days", "364")
    assert shorter == "vrxmpp: the retention of staff is locked: it can only be lengthened\n"
    assert succeed("retention", "set", "staff", "--forever") == "staff: for ever, locked\n"
    assert json.loads(succeed("retention", "show", "--json"))["staff"] == {"days": None, "locked": True}
    assert succeed("retention", "show") == "audit\tfor ever\nstaff\tfor ever, locked\n"
    assert "either --days or --forever" in fail(2, "retention", "set", "staff")


# -- the root key


def test_the_root_key_is_replaced_and_everything_stays_readable(archive: Path) -> None:
    before = (archive / "state/keys/root.key").read_text()
    with ledger(BEGIN + 3 * DAY):
        assert fail(1, "rotate").startswith("vrxmpp: another process")
    recorder = socket.socket(socket.AF_UNIX)
    with closing(recorder):
        recorder.bind(str(archive / "state/audit/recorder.sock"))
        recorder.listen()
        assert fail(1, "rotate") == "vrxmpp: the server is running, and has the root key in use: stop it first\n"
    assert (archive / "state/keys/root.key").read_text() == before
    assert succeed("rotate", "--purpose", "yearly") == "the root key is replaced: make both backups anew\n"
    after = (archive / "state/keys/root.key").read_text()
    assert after != before
    assert succeed("recover", "--identity", "sheet.txt") == after
    outcomes = [(each["facts"]["what"], each["facts"]["outcome"]) for each in records("config")]
    assert outcomes == [("rotate_root", "begun"), ("rotate_root", "done")]


def test_the_root_key_moves_to_another_source(archive: Path) -> None:
    key = archive / "elsewhere.key"
    said = succeed("rotate", "--to", f"file:{key}")
    assert said.endswith(f', and write root_key = "file:{key}" into [audit]\n')
    assert fail(1, "officer", "list").startswith("vrxmpp: ")
    with (archive / "vrxmpp.toml").open("a") as config:
        config.write(f'[audit]\nroot_key = "file:{key}"\n')
    assert "recovery" in succeed("officer", "list")


# -- the storage key


def test_a_storage_key_that_is_there_is_not_replaced(archive: Path) -> None:
    assert fail(1, "renew-storage-key") == "vrxmpp: the storage key is there: only one that is lost is replaced\n"
    assert records("config") == []


def test_a_lost_storage_key_is_replaced_on_record_and_what_it_sealed_is_forgotten(archive: Path) -> None:
    CliRunner().invoke(cli, ["user", "list"])  # makes the database
    with closing(sqlite3.connect(archive / "state/vrxmpp.sqlite")) as database, database:
        for stanza in (b"\x01sealed under the lost key", b"<message/>"):
            database.execute("INSERT INTO offline_messages (account, stamp, stanza) VALUES (1, 0, ?)", (stanza,))
    (archive / "state/keys/storage.key").unlink()
    said = "there is another storage key; messages that waited sealed under the lost one, and are forgotten: 1\n"
    assert succeed("renew-storage-key", "--case", "7") == said
    assert storage_key(archive / "state/keys", read_root("file", archive / "state/keys"))
    with closing(sqlite3.connect(archive / "state/vrxmpp.sqlite")) as database:
        assert database.execute("SELECT stanza FROM offline_messages").fetchall() == [(b"<message/>",)]
    *_, begun, done = (each["facts"] for each in records("config"))
    assert (begun["what"], begun["case"], begun["outcome"]) == ("replace_storage_key", "7", "begun")
    assert (done["what"], done["outcome"], done["forgotten"]) == ("replace_storage_key", "done", 1)


def test_a_storage_key_is_not_replaced_where_what_waits_cannot_be_forgotten(archive: Path) -> None:
    (archive / "state/keys/storage.key").unlink()
    (archive / "state/vrxmpp.sqlite").mkdir()
    assert fail(1, "renew-storage-key").startswith("vrxmpp: ")
    assert not (archive / "state/keys/storage.key").exists()
    begun, failed = (each["facts"] for each in records("config"))
    assert (begun["outcome"], failed["outcome"]) == ("begun", "failed")
    assert "Is a directory" in failed["reason"]
