"""The control socket: requests and answers as bytes, who is let in, and what cannot hurt the server."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.testing import MemoryReactor, StringTransport
from twisted.logger import LogEvent

from vrxmpp.admin import REQUEST_BYTES, AdminError, Administration
from vrxmpp.net.control import ControlFactory, control_endpoint, peer_uid
from vrxmpp.store.interfaces import StorageError

STATUS = b'{"command": "status"}\n'


class Scripted(Administration):
    """Answers a request for the status with what the test has put here: a value, a failure, or a Deferred."""

    def __init__(self, answer: object) -> None:
        super().__init__({}, None)
        self.answer = answer

    async def status(self) -> Any:
        if isinstance(self.answer, Exception):
            raise self.answer
        return await self.answer if isinstance(self.answer, Deferred) else self.answer


def connect(answer: object = "fine", uid: int | None = None) -> tuple[Any, Any]:
    factory = ControlFactory(Scripted(answer), uid_of=lambda transport: os.geteuid() if uid is None else uid)
    protocol = factory.buildProtocol(None)
    transport: Any = StringTransport()
    protocol.makeConnection(transport)  # type: ignore[no-untyped-call]
    return protocol, transport


def answers(transport: Any) -> list[Any]:
    lines = transport.value().split(b"\n")
    assert lines.pop() == b""
    return [json.loads(line) for line in lines]


def error_code(transport: Any) -> str:
    [answer] = answers(transport)
    assert set(answer) == {"error"}
    code: str = answer["error"]["code"]
    return code


def test_a_request_is_answered_in_one_line() -> None:
    protocol, transport = connect("fine\nand well")
    protocol.dataReceived(STATUS)
    assert answers(transport) == [{"ok": "fine\nand well"}]


def test_one_request_follows_another_byte_by_byte() -> None:
    protocol, transport = connect()
    for byte in STATUS + b'{"command": "nonsense"}\n' + STATUS:
        protocol.dataReceived(bytes([byte]))
    first, second, third = answers(transport)
    assert first == third == {"ok": "fine"}
    assert second["error"]["code"] == "bad-request"
    assert not transport.disconnecting


def test_a_request_waits_for_its_answer() -> None:
    answer: Deferred[str] = Deferred()
    protocol, transport = connect(answer)
    protocol.dataReceived(STATUS)
    assert answers(transport) == []
    answer.callback("late")
    assert answers(transport) == [{"ok": "late"}]


def test_a_second_request_must_wait_for_the_first() -> None:
    answer: Deferred[str] = Deferred()
    protocol, transport = connect(answer)
    protocol.dataReceived(STATUS + STATUS + STATUS)
    assert error_code(transport) == "busy"
    assert transport.disconnecting
    answer.callback("late")  # nobody listens any more, and nobody minds


@pytest.mark.parametrize(
    ("failure", "code"), [(AdminError("not-found", "gone"), "not-found"), (StorageError("full"), "storage")]
)
def test_a_refusal_has_a_code(failure: Exception, code: str) -> None:
    protocol, transport = connect(failure)
    protocol.dataReceived(STATUS)
    assert error_code(transport) == code


def test_a_bug_is_logged_and_the_connection_lives(log: list[LogEvent]) -> None:
    protocol, transport = connect(ZeroDivisionError("secret"))
    protocol.dataReceived(STATUS)
    assert [event["log_failure"].type for event in log if "log_failure" in event] == [ZeroDivisionError]
    assert error_code(transport) == "internal"
    assert b"secret" not in transport.value()
    assert not transport.disconnecting


@pytest.mark.parametrize("line", [b"", b"status", b"{", b"[" * 100_000, b"\xff", b'"\\ud800"', b"null", b"1e999"])
def test_what_is_no_request_is_refused(line: bytes) -> None:
    protocol, transport = connect()
    protocol.dataReceived(line + b"\n" + STATUS)
    assert [answer.get("error", {}).get("code") for answer in answers(transport)] == ["bad-request", None]


def test_a_request_has_a_bound() -> None:
    protocol, transport = connect()
    for _ in range(REQUEST_BYTES // 65_536):
        protocol.dataReceived(b" " * 65_536)
    assert transport.value() == b""
    protocol.dataReceived(b" ")
    assert error_code(transport) == "too-long"
    assert transport.disconnecting


@pytest.mark.parametrize("uid", [0, os.geteuid()])
def test_root_and_the_servers_user_are_let_in(uid: int) -> None:
    _, transport = connect(uid=uid)
    assert not transport.disconnecting


def test_others_are_not_let_in() -> None:
    protocol, transport = connect(uid=os.geteuid() + 1)
    assert transport.disconnecting
    protocol.dataReceived(STATUS)
    assert transport.value() == b""


def test_the_kernel_says_who_is_there() -> None:
    class Transport:
        def __init__(self, connection: socket.socket) -> None:
            self.getHandle = lambda: connection

    near, far = socket.socketpair()
    with near, far:
        assert peer_uid(Transport(near)) == os.geteuid()


def test_keys_stay_out_of_the_log(log: list[LogEvent]) -> None:
    protocol, _ = connect()
    request = {"command": "user add", "jid": "alice@library.example", "keys": [["5a1t", 1, "5ec2e7", "00"]] * 2}
    protocol.dataReceived(json.dumps(request).encode() + b"\n")
    [event] = [event for event in log if event.get("command") == "user add"]
    assert event["jid"] == "alice@library.example"
    assert "5ec2e7" not in repr(log)


def test_the_socket_is_private() -> None:
    reactor: Any = MemoryReactor()
    endpoint: Any = control_endpoint(reactor, Path("/var/lib/vrxmpp"))
    endpoint.listen(ControlFactory(Administration({}, None)))
    [(address, _, _, mode, _)] = reactor.unixServers
    assert (address, mode) == ("/var/lib/vrxmpp/control.sock", 0o600)
