"""The command line's end of the control socket: plain, blocking, without a reactor."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from io import BufferedReader
from pathlib import Path

from vrxmpp.admin import AdminError, Json

Ask = Callable[[Json], Json]
"""Puts one request (see ``admin.perform``) and returns its result, or raises AdminError."""

PATIENCE = 70.0
"""Seconds for one answer; longer than another server may be tried (``connect_seconds`` in ``[limits.s2s]``)."""


class NotRunning(AdminError):  # noqa: N818, it is no failure to the one who can do without
    """No server listens on the socket."""


def connect(path: Path) -> AbstractContextManager[Ask]:
    """Return the way to the server that listens at ``path``. Raises NotRunning, or AdminError "forbidden"."""
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(PATIENCE)
    try:
        connection.connect(str(path))
    except (FileNotFoundError, ConnectionRefusedError):
        connection.close()
        raise NotRunning("not-running", f"the server is not running (nothing answers at {path})") from None
    except OSError as error:
        connection.close()
        raise AdminError("forbidden", f"{path}: {error.strerror or error}") from None
    return _conversation(connection)


@contextmanager
def _conversation(connection: socket.socket) -> Iterator[Ask]:
    with closing(connection), connection.makefile("rb") as lines:
        yield lambda request: _ask(connection, lines, request)


def _ask(connection: socket.socket, lines: BufferedReader, request: Json) -> Json:
    try:
        connection.sendall(json.dumps(request, ensure_ascii=False).encode() + b"\n")
        line = lines.readline()
    except OSError as error:
        raise AdminError("no-answer", f"the server does not answer: {error.strerror or error}") from None
    if not line.endswith(b"\n"):
        raise AdminError("no-answer", "the server has closed the connection")
    answer = json.loads(line)
    if "error" in answer:
        raise AdminError(answer["error"]["code"], answer["error"]["message"])
    return answer["ok"]
