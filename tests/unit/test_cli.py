"""The ``vrxmpp`` command beside a stopped server, on a running one, and when things are wrong."""

from __future__ import annotations

import csv
import hashlib
import hmac
import json
import os
import re
import socket
import sqlite3
import tomllib
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path
from threading import Thread

import click
import pytest
from click.testing import CliRunner, Result

from vrxmpp import __version__
from vrxmpp.admin import AdminError, Json
from vrxmpp.audit.identity import SECRET_PREFIX, Identity
from vrxmpp.audit.keys import KeyStore
from vrxmpp.audit.leaf import Type
from vrxmpp.audit.reader import Query, Reader
from vrxmpp.cli import main, output, users
from vrxmpp.cli.audit import AMBER
from vrxmpp.cli.main import cli
from vrxmpp.cli.offline import open_database
from vrxmpp.cli.s2s import UNREACHABLE
from vrxmpp.config import load
from vrxmpp.config.reference import reference
from vrxmpp.store import open_stores
from vrxmpp.store.database import Database
from vrxmpp.store.interfaces import Credentials

ROOT = Path(__file__).parents[2]
CONFIG = """
state = "state"
[[host]]
domain = "library.example"
[[host]]
domain = "museum.example"
[authentication]
scram_iterations = 4096
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a directory with a configuration."""
    (tmp_path / "vrxmpp.toml").write_text(CONFIG)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def vrxmpp(*arguments: str, input: str | bytes = "") -> Result:
    """Run a command; a traceback fails the test."""
    result = CliRunner().invoke(cli, arguments, input=input, prog_name="vrxmpp")
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert "internal error" not in result.stderr
    return result


def succeed(*arguments: str, input: str | bytes = "") -> str:
    result = vrxmpp(*arguments, input=input)
    assert (result.stderr, result.exit_code) == ("", 0)
    return result.stdout


def fail(code: int, *arguments: str, input: str | bytes = "") -> str:
    result = vrxmpp(*arguments, input=input)
    assert (result.stdout, result.exit_code) == ("", code)
    return result.stderr


def credentials(local: str) -> Credentials | None:
    database = Database.open("sqlite:///state/vrxmpp.sqlite")
    with pytest.raises(StopIteration) as finished:
        open_stores(database, "library.example").accounts.credentials(local).send(None)
    with pytest.raises(StopIteration):
        database.close().send(None)
    found: Credentials | None = finished.value.value
    return found


def has_password(local: str, password: str) -> bool:
    """Check a password as RFC 5802 §3 says."""
    found = credentials(local)
    assert found
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), found.sha256.salt, found.sha256.iterations)
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    return hashlib.sha256(client_key).digest() == found.sha256.stored_key


# -- accounts, beside a stopped server


def test_the_first_user_is_added_before_the_first_start(here: Path) -> None:
    assert succeed("user", "add", "alice@library.example", "--password-stdin", input="s3cret word\n") == (
        "alice@library.example added\n"
    )
    assert has_password("alice", "s3cret word")
    assert (here / "state").stat().st_mode & 0o777 == 0o700
    assert (here / "state/vrxmpp.sqlite").stat().st_mode & 0o777 == 0o600


def test_a_password_is_asked_for_twice() -> None:
    asked = succeed("user", "add", "alice@library.example", input="one\none\n")
    assert has_password("alice", "one")
    assert asked.count(":") == 2
    assert "one" not in asked


def test_different_passwords_are_asked_for_again() -> None:
    result = vrxmpp("user", "add", "alice@library.example", input="one\ntwo\nthree\nthree\n")
    assert result.exit_code == 0
    assert has_password("alice", "three")


def test_no_password_no_account() -> None:
    assert fail(1, "user", "add", "alice@library.example", "--password-stdin") == "vrxmpp: the password is empty\n"
    assert credentials("alice") is None


def test_nobody_is_asked_for_a_password_in_vain() -> None:
    succeed("user", "add", "alice@library.example", "--password-stdin", input="one")
    assert fail(1, "user", "add", "alice@library.example") == "vrxmpp: alice@library.example exists already\n"
    assert fail(1, "user", "add", "a@elsewhere.example") == "vrxmpp: elsewhere.example is not served here\n"
    assert fail(1, "user", "password", "bob@library.example") == "vrxmpp: bob@library.example does not exist\n"
    assert has_password("alice", "one")


def test_a_password_is_changed() -> None:
    succeed("user", "add", "alice@library.example", "--password-stdin", input="one")
    succeed("user", "password", "alice@library.example", "--password-stdin", input="two\r\n")
    assert has_password("alice", "two")


def test_a_user_is_disabled_enabled_and_removed() -> None:
    succeed("user", "add", "alice@library.example", "--password-stdin", input="one")
    assert succeed("user", "disable", "alice@library.example") == "alice@library.example disabled\n"
    assert json.loads(succeed("user", "show", "alice@library.example", "--json"))["enabled"] is False
    assert succeed("user", "enable", "alice@library.example") == "alice@library.example enabled\n"
    assert json.loads(succeed("user", "show", "alice@library.example", "--json"))["enabled"] is True
    assert succeed("user", "remove", "alice@library.example") == "alice@library.example removed\n"
    assert fail(1, "user", "show", "alice@library.example") == "vrxmpp: alice@library.example does not exist\n"


def test_users_are_listed_for_people_and_for_programs() -> None:
    for jid in ("bob@museum.example", "alice@library.example", "carol@library.example"):
        succeed("user", "add", jid, "--password-stdin", input="one")
    succeed("user", "disable", "carol@library.example")
    lines = [line.split("\t") for line in succeed("user", "list").splitlines()]
    assert [line[:3] for line in lines] == [
        ["alice@library.example", "enabled", "0"],
        ["carol@library.example", "disabled", "0"],
        ["bob@museum.example", "enabled", "0"],
    ]
    assert [user["jid"] for user in json.loads(succeed("user", "list", "museum.example", "--json"))] == [
        "bob@museum.example"
    ]
    assert succeed("user", "show", "bob@museum.example").startswith("Account\tbob@museum.example\nState\tenabled\n")


# -- import


def test_many_are_imported(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(users, "_BATCH", 10)
    with (here / "users.csv").open("w", newline="") as file:
        csv.writer(file).writerows((f"user{number}@library.example", f"pass,{number}") for number in range(25))
    assert succeed("user", "import", "users.csv") == "25 added, 0 refused\n"
    assert has_password("user0", "pass,0")
    assert has_password("user24", "pass,24")


def test_what_cannot_be_imported_is_reported_and_the_rest_imported() -> None:
    succeed("user", "add", "alice@library.example", "--password-stdin", input="old")
    text = (
        b"\xef\xbb\xbfbob@library.example,one\r\n"
        b"\r\n"
        b"alice@library.example,new\n"
        b"just-a-word\n"
        b"dora@library.example,a,b\n"
        b"\xff@library.example,one\n"
        b"@library.example,one\n"
        b"eve@elsewhere.example,one\n"
        b"fred@library.example,\n"
        b"BOB@library.example,two\n"
        b'gina@library.example,"say ""hi"""\n'
        b'hugo@library.example,"open\n'
        b"ida@library.example, spaced \n"
    )
    result = vrxmpp("user", "import", "-", input=text)
    assert result.exit_code == 1
    assert result.stdout == "3 added, 9 refused\n"
    assert result.stderr.splitlines() == [
        "line 3: alice@library.example exists already",
        'line 4: must be "jid,password" in UTF-8',
        'line 5: must be "jid,password" in UTF-8',
        'line 6: must be "jid,password" in UTF-8',
        "line 7: localpart '' is not allowed (DISALLOWED/empty)",
        "line 8: elsewhere.example is not served here",
        "line 9: the password is empty",
        "line 10: bob@library.example is in line 1 already",
        'line 12: must be "jid,password" in UTF-8',
    ]
    assert has_password("bob", "one")
    assert has_password("alice", "old")
    assert has_password("gina", 'say "hi"')
    assert has_password("ida", " spaced ")


def test_an_import_answers_programs() -> None:
    result = vrxmpp("--json", "user", "import", "-", input="bob@library.example,one\nhush\n")
    assert result.exit_code == 1
    assert json.loads(result.stdout) == {
        "added": 1,
        "refused": [{"line": 2, "jid": "", "reason": 'must be "jid,password" in UTF-8'}],
    }


# -- on a running server


class Server:
    """Listens on the control socket and answers from the database, as a running server would; keeps the requests."""

    def __init__(self, state: Path) -> None:
        self.requests: list[Json] = []
        self.canned: dict[str, Json] = {}
        self.hangs_up = False
        self.listening = socket.socket(socket.AF_UNIX)
        self.listening.bind(str(state / "control.sock"))
        self.listening.listen()
        self._config = load(Path("vrxmpp.toml"))
        self._thread = Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        with open_database(self._config) as ask:
            while True:
                connection, _ = self.listening.accept()
                with connection, connection.makefile("rb") as lines:
                    for line in lines:
                        if line == b"stop\n":
                            return
                        if self.hangs_up:
                            break
                        answer = self._answer(ask, json.loads(line))
                        connection.sendall(json.dumps(answer).encode() + b"\n")

    def _answer(self, ask: Callable[[Json], Json], request: Json) -> Json:
        self.requests.append(request)
        try:
            canned = self.canned.get(request["command"])
            return {"ok": ask(request) if canned is None else canned}
        except AdminError as error:
            return {"error": {"code": error.code, "message": error.message}}

    def stop(self) -> None:
        with socket.socket(socket.AF_UNIX) as last:
            last.connect(self.listening.getsockname())
            last.sendall(b"stop\n")
        self._thread.join()
        self.listening.close()


@pytest.fixture
def server(here: Path) -> Iterator[Server]:
    (here / "state").mkdir(mode=0o700)
    server = Server(here / "state")
    yield server
    server.stop()


def test_a_running_server_does_the_work_and_never_sees_a_password(server: Server) -> None:
    succeed("user", "add", "alice@library.example", "--password-stdin", input="s3cret")
    succeed("user", "import", "-", input="bob@library.example,s3cret\n")
    assert [request["command"] for request in server.requests] == ["user exists", "user add", "user import"]
    assert "s3cret" not in repr(server.requests)
    assert has_password("alice", "s3cret")
    assert has_password("bob", "s3cret")


def test_an_import_comes_in_pieces(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(users, "_BATCH", 2)
    succeed("user", "import", "-", input="".join(f"user{n}@library.example,x\n" for n in range(5)))
    assert [len(request["users"]) for request in server.requests] == [2, 2, 1]


def test_sessions_are_listed_and_ended(server: Server) -> None:
    session: Json = {"jid": "a@library.example/desk", "address": "192.0.2.1", "security": "TLSv1.3"}
    session |= {"since": "2026-03-01T12:00:00Z", "priority": None}
    since = datetime.fromisoformat("2026-03-01T12:00:00Z").astimezone().strftime("%Y-%m-%d %H:%M")
    bare = session | {"jid": "b@library.example/\u202ex", "security": "", "priority": 5}
    server.canned = {"session list": [session, bare], "session kick": 2}
    assert json.loads(succeed("session", "list", "--json")) == [session, bare]
    assert succeed("session", "list").splitlines() == [
        f"a@library.example/desk\t192.0.2.1\tTLSv1.3\t{since}\tnot available",
        f"b@library.example/\ufffdx\t192.0.2.1\tnone\t{since}\t5",
    ]
    assert succeed("session", "kick", "a@library.example") == "2 ended\n"
    assert server.requests[-1] == {"command": "session kick", "jid": "a@library.example"}


def test_the_status_is_told(server: Server) -> None:
    status: Json = {
        "version": "9.9",
        "process": 7,
        "started": "2026-03-01T12:00:00Z",
        "listeners": ["::1:5222", "::1:5223"],
    }
    status |= {"connections": 3, "sessions": {"library.example": 2}}
    server.canned = {"status": status}
    assert json.loads(succeed("status", "--json")) == status
    lines = succeed("status").splitlines()
    assert lines[:2] == ["Version\t9.9", "Process\t7"]
    assert lines[3:] == ["Listening on\t::1:5222 ::1:5223", "Connections\t3", "Sessions of library.example\t2"]


def test_the_servers_refusals_are_ours(server: Server) -> None:
    assert fail(1, "user", "remove", "nobody@library.example") == "vrxmpp: nobody@library.example does not exist\n"


def test_a_server_that_hangs_up_is_reported(server: Server) -> None:
    server.hangs_up = True
    assert fail(1, "status") == "vrxmpp: the server has closed the connection\n"


@pytest.mark.parametrize("arguments", [("status",), ("session", "list"), ("session", "kick", "a@library.example")])
def test_a_stopped_server_has_an_exit_code_of_its_own(here: Path, arguments: tuple[str, ...]) -> None:
    said = f"vrxmpp: the server is not running (nothing answers at {here}/state/control.sock)\n"
    assert fail(3, *arguments) == said
    assert not (here / "state").exists()
    (here / "state").mkdir()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(here / "state/control.sock"))
    assert fail(3, *arguments) == said


# -- configuration


def test_a_good_configuration_is_said_to_be() -> None:
    assert succeed("config", "check") == "vrxmpp.toml: nothing is wrong\n"
    assert json.loads(succeed("config", "check", "--json")) == []


def test_all_that_is_wrong_is_told_line_by_line(here: Path) -> None:
    (here / "bad.toml").write_text(
        CONFIG + 'iterations = 1\n[c2s]\ntls = "no"\n[[host]]\ndomain = "c.example"\nkey = "k"\n'
    )
    lines = [
        'bad.toml: host[2].key = "k": cannot be read: No such file or directory',
        'bad.toml: c2s.tls = "no": must be "required" or "optional"',
        'bad.toml: authentication.iterations: unknown key; did you mean "scram_iterations"?',
    ]
    assert fail(4, "config", "check", "-c", "bad.toml").splitlines() == lines
    result = vrxmpp("config", "check", "--json", "-c", "bad.toml")
    assert result.exit_code == 4
    assert [problem["key"] for problem in json.loads(result.stdout)] == [
        "host[2].key",
        "c2s.tls",
        "authentication.iterations",
    ]


@pytest.mark.parametrize("arguments", [("user", "list"), ("status",), ("config", "show")])
def test_no_command_works_with_a_wrong_configuration(here: Path, arguments: tuple[str, ...]) -> None:
    (here / "vrxmpp.toml").write_text("[[host]]\ndomain = 1\n")
    assert fail(4, *arguments) == "vrxmpp.toml: host[0].domain = 1: must be a text in quotes\n"
    (here / "vrxmpp.toml").unlink()
    assert fail(4, *arguments).startswith("vrxmpp.toml: does not exist")


def test_what_is_in_force_is_shown() -> None:
    shown = tomllib.loads(succeed("config", "show"))
    assert shown["authentication"] == {"scram_iterations": 4096, "plain": True, "failures_per_stream": 5}
    assert json.loads(succeed("config", "show", "--json")) == shown


def test_the_reference_can_be_printed() -> None:
    assert succeed("config", "reference") == reference()


@pytest.mark.parametrize(
    "arguments",
    [
        ("--config", "other.toml", "user", "list"),
        ("user", "--config", "other.toml", "list"),
        ("user", "list", "--config", "other.toml"),
        ("user", "list", "-c", "other.toml"),
        ("-c", "vrxmpp.toml", "user", "list", "-c", "other.toml"),
    ],
)
def test_the_configuration_is_named_anywhere(here: Path, arguments: tuple[str, ...]) -> None:
    assert fail(4, *arguments) == "other.toml: cannot be read: No such file or directory\n"


# -- failures


def test_a_state_directory_that_cannot_be_made(here: Path) -> None:
    (here / "state").touch()
    said = fail(1, "user", "list")
    assert said.startswith("vrxmpp: ")
    assert "state" in said
    assert len(said.splitlines()) == 1


def test_a_file_that_is_no_database(here: Path) -> None:
    (here / "state").mkdir()
    (here / "state/vrxmpp.sqlite").write_text("nothing of the kind " * 100)
    assert fail(1, "user", "list").startswith("vrxmpp: the file is not a database")


def test_a_bug_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(password: str, iterations: int) -> None:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr(users, "derive_keys", broken)
    result = CliRunner().invoke(cli, ["user", "add", "a@library.example", "--password-stdin"], input="x")
    assert (result.stderr, result.exit_code) == ("vrxmpp: internal error: ZeroDivisionError: by zero\n", 1)


@pytest.mark.parametrize(
    "arguments", [("usr",), ("user",), ("user", "add"), ("status", "--xml"), ("user", "import", "no")]
)
def test_what_is_not_understood_has_exit_code_2(arguments: tuple[str, ...]) -> None:
    assert vrxmpp(*arguments).exit_code == 2


def test_the_exit_codes_that_are_documented_are_those_there_are() -> None:
    there = {0, main.FAILED, click.UsageError.exit_code, main.NOT_RUNNING, main.MISCONFIGURED, UNREACHABLE, AMBER}
    table = (ROOT / "docs/operating.md").read_text().partition("## Exit codes\n")[2]
    rows = [re.split(r" *\| *", line) for line in table.splitlines() if re.match(r"\| \d", line)]
    assert {int(row[1]) for row in rows if row[2]} == there
    told = " ".join(str(main.cli.help).split()).partition("Exit codes:")[2]
    assert {int(code) for code in re.findall(r"\d", told)} == there


def test_a_disk_that_is_full_is_no_internal_error() -> None:
    assert main._explain(OSError(28, "No space left on device")) == ("vrxmpp: No space left on device", 1)


def test_the_version() -> None:
    assert succeed("--version") == f"vrxmpp {__version__}\n"


def test_a_table_is_drawn_on_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    output.print_table(("Account", "State"), [("[bold]a@library.example[/]\x1b[2J", "enabled")])
    drawn = capsys.readouterr().out
    assert "Account" in drawn
    assert "[bold]a@library.example[/]\ufffd[2J" in drawn
    assert "\x1b[2J" not in drawn


def test_a_table_loses_nothing_on_a_narrow_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "20")
    for headers in (("A", "B"), ()):
        output.print_table(headers, [("a" * 30, "b" * 30)])
        drawn = capsys.readouterr().out
        assert (drawn.count("a"), drawn.count("b")) == (30, 30)


def test_root_acts_as_the_servers_user(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = here / "state"
    state.mkdir()
    if os.geteuid() == 0:
        os.chown(state, 1234, 1235)
    became: list[tuple[str, int]] = []
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "setegid", lambda gid: became.append(("group", gid)))
    monkeypatch.setattr(os, "seteuid", lambda uid: became.append(("user", uid)))
    succeed("user", "list")
    assert became == [("group", state.stat().st_gid), ("user", state.stat().st_uid)]


# The archive, beside a stopped server


@pytest.fixture
def recovery(here: Path) -> Identity:
    """Have an archive, as the first start makes it; return who can read it."""
    sheet = (line.strip() for line in succeed("audit", "init").splitlines())
    return Identity.parse(next(line for line in sheet if line.startswith(SECRET_PREFIX)))


def on_record(recovery: Identity) -> list[Json]:
    """Return what the archive has of administrators' acts."""
    reader = Reader(Path("state/audit"), KeyStore(Path("state/keys")), "recovery", recovery)
    with closing(reader.records):
        return [each.facts for each in reader.search(Query(types=frozenset((Type.CONFIG,))))]


def refuse_records(when: str = "") -> None:
    with closing(sqlite3.connect("state/audit/ledger.sqlite")) as log:
        log.execute(f"CREATE TRIGGER full BEFORE INSERT ON records {when} BEGIN SELECT RAISE(FAIL, 'it is full'); END")


def test_what_is_done_beside_a_stopped_server_is_on_record(recovery: Identity) -> None:
    succeed("user", "add", "alice@library.example", "--password-stdin", input="s3cret")
    succeed("user", "list")
    fail(1, "user", "remove", "bob@library.example")
    acts = on_record(recovery)
    assert [(each["command"], each["outcome"], each.get("account"), each["uid"]) for each in acts] == [
        ("user add", "begun", "alice@library.example", os.getuid()),
        ("user add", "done", "alice@library.example", os.getuid()),
        ("user list", "begun", None, os.getuid()),
        ("user list", "done", None, os.getuid()),
        ("user remove", "begun", "bob@library.example", os.getuid()),
        ("user remove", "not-found", "bob@library.example", os.getuid()),
    ]
    assert {each["event"] for each in acts} == {"administrator"}
    assert not {name for each in acts for name in each} & {"keys", "password"}


def test_an_import_beside_a_stopped_server_is_on_record(recovery: Identity) -> None:
    vrxmpp("user", "import", "-", input="alice@library.example,one\nbob@library.example,two\n")
    users = ["alice@library.example", "bob@library.example"]
    assert [(each["outcome"], each["users"]) for each in on_record(recovery)] == [("begun", users), ("done", users)]


def test_what_cannot_be_put_on_record_is_not_done(recovery: Identity, here: Path) -> None:
    succeed("user", "list")  # makes the database
    refuse_records()
    said = fail(1, "user", "add", "alice@library.example", "--password-stdin", input="s3cret")
    assert said.startswith("vrxmpp: nothing was done, for it could not be put on record: ")
    assert said.endswith("it is full\n")
    assert credentials("alice") is None
    (here / "state/keys/root.key").unlink()
    assert fail(1, "user", "list").startswith("vrxmpp: nothing was done, for it could not be put on record: ")


def test_what_is_done_but_not_on_record_is_said_to_be(recovery: Identity) -> None:
    refuse_records("WHEN NEW.idx > 0")
    said = fail(1, "user", "add", "alice@library.example", "--password-stdin", input="s3cret")
    assert said.startswith("vrxmpp: this was done, but only its beginning is on record: ")
    assert has_password("alice", "s3cret")


@pytest.mark.parametrize("more", ["", "[audit]\nenabled = false\n"])
def test_without_an_archive_accounts_are_administered_all_the_same(here: Path, more: str) -> None:
    (here / "vrxmpp.toml").write_text(CONFIG + more)
    succeed("user", "add", "alice@library.example", "--password-stdin", input="s3cret")
    assert not (here / "state" / "audit").exists()
