"""The ``vrxmpp`` command on a server that runs, and on one that does not."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.live.client import LoginRefused, login
from tests.live.server import PASSWORD, Server

FAILED, NOT_UNDERSTOOD, NOT_RUNNING, MISCONFIGURED = 1, 2, 3, 4


@pytest.fixture(scope="module", params=["running", "stopped"])
def any_server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp(request.param))
    if request.param == "running":
        server.start()
    yield server
    server.kill()


def done(server: Server, *arguments: str | Path, stdin: str = "") -> str:
    """Run a command that succeeds; return what it says."""
    outcome = server.vrxmpp(*arguments, stdin=stdin)
    assert (outcome.returncode, outcome.stderr) == (0, "")
    return outcome.stdout


def told(server: Server, *arguments: str | Path) -> Any:
    return json.loads(done(server, *arguments, "--json"))


def test_the_life_of_an_account(any_server: Server) -> None:
    server, jid = any_server, "carol@localhost"

    done(server, "user", "add", jid, "--password-stdin", stdin=f"{PASSWORD}\n")
    assert [user["jid"] for user in told(server, "user", "list", "localhost") if user["jid"] == jid] == [jid]

    done(server, "user", "disable", jid)
    assert told(server, "user", "show", jid)["enabled"] is False
    done(server, "user", "enable", jid)
    assert told(server, "user", "show", jid)["enabled"] is True
    done(server, "user", "password", jid, "--password-stdin", stdin="another\n")

    done(server, "user", "remove", jid)
    outcome = server.vrxmpp("user", "show", jid)
    assert outcome.returncode == FAILED
    assert outcome.stderr == f"vrxmpp: {jid} does not exist\n"


@pytest.mark.parametrize(
    ("arguments", "exit_code"),
    [
        (("user", "add", "admin@elsewhere.example", "--password-stdin"), FAILED),
        (("user", "add", "not@@an address", "--password-stdin"), FAILED),
        (("user", "remove", "nobody@localhost"), FAILED),
        (("user", "paint", "nobody@localhost"), NOT_UNDERSTOOD),
    ],
)
def test_failures_are_one_line_and_an_exit_code(any_server: Server, arguments: tuple[str, ...], exit_code: int) -> None:
    outcome = any_server.vrxmpp(*arguments, stdin="secret\n")

    assert outcome.returncode == exit_code
    assert "Traceback" not in outcome.stderr
    if exit_code == FAILED:
        assert outcome.stderr.startswith("vrxmpp: ")
        assert outcome.stderr.count("\n") == 1


def test_thousands_are_imported_at_once(any_server: Server) -> None:
    people = any_server.directory / "people.csv"
    number = 2000 if any_server.process else 200
    people.write_text("".join(f"reader{each}@library.example,secret {each}\n" for each in range(number)))

    assert told(any_server, "user", "import", people) == {"added": number, "refused": []}

    assert len(told(any_server, "user", "list", "library.example")) == number
    people.write_text("reader1@library.example,secret\nnonsense\nlate@library.example,secret\n")
    outcome = any_server.vrxmpp("user", "import", people, "--json")
    assert outcome.returncode == FAILED
    assert [refused["line"] for refused in json.loads(outcome.stdout)["refused"]] == [1, 2]


def test_what_needs_a_server_says_so(tmp_path: Path) -> None:
    server = Server(tmp_path)
    for arguments in (("status",), ("session", "list"), ("session", "kick", "alice@localhost")):
        outcome = server.vrxmpp(*arguments)
        assert outcome.returncode == NOT_RUNNING
        assert outcome.stderr.count("\n") == 1


def test_all_mistakes_of_a_configuration_are_told_at_once(tmp_path: Path) -> None:
    server = Server(tmp_path, 'colour = "red"\n[[host]]\ndomain = "a b"\n[c2s]\nstarttls = ["tcp:x"]\n')

    for command in (("config", "check"), ("user", "list")):
        outcome = server.vrxmpp(*command)
        assert outcome.returncode == MISCONFIGURED
        assert [line.split(": ")[1].split(" ")[0] for line in outcome.stderr.splitlines()] == [
            "host[0].domain",
            "c2s.starttls[0]",
            "colour",
        ]


async def test_sessions_are_seen_and_ended(server: Server) -> None:
    alice, jid = await login(server, server.user("alice")), server.user("bob")
    bob, phone = await login(server, jid), await login(server, jid)
    alice.send_presence(ppriority=5)
    await alice.settle()

    sessions = {each["jid"]: each for each in told(server, "session", "list")}
    assert sessions[alice.boundjid.full]["address"] == "127.0.0.1"
    assert sessions[alice.boundjid.full]["priority"] == 5
    assert sessions[bob.boundjid.full]["priority"] is None
    status = told(server, "status")
    assert status["process"] == server.pid
    assert status["sessions"]["localhost"] >= 3

    done(server, "session", "kick", phone.boundjid.full)
    await phone.gone.wait()
    assert phone.stream_error == "policy-violation"
    assert not bob.gone.is_set()

    done(server, "session", "kick", jid)
    await bob.gone.wait()
    assert server.vrxmpp("session", "kick", jid).returncode == FAILED
    await alice.settle()


async def test_a_new_password_and_a_removal_end_sessions(make_server: Callable[..., Server]) -> None:
    server = make_server()
    server.start()
    jid = server.user("alice")
    alice = await login(server, jid)

    done(server, "user", "password", jid, "--password-stdin", stdin="another\n")
    await alice.gone.wait()
    alice = await login(server, jid, "another")

    done(server, "user", "remove", jid)
    await alice.gone.wait()
    with pytest.raises(LoginRefused, match="not-authorized"):
        await login(server, jid, "another", mechanism="SCRAM-SHA-256")
