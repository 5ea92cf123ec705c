"""``vrxmpp s2s``: what is shown of other servers, on a terminal, in a pipe and to programs, and the exit codes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from annotated_types import Le
from click.testing import CliRunner, Result

from vrxmpp.admin import AdminError, Json
from vrxmpp.cli import client
from vrxmpp.cli.main import cli
from vrxmpp.cli.settings import Settings
from vrxmpp.config.limits import ServerLimits


class Server:
    """Answers with what a test has put here; keeps the requests."""

    def __init__(self) -> None:
        self.requests: list[Json] = []
        self.answer: Json = None

    def ask(self, request: Json) -> Json:
        self.requests.append(request)
        if isinstance(self.answer, AdminError):
            raise self.answer
        return self.answer


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    server = Server()

    @contextmanager
    def connected(settings: Settings) -> Iterator[object]:
        yield server.ask

    monkeypatch.setattr(Settings, "server", connected)
    return server


def vrxmpp(*arguments: str) -> Result:
    result = CliRunner().invoke(cli, ["s2s", *arguments], prog_name="vrxmpp")
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert "internal error" not in result.stderr
    return result


def succeed(*arguments: str) -> str:
    result = vrxmpp(*arguments)
    assert (result.stderr, result.exit_code) == ("", 0)
    return result.stdout


def stream(**changes: Json) -> Json:
    return {
        "direction": "both",
        "local": ["library.example"],
        "remote": ["museum.example"],
        "state": "established",
        "authentication": "certificate",
        "tls": "TLSv1.3",
        "address": "192.0.2.1",
        "since": datetime.now(UTC).isoformat(),
        "acknowledgements": True,
        "unacknowledged": 0,
        "stanzas": 0,
        "bytes": 0,
    } | changes


def way(**changes: Json) -> Json:
    return {
        "local": "library.example",
        "remote": "museum.example",
        "state": "using a stream",
        "seconds": None,
        "stanzas": 0,
        "bytes": 0,
        "failure": "",
    } | changes


def failure(reason: str, at: str = "2026-03-01T12:00:00Z", **changes: Json) -> Json:
    return {
        "at": at,
        "local": "library.example",
        "remote": "museum.example",
        "incoming": False,
        "reason": reason,
    } | changes


def found(*streams: Json, ways: list[Json] | None = None, failures: list[Json] | None = None) -> Json:
    return {"streams": list(streams), "ways": ways or [], "failures": failures or []}


# -- status


def test_each_stream_is_a_line(server: Server) -> None:
    server.answer = found(
        stream(),
        stream(direction="out", unacknowledged=3, stanzas=2, bytes=1204, local=["a.example", "b.example"]),
        stream(direction="in", local=[], remote=[], state="negotiating", authentication="", tls="")
        | {"acknowledgements": False},
    )
    assert succeed("status").splitlines() == [
        "both\tlibrary.example\tmuseum.example\testablished, certificate, TLSv1.3\t192.0.2.1\t0 s\ton\t0",
        "out\ta.example b.example\tmuseum.example\testablished, certificate, TLSv1.3\t192.0.2.1\t0 s"
        "\ton, 3 to come\t2 (1204 bytes)",
        "in\t\t\tnegotiating\t192.0.2.1\t0 s\toff\t0",
    ]
    assert server.requests == [{"command": "s2s status", "jid": ""}]


@pytest.mark.parametrize(
    ("age", "shown"),
    [
        (timedelta(seconds=-5), "0 s"),  # the clock was set
        (timedelta(seconds=59), "59 s"),
        (timedelta(seconds=60), "1 min"),
        (timedelta(minutes=59, seconds=58), "59 min"),
        (timedelta(hours=23), "23 h"),
        (timedelta(days=400), "400 d"),
    ],
)
def test_the_age_of_a_stream_is_round(server: Server, age: timedelta, shown: str) -> None:
    server.answer = found(stream(since=(datetime.now(UTC) - age).isoformat()))
    assert succeed("status").split("\t")[5] == shown


def test_what_waits_without_a_stream_is_a_line_too(server: Server) -> None:
    server.answer = found(
        stream(),
        ways=[
            way(),
            way(remote="a.example", state="connecting", stanzas=1, bytes=80),
            way(remote="b.example", state="waiting to dial again", seconds=5, stanzas=2, bytes=302, failure="refused"),
        ],
    )
    assert [line.split("\t") for line in succeed("status").splitlines()[1:]] == [
        ["out", "library.example", "a.example", "connecting", "", "", "", "1 (80 bytes)"],
        ["out", "library.example", "b.example", "waiting to dial again, 5 s", "", "", "", "2 (302 bytes)"],
    ]


def test_the_same_failure_is_told_once(server: Server) -> None:
    later = "2026-03-01T12:05:00Z"
    server.answer = found(
        failures=[failure("refused"), failure("expired"), failure("expired", incoming=True), failure("refused", later)]
    )
    empty, heading, *lines = vrxmpp("status", "museum.example").stdout.splitlines()
    assert (empty, heading) == ("", "Last failed attempts:")
    shown = datetime.fromisoformat(later).astimezone().strftime("%Y-%m-%d %H:%M")
    assert [line.split("\t")[1:] for line in lines] == [
        ["1", "out", "library.example", "museum.example", "expired"],
        ["1", "in", "library.example", "museum.example", "expired"],
        ["2", "out", "library.example", "museum.example", "refused"],
    ]
    assert lines[-1].startswith(f"{shown}\t")
    assert server.requests == [{"command": "s2s status", "jid": "museum.example"}]


def test_what_another_server_says_cannot_paint_the_terminal(server: Server) -> None:
    server.answer = found(failures=[failure("m says undefined-condition: \x1b[2J\nroot\u202e")])
    shown = vrxmpp("status").stdout
    assert shown.endswith("m says undefined-condition: \ufffd[2J\ufffdroot\ufffd\n")


def test_programs_get_all_there_is(server: Server) -> None:
    server.answer = found(stream(), ways=[way()], failures=[failure("refused")] * 30)
    assert json.loads(succeed("status", "--json")) == server.answer


@pytest.mark.parametrize(("arguments", "whom"), [((), "another server"), (("museum.example",), "museum.example")])
def test_where_there_is_nothing_it_is_said(server: Server, arguments: tuple[str, ...], whom: str) -> None:
    """To people: the next program of a pipe gets no line."""
    server.answer = found(ways=[way()])
    result = vrxmpp("status", *arguments)
    assert (result.stdout, result.exit_code) == ("", 0)
    assert result.stderr == f"There is no stream to or from {whom}, and nothing waits for one.\n"


# -- test


def trial(*steps: tuple[str, bool, str], **changes: Json) -> Json:
    told = [{"name": name, "succeeded": succeeded, "text": text} for name, succeeded, text in steps]
    here_and_there = {"local": "library.example", "remote": "museum.example"}
    return here_and_there | {"steps": told, "reached": True, "side": "", "advice": ""} | changes


def test_each_step_is_told(server: Server) -> None:
    server.answer = trial(("DNS", True, "192.0.2.1 port 5269 (STARTTLS)"), ("TLS", True, "TLSv1.3"))
    assert succeed("test", "museum.example").splitlines() == [
        "DNS\tok\t192.0.2.1 port 5269 (STARTTLS)",
        "TLS\tok\tTLSv1.3",
        "museum.example can be reached from library.example.",
    ]
    assert server.requests == [{"command": "s2s test", "jid": "museum.example", "from": None}]


@pytest.mark.parametrize(
    ("side", "words"),
    [
        ("here", "The cause is here, at library.example."),
        ("there", "The cause is there, at museum.example."),
        ("between", "The cause is probably on the network between library.example and museum.example."),
    ],
)
def test_what_is_wrong_and_where_and_an_exit_code_of_its_own(server: Server, side: str, words: str) -> None:
    server.answer = trial(("TLS", False, "no {local} answer"), reached=False, side=side, advice="Do {this}.")
    result = vrxmpp("test", "museum.example", "--from", "library.example")
    assert (result.exit_code, result.stderr) == (5, "")
    assert result.stdout.splitlines() == [
        "TLS\tfailed\tno {local} answer",
        "museum.example cannot be reached from library.example.",
        words,
        "Do {this}.",
    ]
    assert server.requests[0]["from"] == "library.example"


@pytest.mark.parametrize(("reached", "code"), [(True, 0), (False, 5)])
def test_a_program_gets_the_same_exit_code(server: Server, reached: bool, code: int) -> None:
    server.answer = trial(("TLS", reached, "x"), reached=reached, side="" if reached else "there")
    result = vrxmpp("test", "museum.example", "--json")
    assert (json.loads(result.stdout), result.exit_code) == (server.answer, code)


def test_the_command_waits_for_longer_than_another_server_may_take() -> None:
    [longest] = [limit.le for limit in ServerLimits.model_fields["connect_seconds"].metadata if isinstance(limit, Le)]
    assert longest < client.PATIENCE


def test_what_cannot_be_tested_is_another_failure(server: Server) -> None:
    server.answer = AdminError("served-here", "library.example is served here: no other server is asked for it")
    result = vrxmpp("test", "library.example")
    said = "vrxmpp: library.example is served here: no other server is asked for it\n"
    assert (result.stdout, result.stderr, result.exit_code) == ("", said, 1)


# -- close


def test_streams_are_ended(server: Server) -> None:
    server.answer = 2
    assert succeed("close", "museum.example") == "2 ended\n"
    assert server.requests == [{"command": "s2s close", "jid": "museum.example"}]


# -- all of them


@pytest.mark.parametrize("arguments", [("status",), ("test", "museum.example"), ("close", "museum.example")])
def test_without_a_server_nothing_is_known(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    path = tmp_path / "vrxmpp.toml"
    path.write_text('state = "state"\n[[host]]\ndomain = "library.example"\n')
    result = vrxmpp(*arguments, "-c", str(path))
    assert (result.stdout, result.exit_code) == ("", 3)
    assert result.stderr.startswith("vrxmpp: the server is not running")


@pytest.mark.parametrize("arguments", [(), ("test",), ("close",), ("close", "a", "b"), ("test", "a", "--from")])
def test_what_is_not_understood(server: Server, arguments: tuple[str, ...]) -> None:
    assert vrxmpp(*arguments).exit_code == 2
    assert server.requests == []
